//! Facts that a rank finds out about itself and its machine.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::schema::Config;
use crate::distributed::nccl::NcclLibrary;
use crate::distributed::{World, launch, process};
use crate::error::{Error, ErrorKind, Result};
use crate::files::check_writable;
use crate::memory::HostMemory;
use crate::torch::{self, Gpu};

/// Facts about one rank and its machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RankFacts {
    /// Name of the machine.
    pub host: String,
    /// Versions of this program and of libtorch.
    pub regun: String,
    pub libtorch: String,
    /// The MPI library; `None` if no launcher started this process.
    pub mpi: Option<String>,
    /// Name of the transport: `solo`, `mpi`, `nccl`.
    pub transport: String,
    /// Processors of the machine.
    pub machine_cores: usize,
    /// Processors that this process may run on.
    pub cores: usize,
    /// Threads that this process computes with.
    pub threads: usize,
    /// GPUs that the driver shows, or the reason why there are none.
    pub gpus: Result<Vec<Gpu>, String>,
    /// NCCL with its location, or the reason why it was not found.
    pub nccl: Result<String, String>,
    /// Bytes of main memory, in all and available; `None` if unknown.
    pub memory: Option<u64>,
    pub memory_available: Option<u64>,
    /// Folders that a run writes to, each with its problem, if any.
    pub folders: Vec<(String, Option<String>)>,
}

impl RankFacts {
    /// Facts of all ranks, in rank order. A collective call.
    pub fn gather(world: &World, config: &Config) -> Result<Vec<RankFacts>> {
        let bug = |error: serde_json::Error| Error::new(ErrorKind::Bug, format!("facts of a rank: {error}"));
        let mine = serde_json::to_string(&RankFacts::of_this_rank(world, config)).map_err(bug)?;
        world.all_gather(&mine)?.iter().map(|text| serde_json::from_str(text).map_err(bug)).collect()
    }

    fn of_this_rank(world: &World, config: &Config) -> RankFacts {
        let gpus = torch::gpus();
        if gpus.as_ref().is_ok_and(|gpus| !gpus.is_empty()) {
            // Loaded as in a run, so that NCCL is the one that comes with libtorch. The choice of the device reports
            // problems.
            let _ = torch::load_cuda();
        }
        let memory = HostMemory::now();
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cores = process::cores();
        let folders = [&config.paths.cache_dir, &config.paths.outputs_dir];
        RankFacts {
            host: process::host(),
            regun: env!("CARGO_PKG_VERSION").into(),
            libtorch: torch::version(),
            mpi: (world.size() > 1).then(launch::mpi_version),
            transport: world.backend().into(),
            machine_cores: processors.lines().filter(|line| line.starts_with("processor")).count().max(cores),
            cores,
            threads: tch::get_num_threads().max(1) as usize,
            gpus,
            nccl: NcclLibrary::find().map(|library| format!("{library:?}")).map_err(|error| error.message().to_owned()),
            memory: memory.map(|memory| memory.total),
            memory_available: memory.map(|memory| memory.available),
            folders: folders.map(|folder| (folder.display().to_string(), folder_problem(folder))).into(),
        }
    }
}

/// The problem with a folder, if any. A missing folder is not made: its nearest existing parent must be writable.
fn folder_problem(folder: &Path) -> Option<String> {
    let above = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    check_writable(above).err().map(|error| error.message().to_owned())
}
