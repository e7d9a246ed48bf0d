//! Which device is whose.
//!
//! Every rank says what it sees; all make the same decision from all of that. A rank takes GPU number `local rank` of
//! those that it may use, counted round where there are fewer: a launcher that shows each rank one GPU of its own and
//! one that shows all GPUs to all ranks come to the same. Local ranks are MPI's (shared memory), not a launcher's
//! variables. Two ranks on one GPU are refused unless `launch.share_gpus` allows it, and so is half a CPU run.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::nccl::Library;
use super::{World, launch};
use crate::config::schema::{Accelerator, Config, DevicesConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::{self, Gpu};

/// What a rank tells the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DeviceProbe {
    host: String,
    /// The boot of its kernel: other for machines of one name, the same for containers with names of their own.
    machine: String,
    local_rank: usize,
    /// GPUs that the driver shows.
    visible: usize,
    /// Those that it may use, in order; or why there is none.
    gpus: Result<Vec<Gpu>, String>,
    /// NCCL's version; or why it cannot be used, and what to do. None where nobody needs it.
    nccl: Option<Result<String, (String, Option<String>)>>,
}

/// What all ranks run on.
#[derive(Debug, Clone, PartialEq)]
enum Decision {
    /// And why, where GPUs were to be expected.
    Cpu(Option<String>),
    /// For each rank the index of its GPU.
    Gpus(Vec<usize>),
}

/// Which GPUs of a machine a run may use: `trainer.devices`.
#[derive(Debug, Clone, PartialEq)]
enum Bound {
    All,
    First(usize),
    These(Vec<usize>),
}

/// Decides what this rank runs on, and lets the tensors of GPUs travel through NCCL. A collective call.
///
/// # Errors
/// The same on all ranks: `trainer.accelerator=gpu` and a rank has no GPU or no NCCL; ranks would share a GPU; ranks
/// have different versions of NCCL.
pub fn choose(world: &World, config: &Config) -> Result<Device> {
    let wanted = config.trainer.accelerator;
    if wanted == Accelerator::Cpu {
        return Ok(Device::Cpu);
    }
    let (visible, gpus) = look();
    let library = (world.size() > 1 && gpus.is_ok()).then(Library::find);
    let probe = DeviceProbe {
        host: launch::host(),
        machine: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| launch::host()),
        local_rank: world.local_rank(),
        visible,
        gpus,
        nccl: library.as_ref().map(|found| match found {
            Ok(library) => Ok(library.version().to_string()),
            Err(error) => Err((error.message().to_owned(), error.hint_text().map(Into::into))),
        }),
    };
    let probes = gather_probes(world, &probe)?;
    match decide(&probes, wanted, &Bound::of(&config.trainer.devices), config.launch.share_gpus)? {
        Decision::Cpu(reason) => {
            if let Some(reason) = reason.filter(|_| world.is_root()) {
                tracing::warn!("{reason}: this run uses CPUs");
            }
            Ok(Device::Cpu)
        }
        Decision::Gpus(indices) => {
            tracing::debug!("{}", table(&probes, &indices));
            let device = Device::Cuda(indices[world.rank()]);
            torch::set_device(device)?;
            if let Some(library) = library.transpose()? {
                tracing::debug!("{library:?}");
                if config.trainer.deterministic {
                    // Sums that NVLink switches make are not the same each time (Hopper); all other ways are.
                    torch::default_environment(c"NCCL_NVLS_ENABLE", c"0")?;
                }
                world.use_nccl(&Arc::new(library), device)?;
            }
            Ok(device)
        }
    }
}

/// How many GPUs the driver shows, and they themselves where libtorch can use them.
fn look() -> (usize, Result<Vec<Gpu>, String>) {
    let gpus = match torch::gpus() {
        Ok(gpus) if gpus.is_empty() => return (0, Err("the NVIDIA driver shows none".into())),
        Ok(gpus) => gpus,
        Err(reason) => return (0, Err(reason)),
    };
    let visible = gpus.len();
    let usable = torch::load_cuda().and_then(|()| match torch::device_count() {
        usable if usable == visible => Ok(gpus),
        usable => Err(format!("libtorch can use {usable} of the {visible} GPUs that the driver shows")),
    });
    (visible, usable)
}

fn gather_probes(world: &World, probe: &DeviceProbe) -> Result<Vec<DeviceProbe>> {
    let bug = |error: serde_json::Error| Error::new(ErrorKind::Bug, format!("what a rank sees of its GPUs: {error}"));
    let all = world.all_gather(&serde_json::to_string(probe).map_err(bug)?)?;
    all.iter().map(|text| serde_json::from_str(text).map_err(bug)).collect()
}

impl Bound {
    /// 1 is what nobody chose: the number of ranks rules then.
    fn of(devices: &DevicesConfig) -> Self {
        match devices {
            DevicesConfig::Auto | DevicesConfig::Count(..=1) => Bound::All,
            DevicesConfig::Count(count) => Bound::First(*count as usize),
            DevicesConfig::These(indices) => Bound::These(indices.clone()),
        }
    }

