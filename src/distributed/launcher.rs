//! Recognises the launcher that started this process, by the environment variables that it sets.
//!
//! MPI connects the processes of some launchers. Those of PyTorch's launchers it does not: each would be rank 0 of 1.

use std::collections::BTreeMap;

/// The environment variables of a process.
pub type Variables = BTreeMap<String, String>;

/// A launcher that says it started several processes, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// Its name in messages.
    pub name: &'static str,
    /// The variables that say so, with their values.
    pub evidence: String,
    /// How many processes it started at least.
    pub processes: usize,
    /// Whether its processes can be connected by MPI.
    pub connects_by_mpi: bool,
}

/// The number that a variable of a launcher gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// All processes of the launch.
    All,
    /// The processes on this machine.
    OnThisMachine,
    /// The place of this process among all, from 0.
    Rank,
}

/// A launcher, its variable with a number, and another variable that must be there. An allocation or an exported
/// variable alone does not start processes: the second variable shows that this process is one of them.
struct Signature {
    name: &'static str,
    number: &'static str,
    counts: Counts,
    besides: Option<&'static str>,
}

const fn signature(
    name: &'static str,
    number: &'static str,
    counts: Counts,
    besides: Option<&'static str>,
) -> Signature {
    Signature { name, number, counts, besides }
}

/// Launchers of MPI programs. The first that is recognised counts.
const MPI_LAUNCHERS: [Signature; 9] = [
    signature("mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE", Counts::All, None),
    signature("mpiexec of MPICH or Intel MPI", "PMI_SIZE", Counts::All, None),
    signature("mpirun of MVAPICH", "MV2_COMM_WORLD_SIZE", Counts::All, None),
    signature("jsrun", "JSM_NAMESPACE_SIZE", Counts::All, None),
    signature("flux run", "FLUX_JOB_SIZE", Counts::All, Some("FLUX_TASK_RANK")),
    // Under mpirun inside a Slurm job Slurm's variables count the daemons of mpirun, so mpirun's come first.
    signature("srun", "SLURM_STEP_NUM_TASKS", Counts::All, Some("SLURM_STEP_ID")),
    signature("mpiexec of PALS", "PALS_LOCAL_SIZE", Counts::OnThisMachine, Some("PALS_RANKID")),
    signature("mpiexec of MPICH or Intel MPI", "MPI_LOCALNRANKS", Counts::OnThisMachine, Some("MPI_LOCALRANKID")),
    signature("a launcher with PMIx", "PMIX_RANK", Counts::Rank, Some("PMIX_NAMESPACE")),
];

/// Launchers of several processes that MPI does not connect.
const OTHER_LAUNCHERS: [Signature; 3] = [
    signature("a launcher of PyTorch programs", "WORLD_SIZE", Counts::All, Some("RANK")),
    signature("a launcher of PyTorch programs", "WORLD_SIZE", Counts::All, Some("LOCAL_RANK")),
    signature("horovodrun", "HOROVOD_SIZE", Counts::All, Some("HOROVOD_RANK")),
];

/// The launcher that started this process together with others. `None` if nothing says so, or if a launcher says that
/// it started one process.
pub fn find(variables: &Variables) -> Option<Launcher> {
    let mpi = MPI_LAUNCHERS.iter().find_map(|signature| recognise(signature, variables));
    let other = OTHER_LAUNCHERS.iter().find_map(|signature| recognise(signature, variables));
    let mut other = other
        .filter(|(_, number)| *number > 1)
        .map(|(signature, number)| Launcher { name: signature.name, ..launcher(signature, variables, number, false) });
    if let Some(other) = other.as_mut().filter(|other| other.evidence.starts_with("WORLD_SIZE")) {
        other.name = name_of_pytorch_launcher(variables).unwrap_or(other.name);
    }
    match (mpi, other) {
        // torchrun ran inside of one MPI process or Slurm task and started copies of it, which MPI cannot tell apart.
        (Some((signature, number)), Some(other))
            if signature.counts == Counts::All && number < other.processes && is_torchrun(variables) =>
        {
            Some(other)
        }
        (Some((signature, number)), _) if signature.counts != Counts::All || number > 1 => {
            Some(launcher(signature, variables, number, true))
        }
        (_, other) => other,
    }
}

/// The number of a launcher whose variables are set.
fn recognise<'a>(signature: &'a Signature, variables: &Variables) -> Option<(&'a Signature, usize)> {
    let number = variables.get(signature.number)?.trim().parse().ok()?;
    let besides = signature.besides.is_none_or(|name| variables.get(name).is_some_and(|value| !value.is_empty()));
    besides.then_some((signature, number))
}

fn launcher(signature: &Signature, variables: &Variables, number: usize, connects_by_mpi: bool) -> Launcher {
    let mut evidence = format!("{}={number}", signature.number);
    if let Some((name, value)) = signature.besides.and_then(|name| variables.get_key_value(name)) {
        evidence += &format!(" and {name}={value}");
    }
    let processes = if signature.counts == Counts::Rank { number + 1 } else { number };
    Launcher { name: signature.name, evidence, processes, connects_by_mpi }
}

fn is_torchrun(variables: &Variables) -> bool {
    variables.contains_key("TORCHELASTIC_RUN_ID")
}

