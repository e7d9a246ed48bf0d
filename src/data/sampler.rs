//! Samplers: the samples of a pass and their order.

use tch::Tensor;

use super::augment::View;
use super::part::Part;

/// Samples that a sampler draws from.
#[derive(Debug)]
pub enum Pool {
    /// A part of the data set, with the transforms of a view.
    Part(Part, View),
    /// Samples that a method has made: images [n, C, S, S] as the network takes them, labels int64 [n].
    Made { images: Tensor, labels: Tensor },
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        match self {
            Pool::Part(part, view) => Pool::Part(*part, *view),
            Pool::Made { images, labels } => {
                Pool::Made { images: images.shallow_clone(), labels: labels.shallow_clone() }
            }
        }
    }
}

/// The samples of a pass and their order. A `DataLoader` walks a sampler and makes batches.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// Name of the batch in a method's step; part of every random key.
    pub name: &'static str,
    /// The pools are joined: position p counts through all of them.
    pub pools: Vec<Pool>,
    /// True for a new random order in each pass, false for data set order.
    pub shuffled: bool,
    /// A sampler with `ends_pass` is walked once per pass of the training and ends it. The others cycle: they continue
    /// across passes and epochs, and begin again when they are exhausted.
    pub ends_pass: bool,
}

impl Sampler {
    /// Shuffled, with training transforms; it ends the pass.
    pub fn train(part: Part) -> Self {
        Sampler { name: part.name(), pools: vec![Pool::Part(part, View::Train)], shuffled: true, ends_pass: true }
    }

    /// Shuffled, with the transforms of `view`; it cycles, in a new order each time.
    pub fn cycle(part: Part, view: View) -> Self {
        Sampler { name: part.name(), pools: vec![Pool::Part(part, view)], shuffled: true, ends_pass: false }
    }
}
