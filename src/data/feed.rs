//! Which samples come when.
//!
//! A [`Feed`] is a description: a pool of samples, shuffled or not. A [`Feeder`] walks it. Order and augmentation are
//! functions of (seed, purpose, pass), so a feeder's only state is its position, and a batch can be made again at any
//! time, on any number of ranks.

use std::ops::Range;

use tch::Tensor;

use super::augment::{SampleKeys, View};
use super::resident::{Corpus, Role};
use crate::dist::World;
use crate::error::{Error, Result};
use crate::random::Stream;
use crate::torch::{to_channels_last, upload};

/// Samples that a feed draws from.
#[derive(Debug)]
pub enum Pool {
    /// A part of the data set, seen through a transform.
    Part(Role, View),
    /// Samples that a method made: images [n, C, S, S] as the network takes them, labels int64 [n].
    Made { images: Tensor, labels: Tensor },
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        match self {
            Pool::Part(role, view) => Pool::Part(*role, *view),
            Pool::Made { images, labels } => {
                Pool::Made { images: images.shallow_clone(), labels: labels.shallow_clone() }
            }
        }
    }
}

/// A stream of batches: what is in it, in which order, and whether an epoch ends with it.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The name by which the method finds its batch; part of every random key.
    pub name: &'static str,
    pub pools: Vec<Pool>,
    pub shuffled: bool,
    /// A driving feed is walked once per pass and ends the pass when it is exhausted; others run on, pass after pass
    /// of their own, across epochs.
    pub drives: bool,
}

impl Feed {
    /// Shuffled, augmented, and an epoch ends with it.
    pub fn train(role: Role) -> Self {
        Feed { name: role.name(), pools: vec![Pool::Part(role, View::Train)], shuffled: true, drives: true }
    }

    /// Shuffled, and never ends: reshuffled for each pass, running on across epochs.
    pub fn cycle(role: Role, view: View) -> Self {
        Feed { name: role.name(), pools: vec![Pool::Part(role, view)], shuffled: true, drives: false }
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
    /// Positions in the feed's joined pools of *all* samples of the batch, over all ranks.
    pub global: Vec<usize>,
    /// Which of `global` this rank holds.
    pub share: Range<usize>,
    /// Samples of this feed in the whole optimizer step (all its micro-steps, all ranks): what sums are divided by.
    pub step_count: usize,
    /// What layers draw from in train mode, and in which pass over the feed.
    pub layer_stream: Stream,
    pub pass: u64,
}

impl Batch {
    /// This rank's positions in the joined pools.
    pub fn local(&self) -> &[usize] {
        &self.global[self.share.clone()]
    }

    /// Who this rank's samples are, for layers that draw at random: their positions in the joined pools.
    pub fn keys(&self) -> SampleKeys<'_> {
        SampleKeys { stream: &self.layer_stream, epoch: self.pass, samples: self.local() }
    }
}

/// Walks a feed.
pub struct Feeder {
    feed: Feed,
    /// Number of samples of each pool.
    sizes: Vec<usize>,
    batch_size: usize,
    order_stream: Stream,
    augment_stream: Stream,
    layer_stream: Stream,
    /// Order of one pass, kept while the pass lasts.
    order: Option<(u64, Vec<usize>)>,
    /// Batches drawn so far: the position of a feed that does not drive.
    drawn: u64,
}

