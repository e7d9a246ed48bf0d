//! Which samples come when.
//!
//! A [`Sampler`] is a description: a pool of samples, shuffled or not. A [`DataLoader`] walks it. Order and augmentation are
//! functions of (seed, purpose, pass), so a loader's only state is its position, and a batch can be made again at any
//! time, on any number of ranks.

use std::ops::Range;

use tch::Tensor;

use super::augment::View;
use super::device_dataset::{DeviceDataset, Part};
use crate::distributed::World;
use crate::error::{Error, Result};
use crate::random::{RandomStream, SampleKeys};
use crate::torch::{to_channels_last, upload};

/// Samples that a sampler draws from.
#[derive(Debug)]
pub enum Pool {
    /// A part of the data set, seen through a transform.
    Part(Part, View),
    /// Samples that a method made: images [n, C, S, S] as the network takes them, labels int64 [n].
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

/// A stream of batches: what is in it, in which order, and whether an epoch ends with it.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// The name by which the method finds its batch; part of every random key.
    pub name: &'static str,
    pub pools: Vec<Pool>,
    pub shuffled: bool,
    /// A driving sampler is walked once per pass and ends the pass when it is exhausted; others run on, pass after pass
    /// of their own, across epochs.
    pub ends_pass: bool,
}

impl Sampler {
    /// Shuffled, augmented, and an epoch ends with it.
    pub fn train(part: Part) -> Self {
        Sampler { name: part.name(), pools: vec![Pool::Part(part, View::Train)], shuffled: true, ends_pass: true }
    }

    /// Shuffled, and never ends: reshuffled for each pass, running on across epochs.
    pub fn cycle(part: Part, view: View) -> Self {
        Sampler { name: part.name(), pools: vec![Pool::Part(part, view)], shuffled: true, ends_pass: false }
    }

    /// In data set order instead of shuffled.
    pub fn in_order(mut self) -> Self {
        self.shuffled = false;
        self
    }
}

/// One global batch: this rank's share of it as tensors, and the whole of it as indices.
pub struct Batch {
    /// This rank's images [n, C, S, S], channels-last; n may be 0.
    pub images: Tensor,
    /// This rank's labels, int64 [n].
    pub labels: Tensor,
    /// Positions in the sampler's joined pools of *all* samples of the batch, over all ranks.
    pub global: Vec<usize>,
    /// Which of `global` this rank holds.
    pub shard: Range<usize>,
    /// Samples of this sampler in the whole optimizer step (all its micro-steps, all ranks): what sums are divided by.
    pub step_count: usize,
    /// What layers draw from in train mode, and in which pass over the sampler.
    pub layer_stream: RandomStream,
    pub pass: u64,
}

impl Batch {
    /// This rank's positions in the joined pools.
    pub fn local(&self) -> &[usize] {
        &self.global[self.shard.clone()]
    }

    /// Who this rank's samples are, for layers that draw at random: their positions in the joined pools.
    pub fn keys(&self) -> SampleKeys<'_> {
        SampleKeys { stream: &self.layer_stream, epoch: self.pass, samples: self.local() }
    }
}

/// Walks a sampler.
pub struct DataLoader {
    sampler: Sampler,
    /// Number of samples of each pool.
    sizes: Vec<usize>,
    batch_size: usize,
    order_stream: RandomStream,
    augment_stream: RandomStream,
    layer_stream: RandomStream,
    /// Order of one pass, kept while the pass lasts.
    order: Option<(u64, Vec<usize>)>,
    /// Batches drawn so far: the position of a sampler that does not drive.
    drawn: u64,
}

impl DataLoader {
    /// `purpose` names what the batches are for (part of the model and phase). A sampler without samples is an error.
    pub fn new(sampler: Sampler, dataset: &DeviceDataset, batch_size: usize, seed: u64, purpose: &str) -> Result<Self> {
        let sizes: Vec<usize> = sampler
            .pools
            .iter()
            .map(|pool| match pool {
                Pool::Part(part, _) => dataset.indices(*part).len(),
                Pool::Made { labels, .. } => labels.size()[0] as usize,
            })
            .collect();
        if sizes.iter().sum::<usize>() == 0 {
            return Err(Error::usage(format!("{purpose}: the split leaves no `{}` samples to train on", sampler.name))
                .hint("look at the sizes with `regun splits`, and change the split.*_frac settings"));
        }
        Ok(DataLoader {
            order_stream: RandomStream::new(seed, &format!("{purpose}/{}/order", sampler.name)),
            augment_stream: RandomStream::new(seed, &format!("{purpose}/{}/augment", sampler.name)),
            layer_stream: RandomStream::new(seed, &format!("{purpose}/{}/layers", sampler.name)),
            sampler,
            sizes,
            batch_size,
            order: None,
            drawn: 0,
        })
    }

