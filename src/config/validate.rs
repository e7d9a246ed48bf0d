//! Values that have the right type and are still impossible, and keys that are read by nobody.

use super::node::join;
use super::schema::{Config, OptimConfig, OptimName, SchedulerConfig, SchedulerName, Scheme};
use super::{Node, Value};
use crate::error::{Error, Result};

/// "`key` is ..., wanted ...", with the place where the value was written. `path` is the key of `node`.
pub(super) fn rejection(path: &str, node: &Node, key: &str, wanted: &str) -> Error {
    let full = if key.is_empty() { path.to_owned() } else { join(path, key) };
    let found = if key.is_empty() { Some(node) } else { node.get(key) };
    match found {
        Some(found) => {
            Error::usage(format!("{}: `{full}` is {}: wanted {wanted}", found.origin, described(&found.value)))
        }
        None => Error::usage(format!("{}: `{full}` is missing: wanted {wanted}", node.origin))
            .hint(format!("add `++{full}=...`")),
    }
}

/// Short lists are shown whole.
fn described(value: &Value) -> String {
    match value {
        Value::List(items) if items.len() <= 8 => value.python_str(),
        value => value.described(),
    }
}

/// A key of a section whose value is impossible, and what it should be.
pub type Fault = (&'static str, &'static str);

