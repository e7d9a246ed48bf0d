//! The facts of `run.json`: those that are known at the start of a run, and the work of each rank at its end.

use serde_json::{Map, Value, json};

use super::setup::Setup;
use crate::config::schema::Config;
use crate::data::{DeviceDataset, Part};
use crate::error::Result;
use crate::{memory, torch};

/// Facts that are known at the start.
pub fn at_start(setup: &Setup, dataset: &DeviceDataset, config: &Config, command: &str) -> Map<String, Value> {
    let size = |part| dataset.indices(part).len();
    let facts = json!({
        "command": command,
        "arguments": std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "versions": {
            "regun": env!("CARGO_PKG_VERSION"),
            "commit": env!("REGUN_COMMIT"),
            "libtorch": torch::version(),
        },
        "ranks": setup.world.size(),
        "backend": setup.world.backend(),
        "hosts": setup.hosts,
        "devices": setup.devices,
        "gpus": setup.gpus,
        "threads_per_rank": tch::get_num_threads(),
        "seed": config.seed,
        "split_sizes": {
            "retain": size(Part::Retain),
            "forget": size(Part::Forget),
            "heldout": size(Part::HeldOut),
            "val": size(Part::Val),
            "retain_subset": size(Part::RetainSubset),
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// The work of each rank since its counters started at zero: images, collectives, overlap and peak memory. A collective
/// call.
pub fn work(setup: &Setup) -> Result<Value> {
    let world = &setup.world;
    let overlap = world.overlap()?;
    let mine = json!({
        "rank": world.rank(),
        "images": world.image_counts(),
        "traffic": world.traffic(),
        "gradient_sums": overlap,
        "peak_memory_bytes": memory::peak(),
        "gpu_memory_bytes": torch::peak_device_memory(setup.device)?,
    });
    let ranks = world.all_gather(&mine.to_string())?;
    if let Some(overlap) = overlap.filter(|overlap| world.is_root() && overlap.all_reduces > 0) {
        tracing::info!(
            "{} all-reduces of gradients on rank 0: {:.1} % of {:.3} s overlapped the backward pass",
            overlap.all_reduces,
            100.0 * overlap.hidden_fraction(),
            overlap.seconds
        );
    }
    Ok(Value::Array(ranks.iter().map(|text| serde_json::from_str(text).unwrap_or_default()).collect()))
}
