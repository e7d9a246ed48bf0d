//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images") from their
//! published files.
//!
//! The publisher offers the images in two layouts: fixed binary records ([`binary`]) and Python pickles ([`python`]). A
//! [`CifarFormat`] gives the names of the files of a CIFAR set and the number of images in each. [`load`] finds a
//! layout and reads it.

mod binary;
mod file;
mod format;
mod python;
mod reader;

pub use format::{CIFAR10, CIFAR100, CifarFormat, CifarLayout};
pub use reader::load;
