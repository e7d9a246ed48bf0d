//! Judgements on what the ranks found out.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::facts::Facts;
use crate::config::schema::{Accelerator, Config};

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

/// In the order of a reader's questions. `ranks` in rank order, at least one.
pub fn of_ranks(ranks: &[Facts], config: &Config) -> Vec<Check> {
    let mut hosts: BTreeMap<&str, Vec<(usize, &Facts)>> = BTreeMap::new();
    for (rank, facts) in ranks.iter().enumerate() {
        hosts.entry(&facts.host).or_default().push((rank, facts));
    }
    let per_host = |line: &dyn Fn(&[(usize, &Facts)]) -> String| -> Vec<String> {
        hosts.iter().map(|(host, ranks)| format!("{host}: {}", line(ranks))).collect()
    };
    vec![
        program(ranks),
        Check::ok("ranks", launched(ranks).into_iter().chain(per_host(&|ranks| rank_list(ranks))).collect()),
        processors(&hosts, per_host(&|ranks| processors_of(ranks))),
        Check::ok("memory", per_host(&|ranks| memory_of(ranks[0].1))),
        gpus(ranks, config, per_host(&|ranks| format!("{} visible", ranks[0].1.gpus))),
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

fn rank_list(ranks: &[(usize, &Facts)]) -> String {
    let numbers: Vec<String> = ranks.iter().map(|(rank, _)| rank.to_string()).collect();
    format!("rank {}", numbers.join(", "))
}

fn processors(hosts: &BTreeMap<&str, Vec<(usize, &Facts)>>, found: Vec<String>) -> Check {
    let check = Check::ok("processors", found);
    let crowded = |ranks: &Vec<(usize, &Facts)>| {
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

fn processors_of(ranks: &[(usize, &Facts)]) -> String {
    let (cores, threads) = (ranks[0].1.cores, ranks[0].1.threads);
    format!("{cores} for {} rank(s) of {threads} thread(s)", ranks.len())
}

fn memory_of(facts: &Facts) -> String {
    let gib =
        |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| format!("{:.1}", bytes as f64 / (1u64 << 30) as f64));
    format!("{} GiB, {} GiB available", gib(facts.memory), gib(facts.memory_available))
}

fn gpus(ranks: &[Facts], config: &Config, found: Vec<String>) -> Check {
    let check = Check::ok("GPUs", found);
    let wanted = config.trainer.accelerator == Accelerator::Gpu;
    if wanted && ranks.iter().any(|facts| facts.gpus == 0) {
        return check.but(
            Status::Broken,
            "trainer.accelerator=gpu needs a GPU for every rank: check the allocation (nvidia-smi), the driver and \
             CUDA_VISIBLE_DEVICES",
        );
    }
    check
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
