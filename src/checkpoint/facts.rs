//! Named facts: what a model is, and how it came to be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Named facts that can be compared: identity or provenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where `self` (found) differs from `wanted`: one line per fact, `name: found X, wanted Y`.
    pub fn differences(&self, wanted: &Facts) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(wanted.0.keys()).collect();
        let text = |facts: &Facts, name| facts.get(name).unwrap_or("nothing").to_owned();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != wanted.0.get(*name))
            .map(|name| format!("{name}: found {}, wanted {}", text(self, name), text(wanted, name)))
            .collect()
    }

    /// Only the facts for which `keep` holds.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Facts {
        Facts(self.0.iter().filter(|(name, _)| keep(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
