//! Packs: the decoded images of a data set in one file. Image files are decoded once; every later start maps the pack,
//! and all processes of a node share one copy of it in memory.
//!
//! A pack lies in `.regun-packs` beside the images, or below the cache folder if that place is read-only. Its name
//! holds a key of everything that its pixels depend on. It is written under another name and renamed when it is
//! complete; one process builds it while others wait for its lock. It carries the fingerprint of its content, which is
//! computed again each time it is opened. A pack with another fingerprint is renamed, and built again.

mod build;
mod contents;
mod corrupt;
mod format;
mod load;
mod options;
mod writer;

pub use build::decode_all;
pub use load::load;
pub use options::PackOptions;
