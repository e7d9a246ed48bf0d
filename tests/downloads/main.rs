//! Downloads, from one file to a data set that several ranks wait for.

#[path = "../as_ranks/mod.rs"]
mod as_ranks;
#[path = "../common/mod.rs"]
mod common;
#[path = "../mpirun/mod.rs"]
mod mpirun;

mod data_sets;
mod one_file;
mod program;
mod server;
