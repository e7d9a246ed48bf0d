//! The learning rate of an epoch. It is a pure function of (schedule, base rate, epoch), so schedules have no state.

use std::f64::consts::PI;

use crate::config::schema::{SchedulerConfig, SchedulerName};
use crate::error::{Error, Result};

/// PyTorch's default.
const DEFAULT_GAMMA: f64 = 0.1;

/// The learning rate of `epoch`, counted from 0. Schedules continue after their nominal end: a cosine rises again.
///
/// # Errors
/// `Usage` if a setting that the schedule needs is not set or out of range.
pub fn lr(schedule: &SchedulerConfig, base_lr: f64, epoch: i64) -> Result<f64> {
    let gamma = schedule.gamma.unwrap_or(DEFAULT_GAMMA);
    match schedule.name {
        SchedulerName::None => Ok(base_lr),
        SchedulerName::Step => {
            let step_size = positive("step_size", schedule.step_size)?;
            Ok(base_lr * gamma.powf((epoch / step_size) as f64))
        }
        SchedulerName::Multistep => {
            let milestones = schedule.milestones.as_ref().ok_or_else(|| absent("milestones"))?;
            let passed = milestones.iter().filter(|&&milestone| milestone <= epoch).count();
            Ok(base_lr * gamma.powf(passed as f64))
        }
        SchedulerName::Cosine => {
            let t_max = positive("t_max", schedule.t_max)?;
            match schedule.warmup_epochs.unwrap_or(0) {
                ..=0 => Ok(base_lr * 0.5 * (1.0 + (PI * epoch as f64 / t_max as f64).cos())),
                warmup => Ok(warm_cosine(schedule.warmup_start_lr.unwrap_or(0.0), base_lr, warmup, t_max, epoch)),
            }
        }
    }
}

/// Rises linearly from `start` to the base rate over `warmup` epochs, then falls like half a cosine over the rest of
/// `t_max`. The last epoch of the warm-up has the base rate, and so has the epoch after it. The cosine is evaluated in
/// float32, as in the Python program.
fn warm_cosine(start: f64, base_lr: f64, warmup: i64, t_max: i64, epoch: i64) -> f64 {
    if epoch < warmup {
        let progress = (epoch + 1) as f64 / warmup as f64;
        return if warmup == 1 { base_lr } else { start + progress * (base_lr - start) };
    }
    let progress = (epoch - warmup) as f64 / (t_max - warmup).max(1) as f64;
    base_lr * f64::from(0.5 * (1.0 + ((PI * progress) as f32).cos()))
}

fn positive(key: &str, value: Option<i64>) -> Result<i64> {
    match value {
        Some(value) if value > 0 => Ok(value),
        Some(value) => Err(Error::usage(format!("`scheduler.{key}`: got {value}, wanted at least 1"))),
        None => Err(absent(key)),
    }
}

fn absent(key: &str) -> Error {
    Error::usage(format!("`scheduler.{key}`: this schedule needs a value, but none is set"))
}
