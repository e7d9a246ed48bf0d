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

    /// Numbers of the loaders of a pass, in the order of its samplers. A sampler without samples is an error.
    pub fn of_pass(&mut self, pass: &Pass, dataset: &DeviceDataset) -> Result<Vec<usize>> {
        let mut numbers = Vec::with_capacity(pass.samplers.len());
        for sampler in &pass.samplers {
            let known = self.loaders.iter().position(|loader| loader.name() == sampler.name);
            if known.is_none() {
                let sampler = sampler.clone();
                self.loaders.push(DataLoader::new(sampler, dataset, self.batch_size, self.seed, &self.purpose)?);
            }
            numbers.push(known.unwrap_or(self.loaders.len() - 1));
        }
        Ok(numbers)
    }

    /// The loader of this number.
    pub fn get_mut(&mut self, number: usize) -> &mut DataLoader {
        &mut self.loaders[number]
    }

    /// Micro-steps of a pass with these loaders: the batches of the shortest sampler that ends it.
    pub fn micro_steps(&self, pass: &Pass, numbers: &[usize]) -> Result<usize> {
        let loaders = numbers.iter().map(|&number| &self.loaders[number]);
        loaders
            .filter(|loader| loader.ends_pass())
            .map(DataLoader::batches)
            .min()
            .ok_or_else(|| Error::new(ErrorKind::Bug, format!("pass {} has no sampler that ends it", pass.name)))
    }
}
