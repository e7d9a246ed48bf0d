//! `regun doctor`: what this machine or allocation can do, and whether what a run would need works.
//!
//! Started like a run, with the same launcher and overrides, it looks at what that run would find: ranks and their
//! hosts, processors, memory, GPUs, folders; and it adds numbers up over all ranks, for their sum and for the time.

mod all_reduce;
mod checks;
mod facts;

use serde_json::json;
use tch::Device;

use super::devices::choose_device;
use super::session::{Options, set_up_process};
use super::{print, print_json};
use crate::error::{Error, Result};
use checks::Status;
use facts::Facts;

pub fn run(options: &Options, overrides: &[String]) -> Result<()> {
    let loaded = options.load_unwarned(overrides)?;
    let (world, config) = (&*options.world, &loaded.config);
    set_up_process(config, world)?;
    let ranks = Facts::gather(world, config)?;
    // All ranks have a device, or all have the same error.
    let device = choose_device(world, config);
    let reduced = all_reduce::measure(world, *device.as_ref().unwrap_or(&Device::Cpu))?;
    if !world.is_root() {
        return Ok(());
    }
    let mut found = checks::of_ranks(&ranks, &device);
    found.push(all_reduce::judge(world, &reduced));
    let worst = found.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    if options.json {
        print_json(&json!({ "status": worst, "checks": found, "ranks": ranks, "all_reduce": reduced.timings }))?;
    } else {
        print(&format!("{}{}", checks::table(&found), all_reduce::table(world, &reduced)))?;
    }
    match worst {
        Status::Ok | Status::Warning => Ok(()),
        Status::Broken => {
            let broken: Vec<&str> =
                found.iter().filter(|check| check.status == worst).map(|check| check.name).collect();
            Err(Error::missing(format!("not usable for a run with this configuration: {}", broken.join(", "))))
        }
    }
}
