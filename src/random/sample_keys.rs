//! The keys of a batch's samples: each sample draws by its own index.

use super::philox::{Draws, RandomStream};

/// The keys for the random draws of a batch's samples.
#[derive(Debug, Clone, Copy)]
pub struct SampleKeys<'a> {
    pub stream: &'a RandomStream,
    pub epoch: u64,
    /// Index in the dataset for each image of the batch.
    pub samples: &'a [usize],
}

impl SampleKeys<'_> {
    /// Calls `one` with the draws of each sample. Each use of random numbers has its own lane, see
    /// [`RandomStream::lane`].
    pub fn draw<T>(&self, lane: u8, one: impl Fn(&mut Draws) -> T) -> Vec<T> {
        self.samples.iter().map(|&sample| one(&mut self.stream.lane(self.epoch, sample as u64, lane))).collect()
    }
}
