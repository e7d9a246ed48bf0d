//! A safe layer over the parts of libtorch that tch lacks: gradients, fused optimizer steps, operations of our own in
//! the autograd graph, autocast, memory layout, CUDA graphs, streams and events, settings of the process.
//!
//! The C++ side (`*.cpp`, declared in `shim.h` and `stream.h`) is a shim of plain C functions. Every fallible function
//! there catches all exceptions and returns their text; [`error`] turns that text into our errors. [`ffi`] declares the
//! functions for Rust.

mod accumulation_hook;
mod all_reduce;
mod autocast;
mod autograd;
mod batch_norm;
mod callback;
mod cuda;
mod cuda_graph;
mod driver;
mod error;
mod ffi;
mod fused_optimizer;
mod grads;
mod host;
mod memory;
mod memory_layout;
mod numerics;
mod pointers;
mod process;
mod stream;
pub(crate) mod symbols;
mod transfer;
mod vmap;

pub use accumulation_hook::AccumulationHook;
pub use all_reduce::{AllReduce, all_reduce_in_graph};
pub use autocast::Autocast;
pub use autograd::{symmetric_map, with_backward};
pub use batch_norm::{batch_norm_backward, channel_moments};
pub use cuda::{device_count, device_name, libtorch_folder, load_cuda};
pub use cuda_graph::CudaGraph;
pub use driver::{Gpu, gpus, keep_out_of_captures};
pub use fused_optimizer::{AdamwMoments, AdamwSettings, SgdSettings, Update, fused_adamw, fused_sgd};
pub use grads::{GradAccumulator, add_one, set_grad};
pub use host::{HostElement, copy_from_tensor, copy_to_tensor, dense_memory, host_length, unshared_slice};
pub use memory::{PeakDeviceMemory, SharedTensor, free_device_memory, peak_device_memory};
pub use memory_layout::{dense_strides, is_channels_last, to_channels_last};
pub use numerics::Numerics;
pub use process::{default_environment, keep_freed_memory, version};
pub use stream::{CommStream, Event, set_device};
pub use transfer::{HostCopy, upload};
pub use vmap::Vmap;
