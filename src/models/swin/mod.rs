//! Swin Transformer (Liu et al. 2021, arXiv 2103.14030) as in torchvision: Swin-T, -S and -B, windows of 7 x 7 tokens.
//!
//! Letters: N batch, H and W height and width in tokens, C channels, K classes. Between layers activations are
//! (N, H, W, C).
//!
//! | module | holds |
//! | --- | --- |
//! | `network` | [`Swin`]: patches, stages, head |
//! | `variant` | [`SwinVariant`]: width and depth |
//! | `block` | a block: attention and MLP on residual branches |
//! | `attention`, `window` | attention within windows; the partition into windows |
//! | `merging` | patch merging between stages |
//! | `constants` | initial values and eps, the same in all layers |

mod attention;
mod block;
mod constants;
mod merging;
mod network;
mod variant;
mod window;

pub use network::Swin;
pub use variant::SwinVariant;
