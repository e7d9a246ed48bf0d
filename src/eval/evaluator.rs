//! Evaluates models against the same yardsticks: the reference models that calibrate RMIA and the retrained model.
//!
//! What the yardsticks say of the data is computed once and cached on disk, under a key of everything it depends on.

use std::path::Path;

use tch::Tensor;

use super::collect;
use super::logits::Logits;
use super::metrics::{Metrics, ModelLogits, References, check_comparable, evaluate};
use crate::checkpoint::{self, Facts};
use crate::data::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{ErrorKind, Result};
use crate::models::Model;

const PARTS: [Part; 4] = [Part::Retain, Part::Forget, Part::Val, Part::Test];

/// Logits of a model on retain, forget, val and test: one forward pass each. At rank 0.
pub fn model_logits(world: &World, dataset: &DeviceDataset, model: &Model) -> Result<Option<ModelLogits>> {
    let [retain, forget, val, test] = PARTS.map(|part| collect::logits(world, dataset, model, part));
    Ok(match (retain?, forget?, val?, test?) {
        (retain @ Some(_), Some(forget), Some(val), Some(test)) => Some(ModelLogits { retain, forget, val, test }),
        _ => None,
    })
}

/// The yardsticks. Only rank 0 holds them.
#[derive(Debug, Clone, Default)]
pub struct Evaluator {
    references: Option<References>,
    retrained: Option<(ModelLogits, Metrics)>,
}

impl Evaluator {
    /// With what there is: without references no RMIA, without the retrained model no divergence and no gap.
    pub fn new(references: Option<References>, retrained: Option<ModelLogits>) -> Self {
        let retrained = retrained.map(|logits| {
            let metrics = evaluate(&logits, references.as_ref(), None);
            (logits, metrics)
        });
        Evaluator { references, retrained }
    }

    /// All metrics of these logits.
    pub fn metrics(&self, logits: &ModelLogits) -> Metrics {
        let retrained = self.retrained.as_ref().map(|(logits, metrics)| (logits, metrics));
        evaluate(logits, self.references.as_ref(), retrained)
    }

    /// All metrics of a model, at rank 0; called on all ranks.
    pub fn evaluate(&self, world: &World, dataset: &DeviceDataset, model: &Model) -> Result<Option<Metrics>> {
        Ok(model_logits(world, dataset, model)?.map(|logits| self.metrics(&logits)))
    }

    /// All metrics of the retrained model, its distances from itself among them; at rank 0.
    pub fn evaluate_retrained(&self) -> Option<Metrics> {
        self.retrained.as_ref().map(|(logits, _)| self.metrics(logits))
    }

    /// The retrained model's own metrics.
    pub fn retrained_metrics(&self) -> Option<&Metrics> {
        self.retrained.as_ref().map(|(_, metrics)| metrics)
    }

    /// Reads the cache where its key is `key`.
    ///
    /// `None` where there is none or where it is of something else; a damaged file is named, set aside and forgotten.
    pub fn read_cache(path: &Path, key: &Facts, dataset: &DeviceDataset) -> Option<Self> {
        checkpoint::read_cache(path, key, |tensors| decode(tensors, dataset))
    }

    /// Writes the cache. A failure is a warning: the next run computes the yardsticks again.
    pub fn write_cache(&self, path: &Path, key: &Facts) {
        checkpoint::write_cache(path, key, &self.encode());
    }

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

/// From the tensors of a cache file, in the order of their names.
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
    let references = References { forget: models("forget")?, val: models("val")?, test: models("test")? };
    let [retain, forget, val, test] = PARTS.map(logits);
    let (Some(forget), Some(val), Some(test)) = (forget?, val?, test?) else {
        return Err(crate::error::Error::new(
            ErrorKind::Missing,
            "evaluation cache without the retrained model's logits",
        ));
    };
    let retrained = ModelLogits { retain: retain?, forget, val, test };
    check_comparable(&retrained, Some(&references), None)?;
    Ok(Evaluator::new(Some(references), Some(retrained)))
}
