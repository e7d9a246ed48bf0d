//! Check and timing of the all-reduce over all ranks.

use std::fmt::Write;
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::checks::{CheckStatus, DoctorCheck};
use crate::distributed::World;
use crate::error::Result;

/// Bytes of each message and its number of repetitions: from one number to the gradients of a large network.
const MESSAGES: [(usize, usize); 6] =
    [(8, 50), (1 << 10, 50), (64 << 10, 30), (1 << 20, 20), (16 << 20, 5), (64 << 20, 3)];

/// Time of one message size.
#[derive(Debug, Clone, Serialize)]
pub struct AllReduceTiming {
    pub bytes: usize,
    /// Median over the repetitions.
    pub seconds: f64,
    /// Message size over time, in 10^9 bytes per second.
    pub gb_per_second: f64,
}

/// Findings, equal on all ranks but for the times.
#[derive(Debug)]
pub struct AllReduceFindings {
    /// Dtypes with a wrong sum.
    pub wrong: Vec<String>,
    pub timings: Vec<AllReduceTiming>,
}

/// Checks and times the all-reduce of tensors on `device`. A collective call. A single rank moves no data, so it has no
/// timings.
pub fn measure(world: &World, device: Device) -> Result<AllReduceFindings> {
    let mut wrong = Vec::new();
    for kind in [Kind::Float, Kind::Double, Kind::Int64] {
        if !is_sum_right(world, kind, device)? {
            wrong.push(format!("{kind:?}"));
        }
    }
    let timings = if world.size() == 1 { Vec::new() } else { timings(world, device)? };
    Ok(AllReduceFindings { wrong, timings })
}

/// Whether all ranks get the right sum of small whole numbers. Sums of these are exact in every dtype.
fn is_sum_right(world: &World, kind: Kind, device: Device) -> Result<bool> {
    let numbers = Tensor::f_arange(1000, (kind, device))?.f_remainder(7)?;
    let mut sum = numbers.f_mul_scalar(world.rank() as i64 + 1)?;
    world.all_reduce(&mut sum)?;
    let factor = world.size() * (world.size() + 1) / 2;
    let right = sum.f_equal(&numbers.f_mul_scalar(factor as i64)?)?;
    let mut wrong_ranks = Tensor::from_slice(&[i64::from(!right)]);
    world.all_reduce(&mut wrong_ranks)?;
    Ok(wrong_ranks.f_int64_value(&[0])? == 0)
}

/// Times the all-reduce of float32 tensors of all sizes. A collective call.
fn timings(world: &World, device: Device) -> Result<Vec<AllReduceTiming>> {
    let mut timings = Vec::new();
    for (bytes, times) in MESSAGES {
        let mut message = Tensor::f_zeros([(bytes / size_of::<f32>()) as i64], (Kind::Float, device))?;
        world.all_reduce(&mut message)?; // the first call sets up connections
        let mut seconds = Vec::with_capacity(times);
        for _ in 0..times {
            world.barrier()?;
            let clock = Instant::now();
            world.all_reduce(&mut message)?;
            let _finished = message.f_double_value(&[0])?; // on a GPU the all-reduce is only queued
            seconds.push(clock.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let seconds = seconds[times / 2];
        timings.push(AllReduceTiming { bytes, seconds, gb_per_second: bytes as f64 / seconds / 1e9 });
    }
    Ok(timings)
}

/// The check of the sums.
pub fn check(world: &World, found: &AllReduceFindings) -> DoctorCheck {
    const NAME: &str = "all-reduce";
    if !found.wrong.is_empty() {
        let line = format!("wrong sums of {} over {}", found.wrong.join(", "), world.backend());
        return DoctorCheck::ok(NAME, vec![line])
            .with_problem(CheckStatus::Broken, "try another MPI (module avail), and tell your cluster's support");
    }
    let over = match world.size() {
        1 => "one rank: no all-reduce is needed".to_owned(),
        n => format!("sums over {n} ranks are right"),
    };
    DoctorCheck::ok(NAME, vec![over])
}

/// The timings as text; empty for one rank.
pub fn table(world: &World, found: &AllReduceFindings) -> String {
    if found.timings.is_empty() {
        return String::new();
    }
    let mut text =
        format!("\nall-reduce of float32 over {}, median\n       bytes      time    GB/s\n", world.backend());
    for AllReduceTiming { bytes, seconds, gb_per_second } in &found.timings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{bytes:>12}  {:>8}  {gb_per_second:>6.2}", time(*seconds));
    }
    text
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
