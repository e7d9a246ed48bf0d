//! Checks of optimizers and schedules. Methods use them for phases of their own.

use crate::config::schema::{OptimConfig, OptimName, SchedulerConfig, SchedulerName};

/// A key of a section and its wanted value.
pub type ImpossibleValue = (&'static str, &'static str);

impl OptimConfig {
    /// The first key with an impossible value.
    pub fn fault(&self) -> Option<ImpossibleValue> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.name != OptimName::None && !self.lr.is_some_and(positive) {
            return Some(("lr", "a number above 0"));
        }
        if self.weight_decay.is_some_and(|decay| !(decay >= 0.0 && decay.is_finite())) {
            return Some(("weight_decay", "a number, at least 0"));
        }
        let momentum = self.momentum.unwrap_or(0.0);
        if !(0.0..1.0).contains(&momentum) {
            return Some(("momentum", "a number from 0 to below 1"));
        }
        if self.name == OptimName::Sgd && self.nesterov == Some(true) && momentum == 0.0 {
            return Some(("momentum", "a number above 0 with nesterov=true"));
        }
        let outside = |beta: &f64| !(0.0..1.0).contains(beta);
        self.betas.is_some_and(|betas| betas.iter().any(outside)).then_some(("betas", "two numbers from 0 to below 1"))
    }
}

impl SchedulerConfig {
    /// The first key with an impossible value.
    pub fn fault(&self) -> Option<ImpossibleValue> {
        let start = self.warmup_start_lr.unwrap_or(0.0);
        let at_least_1 = |value: Option<i64>| value.is_some_and(|value| value >= 1);
        match self.name {
            SchedulerName::None => return None,
            SchedulerName::Step if !at_least_1(self.step_size) => {
                return Some(("step_size", "an integer, at least 1"));
            }
            SchedulerName::Multistep if !self.milestones.as_ref().is_some_and(|epochs| epochs.is_sorted()) => {
                return Some(("milestones", "epochs in rising order"));
            }
            SchedulerName::Cosine if !at_least_1(self.t_max) => return Some(("t_max", "an integer, at least 1")),
            SchedulerName::Cosine if self.warmup_epochs.unwrap_or(0) < 0 => {
                return Some(("warmup_epochs", "an integer, at least 0"));
            }
            SchedulerName::Cosine if !(start >= 0.0 && start.is_finite()) => {
                return Some(("warmup_start_lr", "a number, at least 0"));
            }
            _ => {}
        }
        let impossible = |gamma: f64| !(gamma > 0.0 && gamma.is_finite());
        self.gamma.is_some_and(impossible).then_some(("gamma", "a number above 0"))
    }
}
