//! Assigns a device to each rank.
//!
//! The ranks all-gather the GPUs that each of them sees, and all make the same decision from that. A rank takes the GPU
//! with the index `local rank` among those that it may use, modulo their number. Some launchers show each rank one GPU
//! of its own, others show all GPUs to all ranks; both lead to the same placement. Local ranks come from MPI (shared
//! memory), not from a launcher's variables. Two ranks on one GPU are an error unless the request allows it. Either all
//! ranks run on GPUs or none does.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::nccl::NcclLibrary;
use super::process;
use super::world::World;
use crate::error::{Error, ErrorKind, Result};
use crate::torch::{self, Gpu};

/// The devices that a run asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRequest {
    /// `trainer.accelerator`.
    pub accelerator: AcceleratorRequest,
    /// `trainer.devices`.
    pub devices: DeviceBound,
    /// Whether several ranks may use one GPU: `launch.share_gpus`.
    pub share_gpus: bool,
}

/// The type of device that a run asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceleratorRequest {
    /// GPUs if all ranks have one, otherwise CPUs.
    Auto,
    Cpu,
    Gpu,
}

/// The GPUs of each machine that a run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceBound {
    All,
    /// At most this many, from index 0. At least 1.
    First(usize),
    /// GPUs with these indices, in this order. Not empty.
    These(Vec<usize>),
}

/// The GPUs and the NCCL of one rank, for the all-gather.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DeviceProbe {
    host: String,
    /// Id of the boot of its kernel. It differs between machines of the same name, and is the same for containers with
    /// different names on one machine.
    machine: String,
    local_rank: usize,
    /// Number of GPUs that the driver shows.
    visible: usize,
    /// The GPUs that the rank can use, in order; or the reason why there is none.
    gpus: Result<Vec<Gpu>, String>,
    /// NCCL's version; or the message and the hint of the error. None if the run does not need NCCL.
    nccl: Option<Result<String, (String, Option<String>)>>,
}

/// The devices of all ranks.
#[derive(Debug, Clone, PartialEq)]
enum DevicePlacement {
    /// All ranks on CPUs. Has the reason if some rank sees a GPU.
    Cpu(Option<String>),
    /// For each rank the index of its GPU.
    Gpus(Vec<usize>),
}

/// Chooses the device of this rank. If the run has several ranks on GPUs, NCCL carries their tensors from now on. A
/// collective call.
///
/// # Errors
/// All ranks get the same error: `trainer.accelerator=gpu` and a rank has no GPU or no NCCL; ranks would share a GPU;
/// ranks have different versions of NCCL.
pub fn choose_device(world: &World, request: &DeviceRequest) -> Result<Device> {
    if request.accelerator == AcceleratorRequest::Cpu {
        return Ok(Device::Cpu);
    }
    let (visible, gpus) = probe_gpus();
    let library = (world.size() > 1 && gpus.is_ok()).then(NcclLibrary::find);
    let probe = DeviceProbe {
        host: process::host(),
        machine: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| process::host()),
        local_rank: world.local_rank(),
        visible,
        gpus,
        nccl: library.as_ref().map(|found| match found {
            Ok(library) => Ok(library.version().to_string()),
            Err(error) => Err((error.message().to_owned(), error.hint_text().map(Into::into))),
        }),
    };
    let probes = gather_probes(world, &probe)?;
    match assign_gpus(&probes, request)? {
        DevicePlacement::Cpu(reason) => {
            if let Some(reason) = reason.filter(|_| world.is_root()) {
                tracing::warn!("{reason}: this run uses CPUs");
            }
            Ok(Device::Cpu)
        }
        DevicePlacement::Gpus(indices) => {
            tracing::debug!("{}", table(&probes, &indices));
            let device = Device::Cuda(indices[world.rank()]);
            torch::set_device(device)?;
            if let Some(library) = library.transpose()? {
                tracing::debug!("{library:?}");
                world.use_nccl(&Arc::new(library), device)?;
            }
            Ok(device)
        }
    }
}

