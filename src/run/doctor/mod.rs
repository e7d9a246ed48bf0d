//! `regun doctor`: checks whether this machine or allocation has everything that a run needs.
//!
//! Started like a run, with the same launcher and overrides, it reports ranks and their hosts, processors, memory, GPUs
//! and folders. It also checks and times the all-reduce over all ranks.
//!
//! | module | holds |
//! | --- | --- |
//! | `command` | the command |
//! | `rank_facts` | facts that each rank finds out about itself and its machine |
//! | `checks` | checks of the facts of all ranks |
//! | `all_reduce` | check and timing of the all-reduce |

mod all_reduce;
mod checks;
mod command;
mod rank_facts;

pub use command::run;
