//! The data loaders of one phase, and the length of its passes.

use super::phase::Pass;
use super::settings::TrainSettings;
use crate::data::{DataLoader, DeviceDataset};
use crate::error::{Error, ErrorKind, Result};

/// The data loaders of one phase, one for each name of a sampler. A loader is made when a pass first needs it.
pub struct PhaseLoaders {
    loaders: Vec<DataLoader>,
    batch_size: usize,
    seed: u64,
    purpose: String,
}

impl PhaseLoaders {
    pub fn new(settings: &TrainSettings, phase: &str) -> Self {
        PhaseLoaders {
            loaders: Vec::new(),
            batch_size: settings.batch_size,
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
                let sampler = sampler.clone();
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

    /// Micro-steps of a pass with these loaders: the batches of the shortest sampler that ends it.
    pub fn micro_steps(&self, pass: &Pass, indices: &[usize]) -> Result<usize> {
        let loaders = indices.iter().map(|&index| &self.loaders[index]);
        loaders
            .filter(|loader| loader.ends_pass())
            .map(DataLoader::batches)
            .min()
            .ok_or_else(|| Error::new(ErrorKind::Bug, format!("pass {} has no sampler that ends it", pass.name)))
    }
}
