//! The ranks of a run: the only module that knows how many processes there are.
//!
//! A [`World`] tells the rest of the program which shard of the work belongs to this rank, combines the results of all
//! ranks by collectives, and says which rank writes files. One rank is no special case: its shard is everything, and an
//! all-reduce returns its own values. Below it a [`Transport`] moves the bytes: `solo` for a single process, `mpi` for
//! host memory, [`nccl`] for the memory of GPUs.
//!
//! Every rank makes the same collective calls in the same order. `order` checks that if the configuration asks for it.
//! `watchdog` ends the job when a rank waits too long for the others. [`launch`] joins the ranks that a launcher
//! started, `launcher` recognises that launcher, [`process`] ends all ranks after an error, [`device_placement`] assigns
//! GPUs to ranks.

mod counters;
pub mod device_placement;
pub mod launch;
mod launcher;
mod mpi;
pub mod nccl;
mod order;
mod overlap;
pub mod process;
mod solo;
mod transport;
mod watchdog;
mod world;

pub use counters::{CollectiveTraffic, WorkCounts};
pub use overlap::Overlap;
pub use solo::Solo;
pub use transport::Transport;
pub use world::{Capture, World};
