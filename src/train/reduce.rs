//! Gradients of all ranks, summed while the backward pass still runs.
//!
//! The flat gradient buffers are cut into buckets, numbered in the order in which backward completes them. A bucket is
//! all-reduced as soon as it and all before it are complete, so that every rank makes the same calls in the same order.
//! A parameter is complete when the backward pass has left its gradient there, which a pass does once, however often
//! the parameter was used. What is left when the pass ends (a parameter without gradient counts as zero) follows in
//! order.
//!
//! Only one pass can be reduced in this way, the last one of an optimizer step. A method that makes its own passes
//! has its buckets reduced after them.
//!
//! On GPUs a bucket is only launched: it travels beside the backward pass, and what follows the last one waits for it
//! on the device. Compressed, it travels as a bfloat16 copy: half the bytes, 8 bits of precision.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Kind as Dtype, Tensor, no_grad};

use crate::config::schema::{Compression, LaunchConfig};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::models::State;
use crate::optim::FlatParams;
use crate::optim::{Bucket, BucketSizes, Param};
use crate::torch::{AccumulationHook, GradAccumulator};

/// How gradients travel.
#[derive(Debug, Clone, Copy)]
pub struct Reduction {
    pub cuts: BucketSizes,
    pub compression: Option<Compression>,
}

impl Reduction {
    pub fn new(launch: &LaunchConfig) -> Self {
        let bytes = |mib: f64| (mib * f64::from(1 << 20)) as usize;
        let [bytes, first_bytes] = [launch.bucket_mib, launch.first_bucket_mib].map(bytes);
        Reduction {
            cuts: BucketSizes { bytes, first_bytes, order: launch.bucket_order },
            compression: launch.compress_gradients,
        }
    }
}

pub struct Reducer {
    sums: Arc<Mutex<Sums>>,
    _hooks: Vec<AccumulationHook>,
}

/// How far an optimizer step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Gradients of this rank are added up.
    Local,
    /// The next pass asked of [`Reducer::backward`] is the last one.
    Last,
    /// It runs.
    Running,
    /// The buffers hold the sums of all ranks.
    Summed,
}

struct Sums {
    world: World,
    /// Takes the gradients of each bucket's parameters into the gradient buffers.
    grads: Vec<GradAccumulator>,
    /// Views of the gradient buffers.
    buckets: Vec<Tensor>,
    /// What travels in their place, where they are compressed.
    compressed: Option<Vec<Tensor>>,
    /// Parameters of each bucket.
    sizes: Vec<usize>,
    /// Those without gradient in the running pass.
    missing: Vec<usize>,
    /// The bucket that is reduced next.
    next: usize,
    stage: Stage,
}

impl Reducer {
    /// For the parameters `params` of `state`. None where there is nobody to share with.
    pub fn new(world: &World, params: &FlatParams, state: &State) -> Result<Option<Self>> {
        Self::compressing(world, params, state, None)
    }

    /// The same, with gradients that travel in fewer bits.
    pub fn compressing(
        world: &World,
        params: &FlatParams,
        state: &State,
        compression: Option<Compression>,
    ) -> Result<Option<Self>> {
        if world.size() == 1 {
            return Ok(None);
        }
        let layout = params.layout();
        let view = |bucket: &Bucket| Ok(params.groups()[bucket.group].grads.f_narrow(0, bucket.offset, bucket.len)?);
        let buckets = layout.buckets().iter().map(view).collect::<Result<Vec<_>>>()?;
        let narrow = |bucket: &Tensor| Ok(Tensor::f_empty(bucket.size(), (Dtype::BFloat16, bucket.device()))?);
        let compressed = compression.map(|Compression::Bf16| buckets.iter().map(narrow).collect::<Result<_>>());
        let sums = Arc::new(Mutex::new(Sums {
            world: world.clone(),
            grads: params.grad_accumulators().iter().map(GradAccumulator::shallow_clone).collect(),
            buckets,
            compressed: compressed.transpose()?,
            sizes: layout.buckets().iter().map(|bucket| bucket.num_params).collect(),
            missing: Vec::new(),
            next: 0,
            stage: Stage::Local,
        }));
        let hook = |param: &Param| {
            let (sums, bucket) = (Arc::clone(&sums), param.bucket);
            AccumulationHook::new(state.get(param.slot), move || lock(&sums).accumulated(bucket))
        };
        let hooks = layout.params().iter().map(hook).collect::<Result<_>>()?;
        Ok(Some(Reducer { sums, _hooks: hooks }))
    }

    /// A micro-step begins. The pass of the `last` one of an optimizer step may be reduced while it runs.
    pub fn begin_micro_step(&self, last: bool) {
        lock(&self.sums).stage = if last { Stage::Last } else { Stage::Local };
    }

    /// A backward pass, the only one of its micro-step. If it is the step's last, the buffers hold the sums over all
    /// ranks when it returns.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        let last = lock(&self.sums).begin()?;
        loss.f_backward()?;
        if last { self.finish() } else { Ok(()) }
    }

    /// Reduces what is not reduced yet. Called once all passes of an optimizer step are done.
    pub fn finish(&self) -> Result<()> {
        lock(&self.sums).finish()
    }
}

/// Whoever panicked in here has ended the process.
fn lock(sums: &Mutex<Sums>) -> MutexGuard<'_, Sums> {
    sums.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sums {
    /// Whether the pass that begins is the last one.
    fn begin(&mut self) -> Result<bool> {
        match self.stage {
            Stage::Local => return Ok(false),
            Stage::Last => {}
            Stage::Running | Stage::Summed => return Err(too_late()),
        }
        self.missing.clone_from(&self.sizes);
        self.next = 0;
        self.stage = Stage::Running;
        Ok(true)
    }

    /// A parameter of this bucket has its gradient.
    fn accumulated(&mut self, bucket: usize) -> Result<()> {
        match self.stage {
            Stage::Local | Stage::Last => return Ok(()),
            Stage::Running => {}
            Stage::Summed => return Err(too_late()),
        }
        self.missing[bucket] = self.missing[bucket].checked_sub(1).ok_or_else(too_late)?;
        while self.missing.get(self.next) == Some(&0) {
            self.reduce_next()?;
        }
        Ok(())
    }

    fn reduce_next(&mut self) -> Result<()> {
        let number = self.next;
        self.next += 1;
        self.grads[number].add()?;
        let travelling = match &mut self.compressed {
            Some(compressed) => {
                no_grad(|| compressed[number].f_copy_(&self.buckets[number]))?;
                &mut compressed[number]
            }
            None => &mut self.buckets[number],
        };
        self.world.start_all_reduce(travelling)
    }

    fn finish(&mut self) -> Result<()> {
        match self.stage {
            Stage::Summed => return Ok(()),
            Stage::Local | Stage::Last => self.next = 0,
            Stage::Running => {}
        }
        while self.next < self.buckets.len() {
            self.reduce_next()?;
        }
        self.world.finish_all_reduces()?;
        for (bucket, compressed) in self.buckets.iter_mut().zip(self.compressed.iter().flatten()) {
            no_grad(|| bucket.f_copy_(compressed))?;
        }
        self.stage = Stage::Summed;
        Ok(())
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::Bug, "a gradient was added after the gradients of all ranks were summed")
        .hint("a method that makes several backward passes in a step makes them without Step::backward")
}
