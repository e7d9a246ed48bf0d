//! Ranks fail together. When one rank fails, all end within seconds, with the exit code of the failure and a message
//! that names the rank.

mod as_ranks;
mod mpirun;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use as_ranks::{rank_folder, run_as_ranks};
use mpirun::{finish, mpirun, said};
use regun::distributed::{launch, process};
use tempfile::TempDir;

/// Far less than the default timeout of a collective. A job that ends sooner was ended by the failure itself.
const SOON: Duration = Duration::from_secs(30);

fn regun() -> &'static str {
    env!("CARGO_BIN_EXE_regun")
}

#[test]
#[ignore = "one rank of another test"]
fn rank_panicking() {
    rank_folder();
    process::end_on_panic();
    let world = launch::start().unwrap();
    if world.rank() == 1 {
        panic!("this rank has a bug");
    }
    world.barrier().unwrap();
}

#[test]
fn a_panic_ends_all_ranks_with_code_70_and_names_the_rank() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Instant::now();
    let output = run_as_ranks("rank_panicking", 3, folder.path());
    assert_eq!(output.status.code(), Some(70), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("rank 1 of 3 on ") && text.contains("this rank has a bug"), "{text}");
    assert!(clock.elapsed() < SOON);
}

#[test]
#[ignore = "one rank of another test"]
fn rank_failing() {
    rank_folder();
    let world = launch::start().unwrap();
    regun::log::init(0, world.is_root());
    if world.rank() == 2 {
        process::fail(&regun::error::Error::missing("data file x is gone"));
    }
    world.barrier().unwrap();
}

#[test]
fn an_error_on_one_rank_ends_all_ranks_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_failing", 3, folder.path());
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("rank 2 of 3 on ") && text.contains("data file x is gone"), "{text}");
}

#[test]
#[ignore = "one rank of another test"]
fn rank_stuck() {
    rank_folder();
    let world = launch::start().unwrap();
    world.configure(Duration::from_secs(2), false);
    if world.rank() == 1 {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    world.barrier().unwrap();
}

#[test]
fn a_stuck_rank_ends_the_job_with_code_71_and_the_message_names_the_collective() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Instant::now();
    let output = run_as_ranks("rank_stuck", 2, folder.path());
    assert_eq!(output.status.code(), Some(71), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("rank 0 of 2 on ") && text.contains("barrier"), "{text}");
    assert!(clock.elapsed() < SOON);
}

#[test]
#[ignore = "one rank of another test"]
fn rank_with_a_long_job() {
    let folder = rank_folder();
    process::end_on_panic();
    let world = launch::start().unwrap();
    world.configure(Duration::from_secs(2), true);
    // Rank 2 has nothing to do, the others work longer than a collective may take.
    let work = Duration::from_secs_f64([2.5, 3.5, 0.0][world.rank()]);
    let file = folder.join("made by rank 0");
    let is_made = world.root_first(|| {
        let is_made = file.exists();
        std::thread::sleep(work);
        if !is_made {
            std::fs::write(&file, "").unwrap();
        }
        Ok(is_made)
    });
    assert_eq!(is_made.unwrap(), !world.is_root());
    world.barrier().unwrap();
}

#[test]
fn jobs_that_take_longer_than_a_collective_may_do_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_with_a_long_job", 3, folder.path());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "one rank of another test"]
fn rank_failing_in_its_job() {
    rank_folder();
    let world = launch::start().unwrap();
    regun::log::init(0, world.is_root());
    world.configure(Duration::from_secs(2), true);
    let fails = world.rank() == 1;
    let job = || if fails { Err(regun::error::Error::missing("this node has no pack")) } else { Ok(()) };
    if let Err(error) = world.root_first(job) {
        process::fail(&error);
    }
    world.barrier().unwrap();
}

#[test]
fn a_job_that_fails_on_another_rank_than_0_ends_all_ranks_with_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_failing_in_its_job", 3, folder.path());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("rank 1 of 3 on ") && text.contains("this node has no pack"), "{text}");
}

#[test]
#[ignore = "one rank of another test"]
fn rank_with_another_call() {
    rank_folder();
    let world = launch::start().unwrap();
    regun::log::init(0, world.is_root());
    world.configure(Duration::from_secs(60), true);
    let failed = match world.rank() {
        0 => world.barrier(),
        _ => world.all_reduce(&mut tch::Tensor::from_slice(&[1.0f64])),
    };
    process::fail(&failed.expect_err("different calls must be an error"));
}

