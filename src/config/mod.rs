//! The configuration of this program: its files, its keys as typed structs, and the checks of their values.
//!
//! `load` composes a [`Request`] with [`crate::hydra`], reads the tree into [`schema`] and checks it with `validate`.
//! `builtin` holds the files of `conf/`. `additions` brings keys that configurations of the Python program lack,
//! and `class_count` counts the classes of a folder of images. `old_spellings` reads keys of older configurations.
//!
//! ```
//! # fn main() -> regun::error::Result<()> {
//! use regun::config::{Request, load};
//!
//! let overrides = ["unlearn=regun".to_owned(), "unlearn.regun.retain_weight=0.7".to_owned()];
//! let loaded = load(&Request { overrides: &overrides, ..Request::default() })?;
//! assert_eq!(loaded.config.data.batch_size, 128);
//! # Ok(())
//! # }
//! ```

mod additions;
pub mod builtin;
mod class_count;
mod fast_dev_run;
mod load;
mod old_spellings;
mod program;
mod request;
pub mod schema;
mod validate;

pub use crate::hydra::{Node, Section, Value};
pub use load::{Loaded, compose, compose_in, load, meant_by};
pub use request::Request;
pub use schema::Config;
