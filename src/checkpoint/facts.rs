//! Named facts about a model: its identity or its provenance.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Named facts that can be compared. The identity and the provenance of a model are such facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// These facts and one more. It replaces a fact of the same name.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a fact; `None` if there is none of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The facts in which `self` (found) differs from `wanted`, one line each: `name: found X, wanted Y`.
    pub fn differences(&self, wanted: &Facts) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(wanted.0.keys()).collect();
        let text = |facts: &Facts, name| facts.get(name).unwrap_or("nothing").to_owned();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != wanted.0.get(*name))
            .map(|name| format!("{name}: found {}, wanted {}", text(self, name), text(wanted, name)))
            .collect()
    }

    /// The facts whose names `keep` accepts.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Facts {
        Facts(self.0.iter().filter(|(name, _)| keep(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
