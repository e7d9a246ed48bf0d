//! Checkpoints: files with the weights of a model, and a manifest of its identity and its training.
//!
//! | module | holds |
//! | --- | --- |
//! | [`load`](mod@load) | reads a checkpoint of any kind, recognised by its content |
//! | [`file`], [`fit`] | a file that has been read; the choice of its weights, and their names in an architecture |
//! | [`weights_dict`] | a dict of names and tensors in a file |
//! | [`native`] | the program's own files and others of their format (`.safetensors`) |
//! | [`pytorch`] | files of PyTorch and Lightning (`.pt`, `.pth`, `.ckpt`), read without executing anything |
//! | [`loaded`] | a checkpoint in memory, and the check that it fits a configuration |
//! | [`manifest`], [`facts`] | the manifest; identity and provenance, and their comparison |
//! | [`cache`] | caches: safetensors files that may be deleted at any time |
//! | [`bytes`] | tensors as bytes, and their checksum |
//!
//! Tensor names are torchvision's. The manifest holds the *identity* (data, split, architecture, classes, seed, role:
//! all must match before the weights are used), the *provenance* (the settings of its training: a difference is a
//! warning) and the resolved configuration. A file that another program wrote has no identity, and at most a
//! configuration.

mod bytes;
mod cache;
mod errors;
mod facts;
mod file;
mod fit;
mod load;
mod loaded;
mod manifest;
mod native;
pub mod pytorch;
mod weights_dict;

pub use bytes::fingerprint;
pub use cache::{read_cache, write_cache};
pub use facts::Facts;
pub use file::CheckpointFile;
pub use load::{load, open};
pub use loaded::Checkpoint;
pub use manifest::Manifest;
pub use native::save;
pub use weights_dict::WantedTensor;
