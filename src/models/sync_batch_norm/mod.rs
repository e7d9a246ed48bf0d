//! BatchNorm with the statistics of all ranks. The result is that of one process on the joined batch.
//!
//! One all-reduce gives every rank the statistics of all ranks, and each rank combines them. The backward pass makes a
//! second all-reduce, of two sums. A rank without samples makes the same calls.
//!
//! Three implementations compute the same numbers:
//!
//! | module | holds |
//! | --- | --- |
//! | `dispatch` | [`forward`], which chooses an implementation |
//! | `differentiable` | differentiable any number of times: autograd differentiates all operations and the all-reduce |
//! | `closed_form` | the first derivative as one formula, for CPUs |
//! | `gpu` | the first derivative on GPUs by the kernels of PyTorch's own SyncBatchNorm: far fewer launches |
//! | `moments` | float64 statistics of the joined batch, for `differentiable` and `closed_form` |
//! | `affine` | an affine map of each channel |
//! | `derivative` | a first derivative as a node of the autograd graph, for `closed_form` and `gpu` |
//! | `arguments` | the tensors of a layer and the options of a pass |
//!
//! Letters: C channels, R ranks.

mod affine;
mod arguments;
mod closed_form;
mod derivative;
mod differentiable;
mod dispatch;
mod gpu;
mod moments;

pub use arguments::{BatchNormTensors, SyncNormPass};
pub use dispatch::forward;
