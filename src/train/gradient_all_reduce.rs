//! The all-reduce of gradients over the ranks, while the backward pass still runs.
//!
//! The flat gradient buffers are divided into buckets, numbered in the order in which the backward pass completes them.
//! A bucket is all-reduced as soon as it and all buckets before it are complete, so every rank makes the same calls in
//! the same order. The gradient of a parameter is complete once the backward pass has stored it. A pass stores it once,
//! even if the parameter was used several times. Buckets that are incomplete at the end of the pass follow in order: a
//! parameter without a gradient counts as zero.
//!
//! Only the last backward pass of an optimizer step can be overlapped in this way. If a method makes its own backward
//! passes, its buckets are all-reduced after them.
//!
//! On GPUs the all-reduce of a bucket is only launched. It runs beside the backward pass, and the kernels after the
//! last bucket wait for it on the device. With compression a bfloat16 copy of the bucket is all-reduced: half the
//! bytes, 8 bits of precision.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Kind, Tensor, no_grad};

use crate::config::schema::{Compression, LaunchConfig};
use crate::distributed::World;
use crate::error::{Error, ErrorKind, Result};
use crate::models::State;
use crate::optim::{Bucket, BucketSizes, FlatParams, Param};
use crate::torch::{AccumulationHook, GradAccumulator};

/// Settings of the gradient all-reduce.
#[derive(Debug, Clone, Copy)]
pub struct AllReduceSettings {
    /// Sizes and order of the buckets.
    pub bucket_sizes: BucketSizes,
    /// None: gradients are all-reduced in their own dtype.
    pub compression: Option<Compression>,
}

impl AllReduceSettings {
    pub fn new(launch: &LaunchConfig) -> Self {
        let bytes = |mib: f64| (mib * f64::from(1 << 20)) as usize;
        let [bytes, first_bytes] = [launch.bucket_mib, launch.first_bucket_mib].map(bytes);
        AllReduceSettings {
            bucket_sizes: BucketSizes { bytes, first_bytes, order: launch.bucket_order },
            compression: launch.compress_gradients,
        }
    }
}

/// All-reduces the gradients of an optimizer step, bucket by bucket.
pub struct GradientAllReduce {
    buckets: Arc<Mutex<GradientBuckets>>,
    /// One for each parameter. A hook reports that the gradient of its parameter is complete.
    _hooks: Vec<AccumulationHook>,
}

/// The stage of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AllReduceStage {
    /// A micro-step before the last: gradients of this rank are added up.
    Local,
    /// The last micro-step: the next [`GradientAllReduce::backward`] is overlapped.
    LastMicroStep,
    /// The overlapped backward pass runs.
    LastBackward,
    /// The buffers hold the sums over all ranks.
    Reduced,
}

struct GradientBuckets {
    world: World,
    /// For each bucket: adds the gradients of its parameters to the gradient buffers.
    accumulators: Vec<GradAccumulator>,
    /// Views of the gradient buffers.
    buckets: Vec<Tensor>,
    /// bfloat16 copies of the buckets, which are all-reduced in their place. None without compression.
    compressed: Option<Vec<Tensor>>,
    /// Number of parameters of each bucket.
    num_params: Vec<usize>,
    /// Number of parameters of each bucket without a gradient in the running pass so far.
    pending: Vec<usize>,
    /// Index of the next bucket to all-reduce.
    next: usize,
    stage: AllReduceStage,
}

impl GradientAllReduce {
    /// Makes the all-reduce for the gradients of `params`, which are parameters of `state`. None with a single rank.
    pub fn new(
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
        let bf16_copy = |bucket: &Tensor| Ok(Tensor::f_empty(bucket.size(), (Kind::BFloat16, bucket.device()))?);
        let compressed = compression.map(|Compression::Bf16| buckets.iter().map(bf16_copy).collect::<Result<_>>());
        let buckets = Arc::new(Mutex::new(GradientBuckets {
            world: world.clone(),
            accumulators: params.grad_accumulators().iter().map(GradAccumulator::shallow_clone).collect(),
            buckets,
            compressed: compressed.transpose()?,
            num_params: layout.buckets().iter().map(|bucket| bucket.num_params).collect(),
            pending: Vec::new(),
            next: 0,
            stage: AllReduceStage::Local,
        }));
        let hook = |param: &Param| {
            let (buckets, bucket) = (Arc::clone(&buckets), param.bucket);
            AccumulationHook::new(state.get(param.slot), move || lock(&buckets).gradient_is_complete(bucket))
        };
        let hooks = layout.params().iter().map(hook).collect::<Result<_>>()?;
        Ok(Some(GradientAllReduce { buckets, _hooks: hooks }))
    }

