//! Evaluates models against the same baselines: the reference models that calibrate RMIA, and the retrained model.
//!
//! The outputs of these models on the data are computed once and cached on disk. The cache key holds everything that
//! the outputs depend on.

use std::path::Path;

use tch::Tensor;

use super::collect;
use super::logits::Logits;
use super::metric_map::Metrics;
use super::metrics::{ModelLogits, ReferenceProbabilities, check_comparable, evaluate};
use crate::checkpoint::{self, Facts};
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::models::Model;

const PARTS: [Part; 4] = [Part::Retain, Part::Forget, Part::Val, Part::Test];

/// Logits of a model on retain, forget, val and test: one forward pass over each part. A collective call: rank 0 gets
/// the logits, the other ranks get `None`.
pub fn model_logits(world: &World, dataset: &DeviceDataset, model: &Model) -> Result<Option<ModelLogits>> {
    let logits = collect::logits(world, dataset, model, PARTS)?;
    Ok(logits.map(|[retain, forget, val, test]| ModelLogits { retain: Some(retain), forget, val, test }))
}

/// Outputs of the reference models and of the retrained baseline. Empty on all ranks but rank 0.
#[derive(Debug, Clone, Default)]
pub struct Evaluator {
    references: Option<ReferenceProbabilities>,
    retrained: Option<(ModelLogits, Metrics)>,
}

impl Evaluator {
    /// An evaluator with these outputs. Without references there is no RMIA; without the retrained model there are no
    /// divergences and no gaps.
    pub fn new(references: Option<ReferenceProbabilities>, retrained: Option<ModelLogits>) -> Self {
        let retrained = retrained.map(|logits| {
            let metrics = evaluate(&logits, references.as_ref(), None);
            (logits, metrics)
        });
        Evaluator { references, retrained }
    }

    /// All metrics of a model, from its logits.
    pub fn metrics(&self, logits: &ModelLogits) -> Metrics {
        let retrained = self.retrained.as_ref().map(|(logits, metrics)| (logits, metrics));
        evaluate(logits, self.references.as_ref(), retrained)
    }

    /// Runs a model and computes all its metrics. A collective call: rank 0 gets the metrics, the other ranks get
    /// `None`.
    pub fn evaluate(&self, world: &World, dataset: &DeviceDataset, model: &Model) -> Result<Option<Metrics>> {
        Ok(model_logits(world, dataset, model)?.map(|logits| self.metrics(&logits)))
    }

    /// All metrics of the retrained model, with its (zero) distances from itself. `None` on all ranks but rank 0.
    pub fn evaluate_retrained(&self) -> Option<Metrics> {
        self.retrained.as_ref().map(|(logits, _)| self.metrics(logits))
    }

    /// Metrics of the retrained model without distances. `None` on all ranks but rank 0.
    pub fn retrained_metrics(&self) -> Option<&Metrics> {
        self.retrained.as_ref().map(|(_, metrics)| metrics)
    }

    /// Reads the cache file at `path` if it was written with the same `key`.
    ///
    /// `None` if there is no such file or its key differs. A damaged file is renamed, and a warning names it.
    pub fn read_cache(path: &Path, key: &Facts, dataset: &DeviceDataset) -> Option<Self> {
        checkpoint::read_cache(path, key, |tensors| decode(tensors, dataset))
    }

    /// Writes the cache file. A failure is only a warning: the next run computes the outputs again.
    pub fn write_cache(&self, path: &Path, key: &Facts) {
        checkpoint::write_cache(path, key, &self.encode());
    }

    /// The outputs as named tensors.
    fn encode(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        if let Some(references) = &self.references {
            for (part, models) in [("forget", &references.forget), ("val", &references.val), ("test", &references.test)]
            {
                for (number, probabilities) in models.iter().enumerate() {
                    tensors.push((format!("references/{part}/{:03}", number + 1), Tensor::from_slice(probabilities)));
                }
            }
        }
        if let Some((logits, _)) = &self.retrained {
            let parts = [logits.retain.as_ref(), Some(&logits.forget), Some(&logits.val), Some(&logits.test)];
            for (part, logits) in PARTS.into_iter().zip(parts) {
                if let Some(logits) = logits {
                    tensors.push((format!("retrained/{}", part.name()), Tensor::from_slice(&logits.values)));
                }
            }
        }
        tensors
    }
}

/// Makes an evaluator from the tensors of a cache file, which are sorted by name.
fn decode(tensors: &[(String, Tensor)], dataset: &DeviceDataset) -> Result<Evaluator> {
    let values = |name: &str| -> Result<Option<Vec<f32>>> {
        let tensor = tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor);
        Ok(tensor.map(Vec::try_from).transpose()?)
    };
    let models = |part: &str| -> Result<Vec<Vec<f32>>> {
        let prefix = format!("references/{part}/");
        tensors.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, t)| Ok(Vec::try_from(t)?)).collect()
    };
    let logits = |part: Part| -> Result<Option<Logits>> {
        let values = values(&format!("retrained/{}", part.name()))?;
        values.map(|values| Logits::new(values, dataset.labels(part), dataset.num_classes())).transpose()
    };
    let references = ReferenceProbabilities { forget: models("forget")?, val: models("val")?, test: models("test")? };
    let [retain, forget, val, test] = PARTS.map(logits);
    let (Some(forget), Some(val), Some(test)) = (forget?, val?, test?) else {
        return Err(Error::new(ErrorKind::Missing, "evaluation cache without the retrained model's logits"));
    };
    let retrained = ModelLogits { retain: retain?, forget, val, test };
    check_comparable(&retrained, Some(&references), None)?;
    Ok(Evaluator::new(Some(references), Some(retrained)))
}