    pub fn name(&self) -> &'static str {
        self.sampler.name
    }

    pub fn ends_pass(&self) -> bool {
        self.sampler.ends_pass
    }

    /// Samples of one pass.
    pub fn samples(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// Batches of one pass; the last one may be smaller.
    pub fn batches(&self) -> usize {
        self.samples().div_ceil(self.batch_size)
    }

    /// Batches drawn so far.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// The batch that is `ahead` draws from the next one: (pass, batch of the pass).
    fn place(&self, epoch: u64, step: usize, ahead: i64) -> (u64, usize) {
        if self.sampler.ends_pass {
            return (epoch, (step as i64 + ahead) as usize);
        }
        let batches = self.batches() as u64;
        let draw = self.drawn.saturating_add_signed(ahead);
        (draw / batches, (draw % batches) as usize)
    }

    /// Samples of the batch that is `ahead` draws from the next one, over all ranks.
    pub fn size_at(&self, epoch: u64, step: usize, ahead: i64) -> usize {
        let (_, batch) = self.place(epoch, step, ahead);
        self.batch_size.min(self.samples() - batch * self.batch_size)
    }

    /// The next batch: number `step` of epoch `epoch` for a driving sampler, the next of the cycle otherwise.
    pub fn next(&mut self, dataset: &DeviceDataset, world: &World, epoch: u64, step: usize) -> Result<Batch> {
        let (pass, batch) = self.place(epoch, step, 0);
        self.drawn += 1;
        let range = batch * self.batch_size..self.samples().min((batch + 1) * self.batch_size);
        let global = self.order_of(pass)[range].to_vec();
        let shard = world.shard(global.len());
        let (images, labels) = self.load(dataset, &global[shard.clone()], pass)?;
        let layer_stream = self.layer_stream;
        Ok(Batch { images, labels, step_count: global.len(), global, shard, layer_stream, pass })
    }

    fn order_of(&mut self, pass: u64) -> &[usize] {
        let known = matches!(&self.order, Some((of, _)) if *of == pass);
        if !known {
            let mut order: Vec<usize> = (0..self.samples()).collect();
            if self.sampler.shuffled {
                self.order_stream.at(pass, 0).shuffle(&mut order);
            }
            self.order = Some((pass, order));
        }
        self.order.as_ref().map_or(&[], |(_, order)| order)
    }

    /// Images and labels at these positions of the joined pools, in this order.
    fn load(&self, dataset: &DeviceDataset, positions: &[usize], pass: u64) -> Result<(Tensor, Tensor)> {
        if let [Pool::Part(part, view)] = self.sampler.pools.as_slice() {
            return self.load_part(dataset, *part, *view, positions.iter().copied(), pass);
        }
        // Each pool fetches its own samples; one index_select restores the order of the batch.
        let (mut images, mut labels, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (pool, &size) in self.sampler.pools.iter().zip(&self.sizes) {
            let members = || positions.iter().enumerate().filter(move |(_, p)| (start..start + size).contains(*p));
            places.extend(members().map(|(place, _)| place));
            let (x, y) = match pool {
                Pool::Part(part, view) => {
                    self.load_part(dataset, *part, *view, members().map(|(_, &p)| p - start), pass)?
                }
                Pool::Made { images, labels } => {
                    let rows: Vec<i64> = members().map(|(_, &p)| (p - start) as i64).collect();
                    let rows = upload(&Tensor::f_from_slice(&rows)?, dataset.device())?;
                    (images.index_select(0, &rows), labels.index_select(0, &rows))
                }
            };
            images.push(x);
            labels.push(y);
            start += size;
        }
        let mut back = vec![0i64; places.len()];
        for (joined, place) in places.into_iter().enumerate() {
            back[place] = joined as i64;
        }
        let back = upload(&Tensor::f_from_slice(&back)?, dataset.device())?;
        let images = to_channels_last(&Tensor::cat(&images, 0).index_select(0, &back))?;
        Ok((images, Tensor::cat(&labels, 0).index_select(0, &back)))
    }

    fn load_part(
        &self,
        dataset: &DeviceDataset,
        part: Part,
        view: View,
        positions: impl Iterator<Item = usize>,
        pass: u64,
    ) -> Result<(Tensor, Tensor)> {
        let indices = dataset.indices(part);
        let samples: Vec<usize> = positions.map(|position| indices[position]).collect();
        let keys = SampleKeys { stream: &self.augment_stream, epoch: pass, samples: &samples };
        dataset.load_batch(part, &samples, (view == View::Train).then_some(&keys))
    }
}
