//! The steps of a training, computed before it starts.

use super::method::Method;
use super::phase_loaders::PhaseLoaders;
use super::settings::TrainSettings;
use crate::data::DeviceDataset;
use crate::error::{Error, Result};

/// More epochs than any training needs. The plan looks at each of them.
const MAX_EPOCHS: usize = 1_000_000;

/// The planned steps of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhasePlan {
    pub name: &'static str,
    pub epochs: usize,
    /// Optimizer steps of the first epoch. Later epochs may have fewer passes (SCRUB).
    pub steps_per_epoch: usize,
    /// Optimizer steps of all epochs.
    pub steps: usize,
}

/// The phases of `method` and their numbers of steps. Works before [`Method::prepare`] and runs no model. Empty for a
/// one-shot method.
///
/// # Errors
/// `Usage` if a sampler of the method has no samples, because the split leaves none; or for more than [`MAX_EPOCHS`]
/// epochs.
pub fn plan(method: &dyn Method, dataset: &DeviceDataset, settings: &TrainSettings) -> Result<Vec<PhasePlan>> {
    let mut plans = Vec::new();
    for (number, phase) in method.phases().iter().enumerate() {
        let mut loaders = PhaseLoaders::new(settings, phase.name);
        if phase.epochs > MAX_EPOCHS {
            return Err(Error::usage(format!(
                "{} epochs in the phase `{}` of {}: wanted at most {MAX_EPOCHS}",
                phase.epochs, phase.name, settings.purpose
            )));
        }
        let mut epoch_steps = Vec::with_capacity(phase.epochs);
        for epoch in 0..phase.epochs {
            let mut steps = 0;
            for pass in method.passes(number, epoch) {
                let indices = loaders.loader_indices(&pass, dataset)?;
                steps += loaders.micro_steps(&pass, &indices)?.div_ceil(settings.accumulate);
            }
            epoch_steps.push(steps);
        }
        plans.push(PhasePlan {
            name: phase.name,
            epochs: phase.epochs,
            steps_per_epoch: epoch_steps.first().copied().unwrap_or(0),
            steps: epoch_steps.iter().sum(),
        });
    }
    Ok(plans)
}