#[test]
fn different_collectives_are_an_error_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_as_ranks("rank_with_another_call", 2, folder.path());
    assert_eq!(output.status.code(), Some(71), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("barrier") && text.contains("all-reduce of [1] Double"), "{text}");
}

#[test]
fn a_killed_rank_ends_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = mpirun(2);
    command
        .args(["bash", "-c"])
        // Rank 1 is killed in the middle of its training. `exec` gives the program the pid of the shell.
        .arg(
            "if [ $OMPI_COMM_WORLD_RANK = 1 ]; then (sleep 4; kill -KILL $$) & fi; \
             exec \"$REGUN\" reference --run-idx 1 data=digits model=resnet20 trainer.max_epochs=500 \
             trainer.precision=32",
        )
        .env("REGUN", regun())
        .current_dir(folder.path());
    let clock = Instant::now();
    let output = finish(command);
    assert_eq!(output.status.code(), Some(137), "{}", said(&output));
    assert!(clock.elapsed() < SOON);
    let models = folder.path().join("cache/models");
    assert!(!models.exists() || models.read_dir().unwrap().next().is_none(), "the killed run left a checkpoint");
}

#[test]
fn ranks_with_different_settings_stop_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = |seed: &str| {
        let overrides = ["reference", "--run-idx", "1", "data=digits", "model=resnet20", "trainer.max_epochs=1"];
        [&[regun()], &overrides[..], &[&format!("seed={seed}")]]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let mut command = mpirun(1);
    command.args(arguments("1")).args([":", "-n", "1"]).args(arguments("2")).current_dir(folder.path());
    let output = finish(command);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("seed: rank 0 has 1, rank 1 has 2"), "{text}");
    assert!(!folder.path().join("cache").exists() && !folder.path().join("outputs").exists());
}

/// Ends the program, started alone with these variables, which look like those of a launcher.
fn alone_with(variables: &str, arguments: &str) -> (Output, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(regun());
    command.args(arguments.split_whitespace()).current_dir(folder.path());
    command.envs(variables.split_whitespace().filter_map(|pair| pair.split_once('=')));
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    (finish(command), folder)
}

#[test]
fn processes_of_one_launch_that_mpi_does_not_connect_are_an_error() {
    let training = "reference --run-idx 1 data=digits model=resnet20 trainer.max_epochs=1 trainer.threads=1";
    for (variables, parts) in [
        // srun, started with a PMI plugin that this MPI does not support.
        (
            "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1",
            ["SLURM_STEP_NUM_TASKS=4", "one of 4 processes, but MPI sees 1", "srun --mpi=pmix"],
        ),
        (
            "PMI_SIZE=2 PMI_RANK=0",
            ["PMI_SIZE=2", "one of 2 processes, but MPI sees 1", "mpiexec of MPICH or Intel MPI"],
        ),
        (
            "RANK=1 LOCAL_RANK=1 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 TORCHELASTIC_RUN_ID=none",
            ["WORLD_SIZE=2 and RANK=1: torchrun", "one of 2", "mpirun -n 2 regun"],
        ),
    ] {
        let (output, folder) = alone_with(variables, training);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{variables}\n{text}");
        for part in parts {
            assert!(text.contains(part), "{variables}: no {part:?} in\n{text}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{variables}: files were written\n{text}");
    }
}

#[test]
fn variables_of_a_launcher_do_not_stop_a_run_that_is_what_it_seems() {
    let splits = "splits data=digits data.debug_subset_size=50 split.forget_frac=0.1";
    for variables in ["WORLD_SIZE=8 MASTER_PORT=29500", "RANK=0 LOCAL_RANK=0 WORLD_SIZE=1 TORCHELASTIC_RUN_ID=none"] {
        let (output, _) = alone_with(variables, splits);
        assert_eq!(output.status.code(), Some(0), "{variables}\n{}", said(&output));
    }
    // Scripts export the variables of PyTorch for programs of both kinds. mpirun has started two ranks here.
    let mut command = mpirun(2);
    command.arg(regun()).args(splits.split_whitespace());
    command.envs([("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "8")]);
    let output = finish(command);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
