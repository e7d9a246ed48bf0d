//! The table at the start of a run: turns the facts of the run into text.

use std::fmt::Write;
use std::path::PathBuf;

use indicatif::{HumanBytes, HumanCount};

use crate::config::schema::{OptimConfig, OptimName, SchedulerConfig, SchedulerName};
use crate::train::PhasePlan;

/// Facts about a run that the table shows.
#[derive(Debug, Clone)]
pub struct RunOverview {
    /// Role of the model in training, or the evaluated file.
    pub title: String,
    // --- model and data ---
    pub model: String,
    pub parameters: usize,
    /// Parameters that training changes; equal to `parameters` unless the backbone is frozen.
    pub trainable: usize,
    pub dataset: String,
    /// Channels, height and width of the stored images.
    pub image_shape: [usize; 3],
    /// Height and width of network input in training, or in evaluation if the run only evaluates.
    pub input_size: (i64, i64),
    /// Name and number of samples of each part.
    pub parts: Vec<(&'static str, usize)>,
    // --- machine ---
    pub ranks: usize,
    /// Name of the transport: `solo`, `mpi`, `nccl`.
    pub backend: &'static str,
    /// Host names and devices of all ranks without repeats, those of rank 0 first.
    pub hosts: Vec<String>,
    pub devices: Vec<String>,
    /// CPU threads of one rank.
    pub threads: usize,
    pub precision: String,
    // --- training or evaluation ---
    /// `None` if the run only evaluates.
    pub training: Option<TrainingOverview>,
    /// Samples of one evaluation batch. One rank computes the whole batch.
    pub eval_batch_size: usize,
    // --- memory of one rank, in bytes ---
    pub weight_bytes: u64,
    /// Images of the training and the test set.
    pub image_bytes: u64,
    /// Name of the memory that holds the images.
    pub images_in: &'static str,
    /// Free memory of rank 0 and its machine.
    pub free_host_bytes: Option<u64>,
    pub free_device_bytes: Option<u64>,
    // --- seeds and folders ---
    pub seed: u64,
    pub split_seed: u64,
    pub outputs: PathBuf,
    pub cache: PathBuf,
    /// `None` for data inside the program.
    pub data_dir: Option<PathBuf>,
}

/// Facts about a training.
#[derive(Debug, Clone)]
pub struct TrainingOverview {
    /// Samples of one micro-step over all ranks.
    pub batch_size: usize,
    /// Micro-steps per optimizer step.
    pub accumulate: usize,
    /// Empty for a method that edits the weights without training.
    pub phases: Vec<PhaseOverview>,
    /// The reason why steps are not captured as CUDA graphs; `None` if they are.
    pub graph_obstacle: Option<String>,
    /// Bytes of gradients and of the optimizer's state on one rank.
    pub gradient_bytes: u64,
    pub optimizer_bytes: u64,
}

/// Length and optimizer of one phase.
#[derive(Debug, Clone)]
pub struct PhaseOverview {
    pub plan: PhasePlan,
    pub optim: OptimConfig,
    pub scheduler: Option<SchedulerConfig>,
}

impl RunOverview {
    /// The whole table: one fact or group of facts per line, ASCII, without a newline at the end.
    pub fn table(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (label, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{label:width$}  {value}");
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The facts in which this run differs from others of the same process, in one line.
    pub fn line(&self) -> String {
        let phases = self.training.iter().flat_map(|training| &training.phases);
        let mut phases: Vec<String> =
            phases.map(|phase| format!("{}, {}", steps(&phase.plan), optimizer_and_lr(phase))).collect();
        if phases.is_empty() {
            phases.push("no training steps".into());
        }
        format!("{}: {}; outputs in {}", self.title, phases.join("; "), self.outputs.display())
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("run", self.title.clone()),
            ("model", self.model_text()),
            ("data", self.data_text()),
            ("split", self.split_text()),
            ("ranks", self.ranks_text()),
        ];
        match &self.training {
            Some(training) => rows.extend(training.rows(self.ranks)),
            None => rows.push(("batch", format!("{} samples on one rank (evaluation)", self.eval_batch_size))),
        }
        rows.extend([
            ("precision", self.precision.clone()),
            ("memory", self.memory_text()),
            ("free", self.free_text()),
            ("seeds", format!("{}, split {}", self.seed, self.split_seed)),
            ("outputs", self.outputs.display().to_string()),
            ("cache", self.cache.display().to_string()),
            ("data from", self.data_dir.as_ref().map_or("the program".into(), |folder| folder.display().to_string())),
        ]);
        rows
    }

    fn model_text(&self) -> String {
        let frozen = match self.trainable == self.parameters {
            true => String::new(),
            false => format!(", {} of them trainable", HumanCount(self.trainable as u64)),
        };
        format!("{}, {} parameters{frozen}", self.model, HumanCount(self.parameters as u64))
    }

    fn data_text(&self) -> String {
        let ([channels, height, width], (input_height, input_width)) = (self.image_shape, self.input_size);
        format!("{}, images {channels}x{height}x{width}, network input {input_height}x{input_width}", self.dataset)
    }

    fn split_text(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(name, size)| format!("{name} {}", HumanCount(*size as u64))).collect();
        parts.join(", ")
    }