    /// The indices that it leaves of `visible` GPUs; the first that is not there is the error.
    fn pool(&self, visible: usize) -> Result<Vec<usize>, usize> {
        match self {
            Bound::All => Ok((0..visible).collect()),
            Bound::First(count) => Ok((0..visible.min(*count)).collect()),
            Bound::These(indices) => match indices.iter().find(|&&index| index >= visible) {
                Some(&index) => Err(index),
                None => Ok(indices.clone()),
            },
        }
    }
}

/// What follows from all that the ranks see, in rank order.
fn decide(probes: &[DeviceProbe], wanted: Accelerator, bound: &Bound, share: bool) -> Result<Decision> {
    if let Some(error) = missing(probes) {
        let somebody = probes.iter().any(|probe| probe.visible > 0);
        return match wanted {
            Accelerator::Gpu => Err(error.context("trainer.accelerator=gpu")),
            // A machine without GPUs is nothing to talk about.
            _ => Ok(Decision::Cpu(somebody.then(|| error.message().to_owned()))),
        };
    }
    let mut indices = Vec::with_capacity(probes.len());
    let mut owners: Vec<(&str, &str, usize)> = Vec::with_capacity(probes.len());
    for (rank, probe) in probes.iter().enumerate() {
        let gpus = probe.gpus.as_deref().unwrap_or_default();
        let pool = bound.pool(gpus.len()).map_err(|index| {
            Error::usage(format!(
                "trainer.devices: rank {rank} on {} has no GPU {index}, it sees {} (0 to {})",
                probe.host,
                gpus.len(),
                gpus.len() - 1
            ))
        })?;
        let index = pool[probe.local_rank % pool.len()];
        let bus_id = gpus[index].bus_id.as_str();
        if let Some((.., other)) =
            owners.iter().find(|(machine, bus, _)| (*machine, *bus) == (&probe.machine, bus_id)).filter(|_| !share)
        {
            return Err(Error::usage(format!(
                "ranks {other} and {rank} would share GPU {bus_id} on {}: it has {} GPU(s) for its ranks",
                probe.host,
                pool.len()
            ))
            .hint(
                "start as many ranks on a machine as it has GPUs (look at CUDA_VISIBLE_DEVICES and trainer.devices); \
                 trainer.accelerator=cpu leaves GPUs alone, launch.share_gpus=true allows it",
            ));
        }
        owners.push((&probe.machine, bus_id, rank));
        indices.push(index);
    }
    Ok(Decision::Gpus(indices))
}

/// Why these ranks cannot all run on GPUs.
fn missing(probes: &[DeviceProbe]) -> Option<Error> {
    for (rank, probe) in probes.iter().enumerate() {
        let place = if probes.len() == 1 { String::new() } else { format!("rank {rank} on {}: ", probe.host) };
        if let Err(reason) = &probe.gpus {
            return Some(Error::missing(format!("{place}no GPU: {reason}")).hint("see what `nvidia-smi` says there"));
        }
        if let Some(Err((message, hint))) = &probe.nccl {
            let error = Error::missing(format!("{place}{message}"));
            return Some(hint.iter().fold(error, |error, hint| error.hint(hint)));
        }
        let version = |probe: &DeviceProbe| probe.nccl.clone().and_then(Result::ok);
        if version(probe) != version(&probes[0]) {
            let [here, there] = [probe, &probes[0]].map(|probe| version(probe).unwrap_or_default());
            return Some(
                Error::missing(format!("{place}NCCL {here}, but rank 0 has {there}: all ranks need the same"))
                    .hint("REGUN_NCCL_LIB chooses the library"),
            );
        }
    }
    None
}

