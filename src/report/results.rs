//! The results of a command: the metrics of its models, and warnings about them.
//!
//! All commands have one shape, on standard output with `--json` and in `results.json`:
//!
//! ```json
//! {"base": {"acc_test": 0.93, "seconds_train": 61.5}, "regun": {"acc_test": 0.92}, "flags": []}
//! ```
//!
//! A model is `base`, `retrained`, `reference_<N>` or the name of its method.

use serde_json::{Map, Value, json};

use super::json;
use crate::eval::Metrics;

/// The metrics of one model.
#[derive(Debug, Clone)]
pub struct ModelResult {
    /// Its key in the JSON object.
    pub name: String,
    /// Its name in the table.
    pub title: String,
    pub metrics: Metrics,
}

impl ModelResult {
    /// Seconds that it took to make the model, without evaluation; `None` if this command did not make it.
    pub fn seconds(&self) -> Option<f64> {
        ["seconds_train", "seconds_unlearn"].iter().find_map(|name| self.metrics.get(name))
    }
}

/// The results of a command.
#[derive(Debug, Clone, Default)]
pub struct Results {
    pub models: Vec<ModelResult>,
    /// Warnings about data and models, each once.
    pub flags: Vec<String>,
}

impl Results {
    /// Adds the models and flags of `other`.
    pub fn extend(&mut self, other: Results) {
        self.models.extend(other.models);
        for flag in other.flags {
            if !self.flags.contains(&flag) {
                self.flags.push(flag);
            }
        }
    }

    /// The JSON object of the module's documentation.
    pub fn to_json(&self) -> Map<String, Value> {
        let models = self.models.iter();
        let mut object: Map<String, Value> =
            models.map(|model| (model.name.clone(), Value::Object(json::to_json(&model.metrics)))).collect();
        object.insert("flags".into(), json!(self.flags));
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(name: &str, metric: &str, flags: &[&str]) -> Results {
        let metrics = Metrics::from_iter([("acc_test", 0.5), (metric, 2.0)]);
        Results {
            models: vec![ModelResult { name: name.into(), title: name.to_uppercase(), metrics }],
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    #[test]
    fn models_are_keyed_by_their_names_and_flags_come_once() {
        let mut all = results("base", "seconds_train", &["a", "b"]);
        all.extend(results("regun", "seconds_unlearn", &["b", "c"]));
        let expected = json!({
            "base": {"acc_test": 0.5, "seconds_train": 2.0},
            "regun": {"acc_test": 0.5, "seconds_unlearn": 2.0},
            "flags": ["a", "b", "c"],
        });
        assert_eq!(Value::Object(all.to_json()), expected);
        assert_eq!(all.models.iter().map(ModelResult::seconds).collect::<Vec<_>>(), [Some(2.0); 2]);
        assert_eq!(results("x", "images_per_second", &[]).models[0].seconds(), None);
    }
}
