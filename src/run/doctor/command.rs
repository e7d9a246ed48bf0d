//! Runs the checks of `regun doctor` and prints the report.

use serde_json::json;
use tch::Device;

use super::all_reduce;
use super::checks::{self, CheckStatus};
use super::rank_facts::RankFacts;
use crate::error::{Error, Result};
use crate::run::devices::choose_device;
use crate::run::options::Options;
use crate::run::output::{print, print_json};
use crate::run::setup::apply_process_settings;

pub fn run(options: &Options, overrides: &[String]) -> Result<()> {
    let loaded = options.load_unwarned(overrides)?;
    let (world, config) = (&*options.world, &loaded.config);
    apply_process_settings(config, world)?;
    let ranks = RankFacts::gather(world, config)?;
    // Either every rank gets a device, or all ranks get the same error.
    let device = choose_device(world, config);
    let reduced = all_reduce::measure(world, *device.as_ref().unwrap_or(&Device::Cpu))?;
    if !world.is_root() {
        return Ok(());
    }
    let mut found = checks::of_ranks(&ranks, &device);
    found.push(all_reduce::check(world, &reduced));
    let worst = found.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Ok);
    if options.json {
        print_json(&json!({ "status": worst, "checks": found, "ranks": ranks, "all_reduce": reduced.timings }))?;
    } else {
        print(&format!("{}{}", checks::table(&found), all_reduce::table(world, &reduced)))?;
    }
    match worst {
        CheckStatus::Ok | CheckStatus::Warning => Ok(()),
        CheckStatus::Broken => {
            let broken: Vec<&str> =
                found.iter().filter(|check| check.status == worst).map(|check| check.name).collect();
            Err(Error::missing(format!("not usable for a run with this configuration: {}", broken.join(", "))))
        }
    }
}
