//! NCCL: collectives on the memory of GPUs.
//!
//! The bindings are our own, a table of twelve functions. There is no crate to take instead: `nccl-rs` does not exist,
//! and `cudarc` panics if the library or a symbol is missing, and does not look for `libnccl.so.2`, the only name that
//! NCCL's packages install.
//!
//! The layers, bottom to top: `raw` declares the library's functions and types, `library` turns its codes into errors,
//! `find` opens it at run time, `comm` makes a communicator safe to call from libtorch's threads, `monitor` watches the
//! collectives on the device, `timeline` measures them, `transport` is the [`Transport`](super::Transport).

mod comm;
mod device_event;
mod find;
mod library;
mod monitor;
mod raw;
mod timeline;
mod transport;

pub use library::{NcclLibrary, NcclVersion};
pub use transport::Nccl;
