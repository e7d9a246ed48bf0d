//! Counters of the work of one rank: collective calls and images in forward passes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The collective calls of this rank, for `run.json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CollectiveTraffic {
    /// Number of calls.
    pub collectives: u64,
    /// Bytes of the tensors that all-reduces and reduces took.
    pub bytes_reduced: u64,
    /// Seconds inside the calls; includes waiting for other ranks.
    pub seconds: f64,
}

/// The part of the counters that one piece of work would add.
#[derive(Debug, Clone, Default)]
pub struct WorkCounts {
    traffic: CollectiveTraffic,
    images: BTreeMap<String, u64>,
}

/// All counters of a rank. Several threads may count.
#[derive(Default)]
pub struct WorkCounters {
    traffic: Mutex<CollectiveTraffic>,
    images: Mutex<BTreeMap<String, u64>>,
}

/// The counters behind a lock. They are valid even if a thread panicked while it held the lock.
fn lock<T>(counters: &Mutex<T>) -> MutexGuard<'_, T> {
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WorkCounters {
    /// The collective calls so far.
    pub fn traffic(&self) -> CollectiveTraffic {
        *lock(&self.traffic)
    }

    /// Images in forward passes so far, by use (`base/train`).
    pub fn images(&self) -> BTreeMap<String, u64> {
        lock(&self.images).clone()
    }

    /// Counts a collective call with `bytes_reduced`. Returns its number, from 1.
    pub fn count_collective(&self, bytes_reduced: usize) -> u64 {
        let mut traffic = lock(&self.traffic);
        traffic.collectives += 1;
        traffic.bytes_reduced += bytes_reduced as u64;
        traffic.collectives
    }

    /// Adds seconds inside collective calls.
    pub fn add_seconds(&self, seconds: f64) {
        lock(&self.traffic).seconds += seconds;
    }

    /// Adds images in forward passes for `use_name`.
    pub fn count_images(&self, use_name: &str, images: u64) {
        *lock(&self.images).entry(use_name.to_owned()).or_default() += images;
    }

    /// Sets all counters to zero.
    pub fn reset(&self) {
        *lock(&self.traffic) = CollectiveTraffic::default();
        lock(&self.images).clear();
    }

    /// Runs `body` and takes its counts back. Returns its result and these counts, without seconds.
    pub fn count_apart<T>(&self, body: impl FnOnce() -> T) -> (T, WorkCounts) {
        let (traffic, images) = (self.traffic(), self.images());
        let result = body();
        let traffic_after = std::mem::replace(&mut *lock(&self.traffic), traffic);
        let mut images_after = std::mem::replace(&mut *lock(&self.images), images.clone());
        for (use_name, count) in &mut images_after {
            *count -= images.get(use_name).copied().unwrap_or_default();
        }
        let traffic = CollectiveTraffic {
            collectives: traffic_after.collectives - traffic.collectives,
            bytes_reduced: traffic_after.bytes_reduced - traffic.bytes_reduced,
            seconds: 0.0,
        };
        (result, WorkCounts { traffic, images: images_after })
    }

    /// Adds the counts of one piece of work.
    pub fn add(&self, counts: &WorkCounts) {
        {
            let mut traffic = lock(&self.traffic);
            traffic.collectives += counts.traffic.collectives;
            traffic.bytes_reduced += counts.traffic.bytes_reduced;
        }
        for (use_name, images) in &counts.images {
            self.count_images(use_name, *images);
        }
    }
}