impl OptimConfig {
    /// The first impossible value.
    pub fn fault(&self) -> Option<Fault> {
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
    /// The first impossible value.
    pub fn fault(&self) -> Option<Fault> {
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

/// Checks of one configuration; the first failure wins.
struct Check<'a> {
    tree: &'a Node,
}

impl Check<'_> {
    fn that(&self, holds: bool, key: &str, wanted: &str) -> Result<()> {
        if holds { Ok(()) } else { Err(rejection("", self.tree, key, wanted)) }
    }

    fn fraction(&self, value: f64, key: &str) -> Result<()> {
        self.that((0.0..=1.0).contains(&value), key, "a number from 0 to 1")
    }

    fn at_least(&self, value: impl TryInto<i64>, least: i64, key: &str) -> Result<()> {
        // Only a number too large for i64 fails to convert.
        let holds = value.try_into().map_or(true, |value| value >= least);
        self.that(holds, key, &format!("an integer, at least {least}"))
    }

    /// Of a section `path`: the key that [`OptimConfig::fault`] or [`SchedulerConfig::fault`] names.
    fn section(&self, fault: Option<Fault>, path: &str) -> Result<()> {
        fault.map_or(Ok(()), |(key, wanted)| Err(rejection("", self.tree, &join(path, key), wanted)))
    }

    fn data(&self, config: &Config) -> Result<()> {
        let data = &config.data;
        self.at_least(data.batch_size, 1, "data.batch_size")?;
        self.at_least(data.eval_batch_size, 1, "data.eval_batch_size")?;
        self.at_least(data.num_classes, 2, "data.num_classes")?;
        self.at_least(data.debug_subset_size.unwrap_or(1), 1, "data.debug_subset_size")?;
        self.at_least(data.image_size.unwrap_or(1), 1, "data.image_size")?;
        let transforms = &data.transforms;
        for (section, normalize) in [
            ("data.transforms.normalize", &transforms.normalize),
            ("data.transforms.imagenet_resize.normalize", &transforms.imagenet_resize.normalize),
        ] {
            self.that(normalize.mean.len() == 3, &join(section, "mean"), "three numbers")?;
            let positive = normalize.std.len() == 3 && normalize.std.iter().all(|std| *std > 0.0);
            self.that(positive, &join(section, "std"), "three numbers above 0")?;
        }
        let crop = &transforms.random_crop;
        self.at_least(crop.size, 1, "data.transforms.random_crop.size")?;
        self.at_least(crop.padding, 0, "data.transforms.random_crop.padding")?;
        self.fraction(transforms.horizontal_flip.p, "data.transforms.horizontal_flip.p")?;
        let resize = &transforms.imagenet_resize;
        self.at_least(resize.train_size, 1, "data.transforms.imagenet_resize.train_size")?;
        self.at_least(resize.eval_crop, 1, "data.transforms.imagenet_resize.eval_crop")?;
        self.at_least(resize.eval_resize, resize.eval_crop, "data.transforms.imagenet_resize.eval_resize")?;
        if let Some(jitter) = &transforms.color_jitter {
            let path = "data.transforms.color_jitter";
            for (key, value) in
                [("brightness", jitter.brightness), ("contrast", jitter.contrast), ("saturation", jitter.saturation)]
            {
                self.that(value >= 0.0 && value.is_finite(), &join(path, key), "a number, at least 0")?;
            }
            self.that((0.0..=0.5).contains(&jitter.hue), &join(path, "hue"), "a number from 0 to 0.5")?;
        }
        if let Some(augment) = &transforms.randaugment {
            let path = "data.transforms.randaugment";
            self.at_least(augment.num_ops, 0, &join(path, "num_ops"))?;
            self.at_least(augment.num_magnitude_bins, 2, &join(path, "num_magnitude_bins"))?;
            let inside = (0..augment.num_magnitude_bins).contains(&augment.magnitude);
            self.that(inside, &join(path, "magnitude"), "an integer from 0 to below num_magnitude_bins")?;
        }
        if let Some(erasing) = &transforms.random_erasing {
            let path = "data.transforms.random_erasing";
            self.fraction(erasing.p, &join(path, "p"))?;
            let is_range =
                |range: &[f64]| matches!(range, [low, high] if 0.0 < *low && low <= high && high.is_finite());
            self.that(
                is_range(&erasing.scale) && erasing.scale[1] <= 1.0,
                &join(path, "scale"),
                "two rising numbers in (0, 1]",
            )?;
            self.that(is_range(&erasing.ratio), &join(path, "ratio"), "two rising numbers above 0")?;
            let is_fill = match &erasing.value.node().value {
                Value::Str(text) => text == "random",
                Value::Float(value) => value.is_finite(),
                value => matches!(value, Value::Int(_)),
            };
            self.that(is_fill, &join(path, "value"), "a number or `random`")?;
        }
        Ok(())
    }

    fn split(&self, config: &Config) -> Result<()> {
        let split = &config.split;
        self.fraction(split.heldout_frac, "split.heldout_frac")?;
        self.fraction(split.validation_frac, "split.validation_frac")?;
        self.fraction(split.retain_frac, "split.retain_frac")?;
        self.fraction(split.forget_frac, "split.forget_frac")?;
        if split.scheme == Scheme::Class {
            let classes = &split.forget_classes;
            let inside =
                !classes.is_empty() && classes.iter().all(|class| (0..config.data.num_classes).contains(class));
            let last = config.data.num_classes - 1;
            self.that(inside, "split.forget_classes", &format!("a list of classes from 0 to {last}"))?;
            let mut sorted = classes.clone();
            sorted.sort_unstable();
            let distinct = sorted.windows(2).all(|pair| pair[0] != pair[1]);
            self.that(distinct, "split.forget_classes", "each class once")?;
        }
        Ok(())
    }

    fn trainer(&self, config: &Config) -> Result<()> {
        let trainer = &config.trainer;
        self.at_least(trainer.max_epochs, 1, "trainer.max_epochs")?;
        self.at_least(trainer.accumulate_grad_batches, 1, "trainer.accumulate_grad_batches")?;
        if let Some(norm) = trainer.gradient_clip_val {
            self.that(norm > 0.0 && norm.is_finite(), "trainer.gradient_clip_val", "a number above 0, or null")?;
        }
        self.at_least(trainer.threads.unwrap_or(1), 1, "trainer.threads")?;
        let limit = config.launch.timeout_seconds;
        self.that(limit > 0.0 && limit <= 1e9, "launch.timeout_seconds", "a number of seconds above 0, at most 1e9")?;
        for (key, size) in
            [("bucket_mib", config.launch.bucket_mib), ("first_bucket_mib", config.launch.first_bucket_mib)]
        {
            self.that(size > 0.0 && size <= 1e6, &join("launch", key), "a number above 0, at most 1e6")?;
        }
        let is_device = |value: &Value| matches!(value, Value::Int(index) if *index >= 0);
        let devices = match &trainer.devices.node().value {
            Value::Int(count) => *count >= 1 || *count == -1,
            Value::Str(text) => text == "auto" || text.parse::<i64>().is_ok_and(|count| count >= 1 || count == -1),
            Value::List(items) => !items.is_empty() && items.iter().all(|item| is_device(&item.value)),
            _ => false,
        };
        self.that(devices, "trainer.devices", "`auto`, -1, a number of GPUs, or a list of their indices")
    }
}

/// # Errors
/// A value out of its range, or a key that another value makes necessary.
pub(super) fn validate(config: &Config, tree: &Node, warnings: &mut Vec<String>) -> Result<()> {
    let check = Check { tree };
    check.data(config)?;
    let model = &config.model.model;
    check.at_least(model.num_classes, 2, "model.model.num_classes")?;
    let smoothing = model.label_smoothing.unwrap_or(0.0);
    check.that((0.0..1.0).contains(&smoothing), "model.model.label_smoothing", "a number from 0 to below 1")?;
    check.at_least(model.image_size.unwrap_or(1), 1, "model.model.image_size")?;
    check.that(config.model.optim.name != OptimName::None, "model.optim.name", "sgd or adamw")?;
    check.section(config.model.optim.fault(), "model.optim")?;
    check.section(config.model.scheduler.fault(), "model.scheduler")?;
    check.trainer(config)?;
    check.split(config)?;
    check.at_least(config.mul_eval.mia_num_models, 1, "mul_eval.mia_num_models")?;
    if let Some(unlearn) = &config.unlearn {
        check.section(unlearn.optim.fault(), "unlearn.optim")?;
        check.section(unlearn.scheduler.as_ref().and_then(SchedulerConfig::fault), "unlearn.scheduler")?;
        if unlearn.optim.name != OptimName::None {
            check.at_least(unlearn.max_epochs, 1, "unlearn.trainer.max_epochs")?;
        }
    }
    note_idle_keys(config, tree, warnings);
    Ok(())
}

/// Keys of the Python program that change nothing here: said in one line.
fn note_idle_keys(config: &Config, tree: &Node, warnings: &mut Vec<String>) {
    let loader = ["num_workers", "pin_memory", "persistent_workers", "prefetch_factor"].map(|key| join("data", key));
    // Only what the user wrote: the built-in files keep these keys for those who look for them.
    let idle: Vec<String> =
        loader.into_iter().filter(|key| tree.get(key).is_some_and(|n| !n.origin.is_builtin())).collect();
    if !idle.is_empty() {
        warnings.push(format!("without effect here (no loader processes exist): {}", idle.join(", ")));
    }
    if config.logging.enable {
        warnings
            .push("logging.enable=true has no effect: no tracker is built in; metrics.jsonl has the numbers".into());
    }
    if config.trainer.enable_checkpointing {
        warnings.push("trainer.enable_checkpointing=true has no effect: the final model is saved in any case".into());
    }
}