/// The number of GPUs that the driver shows, and the GPUs. The error is the reason why libtorch cannot use all of them.
fn probe_gpus() -> (usize, Result<Vec<Gpu>, String>) {
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

/// The probes of all ranks, in rank order. A collective call.
fn gather_probes(world: &World, probe: &DeviceProbe) -> Result<Vec<DeviceProbe>> {
    let bug = |error: serde_json::Error| Error::new(ErrorKind::Bug, format!("the GPUs of a rank as JSON: {error}"));
    let all = world.all_gather(&serde_json::to_string(probe).map_err(bug)?)?;
    all.iter().map(|text| serde_json::from_str(text).map_err(bug)).collect()
}

impl DeviceBound {
    /// The indices of the GPUs that a run may use, out of `visible` GPUs. The error is the first index that is missing.
    fn pool(&self, visible: usize) -> Result<Vec<usize>, usize> {
        match self {
            DeviceBound::All => Ok((0..visible).collect()),
            DeviceBound::First(count) => Ok((0..visible.min(*count)).collect()),
            DeviceBound::These(indices) => match indices.iter().find(|&&index| index >= visible) {
                Some(&index) => Err(index),
                None => Ok(indices.clone()),
            },
        }
    }
}

/// The placement that follows from the probes of all ranks, in rank order.
fn assign_gpus(probes: &[DeviceProbe], request: &DeviceRequest) -> Result<DevicePlacement> {
    if let Some(error) = missing(probes) {
        let gpu_visible = probes.iter().any(|probe| probe.visible > 0);
        return match request.accelerator {
            AcceleratorRequest::Gpu => Err(error.context("trainer.accelerator=gpu")),
            // Without any GPU a CPU run needs no explanation.
            _ => Ok(DevicePlacement::Cpu(gpu_visible.then(|| error.message().to_owned()))),
        };
    }
    let mut indices = Vec::with_capacity(probes.len());
    let mut owners: Vec<(&str, &str, usize)> = Vec::with_capacity(probes.len());
    for (rank, probe) in probes.iter().enumerate() {
        let gpus = probe.gpus.as_deref().unwrap_or_default();
        let pool = request.devices.pool(gpus.len()).map_err(|index| {
            Error::usage(format!(
                "trainer.devices: rank {rank} on {} has no GPU {index}, it sees {} (0 to {})",
                probe.host,
                gpus.len(),
                gpus.len() - 1
            ))
        })?;
        let index = pool[probe.local_rank % pool.len()];
        let bus_id = gpus[index].bus_id.as_str();
        if let Some((.., other)) = owners
            .iter()
            .find(|(machine, bus, _)| (*machine, *bus) == (&probe.machine, bus_id))
            .filter(|_| !request.share_gpus)
        {
            return Err(Error::usage(format!(
                "ranks {other} and {rank} would share GPU {bus_id} on {}: it has {} GPU(s) for its ranks",
                probe.host,
                pool.len()
            ))
            .hint(
                "start as many ranks on a machine as it has GPUs (look at CUDA_VISIBLE_DEVICES and trainer.devices); \
                 trainer.accelerator=cpu uses CPUs, launch.share_gpus=true allows shared GPUs",
            ));
        }
        owners.push((&probe.machine, bus_id, rank));
        indices.push(index);
    }
    Ok(DevicePlacement::Gpus(indices))
}

/// The first reason why these ranks cannot all run on GPUs; none if they can.
fn missing(probes: &[DeviceProbe]) -> Option<Error> {
    for (rank, probe) in probes.iter().enumerate() {
        let place = if probes.len() == 1 { String::new() } else { format!("rank {rank} on {}: ", probe.host) };
        if let Err(reason) = &probe.gpus {
            return Some(Error::missing(format!("{place}no GPU: {reason}")).hint("run `nvidia-smi` on that machine"));
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

/// A table of ranks and their GPUs, for the log.
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

    /// A rank without a driver.
    fn blind(host: &str, local_rank: usize) -> DeviceProbe {
        DeviceProbe { gpus: Err("there is no NVIDIA driver".into()), nccl: None, ..rank(host, local_rank, &[]) }
    }

    fn request(accelerator: AcceleratorRequest, devices: DeviceBound) -> DeviceRequest {
        DeviceRequest { accelerator, devices, share_gpus: false }
    }

    fn auto(probes: &[DeviceProbe]) -> Result<DevicePlacement> {
        assign_gpus(probes, &request(AcceleratorRequest::Auto, DeviceBound::All))
    }

    #[test]
    fn local_ranks_count_the_gpus_of_their_machine() {
        let probes = [rank("a", 0, &[1, 2]), rank("a", 1, &[1, 2]), rank("b", 0, &[1, 2]), rank("b", 1, &[1, 2])];
        assert_eq!(auto(&probes).unwrap(), DevicePlacement::Gpus(vec![0, 1, 0, 1]));
        // A launcher that shows each rank one GPU of its own.
        let probes = [rank("a", 0, &[1]), rank("a", 1, &[2])];
        assert_eq!(auto(&probes).unwrap(), DevicePlacement::Gpus(vec![0, 0]));
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
        assert_eq!(auto(&[rank("a", 0, &[7]), other]).unwrap(), DevicePlacement::Gpus(vec![0, 0]));
        let shared = DeviceRequest { share_gpus: true, ..request(AcceleratorRequest::Auto, DeviceBound::All) };
        let shared = assign_gpus(&probes, &shared).unwrap();
        assert_eq!(shared, DevicePlacement::Gpus(vec![0, 0, 0]));
    }

    #[test]
    fn devices_bound_the_gpus_of_each_machine() {
        let probes = [rank("a", 0, &[1, 2, 3]), rank("a", 1, &[1, 2, 3])];
        let with = |bound| assign_gpus(&probes, &request(AcceleratorRequest::Gpu, bound));
        assert_eq!(with(DeviceBound::These(vec![2, 0])).unwrap(), DevicePlacement::Gpus(vec![2, 0]));
        assert_eq!(with(DeviceBound::First(8)).unwrap(), DevicePlacement::Gpus(vec![0, 1]));
        assert!(with(DeviceBound::These(vec![1])).unwrap_err().message().contains("share"));
        assert!(with(DeviceBound::These(vec![1, 3])).unwrap_err().message().contains("no GPU 3, it sees 3 (0 to 2)"));
    }

    #[test]
    fn a_missing_gpu_is_an_error_only_if_the_request_is_for_gpus() {
        let probes = [rank("a", 0, &[1]), blind("b", 0)];
        let error = assign_gpus(&probes, &request(AcceleratorRequest::Gpu, DeviceBound::All)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert!(error.message().contains("rank 1 on b: no GPU: there is no NVIDIA driver"), "{error}");
        assert!(matches!(auto(&probes).unwrap(), DevicePlacement::Cpu(Some(reason)) if reason.contains("rank 1 on b")));
        // No rank has one: no reason is given.
        assert_eq!(auto(&[blind("a", 0), blind("a", 1)]).unwrap(), DevicePlacement::Cpu(None));
        let unusable = DeviceProbe { visible: 1, gpus: Err("libtorch is built for CPUs only".into()), ..blind("a", 0) };
        let reason = "no GPU: libtorch is built for CPUs only".to_owned();
        assert_eq!(auto(&[unusable]).unwrap(), DevicePlacement::Cpu(Some(reason)));

        let mut without_nccl = [rank("a", 0, &[1, 2]), rank("a", 1, &[1, 2])];
        without_nccl[1].nccl = Some(Err(("there is no NCCL".into(), Some("install it".into()))));
        let error = assign_gpus(&without_nccl, &request(AcceleratorRequest::Gpu, DeviceBound::All)).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Missing, Some("install it")));
        without_nccl[1].nccl = Some(Ok("2.27.3".into()));
        assert!(
            matches!(auto(&without_nccl).unwrap(), DevicePlacement::Cpu(Some(reason)) if reason.contains("NCCL 2.27.3"))
        );
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
