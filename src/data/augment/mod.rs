//! Transforms pixels into network input, whole batches on their device.
//!
//! | | training | evaluation |
//! | --- | --- | --- |
//! | geometry | pad, random crop, flip ([`window`]) | |
//! | or with `imagenet_resize` | random box resized, flip ([`resize`]) | short side resized, middle cut out |
//! | uint8 | RandAugment ([`randaugment`]) | |
//! | float | colour jitter ([`color_jitter`]), random erasing ([`erasing`]) | |
//! | | normalise | normalise |
//!
//! The semantics are those of torchvision v2. All random numbers are drawn first, sample by sample, into an
//! [`AugmentPlan`]. Applying a plan is arithmetic on tensors without a loop over images (except for colour jitter on a
//! CPU). The draws of a sample depend only on the stream (seed and purpose), the epoch and the sample's index in the
//! data set, so they are the same in any batch and on any rank. Each transform has its own lane of the stream, so
//! switching one on does not change the draws of the others.
//!
//! Letters: N batch, C channel, H and W input sides, S side of the output.

mod affine;
mod color;
pub mod color_jitter;
pub mod erasing;
mod input_sizes;
mod pipeline;
mod plan;
pub mod randaugment;
pub mod resize;
mod rows;
pub mod tables;
mod view;
pub mod window;

pub use input_sizes::input_sizes;
pub use pipeline::Augment;
pub use plan::AugmentPlan;
pub use view::View;
