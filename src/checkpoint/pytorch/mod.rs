//! Checkpoints of PyTorch, torchvision and Lightning: `.pt`, `.pth`, `.ckpt`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`load`](mod@load) | reads a file of any of these kinds |
//! | [`container`] | the kinds of files, told by their first bytes |
//! | [`archive`] | the container since PyTorch 1.6: a zip of one pickle and one record for each storage |
//! | [`legacy`] | the container before PyTorch 1.6: pickles, then storages, one after the other |
//! | [`objects`] | the meaning of names in these pickles: tensors and storages |
//! | [`tensors`] | storages, the views into them, and the tensors of both |
//! | [`search`](mod@search) | the dicts of tensors in the unpickled object |
//! | [`document`] | the weights and the facts in the unpickled object |
//! | [`hyper_parameters`] | the configuration in a Lightning file |
//! | [`write`](mod@write) | writes the zip container |
//! | [`omegaconf`] | writes the configuration in a Lightning file |
//!
//! Nothing in such a file is executed (see [`crate::pickle`]). No size that the file states is trusted: views are
//! checked against their storages, storages against the bytes present, records against the size of the file.

mod archive;
mod container;
mod document;
mod hyper_parameters;
mod legacy;
mod load;
mod objects;
mod omegaconf;
mod search;
mod tensors;
mod write;

pub use container::{CheckpointContainer, START};
pub use load::load;
pub use write::{save_lightning, save_state_dict};
