//! The data loaders of one phase, and the length of its passes.

use super::phase::Pass;
use super::settings::TrainSettings;
use crate::config::schema::BatchLimit;
use crate::data::{DataLoader, DeviceDataset};
use crate::error::{Error, ErrorKind, Result};

/// The data loaders of one phase, one for each name of a sampler. A loader is made when a pass first needs it.
pub struct PhaseLoaders {
    loaders: Vec<DataLoader>,
    batch_size: usize,
    /// Batches of each pass.
    limit: BatchLimit,
    /// Each epoch has the same batches, in the order of the data.
    overfits: bool,
    seed: u64,
    purpose: String,
}

impl PhaseLoaders {
    pub fn new(settings: &TrainSettings, phase: &str) -> Self {
        PhaseLoaders {
            loaders: Vec::new(),
            batch_size: settings.batch_size,
            limit: settings.limit,
            overfits: settings.overfits,
            seed: settings.seed,
            purpose: format!("{}/{phase}", settings.purpose),
        }
    }

    /// Indices of the loaders of a pass, in the order of its samplers. Makes the loaders that do not exist yet.
    ///
    /// # Errors
    /// `Usage` for a sampler without samples.
    pub fn loader_indices(&mut self, pass: &Pass, dataset: &DeviceDataset) -> Result<Vec<usize>> {
        let mut indices = Vec::with_capacity(pass.samplers.len());
        for sampler in &pass.samplers {
            let known = self.loaders.iter().position(|loader| loader.name() == sampler.name);
            if known.is_none() {
                let mut sampler = sampler.clone();
                sampler.shuffled &= !self.overfits;
                self.loaders.push(DataLoader::new(sampler, dataset, self.batch_size, self.seed, &self.purpose)?);
            }
            indices.push(known.unwrap_or(self.loaders.len() - 1));
        }
        Ok(indices)
    }

    /// The loader with this index.
    pub fn get_mut(&mut self, index: usize) -> &mut DataLoader {
        &mut self.loaders[index]
    }

    /// Micro-steps of a pass with these loaders: the batches of the shortest sampler that ends it, as far as they are
    /// not limited.
    ///
    /// # Errors
    /// `Usage` for a fraction that leaves no whole batch.
    pub fn micro_steps(&self, pass: &Pass, indices: &[usize]) -> Result<usize> {
        let loaders = indices.iter().map(|&index| &self.loaders[index]);
        let batches = loaders
            .filter(|loader| loader.ends_pass())
            .map(DataLoader::batches)
            .min()
            .ok_or_else(|| Error::new(ErrorKind::Bug, format!("pass {} has no sampler that ends it", pass.name)))?;
        let key = if self.overfits { "trainer.overfit_batches" } else { "trainer.limit_train_batches" };
        limited(self.limit, batches, key, &format!("pass {}", pass.name))
    }
}

/// The batches that the limit `limit`, the value of `key`, leaves of `batches`, those of `what`.
///
/// # Errors
/// `Usage` for a fraction that leaves no whole batch.
pub fn limited(limit: BatchLimit, batches: usize, key: &str, what: &str) -> Result<usize> {
    limit.of(batches).ok_or_else(|| {
        Error::usage(format!("{key}={limit}: {what} has {batches} batch(es), so this fraction leaves none"))
            .hint(format!("a larger fraction, or a number of batches: `{key}=1`"))
    })
}