    fn ranks_text(&self) -> String {
        format!(
            "{} ({}) on {}; {}, {} thread(s) each",
            self.ranks,
            self.backend,
            self.hosts.join(", "),
            self.devices.join(", "),
            self.threads
        )
    }

    fn memory_text(&self) -> String {
        let scope = if self.ranks > 1 { "each rank: " } else { "" };
        let mut text = format!("{scope}weights {}", HumanBytes(self.weight_bytes));
        if let Some(training) = &self.training {
            let (gradients, optimizer) = (HumanBytes(training.gradient_bytes), HumanBytes(training.optimizer_bytes));
            text += &format!(", gradients {gradients}, optimizer {optimizer}");
        }
        text + &format!("; images {} in {}", HumanBytes(self.image_bytes), self.images_in)
    }

    fn free_text(&self) -> String {
        let amount = |bytes: Option<u64>, memory: &str| bytes.map(|bytes| format!("{} of {memory}", HumanBytes(bytes)));
        let device = amount(self.free_device_bytes, "GPU memory");
        let host = amount(self.free_host_bytes, "host memory").unwrap_or_else(|| "host memory not known".into());
        let machine = self.hosts.first().filter(|_| self.ranks > 1).map(|host| format!(" (rank 0 on {host})"));
        device.into_iter().chain([host]).collect::<Vec<_>>().join(", ") + &machine.unwrap_or_default()
    }
}

impl TrainingOverview {
    fn rows(&self, ranks: usize) -> Vec<(&'static str, String)> {
        let mut rows = vec![("batch", self.batch_text(ranks))];
        for phase in &self.phases {
            rows.push(("phase", format!("{}: {}", phase.plan.name, steps(&phase.plan))));
            rows.push(("optimizer", format!("{}; {}", optimizer(&phase.optim), schedule(phase.scheduler.as_ref()))));
        }
        if self.phases.is_empty() {
            rows.push(("phase", "none: the method edits the weights without training steps".into()));
        }
        rows.push((
            "graphs",
            match &self.graph_obstacle {
                Some(obstacle) => format!("off: {obstacle}"),
                None => "on".into(),
            },
        ));
        rows
    }

    /// The batch of a micro-step over all ranks, its largest shard, and the batch of an optimizer step.
    fn batch_text(&self, ranks: usize) -> String {
        let mut text = format!("{} samples", self.batch_size);
        if ranks > 1 {
            let at_most = if self.batch_size.is_multiple_of(ranks) { "" } else { "at most " };
            text += &format!(", {at_most}{} per rank", self.batch_size.div_ceil(ranks));
        }
        if self.accumulate > 1 {
            let step = self.batch_size * self.accumulate;
            text += &format!("; {} accumulated: {step} per optimizer step", self.accumulate);
        }
        text
    }
}

fn steps(plan: &PhasePlan) -> String {
    match plan.epochs * plan.steps_per_epoch == plan.steps {
        true => format!("{} epoch(s) x {} step(s) = {} step(s)", plan.epochs, plan.steps_per_epoch, plan.steps),
        false => {
            format!("{} epoch(s), {} step(s) in the first, {} in all", plan.epochs, plan.steps_per_epoch, plan.steps)
        }
    }
}

fn optimizer_and_lr(phase: &PhaseOverview) -> String {
    let lr = phase.optim.lr.map_or(String::new(), |lr| format!(" lr {lr}"));
    format!("{}{lr}", optimizer_name(&phase.optim))
}

fn optimizer_name(optim: &OptimConfig) -> &'static str {
    match optim.name {
        OptimName::Sgd => "sgd",
        OptimName::Adamw => "adamw",
        OptimName::None => "none",
    }
}

fn optimizer(optim: &OptimConfig) -> String {
    let mut text = optimizer_name(optim).to_owned();
    let sgd = optim.name == OptimName::Sgd;
    let settings =
        [("lr", optim.lr), ("momentum", optim.momentum.filter(|_| sgd)), ("weight decay", optim.weight_decay)];
    for (name, value) in settings {
        if let Some(value) = value {
            text += &format!(", {name} {value}");
        }
    }
    if let Some([first, second]) = optim.betas.filter(|_| !sgd) {
        text += &format!(", betas {first} {second}");
    }
    if sgd && optim.nesterov == Some(true) {
        text += ", nesterov";
    }
    text
}

