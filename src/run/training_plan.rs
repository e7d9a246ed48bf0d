//! Length of a training, computed before it starts.

use tch::Device;

use crate::config::schema::CudaGraphMode;
use crate::data::{DeviceDataset, Pool, Sampler};
use crate::distributed::World;
use crate::models::Architecture;
use crate::train::{Method, Pass, Settings};

/// Length of one phase of a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhasePlan {
    pub name: &'static str,
    pub epochs: usize,
    /// Optimizer steps of the first epoch.
    pub steps_per_epoch: usize,
    /// Optimizer steps of all epochs.
    pub steps: usize,
}

/// Length of each phase. Samples that [`Method::prepare`] makes are not counted: they are not known before.
pub fn plan(method: &dyn Method, dataset: &DeviceDataset, settings: &Settings) -> Vec<PhasePlan> {
    let pass_steps = |pass: &Pass| {
        let driving = pass.samplers.iter().filter(|sampler| sampler.ends_pass && !sampler.pools.is_empty());
        let batches = driving.map(|sampler| num_samples(sampler, dataset).div_ceil(settings.batch_size)).min();
        batches.unwrap_or(0).div_ceil(settings.accumulate)
    };
    let phases = method.phases().into_iter().enumerate();
    let plan = |(number, phase): (usize, crate::train::Phase)| {
        let steps = |epoch| method.passes(number, epoch).iter().map(pass_steps).sum::<usize>();
        PhasePlan {
            name: phase.name,
            epochs: phase.epochs,
            steps_per_epoch: if phase.epochs == 0 { 0 } else { steps(0) },
            steps: (0..phase.epochs).map(steps).sum(),
        }
    };
    phases.map(plan).collect()
}

fn num_samples(sampler: &Sampler, dataset: &DeviceDataset) -> usize {
    let size = |pool: &Pool| match pool {
        Pool::Part(part, _) => dataset.indices(*part).len(),
        Pool::Made { labels, .. } => labels.numel(),
    };
    sampler.pools.iter().map(size).sum()
}

/// The reason why steps are not captured as CUDA graphs; `None` if they are.
pub fn graph_obstacle(
    method: &dyn Method,
    settings: &Settings,
    world: &World,
    device: Device,
    architecture: &dyn Architecture,
) -> Option<&'static str> {
    match settings.cuda_graph {
        _ if !matches!(device, Device::Cuda(_)) => Some("this run computes on the CPU"),
        CudaGraphMode::Off => Some("trainer.cuda_graph=false"),
        _ if method.phases().is_empty() => Some("the method trains no steps"),
        _ if method.graph_key(0, 0).is_none() => Some("the method decides on the host what a step does"),
        _ if architecture.draws_at_random() => Some("the network leaves out branches at random"),
        _ if !world.is_queued() => Some("the all-reduces go through the host"),
        _ => None,
    }
}
