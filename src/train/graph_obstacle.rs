//! The reasons why training steps cannot be captured as CUDA graphs.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Kind};

use crate::config::schema::CudaGraphMode;
use crate::distributed::World;
use crate::error::Result;
use crate::models::Architecture;
use crate::torch::CudaGraph;

/// The obstacle of a method without a [`Method::graph_key`](super::Method::graph_key).
pub const HOST_DECISION: &str = "the method decides on the host during a step";

/// True if a capture of this process has failed. libtorch's allocator does not recover from every such failure, so
/// there is no second try.
static CAPTURE_FAILED: AtomicBool = AtomicBool::new(false);

/// Remembers a failed capture: later trainings of this process do not capture.
pub(super) fn note_failed_capture() {
    CAPTURE_FAILED.store(true, Ordering::Relaxed);
}

/// The reason why training steps cannot be captured as CUDA graphs. None: they can. `device` holds the data, `kind` is
/// the dtype of the weights. A method may have an obstacle of its own, [`HOST_DECISION`].
///
/// A collective call: the all-reduces of a step are part of its graph, so an obstacle of one rank is one of all ranks.
pub fn graph_obstacle(
    mode: CudaGraphMode,
    device: Device,
    world: &World,
    architecture: &dyn Architecture,
    kind: Kind,
) -> Result<Option<String>> {
    let mine = match () {
        _ if mode == CudaGraphMode::Off => Some("trainer.cuda_graph=false"),
        _ if !device.is_cuda() => Some("this run computes on the CPU"),
        _ if CAPTURE_FAILED.load(Ordering::Relaxed) => Some("an earlier capture failed"),
        _ if !CudaGraph::is_available() => Some("this libtorch has no CUDA graphs"),
        _ if architecture.is_stochastic() => Some("the network drops residual branches at random"),
        _ if !world.is_asynchronous() => Some("the all-reduce over the ranks goes through host memory"),
        _ if world.overlap()?.is_some() => Some("launch.trace_sums=true measures single all-reduces"),
        _ if kind != Kind::Float => Some("the weights are not float32"),
        _ => None,
    };
    shared_obstacle(world, mine)
}

/// The obstacle of this rank, or else that of the first rank with one. A collective call.
pub(super) fn shared_obstacle(world: &World, mine: Option<&str>) -> Result<Option<String>> {
    let all = world.all_gather(mine.unwrap_or_default())?;
    let theirs = all.iter().enumerate().find(|(_, obstacle)| !obstacle.is_empty());
    Ok(mine.map(String::from).or_else(|| theirs.map(|(rank, obstacle)| format!("rank {rank}: {obstacle}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};
    use crate::models;

    #[test]
    fn the_mode_and_the_device_come_first() {
        let config = load(&Request { overrides: &["model=resnet20".into()], ..Request::default() }).unwrap().config;
        let architecture = models::build(&config.model.model).unwrap();
        let obstacle = |mode, device| {
            graph_obstacle(mode, device, &World::solo(), &*architecture, Kind::Float).unwrap().unwrap_or_default()
        };
        assert_eq!(obstacle(CudaGraphMode::Off, Device::Cuda(0)), "trainer.cuda_graph=false");
        assert_eq!(obstacle(CudaGraphMode::Auto, Device::Cpu), "this run computes on the CPU");
    }
}
