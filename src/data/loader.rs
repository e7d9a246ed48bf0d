//! Makes batches from the samples of a sampler.
//!
//! Order and augmentation are functions of (seed, purpose, pass). So the position is the only state of a loader, and
//! any batch can be made again at any time, on any number of ranks.

use tch::Tensor;

use super::augment::View;
use super::batch::Batch;
use super::device_dataset::DeviceDataset;
use super::part::Part;
use super::sampler::{Pool, Sampler};
use crate::distributed::World;
use crate::error::{Error, Result};
use crate::random::{RandomStream, SampleKeys};
use crate::torch::{to_channels_last, upload};

/// Walks a [`Sampler`] and makes its batches.
pub struct DataLoader {
    // --- configuration ---
    sampler: Sampler,
    /// Number of samples of each pool.
    sizes: Vec<usize>,
    /// Samples of one batch, over all ranks.
    batch_size: usize,

    // --- random streams ---
    order_stream: RandomStream,
    augment_stream: RandomStream,
    layer_stream: RandomStream,

    // --- runtime state ---
    /// A pass and its order, cached while the pass lasts.
    order: Option<(u64, Vec<usize>)>,
    /// Batches drawn so far: the position of a sampler that cycles.
    drawn: u64,
}

impl DataLoader {
    /// `purpose` is part of every random key: the role of the model and the phase.
    ///
    /// # Errors
    /// `Usage` if the sampler has no samples.
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

    /// Name of the sampler.
    pub fn name(&self) -> &'static str {
        self.sampler.name
    }

    /// True if the sampler is walked once per pass and ends it, see [`Sampler::ends_pass`].
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

    /// Position of the batch that is `ahead` draws after the next one: (pass over the sampler, batch within that pass).
    fn position(&self, epoch: u64, step: usize, ahead: i64) -> (u64, usize) {
        if self.sampler.ends_pass {
            return (epoch, (step as i64 + ahead) as usize);
        }
        let batches = self.batches() as u64;
        let draw = self.drawn.saturating_add_signed(ahead);
        (draw / batches, (draw % batches) as usize)
    }

    /// Samples, over all ranks, of the batch that is `ahead` draws after the next one.
    pub fn size_at(&self, epoch: u64, step: usize, ahead: i64) -> usize {
        let (_, batch) = self.position(epoch, step, ahead);
        self.batch_size.min(self.samples() - batch * self.batch_size)
    }

    /// Makes the next batch. If the sampler ends the pass, that is batch `step` of epoch `epoch`; else the next one of
    /// the cycle.
    pub fn next_batch(&mut self, dataset: &DeviceDataset, world: &World, epoch: u64, step: usize) -> Result<Batch> {
        let (pass, batch) = self.position(epoch, step, 0);
        self.drawn += 1;
        let range = batch * self.batch_size..self.samples().min((batch + 1) * self.batch_size);
        let global = self.order_of(pass)[range].to_vec();
        let shard = world.shard(global.len());
        let (images, labels) = self.gather_samples(dataset, &global[shard.clone()], pass)?;
        let layer_stream = self.layer_stream;
        Ok(Batch { images, labels, step_count: global.len(), global, shard, layer_stream, pass })
    }

    /// Order of the samples in a pass over the sampler.
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
    fn gather_samples(&self, dataset: &DeviceDataset, positions: &[usize], pass: u64) -> Result<(Tensor, Tensor)> {
        if let [Pool::Part(part, view)] = self.sampler.pools.as_slice() {
            return self.gather_part(dataset, *part, *view, positions.iter().copied(), pass);
        }
        // Each pool loads its own samples; one index_select then restores the order of the batch.
        let (mut images, mut labels, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (pool, &size) in self.sampler.pools.iter().zip(&self.sizes) {
            let members = || positions.iter().enumerate().filter(move |(_, p)| (start..start + size).contains(*p));
            places.extend(members().map(|(place, _)| place));
            let (x, y) = match pool {
                Pool::Part(part, view) => {
                    self.gather_part(dataset, *part, *view, members().map(|(_, &p)| p - start), pass)?
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

    /// Images and labels at these positions of one part.
    fn gather_part(
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
        dataset.make_batch(part, &samples, (view == View::Train).then_some(&keys))
    }
}