impl Feeder {
    /// `purpose` names what the batches are for (role of the model and phase). A feed without samples is an error.
    pub fn new(feed: Feed, corpus: &Corpus, batch_size: usize, seed: u64, purpose: &str) -> Result<Self> {
        let sizes: Vec<usize> = feed
            .pools
            .iter()
            .map(|pool| match pool {
                Pool::Part(role, _) => corpus.indices(*role).len(),
                Pool::Made { labels, .. } => labels.size()[0] as usize,
            })
            .collect();
        if sizes.iter().sum::<usize>() == 0 {
            return Err(Error::usage(format!("{purpose}: the split leaves no `{}` samples to train on", feed.name))
                .hint("look at the sizes with `regun splits`, and change the split.*_frac settings"));
        }
        Ok(Feeder {
            order_stream: Stream::new(seed, &format!("{purpose}/{}/order", feed.name)),
            augment_stream: Stream::new(seed, &format!("{purpose}/{}/augment", feed.name)),
            layer_stream: Stream::new(seed, &format!("{purpose}/{}/layers", feed.name)),
            feed,
            sizes,
            batch_size,
            order: None,
            drawn: 0,
        })
    }

    pub fn name(&self) -> &'static str {
        self.feed.name
    }

    pub fn drives(&self) -> bool {
        self.feed.drives
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
        if self.feed.drives {
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

    /// The next batch: number `step` of epoch `epoch` for a driving feed, the next of the cycle otherwise.
    pub fn next(&mut self, corpus: &Corpus, world: &World, epoch: u64, step: usize) -> Result<Batch> {
        let (pass, batch) = self.place(epoch, step, 0);
        self.drawn += 1;
        let range = batch * self.batch_size..self.samples().min((batch + 1) * self.batch_size);
        let global = self.order_of(pass)[range].to_vec();
        let share = world.share(global.len());
        let (images, labels) = self.fetch(corpus, &global[share.clone()], pass)?;
        let layer_stream = self.layer_stream;
        Ok(Batch { images, labels, step_count: global.len(), global, share, layer_stream, pass })
    }

    fn order_of(&mut self, pass: u64) -> &[usize] {
        let known = matches!(&self.order, Some((of, _)) if *of == pass);
        if !known {
            let mut order: Vec<usize> = (0..self.samples()).collect();
            if self.feed.shuffled {
                self.order_stream.at(pass, 0).shuffle(&mut order);
            }
            self.order = Some((pass, order));
        }
        self.order.as_ref().map_or(&[], |(_, order)| order)
    }

    /// Images and labels at these positions of the joined pools, in this order.
    fn fetch(&self, corpus: &Corpus, positions: &[usize], pass: u64) -> Result<(Tensor, Tensor)> {
        if let [Pool::Part(role, view)] = self.feed.pools.as_slice() {
            return self.fetch_part(corpus, *role, *view, positions.iter().copied(), pass);
        }
        // Each pool fetches its own samples; one index_select restores the order of the batch.
        let (mut images, mut labels, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (pool, &size) in self.feed.pools.iter().zip(&self.sizes) {
            let members = || positions.iter().enumerate().filter(move |(_, p)| (start..start + size).contains(*p));
            places.extend(members().map(|(place, _)| place));
            let (x, y) = match pool {
                Pool::Part(role, view) => {
                    self.fetch_part(corpus, *role, *view, members().map(|(_, &p)| p - start), pass)?
                }
                Pool::Made { images, labels } => {
                    let rows: Vec<i64> = members().map(|(_, &p)| (p - start) as i64).collect();
                    let rows = upload(&Tensor::f_from_slice(&rows)?, corpus.device())?;
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
        let back = upload(&Tensor::f_from_slice(&back)?, corpus.device())?;
        let images = to_channels_last(&Tensor::cat(&images, 0).index_select(0, &back))?;
        Ok((images, Tensor::cat(&labels, 0).index_select(0, &back)))
    }

    fn fetch_part(
        &self,
        corpus: &Corpus,
        role: Role,
        view: View,
        positions: impl Iterator<Item = usize>,
        pass: u64,
    ) -> Result<(Tensor, Tensor)> {
        let part = corpus.indices(role);
        let samples: Vec<usize> = positions.map(|position| part[position]).collect();
        let keys = SampleKeys { stream: &self.augment_stream, epoch: pass, samples: &samples };
        corpus.fetch(role, &samples, (view == View::Train).then_some(&keys))
    }
}
