//! The trait that all networks implement.

use std::fmt::Debug;
use std::sync::Arc;

use tch::Tensor;

use super::forward::Forward;
use super::layout::{Slot, StateLayout};
use crate::error::Result;

/// A network without its weights.
pub trait Architecture: Debug + Send + Sync {
    /// Names, shapes and order of the network's tensors.
    fn layout(&self) -> &Arc<StateLayout>;

    /// Parameters of the head, the last linear layer.
    fn head(&self) -> &[Slot];

    /// True if training changes this parameter. With `freeze_backbone` it changes only those of the head.
    fn is_trainable(&self, slot: Slot, freeze_backbone: bool) -> bool {
        !freeze_backbone || self.head().contains(&slot)
    }

    /// Checks that the network takes images of this size in pixels.
    ///
    /// # Errors
    /// `Usage` if it does not; the message names the sizes that it takes.
    fn accepts(&self, height: i64, width: i64) -> Result<()> {
        let _ = (height, width);
        Ok(())
    }

    /// True if layers draw random numbers in train mode. The same images then give other logits in another epoch.
    fn is_stochastic(&self) -> bool {
        false
    }

    /// Runs the layers of the network: maps images (N, 3, H, W) to logits (N, K). Callers use
    /// [`forward`](Self::forward), which also advances the batch counters of all BatchNorm layers.
    fn logits(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor>;

    /// Maps images (N, 3, H, W) to logits (N, K). The images are normalised and have the dtype and device of the
    /// weights.
    fn forward(&self, ctx: &mut Forward<'_>, images: &Tensor) -> Result<Tensor> {
        let logits = self.logits(ctx, images)?;
        ctx.count_batches()?;
        Ok(logits)
    }
}
