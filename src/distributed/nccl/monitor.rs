//! Watches what the GPU was given: a failed collective raises no error where it was launched, and an unfinished one
//! holds up nobody until somebody reads a result.
//!
//! One thread asks NCCL for errors, and the device how far it is. It tells the watchdog which collective is the oldest
//! that is not done; the watchdog itself never calls CUDA or NCCL, so a stuck driver does not stop it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tch::Device;

use super::comm::Communicator;
use crate::distributed::{launch, watchdog};
use crate::error::Result;
use crate::torch::{self, Event};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A point that the device will come to.
pub trait Milestone: Send {
    fn reached(&self) -> Result<bool>;
}

impl Milestone for Event {
    fn reached(&self) -> Result<bool> {
        Event::reached(self)
    }
}

type Collectives = VecDeque<(String, Box<dyn Milestone>)>;

/// Collectives that the device may not have finished.
#[derive(Default)]
pub struct Unfinished {
    /// Those that the monitor has not seen yet: whoever launches one never waits for the monitor's questions.
    new: Mutex<Collectives>,
    /// Oldest first.
    watched: Mutex<Collectives>,
}

fn lock(collectives: &Mutex<Collectives>) -> MutexGuard<'_, Collectives> {
    collectives.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unfinished {
    /// `what` is done when the device reaches `end`.
    pub fn add(&self, what: String, end: impl Milestone + 'static) {
        lock(&self.new).push_back((what, Box::new(end)));
    }

    /// Forgets what is done. The answer is what comes first now, if that has changed since `first`.
    fn forget_done(&self, first: &mut Option<String>) -> Result<Option<Option<String>>> {
        let mut watched = lock(&self.watched);
        watched.append(&mut lock(&self.new));
        let mut changed = first.is_none() && !watched.is_empty();
        while let Some((_, end)) = watched.front() {
            if !end.reached()? {
                break;
            }
            watched.pop_front();
            changed = true;
        }
        if !changed {
            return Ok(None);
        }
        *first = watched.front().map(|(what, _)| what.clone());
        Ok(Some(first.clone()))
    }

    /// Whether the device has done all of it, or fails to say.
    pub fn is_idle(&self) -> bool {
        let idle = |collectives: &Collectives| collectives.back().is_none_or(|(_, end)| end.reached().unwrap_or(true));
        idle(&lock(&self.watched)) && idle(&lock(&self.new))
    }
}

/// The thread that watches; it ends with its owner.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    pub fn start(comm: &Arc<Communicator>, unfinished: &Arc<Unfinished>, device: Device) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (comm, unfinished, ended) = (Arc::clone(comm), Arc::clone(unfinished), Arc::clone(&stop));
        let watch = move || {
            // Otherwise its events would be freed by way of GPU 0, which costs memory there.
            if let Err(error) = torch::set_device(device) {
                launch::fail(&error);
            }
            torch::keep_out_of_captures();
            let mut first = None;
            while !ended.load(Ordering::Acquire) {
                if let Err(error) = comm.check().and_then(|()| look(&unfinished, &mut first)) {
                    launch::fail(&error.context(first.unwrap_or_else(watchdog::current_call)));
                }
                thread::sleep(LOOK_EVERY);
            }
        };
        // Without the thread only the early detection of failures is lost.
        Monitor { stop, thread: thread::Builder::new().name("nccl-monitor".into()).spawn(watch).ok() }
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        watchdog::device_waits_for(None);
    }
}

fn look(unfinished: &Unfinished, first: &mut Option<String>) -> Result<()> {
    if let Some(now_first) = unfinished.forget_done(first)? {
        watchdog::device_waits_for(now_first);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flag(Arc<AtomicBool>);

    impl Milestone for Flag {
        fn reached(&self) -> Result<bool> {
            Ok(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn the_oldest_unfinished_collective_is_told_once() {
        let unfinished = Unfinished::default();
        let mut first = None;
        assert_eq!(unfinished.forget_done(&mut first).unwrap(), None);
        let flags: Vec<Arc<AtomicBool>> = (0..3).map(|_| Arc::default()).collect();
        for (number, flag) in flags.iter().enumerate() {
            unfinished.add(format!("collective {number}"), Flag(Arc::clone(flag)));
        }
        assert_eq!(unfinished.forget_done(&mut first).unwrap(), Some(Some("collective 0".into())));
        assert!(!unfinished.is_idle());
        // Its clock runs on: nothing new is told.
        flags[1].store(true, Ordering::Relaxed);
        assert_eq!(unfinished.forget_done(&mut first).unwrap(), None);
        flags[0].store(true, Ordering::Relaxed);
        assert_eq!(unfinished.forget_done(&mut first).unwrap(), Some(Some("collective 2".into())));
        flags[2].store(true, Ordering::Relaxed);
        assert_eq!(unfinished.forget_done(&mut first).unwrap(), Some(None));
        assert!(unfinished.is_idle());
        assert_eq!(unfinished.forget_done(&mut first).unwrap(), None);
    }
}
