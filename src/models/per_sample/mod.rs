//! Squared gradients of single samples, summed over a batch. They are computed from the input of each layer and the
//! gradient with respect to its output.
//!
//! In eval mode the samples of a batch do not depend on each other. So the gradient of the summed loss with respect to
//! a layer's output contains the gradients of all samples side by side, and one backward pass serves a whole batch.
//! Only the last step, to the weights, is made for each sample. The result is exact.
//! [`Forward::with_layer_hooks`](super::forward::Forward::with_layer_hooks) records the layers.
//!
//! Letters: N batch, I and O input and output channels, H and W height and width, L output positions, k kernel; X is
//! the input of a layer, G the gradient with respect to its output.
//!
//! | module | holds |
//! | --- | --- |
//! | `squared_gradients` | the choice of the formula for a layer |
//! | `conv`, `tokens` | convolutions; layers of transformers |
//! | `products` | sums and products that these share |

mod conv;
mod products;
mod squared_gradients;
mod tokens;

pub use squared_gradients::squared_gradients;