    /// Starts a micro-step. The backward pass of the `last` one of an optimizer step is overlapped.
    pub fn begin_micro_step(&self, last: bool) {
        lock(&self.buckets).stage = if last { AllReduceStage::LastMicroStep } else { AllReduceStage::Local };
    }

    /// Runs the only backward pass of a micro-step. In the last micro-step the buffers hold the sums over all ranks
    /// afterwards.
    ///
    /// # Errors
    /// `Bug` if the last micro-step makes a second backward pass.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        let last = lock(&self.buckets).begin_backward()?;
        loss.f_backward()?;
        if last { self.finish() } else { Ok(()) }
    }

    /// All-reduces the remaining buckets. Called after all backward passes of an optimizer step.
    pub fn finish(&self) -> Result<()> {
        lock(&self.buckets).finish()
    }
}

/// A poisoned lock is taken as it is: a panic ends the process.
fn lock(buckets: &Mutex<GradientBuckets>) -> MutexGuard<'_, GradientBuckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GradientBuckets {
    /// Starts a backward pass. Returns whether it is the last one, which is overlapped.
    fn begin_backward(&mut self) -> Result<bool> {
        match self.stage {
            AllReduceStage::Local => return Ok(false),
            AllReduceStage::LastMicroStep => {}
            AllReduceStage::LastBackward | AllReduceStage::Reduced => return Err(too_late()),
        }
        self.pending.clone_from(&self.num_params);
        self.next = 0;
        self.stage = AllReduceStage::LastBackward;
        Ok(true)
    }

    /// Counts a complete gradient of this bucket, and starts the all-reduces of buckets that are ready.
    fn gradient_is_complete(&mut self, bucket: usize) -> Result<()> {
        match self.stage {
            AllReduceStage::Local | AllReduceStage::LastMicroStep => return Ok(()),
            AllReduceStage::LastBackward => {}
            AllReduceStage::Reduced => return Err(too_late()),
        }
        self.pending[bucket] = self.pending[bucket].checked_sub(1).ok_or_else(too_late)?;
        while self.pending.get(self.next) == Some(&0) {
            self.start_next_all_reduce()?;
        }
        Ok(())
    }

    /// Starts the all-reduce of the next bucket.
    fn start_next_all_reduce(&mut self) -> Result<()> {
        let number = self.next;
        self.next += 1;
        self.accumulators[number].add()?;
        let reduced = match &mut self.compressed {
            Some(compressed) => {
                no_grad(|| compressed[number].f_copy_(&self.buckets[number]))?;
                &mut compressed[number]
            }
            None => &mut self.buckets[number],
        };
        self.world.start_all_reduce(reduced)
    }

    fn finish(&mut self) -> Result<()> {
        match self.stage {
            AllReduceStage::Reduced => return Ok(()),
            AllReduceStage::Local | AllReduceStage::LastMicroStep => self.next = 0,
            AllReduceStage::LastBackward => {}
        }
        while self.next < self.buckets.len() {
            self.start_next_all_reduce()?;
        }
        self.world.finish_all_reduces()?;
        for (bucket, compressed) in self.buckets.iter_mut().zip(self.compressed.iter().flatten()) {
            no_grad(|| bucket.f_copy_(compressed))?;
        }
        self.stage = AllReduceStage::Reduced;
        Ok(())
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::Bug, "a gradient was added after the all-reduce of the gradients")
        .hint("a method with several backward passes in a step must not use Step::backward for them")
}
