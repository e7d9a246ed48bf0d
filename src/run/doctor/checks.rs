//! Checks of the facts of all ranks.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use tch::Device;

use super::rank_facts::RankFacts;
use crate::error::Result;
use crate::memory::gib;
use crate::torch::Gpu;

/// Result of a check, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Ok,
    /// A run would work, but not well.
    Warning,
    /// A run would fail.
    Broken,
}

/// One check with its findings.
#[derive(Debug, Clone, Serialize)]
pub struct DoctorCheck {
    pub name: &'static str,
    pub status: CheckStatus,
    /// Findings, one line each.
    pub found: Vec<String>,
    /// Advice on how to fix the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl DoctorCheck {
    /// A check without a problem.
    pub fn ok(name: &'static str, found: Vec<String>) -> Self {
        DoctorCheck { name, status: CheckStatus::Ok, found, hint: None }
    }

    /// The same findings with a problem and advice.
    pub fn with_problem(mut self, status: CheckStatus, hint: impl Into<String>) -> Self {
        (self.status, self.hint) = (status, Some(hint.into()));
        self
    }
}

/// The number of a rank and its facts.
type RankedFacts<'a> = (usize, &'a RankFacts);
type RanksByHost<'a> = BTreeMap<&'a str, Vec<RankedFacts<'a>>>;

/// All checks of facts, in the order of the report. `ranks`: at least one, in rank order. `device`: the device on which
/// rank 0 would compute, or the error that would keep a run from starting.
pub fn of_ranks(ranks: &[RankFacts], device: &Result<Device>) -> Vec<DoctorCheck> {
    let mut hosts = RanksByHost::new();
    for (rank, facts) in ranks.iter().enumerate() {
        hosts.entry(&facts.host).or_default().push((rank, facts));
    }
    let per_host = |line: &dyn Fn(&[RankedFacts<'_>]) -> String| -> Vec<String> {
        hosts.iter().map(|(host, ranks)| format!("{host}: {}", line(ranks))).collect()
    };
    vec![
        program(ranks),
        DoctorCheck::ok(
            "ranks",
            launch_summary(ranks).into_iter().chain(per_host(&|ranks| rank_list(ranks))).collect(),
        ),
        processors(&hosts, per_host(&|ranks| processors_of(ranks))),
        DoctorCheck::ok("memory", per_host(&|ranks| memory_of(ranks[0].1))),
        gpus(device, per_host(&|ranks| gpus_of(ranks[0].1))),
        nccl(device, per_host(&|ranks| ranks[0].1.nccl.clone().unwrap_or_else(|why| why))),
        folders(ranks),
    ]
}

fn program(ranks: &[RankFacts]) -> DoctorCheck {
    let version = |facts: &RankFacts| format!("regun {}, libtorch {}", facts.regun, facts.libtorch);
    let mut found: Vec<String> = ranks.iter().map(version).collect();
    found.dedup();
    DoctorCheck::ok("program", found)
}

fn launch_summary(ranks: &[RankFacts]) -> Vec<String> {
    match &ranks[0].mpi {
        Some(mpi) => vec![format!("{} over {} ({mpi})", ranks.len(), ranks[0].transport)],
        None => vec!["1, started without a launcher".into()],
    }
}

fn rank_list(ranks: &[RankedFacts<'_>]) -> String {
    let numbers: Vec<String> = ranks.iter().map(|(rank, _)| rank.to_string()).collect();
    format!("rank {}", numbers.join(", "))
}

fn processors(hosts: &RanksByHost<'_>, found: Vec<String>) -> DoctorCheck {
    let check = DoctorCheck::ok("processors", found);
    let oversubscribed = |ranks: &Vec<RankedFacts<'_>>| {
        let unbound = ranks.iter().filter(|(_, facts)| facts.cores == facts.machine_cores);
        let shared: usize = unbound.map(|(_, facts)| facts.threads).sum();
        shared > ranks[0].1.machine_cores || ranks.iter().any(|(_, facts)| facts.threads > facts.cores)
    };
    if hosts.values().any(oversubscribed) {
        return check.with_problem(
            CheckStatus::Warning,
            "more threads than processors: they wait for each other; start fewer ranks or set trainer.threads lower",
        );
    }
    check
}

fn processors_of(ranks: &[RankedFacts<'_>]) -> String {
    let (cores, threads) = (ranks[0].1.cores, ranks[0].1.threads);
    format!("{cores} for {} rank(s) of {threads} thread(s)", ranks.len())
}

fn memory_of(facts: &RankFacts) -> String {
    let text = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| format!("{:.1}", gib(bytes)));
    format!("{} GiB, {} GiB available", text(facts.memory), text(facts.memory_available))
}

fn gpus_of(facts: &RankFacts) -> String {
    let gpu = |gpu: &Gpu| format!("{} ({:.0} GiB, {})", gpu.name, gib(gpu.memory_bytes), gpu.bus_id);
    match &facts.gpus {
        Ok(gpus) if gpus.is_empty() => "none".into(),
        Ok(gpus) => gpus.iter().map(gpu).collect::<Vec<_>>().join(", "),
        Err(why) => format!("none: {why}"),
    }
}

fn gpus(device: &Result<Device>, mut found: Vec<String>) -> DoctorCheck {
    let (status, hint) = match device {
        Ok(Device::Cuda(_)) => {
            found.push("a run computes on them".into());
            return DoctorCheck::ok("GPUs", found);
        }
        Ok(_) => {
            found.push("a run computes on processors".into());
            return DoctorCheck::ok("GPUs", found);
        }
        Err(error) => {
            (CheckStatus::Broken, error.hint_text().unwrap_or("check the allocation and the driver").to_owned())
        }
    };
    found.extend(device.as_ref().err().map(|error| error.message().to_owned()));
    DoctorCheck::ok("GPUs", found).with_problem(status, hint)
}

/// Problems with NCCL are reported under `GPUs`, if a run needs it.
fn nccl(device: &Result<Device>, found: Vec<String>) -> DoctorCheck {
    let needed = matches!(device, Ok(Device::Cuda(_)));
    DoctorCheck::ok("NCCL", if needed { found } else { found.into_iter().map(|line| line + " (not needed)").collect() })
}

fn folders(ranks: &[RankFacts]) -> DoctorCheck {
    let mut found: Vec<String> = ranks[0].folders.iter().map(|(folder, _)| format!("{folder}: writable")).collect();
    let mut broken = false;
    for facts in ranks {
        for (line, (_, problem)) in found.iter_mut().zip(&facts.folders) {
            if let Some(problem) = problem {
                *line = format!("{}: {problem}", facts.host);
                broken = true;
            }
        }
    }
    let check = DoctorCheck::ok("folders", found);
    match broken {
        true => check.with_problem(
            CheckStatus::Broken,
            "choose others: paths.cache_dir, paths.outputs_dir (CACHE_DIR, OUTPUTS_DIR)",
        ),
        false => check,
    }
}

/// The report as text. Ends with a newline.
pub fn table(checks: &[DoctorCheck]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let status = match check.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "warning",
            CheckStatus::Broken => "BROKEN",
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