/// The program that sets `WORLD_SIZE`, where further variables tell it.
fn name_of_pytorch_launcher(variables: &Variables) -> Option<&'static str> {
    let is_set = |start: &str| variables.keys().any(|name| name.starts_with(start));
    if is_set("ACCELERATE_") {
        Some("accelerate launch")
    } else if is_torchrun(variables) {
        Some("torchrun")
    } else if is_set("CROSS_SIZE") && is_set("LOCAL_SIZE") {
        Some("deepspeed")
    } else if is_set("NODE_RANK") {
        Some("Lightning")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, number of processes and whether MPI may connect them, for variables such as `RANK=0 WORLD_SIZE=2`.
    fn found(variables: &str) -> Option<(&'static str, usize, bool)> {
        let pairs = variables.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        find(&variables).map(|launcher| (launcher.name, launcher.processes, launcher.connects_by_mpi))
    }

    #[test]
    fn launchers_of_pytorch_are_told_by_their_variables() {
        let torchrun = "RANK=1 LOCAL_RANK=1 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 TORCHELASTIC_RUN_ID=none";
        for (variables, name) in [
            (torchrun.to_owned(), "torchrun"),
            (format!("{torchrun} ACCELERATE_MIXED_PRECISION=no"), "accelerate launch"),
            // One process on each of two machines.
            ("RANK=1 LOCAL_RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 TORCHELASTIC_RUN_ID=7".into(), "torchrun"),
            // torch.distributed.launch of old, and pods of Kubeflow.
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=node-1".into(), "a launcher of PyTorch programs"),
            ("RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 LOCAL_SIZE=2 CROSS_RANK=0 CROSS_SIZE=1".into(), "deepspeed"),
            ("NODE_RANK=0 LOCAL_RANK=1 WORLD_SIZE=2 MASTER_PORT=9".into(), "Lightning"),
            ("HOROVOD_RANK=0 HOROVOD_SIZE=2".into(), "horovodrun"),
        ] {
            assert_eq!(found(&variables), Some((name, 2, false)), "{variables}");
        }
    }

    #[test]
    fn mpi_launchers_may_connect_their_processes() {
        for (variables, name) in [
            ("OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=0", "mpirun of Open MPI"),
            ("PMI_SIZE=4 PMI_RANK=1 MPI_LOCALNRANKS=2 MPI_LOCALRANKID=0", "mpiexec of MPICH or Intel MPI"),
            ("MPI_LOCALNRANKS=4 MPI_LOCALRANKID=0", "mpiexec of MPICH or Intel MPI"),
            ("MV2_COMM_WORLD_SIZE=4", "mpirun of MVAPICH"),
            ("JSM_NAMESPACE_SIZE=4 JSM_NAMESPACE_RANK=0", "jsrun"),
            ("FLUX_JOB_SIZE=4 FLUX_TASK_RANK=0", "flux run"),
            ("PALS_LOCAL_SIZE=4 PALS_RANKID=9", "mpiexec of PALS"),
            ("PMIX_RANK=3 PMIX_NAMESPACE=prun.7", "a launcher with PMIx"),
            ("SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_NTASKS=8", "srun"),
        ] {
            assert_eq!(found(variables), Some((name, 4, true)), "{variables}");
            // Scripts that serve PyTorch programs, too, export its variables; the world is that of MPI.
            for exported in ["RANK=0 WORLD_SIZE=4 LOCAL_RANK=0", "RANK=0 WORLD_SIZE=9", "WORLD_SIZE=2 LOCAL_RANK=1"] {
                assert_eq!(found(&format!("{variables} {exported}")), Some((name, 4, true)), "{variables} {exported}");
            }
        }
        // The first process of such a launch looks like a single one until MPI says how many there are.
        assert_eq!(found("PMIX_RANK=0 PMIX_NAMESPACE=prun.7"), Some(("a launcher with PMIx", 1, true)));
        assert_eq!(found("PALS_LOCAL_SIZE=1 PALS_RANKID=0"), Some(("mpiexec of PALS", 1, true)));
    }

    #[test]
    fn mpirun_counts_before_the_slurm_step_that_it_runs_in() {
        let step = "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2";
        assert_eq!(found(&format!("{step} OMPI_COMM_WORLD_SIZE=8")), Some(("mpirun of Open MPI", 8, true)));
        assert_eq!(found(&format!("{step} OMPI_COMM_WORLD_SIZE=1")), None);
    }

    #[test]
    fn torchrun_inside_of_another_launch_starts_copies() {
        let torchrun = "RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 TORCHELASTIC_RUN_ID=7";
        for outer in ["SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2", "OMPI_COMM_WORLD_SIZE=1", "OMPI_COMM_WORLD_SIZE=2"] {
            assert_eq!(found(&format!("{torchrun} {outer}")), Some(("torchrun", 4, false)), "{outer}");
        }
    }

    #[test]
    fn one_process_is_no_launch() {
        for variables in [
            "",
            "WORLD_SIZE=1 RANK=0 LOCAL_RANK=0 TORCHELASTIC_RUN_ID=none",
            "OMPI_COMM_WORLD_SIZE=1",
            "PMI_SIZE=1",
            // Left in a shell, without the rank of a process.
            "WORLD_SIZE=8 MASTER_ADDR=localhost MASTER_PORT=29500",
            "WORLD_SIZE=8 RANK=",
            "WORLD_SIZE=many RANK=0",
            "RANK=3 LOCAL_RANK=3",
            "ACCELERATE_MIXED_PRECISION=bf16 ACCELERATE_USE_CPU=true",
            // Allocations and batch scripts, in which nothing has started several processes.
            "SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0",
            "SLURM_STEP_NUM_TASKS=4",
            "PBS_JOBID=7 PBS_NP=4 PBS_NODEFILE=nodes PBS_TASKNUM=1",
            "LSB_JOBID=7 LSB_DJOB_NUMPROC=4",
            "FLUX_JOB_SIZE=4 FLUX_URI=local:///run/flux",
            "PALS_LOCAL_SIZE=4",
        ] {
            assert_eq!(found(variables), None, "{variables}");
        }
    }
}
