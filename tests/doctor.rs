//! `regun doctor` on 1, 2 and 4 ranks, on a working machine and with missing requirements.

mod mpirun;

use std::process::{Command, Output};

use mpirun::{finish, said};
use serde_json::Value;

/// Runs `regun doctor --json` in an empty folder; returns its output and the parsed report.
fn doctor(ranks: usize, arguments: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_regun");
    let mut command = match ranks {
        1 => Command::new(program),
        n => {
            let mut command = mpirun::mpirun(n);
            command.arg(program);
            command
        }
    };
    command.args(["doctor", "--json"]).args(arguments).current_dir(folder.path());
    let output = finish(command);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "doctor leaves nothing behind");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    (output, report)
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn all_ranks_are_listed_and_their_all_reduce_is_right() {
    for ranks in [1, 2, 4] {
        let (output, report) = doctor(ranks, &["trainer.threads=1"]);
        assert!(output.status.success(), "{}", said(&output));
        assert_ne!(report["status"], "broken");
        assert_eq!(report["ranks"].as_array().unwrap().len(), ranks);
        assert_eq!(check(&report, "all-reduce")["status"], "ok");
        let timings = report["all_reduce"].as_array().unwrap();
        assert_eq!(timings.len(), if ranks == 1 { 0 } else { 6 });
        assert!(timings.iter().all(|timing| timing["gb_per_second"].as_f64().unwrap() > 0.0));
    }
}

/// A variable can only be set while the process has a single thread: before MPI starts its own.
#[test]
fn a_deterministic_run_sets_the_variables_of_libraries_before_any_thread_starts() {
    for ranks in [1, 2] {
        let (output, _) = doctor(ranks, &["-vv", "trainer.threads=1", "trainer.deterministic=true"]);
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        let wanted = "deterministic, with CUBLAS_WORKSPACE_CONFIG=:4096:8 NCCL_NVLS_ENABLE=0";
        assert_eq!(text.matches(wanted).count(), ranks, "{text}");
    }
    let (output, _) = doctor(1, &["-vv", "trainer.threads=1"]);
    assert!(!said(&output).contains("CUBLAS_WORKSPACE_CONFIG"), "{}", said(&output));
}

#[test]
fn a_requested_but_absent_gpu_is_broken() {
    for ranks in [1, 2] {
        let (output, report) = doctor(ranks, &["trainer.accelerator=gpu"]);
        if report["ranks"][0]["gpus"]["Ok"].as_array().is_some_and(|gpus| !gpus.is_empty()) {
            continue; // The machine has GPUs.
        }
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert_eq!(check(&report, "GPUs")["status"], "broken");
        // The other checks still run.
        assert_eq!(check(&report, "all-reduce")["status"], "ok");
    }
}

#[test]
fn more_threads_than_processors_are_a_warning() {
    let (output, report) = doctor(1, &["trainer.threads=1000"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(report["status"], "warning");
    assert!(check(&report, "processors")["hint"].as_str().unwrap().contains("trainer.threads"));
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_ends_with_exit_code_3() {
    for ranks in [1, 2] {
        let (output, report) = doctor(ranks, &["paths.cache_dir=/dev/null/cache"]);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert_eq!(report["status"], "broken");
        let folders = check(&report, "folders");
        assert!(folders["found"][0].as_str().unwrap().contains("/dev/null"), "{folders}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("folders"), "{}", said(&output));
    }
}