/// One line for each rank.
fn table(probes: &[DeviceProbe], indices: &[usize]) -> String {
    let width = probes.iter().map(|probe| probe.host.len()).max().unwrap_or(0).max("host".len());
    let mut text = format!("rank  {:width$}  GPU  bus address   memory  name", "host");
    for (rank, (probe, &index)) in probes.iter().zip(indices).enumerate() {
        let Some(gpu) = probe.gpus.as_ref().ok().and_then(|gpus| gpus.get(index)) else { continue };
        let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
        let _ =
            write!(text, "\n{rank:4}  {:width$}  {index:3}  {}  {gib:3.0} GiB  {}", probe.host, gpu.bus_id, gpu.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(bus: usize) -> Gpu {
        Gpu { name: "H100".into(), bus_id: format!("0000:{bus:02x}:00.0"), memory_bytes: 80 << 30 }
    }

    /// A rank that sees the GPUs at these bus addresses.
    fn rank(host: &str, local_rank: usize, buses: &[usize]) -> DeviceProbe {
        let gpus = Ok(buses.iter().map(|&bus| gpu(bus)).collect());
        DeviceProbe {
            host: host.into(),
            machine: host.into(),
            local_rank,
            visible: buses.len(),
            gpus,
            nccl: Some(Ok("2.28.9".into())),
        }
    }

    fn blind(host: &str, local_rank: usize) -> DeviceProbe {
        DeviceProbe { gpus: Err("there is no NVIDIA driver".into()), nccl: None, ..rank(host, local_rank, &[]) }
    }

    fn auto(probes: &[DeviceProbe]) -> Result<Decision> {
        decide(probes, Accelerator::Auto, &Bound::All, false)
    }

    #[test]
    fn local_ranks_count_the_gpus_of_their_machine() {
        let probes = [rank("a", 0, &[1, 2]), rank("a", 1, &[1, 2]), rank("b", 0, &[1, 2]), rank("b", 1, &[1, 2])];
        assert_eq!(auto(&probes).unwrap(), Decision::Gpus(vec![0, 1, 0, 1]));
        // A launcher that shows each rank its own.
        let probes = [rank("a", 0, &[1]), rank("a", 1, &[2])];
        assert_eq!(auto(&probes).unwrap(), Decision::Gpus(vec![0, 0]));
    }

    #[test]
    fn two_ranks_on_one_gpu_are_refused_unless_allowed() {
        let probes = [rank("a", 0, &[7]), rank("b", 0, &[7]), rank("a", 1, &[7])];
        let error = auto(&probes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("ranks 0 and 2 would share GPU 0000:07:00.0 on a"), "{error}");
        // Two containers on one machine, with names of their own; and two machines of one name.
        let contained = DeviceProbe { machine: "a".into(), ..rank("c", 0, &[7]) };
        assert!(auto(&[rank("a", 0, &[7]), contained]).unwrap_err().message().contains("ranks 0 and 1"));
        let other = DeviceProbe { machine: "b".into(), ..rank("a", 0, &[7]) };
        assert_eq!(auto(&[rank("a", 0, &[7]), other]).unwrap(), Decision::Gpus(vec![0, 0]));
        let shared = decide(&probes, Accelerator::Auto, &Bound::All, true).unwrap();
        assert_eq!(shared, Decision::Gpus(vec![0, 0, 0]));
    }

    #[test]
    fn devices_bound_what_a_machine_gives() {
        let probes = [rank("a", 0, &[1, 2, 3]), rank("a", 1, &[1, 2, 3])];
        let with = |bound| decide(&probes, Accelerator::Gpu, &bound, false);
        assert_eq!(with(Bound::These(vec![2, 0])).unwrap(), Decision::Gpus(vec![2, 0]));
        assert_eq!(with(Bound::First(8)).unwrap(), Decision::Gpus(vec![0, 1]));
        assert!(with(Bound::These(vec![1])).unwrap_err().message().contains("share"));
        assert!(with(Bound::These(vec![1, 3])).unwrap_err().message().contains("no GPU 3, it sees 3 (0 to 2)"));
    }

    #[test]
    fn what_lacks_is_an_error_only_where_a_gpu_is_asked_for() {
        let probes = [rank("a", 0, &[1]), blind("b", 0)];
        let error = decide(&probes, Accelerator::Gpu, &Bound::All, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert!(error.message().contains("rank 1 on b: no GPU: there is no NVIDIA driver"), "{error}");
        assert!(matches!(auto(&probes).unwrap(), Decision::Cpu(Some(reason)) if reason.contains("rank 1 on b")));
        // No rank has one: nothing to wonder about.
        assert_eq!(auto(&[blind("a", 0), blind("a", 1)]).unwrap(), Decision::Cpu(None));
        let unusable = DeviceProbe { visible: 1, gpus: Err("libtorch is built for CPUs only".into()), ..blind("a", 0) };
        let reason = "no GPU: libtorch is built for CPUs only".to_owned();
        assert_eq!(auto(&[unusable]).unwrap(), Decision::Cpu(Some(reason)));

        let mut without_nccl = [rank("a", 0, &[1, 2]), rank("a", 1, &[1, 2])];
        without_nccl[1].nccl = Some(Err(("there is no NCCL".into(), Some("install it".into()))));
        let error = decide(&without_nccl, Accelerator::Gpu, &Bound::All, false).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Missing, Some("install it")));
        without_nccl[1].nccl = Some(Ok("2.27.3".into()));
        assert!(matches!(auto(&without_nccl).unwrap(), Decision::Cpu(Some(reason)) if reason.contains("NCCL 2.27.3")));
    }

    #[test]
    fn the_table_has_a_line_for_each_rank() {
        let probes = [rank("node-a", 0, &[1, 2]), rank("b", 0, &[9])];
        let text = table(&probes, &[1, 0]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "   0  node-a    1  0000:02:00.0   80 GiB  H100");
        assert_eq!(lines[2], "   1  b         0  0000:09:00.0   80 GiB  H100");
        assert!(lines[0].starts_with("rank  host    GPU"));
    }
}
