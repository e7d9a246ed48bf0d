//! Ends the job when this rank waits too long for the others.
//!
//! Nobody else would: a stopped or vanished rank leaves its peers spinning inside MPI for ever, and no launcher
//! notices. The watchdog is a thread of its own that reads atomics only, so a main thread stuck in a collective cannot
//! hold it up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use super::launch;
use crate::error::ErrorKind;

/// What this process waits for, and since when.
struct Clock {
    /// Milliseconds since the first look; 0 while it waits for nothing.
    since: AtomicU64,
    what: Mutex<String>,
}

impl Clock {
    const fn new() -> Self {
        Clock { since: AtomicU64::new(0), what: Mutex::new(String::new()) }
    }

    fn start(&self, what: String) {
        START.call_once(|| {
            now();
            // Without the thread only the detection of hangs is lost.
            let _ = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
        });
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) = what;
        self.since.store(now().max(1), Ordering::Release);
    }

    fn stop(&self) {
        self.since.store(0, Ordering::Release);
    }

    fn what(&self) -> String {
        self.what.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The collective call that this process is in.
static CALL: Clock = Clock::new();
/// The collective that the GPU has not finished.
static DEVICE: Clock = Clock::new();
/// Where the training is, for messages.
static PLACE: Mutex<String> = Mutex::new(String::new());
/// Longest wait in milliseconds.
static LIMIT: AtomicU64 = AtomicU64::new(DEFAULT_LIMIT.as_millis() as u64);
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

/// Where the training is from now on: "base, epoch 3, step 12".
pub fn set_place(place: String) {
    *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
}

/// While it lives, the clock of one collective runs.
pub struct Waiting(());

/// Enters a collective. `what` reads like "collective 12, all-reduce of [4096] Float".
pub fn enter(what: &str) -> Waiting {
    CALL.start(in_place(what));
    Waiting(())
}

impl Drop for Waiting {
    fn drop(&mut self) {
        CALL.stop();
    }
}

/// The collective that this process entered last, and where the training is.
pub fn current_call() -> String {
    CALL.what()
}

/// `what`, and where the training is.
pub fn in_place(what: &str) -> String {
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_empty() { what.to_owned() } else { format!("{what} ({place})") }
}

/// The GPU's oldest unfinished collective is this one, from now on; or there is none.
pub fn device_waits_for(what: Option<String>) {
    match what {
        Some(what) => DEVICE.start(what),
        None => DEVICE.stop(),
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
        let limit = LIMIT.load(Ordering::Relaxed);
        for clock in [&CALL, &DEVICE] {
            let since = clock.since.load(Ordering::Acquire);
            if since != 0 && now().saturating_sub(since) > limit {
                eprintln!(
                    "error: {} waited {:.1} s in {}: another rank is lost or stuck",
                    launch::who(),
                    limit as f64 / 1000.0,
                    clock.what()
                );
                eprintln!("hint: launch.timeout_seconds sets this limit");
                launch::abort(ErrorKind::Peer.exit_code());
            }
        }
    }
}
