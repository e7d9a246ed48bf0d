//! Judgements on what the ranks found out.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use tch::Device;

use super::facts::Facts;
use crate::error::Result;
use crate::torch::Gpu;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// A run would work, though not well.
    Warning,
    /// A run would fail.
    Broken,
}

#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    /// What was found; a line each.
    pub found: Vec<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, found: Vec<String>) -> Self {
        Check { name, status: Status::Ok, found, hint: None }
    }

    pub fn but(mut self, status: Status, hint: impl Into<String>) -> Self {
        (self.status, self.hint) = (status, Some(hint.into()));
        self
    }
}

/// A rank's number and what it found out.
type Ranked<'a> = (usize, &'a Facts);
type Hosts<'a> = BTreeMap<&'a str, Vec<Ranked<'a>>>;

/// In the order of a reader's questions. `ranks` in rank order, at least one.
/// `device`: what rank 0 would compute on, or why a run would not start.
pub fn of_ranks(ranks: &[Facts], device: &Result<Device>) -> Vec<Check> {
    let mut hosts = Hosts::new();
    for (rank, facts) in ranks.iter().enumerate() {
        hosts.entry(&facts.host).or_default().push((rank, facts));
    }
    let per_host = |line: &dyn Fn(&[Ranked<'_>]) -> String| -> Vec<String> {
        hosts.iter().map(|(host, ranks)| format!("{host}: {}", line(ranks))).collect()
    };
    vec![
        program(ranks),
        Check::ok("ranks", launched(ranks).into_iter().chain(per_host(&|ranks| rank_list(ranks))).collect()),
        processors(&hosts, per_host(&|ranks| processors_of(ranks))),
        Check::ok("memory", per_host(&|ranks| memory_of(ranks[0].1))),
        gpus(device, per_host(&|ranks| gpus_of(ranks[0].1))),
        nccl(device, per_host(&|ranks| ranks[0].1.nccl.clone().unwrap_or_else(|why| why))),
        folders(ranks),
    ]
}

fn program(ranks: &[Facts]) -> Check {
    let version = |facts: &Facts| format!("regun {}, libtorch {}", facts.regun, facts.libtorch);
    let mut found: Vec<String> = ranks.iter().map(version).collect();
    found.dedup();
    Check::ok("program", found)
}

fn launched(ranks: &[Facts]) -> Vec<String> {
    match &ranks[0].mpi {
        Some(mpi) => vec![format!("{} over {} ({mpi})", ranks.len(), ranks[0].transport)],
        None => vec!["1, started without a launcher".into()],
    }
}

fn rank_list(ranks: &[Ranked<'_>]) -> String {
    let numbers: Vec<String> = ranks.iter().map(|(rank, _)| rank.to_string()).collect();
    format!("rank {}", numbers.join(", "))
}

fn processors(hosts: &Hosts<'_>, found: Vec<String>) -> Check {
    let check = Check::ok("processors", found);
    let crowded = |ranks: &Vec<Ranked<'_>>| {
        let unbound = ranks.iter().filter(|(_, facts)| facts.cores == facts.machine_cores);
        let shared: usize = unbound.map(|(_, facts)| facts.threads).sum();
        shared > ranks[0].1.machine_cores || ranks.iter().any(|(_, facts)| facts.threads > facts.cores)
    };
    if hosts.values().any(crowded) {
        return check.but(
            Status::Warning,
            "more threads than processors: they wait for each other; start fewer ranks or set trainer.threads lower",
        );
    }
    check
}

fn processors_of(ranks: &[Ranked<'_>]) -> String {
    let (cores, threads) = (ranks[0].1.cores, ranks[0].1.threads);
    format!("{cores} for {} rank(s) of {threads} thread(s)", ranks.len())
}

fn memory_of(facts: &Facts) -> String {
    let text = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| format!("{:.1}", gib(bytes)));
    format!("{} GiB, {} GiB available", text(facts.memory), text(facts.memory_available))
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn gpus_of(facts: &Facts) -> String {
    let gpu = |gpu: &Gpu| format!("{} ({:.0} GiB, {})", gpu.name, gib(gpu.memory_bytes), gpu.bus_id);
    match &facts.gpus {
        Ok(gpus) if gpus.is_empty() => "none".into(),
        Ok(gpus) => gpus.iter().map(gpu).collect::<Vec<_>>().join(", "),
        Err(why) => format!("none: {why}"),
    }
}

fn gpus(device: &Result<Device>, mut found: Vec<String>) -> Check {
    let (status, hint) = match device {
        Ok(Device::Cuda(_)) => {
            found.push("a run computes on them".into());
            return Check::ok("GPUs", found);
        }
        Ok(_) => {
            found.push("a run computes on processors".into());
            return Check::ok("GPUs", found);
        }
        Err(error) => (Status::Broken, error.hint_text().unwrap_or("check the allocation and the driver").to_owned()),
    };
    found.extend(device.as_ref().err().map(|error| error.message().to_owned()));
    Check::ok("GPUs", found).but(status, hint)
}

/// What is wrong with it is told under `GPUs`, where a run needs it.
fn nccl(device: &Result<Device>, found: Vec<String>) -> Check {
    let needed = matches!(device, Ok(Device::Cuda(_)));
    Check::ok("NCCL", if needed { found } else { found.into_iter().map(|line| line + " (not needed)").collect() })
}

fn folders(ranks: &[Facts]) -> Check {
    let mut found: Vec<String> = ranks[0].folders.iter().map(|(folder, _)| format!("{folder}: writable")).collect();
    let mut broken = false;
    for facts in ranks {
        for (line, (_, trouble)) in found.iter_mut().zip(&facts.folders) {
            if let Some(trouble) = trouble {
                *line = format!("{}: {trouble}", facts.host);
                broken = true;
            }
        }
    }
    let check = Check::ok("folders", found);
    match broken {
        true => check.but(Status::Broken, "choose others: paths.cache_dir, paths.outputs_dir (CACHE_DIR, OUTPUTS_DIR)"),
        false => check,
    }
}

/// For people. Ends with a newline.
pub fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Broken => "BROKEN",
        };
        let hint = check.hint.iter().map(|hint| format!("hint: {hint}"));
        for (i, line) in check.found.iter().cloned().chain(hint).enumerate() {
            let (name, status) = if i == 0 { (check.name, status) } else { ("", "") };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:width$}  {status:7}  {line}");
        }
    }
    text
}
