//! Starts programs under mpirun.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest run of a command. One that takes longer hangs.
const HANG: Duration = Duration::from_secs(240);

/// mpirun with `n` ranks, which may outnumber the cores.
pub fn mpirun(n: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", &n.to_string(), "--oversubscribe"]);
    // Ranks share two cores in CI, so each has one thread and none spins while others compute.
    command.env("OMP_NUM_THREADS", "1").env("OMP_WAIT_POLICY", "passive").env("OMPI_MCA_mpi_yield_when_idle", "1");
    // Commands in containers run as root.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

/// Runs a command to its end. Kills it and fails if it takes longer than `HANG`.
pub fn finish(mut command: Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let pid = child.id();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watch = std::thread::spawn({
        let done = done.clone();
        move || {
            let clock = Instant::now();
            while clock.elapsed() < HANG {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            // The ranks end with mpirun.
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            true
        }
    });
    let output = child.wait_with_output().unwrap();
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(!watch.join().unwrap(), "{command:?} hung\n{}", said(&output));
    output
}

/// Exit status and output of a command, for the text of a failed assertion.
pub fn said(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
