//! Defaults lists: the files that make up a configuration, in merge order, with their packages.
//!
//! The rules are those of Hydra 1.3.

mod entry;
mod expand;
mod package;
mod selection;
mod tree;

pub(super) use expand::{DefaultsContext, expand};
pub(super) use tree::DefaultsTree;
