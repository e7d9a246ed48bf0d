//! The random keys of a batch: each sample draws by its own index in the data set.

use super::philox::{Draws, RandomStream};

/// The keys for the random draws of a batch, one for each sample: (stream, epoch, index of the sample).
#[derive(Debug, Clone, Copy)]
pub struct SampleKeys<'a> {
    pub stream: &'a RandomStream,
    pub epoch: u64,
    /// Index in the data set of each image of the batch.
    pub samples: &'a [usize],
}

impl SampleKeys<'_> {
    /// Calls `one` with the draws of each sample. Each use of random numbers has its own lane, see
    /// [`RandomStream::lane`].
    pub fn draw<T>(&self, lane: u8, one: impl Fn(&mut Draws) -> T) -> Vec<T> {
        self.samples.iter().map(|&sample| one(&mut self.stream.lane(self.epoch, sample as u64, lane))).collect()
    }
}
