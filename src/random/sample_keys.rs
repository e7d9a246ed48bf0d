//! Keys of a batch's random draws: each sample draws by its own index.

use super::{Draws, Stream};

/// Identifies the samples of a batch for their random draws.
#[derive(Debug, Clone, Copy)]
pub struct SampleKeys<'a> {
    pub stream: &'a Stream,
    pub epoch: u64,
    /// Index in the data set, one per image of the batch.
    pub samples: &'a [usize],
}

impl SampleKeys<'_> {
    /// One draw per sample, from the lane of the stream that belongs to one use.
    pub fn draw<T>(&self, lane: u8, one: impl Fn(&mut Draws) -> T) -> Vec<T> {
        self.samples.iter().map(|&sample| one(&mut self.stream.lane(self.epoch, sample as u64, lane))).collect()
    }
}
