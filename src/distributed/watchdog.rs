//! Ends the job when this rank waits too long for the others.
//!
//! MPI has no timeout. If one rank dies the others spin forever, so each rank runs a watchdog. It is a thread of its
//! own that only reads two clocks, so a main thread that is stuck in a collective does not stop it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::process;
use crate::error::ErrorKind;

/// A call that this process waits for, and the start of the wait.
struct WaitClock {
    /// Start in milliseconds, see [`now`]; 0 while the process does not wait.
    since: AtomicU64,
    call: Mutex<String>,
}

impl WaitClock {
    const fn new() -> Self {
        WaitClock { since: AtomicU64::new(0), call: Mutex::new(String::new()) }
    }

    fn start(&self, call: String) {
        START.call_once(|| {
            now();
            // If the thread does not start, only the detection of hangs is lost.
            let _ = std::thread::Builder::new().name("watchdog".into()).spawn(end_job_on_timeout);
        });
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = call;
        self.since.store(now().max(1), Ordering::Release);
    }

    fn stop(&self) {
        self.since.store(0, Ordering::Release);
    }

    fn call(&self) -> String {
        self.call.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The collective call that this process is in.
static HOST: WaitClock = WaitClock::new();
/// The oldest collective that the GPU has not finished.
static DEVICE: WaitClock = WaitClock::new();
/// The current training step, for messages.
static STEP: Mutex<String> = Mutex::new(String::new());
/// Longest wait in milliseconds.
static LIMIT: AtomicU64 = AtomicU64::new(DEFAULT_LIMIT.as_millis() as u64);
static START: Once = Once::new();

/// Limit until the configuration is known.
const DEFAULT_LIMIT: Duration = Duration::from_secs(600);
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Sets the longest time that a collective may take.
pub fn set_limit(limit: Duration) {
    LIMIT.store(limit.as_millis().max(1) as u64, Ordering::Relaxed);
}

/// The longest time that a collective may take.
pub fn limit() -> Duration {
    Duration::from_millis(LIMIT.load(Ordering::Relaxed))
}

/// Sets the current training step for messages: "base, epoch 3, step 12".
pub fn set_step(step: String) {
    *STEP.lock().unwrap_or_else(PoisonError::into_inner) = step;
}

/// The clock of a collective call runs while this value lives.
pub struct Waiting(());

/// Starts the clock of a collective call. `call` reads like "collective 12, all-reduce of [4096] Float".
pub fn enter(call: &str) -> Waiting {
    HOST.start(with_step(call));
    Waiting(())
}

impl Drop for Waiting {
    fn drop(&mut self) {
        HOST.stop();
    }
}

/// The last collective call that this process entered, with the training step.
pub fn last_call() -> String {
    HOST.call()
}

/// `call` with the current training step in parentheses.
pub fn with_step(call: &str) -> String {
    let step = STEP.lock().unwrap_or_else(PoisonError::into_inner);
    if step.is_empty() { call.to_owned() } else { format!("{call} ({step})") }
}

/// Starts the clock of the GPU's oldest unfinished collective; `None` stops it.
pub fn set_device_call(call: Option<String>) {
    match call {
        Some(call) => DEVICE.start(call),
        None => DEVICE.stop(),
    }
}

/// Milliseconds since the first call.
fn now() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_millis() as u64
}

fn end_job_on_timeout() {
    loop {
        std::thread::sleep(CHECK_INTERVAL);
        let limit = LIMIT.load(Ordering::Relaxed);
        for clock in [&HOST, &DEVICE] {
            let since = clock.since.load(Ordering::Acquire);
            if since != 0 && now().saturating_sub(since) > limit {
                eprintln!(
                    "error: {} waited {:.1} s in {}: another rank is lost or stuck",
                    process::description(),
                    limit as f64 / 1000.0,
                    clock.call()
                );
                eprintln!("hint: launch.timeout_seconds sets this limit");
                process::abort(ErrorKind::Peer.exit_code());
            }
        }
    }
}