fn schedule(scheduler: Option<&SchedulerConfig>) -> String {
    let Some(scheduler) = scheduler else { return "constant learning rate".into() };
    let gamma = scheduler.gamma.map_or(String::new(), |gamma| format!(", gamma {gamma}"));
    match scheduler.name {
        SchedulerName::None => "constant learning rate".into(),
        SchedulerName::Step => {
            format!("step schedule every {} epoch(s){gamma}", scheduler.step_size.unwrap_or_default())
        }
        SchedulerName::Multistep => {
            format!("multistep schedule at epochs {:?}{gamma}", scheduler.milestones.clone().unwrap_or_default())
        }
        SchedulerName::Cosine => {
            let warmup = scheduler.warmup_epochs.filter(|epochs| *epochs > 0);
            let warmup = warmup.map_or(String::new(), |epochs| format!(" with {epochs} epoch(s) of warm-up"));
            format!("cosine schedule over {} epoch(s){warmup}", scheduler.t_max.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overview() -> RunOverview {
        let optim = OptimConfig {
            name: OptimName::Sgd,
            lr: Some(0.1),
            weight_decay: Some(0.0005),
            momentum: Some(0.9),
            nesterov: None,
            betas: None,
            exclude_wd_norm_bias: None,
        };
        let scheduler = SchedulerConfig {
            name: SchedulerName::Cosine,
            step_size: None,
            gamma: None,
            milestones: None,
            t_max: Some(12),
            warmup_epochs: None,
            warmup_start_lr: None,
        };
        let plan = PhasePlan { name: "train", epochs: 12, steps_per_epoch: 18, steps: 216 };
        RunOverview {
            title: "base".into(),
            model: "resnet20".into(),
            parameters: 272_474,
            trainable: 272_474,
            dataset: "digits".into(),
            image_shape: [1, 8, 8],
            input_size: (8, 8),
            parts: vec![("retain", 1034), ("forget", 115), ("test", 360)],
            ranks: 2,
            backend: "mpi",
            hosts: vec!["node-1".into()],
            devices: vec!["cpu".into()],
            threads: 1,
            precision: "float32, deterministic".into(),
            training: Some(TrainingOverview {
                batch_size: 64,
                accumulate: 2,
                phases: vec![PhaseOverview { plan, optim, scheduler: Some(scheduler) }],
                graph_obstacle: Some("this run computes on the CPU".into()),
                gradient_bytes: 1 << 20,
                optimizer_bytes: 1 << 20,
            }),
            eval_batch_size: 500,
            weight_bytes: 1 << 20,
            image_bytes: 115_008,
            images_in: "host memory",
            free_host_bytes: Some(20 << 30),
            free_device_bytes: None,
            seed: 42,
            split_seed: 7,
            outputs: "outputs/base".into(),
            cache: "cache".into(),
            data_dir: None,
        }
    }

    #[test]
    fn the_table_of_a_training_shows_settings_and_derived_numbers() {
        let expected = "\
run        base
model      resnet20, 272,474 parameters
data       digits, images 1x8x8, network input 8x8
split      retain 1,034, forget 115, test 360
ranks      2 (mpi) on node-1; cpu, 1 thread(s) each
batch      64 samples, 32 per rank; 2 accumulated: 128 per optimizer step
phase      train: 12 epoch(s) x 18 step(s) = 216 step(s)
optimizer  sgd, lr 0.1, momentum 0.9, weight decay 0.0005; cosine schedule over 12 epoch(s)
graphs     off: this run computes on the CPU
precision  float32, deterministic
memory     each rank: weights 1.00 MiB, gradients 1.00 MiB, optimizer 1.00 MiB; images 112.31 KiB in host memory
free       20.00 GiB of host memory (rank 0 on node-1)
seeds      42, split 7
outputs    outputs/base
cache      cache
data from  the program";
        assert_eq!(overview().table(), expected);
        assert!(expected.is_ascii() && expected.lines().count() <= 20);
    }

    #[test]
    fn the_line_of_a_later_training_shows_the_differences() {
        let expected = "base: 12 epoch(s) x 18 step(s) = 216 step(s), sgd lr 0.1; outputs in outputs/base";
        assert_eq!(overview().line(), expected);
        let mut one_shot = overview();
        one_shot.training = one_shot.training.map(|training| TrainingOverview { phases: vec![], ..training });
        assert_eq!(one_shot.line(), "base: no training steps; outputs in outputs/base");
    }

    #[test]
    fn an_evaluation_has_no_training_rows() {
        let table = RunOverview { training: None, ..overview() }.table();
        for absent in ["phase", "optimizer", "graphs", "gradients"] {
            assert!(!table.contains(absent), "{table}");
        }
        assert!(table.contains("batch      500 samples on one rank (evaluation)"), "{table}");
    }

    #[test]
    fn epochs_of_different_lengths_are_not_multiplied() {
        let plan = PhasePlan { name: "unlearn", epochs: 3, steps_per_epoch: 5, steps: 9 };
        assert_eq!(steps(&plan), "3 epoch(s), 5 step(s) in the first, 9 in all");
    }
}
