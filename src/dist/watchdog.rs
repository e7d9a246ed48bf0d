//! Ends the job when this rank waits too long for the others.
//!
//! Nobody else would: a stopped or vanished rank leaves its peers spinning inside MPI for ever, and no launcher
//! notices. The watchdog is a thread of its own that reads atomics only, so a main thread stuck in a collective cannot
//! hold it up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use super::launch;
use crate::error::Kind;

/// Milliseconds (since the first look) at which the running collective was entered; 0 outside of collectives.
static ENTERED: AtomicU64 = AtomicU64::new(0);
/// Longest wait in milliseconds.
static LIMIT: AtomicU64 = AtomicU64::new(DEFAULT_LIMIT.as_millis() as u64);
static WHAT: Mutex<String> = Mutex::new(String::new());
static START: Once = Once::new();

/// Before the configuration is known.
const DEFAULT_LIMIT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// From now on a collective may take this long.
pub fn set_limit(limit: Duration) {
    LIMIT.store(limit.as_millis().max(1) as u64, Ordering::Relaxed);
}

/// How long a collective may take.
pub fn limit() -> Duration {
    Duration::from_millis(LIMIT.load(Ordering::Relaxed))
}

/// While it lives, the clock of one collective runs.
pub struct Waiting(());

/// Enters a collective. `what` reads like "all-reduce number 12 of 4096 bytes".
pub fn enter(what: String) -> Waiting {
    START.call_once(|| {
        now();
        // Without the thread only the detection of hangs is lost.
        let _ = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
    });
    *WHAT.lock().unwrap_or_else(PoisonError::into_inner) = what;
    ENTERED.store(now().max(1), Ordering::Release);
    Waiting(())
}

impl Drop for Waiting {
    fn drop(&mut self) {
        ENTERED.store(0, Ordering::Release);
    }
}

/// Milliseconds since the first call.
fn now() -> u64 {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_millis() as u64
}

fn watch() {
    loop {
        std::thread::sleep(LOOK_EVERY);
        let entered = ENTERED.load(Ordering::Acquire);
        if entered != 0 && u128::from(now().saturating_sub(entered)) > limit().as_millis() {
            let what = WHAT.lock().unwrap_or_else(PoisonError::into_inner).clone();
            eprintln!(
                "error: {} waited {:.1} s in {what}: another rank is lost or stuck",
                launch::who(),
                limit().as_secs_f64()
            );
            eprintln!("hint: launch.timeout_seconds sets this limit");
            launch::abort(Kind::Peer.exit_code());
        }
    }
}
