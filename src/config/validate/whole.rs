//! Checks of the whole configuration.

use super::checker::ConfigChecker;
use super::data::check_data;
use super::idle_keys::warn_about_idle_keys;
use super::split::check_split;
use super::trainer::{check_launch, check_trainer};
use super::transforms::check_transforms;
use crate::config::schema::{Config, OptimName, SchedulerConfig};
use crate::error::Result;
use crate::hydra::Section;

/// Checks the whole configuration; `root` is the tree that it was read from. Pushes warnings about keys without effect.
///
/// # Errors
/// A value out of its range, or a key that another value makes necessary.
pub(in crate::config) fn validate(config: &Config, root: &Section, warnings: &mut Vec<String>) -> Result<()> {
    let check = ConfigChecker { root };
    check_data(&check, &config.data)?;
    check_transforms(&check, &config.data.transforms)?;
    let model = &config.model.model;
    check.at_least(model.num_classes, 2, "model.model.num_classes")?;
    let smoothing = model.label_smoothing.unwrap_or(0.0);
    check.that((0.0..1.0).contains(&smoothing), "model.model.label_smoothing", "a number from 0 to below 1")?;
    check.at_least(model.image_size.unwrap_or(1), 1, "model.model.image_size")?;
    check.that(config.model.optim.name != OptimName::None, "model.optim.name", "sgd or adamw")?;
    check.section(config.model.optim.fault(), "model.optim")?;
    if config.trainer.max_epochs > 0 {
        check.section(config.model.scheduler.fault(), "model.scheduler")?;
    }
    check_trainer(&check, &config.trainer)?;
    check_launch(&check, &config.launch)?;
    check_split(&check, &config.split, config.data.num_classes)?;
    check.at_least(config.mul_eval.mia_num_models, 1, "mul_eval.mia_num_models")?;
    if let Some(unlearn) = &config.unlearn {
        check.section(unlearn.optim.fault(), "unlearn.optim")?;
        if unlearn.max_epochs > 0 {
            check.section(unlearn.scheduler.as_ref().and_then(SchedulerConfig::fault), "unlearn.scheduler")?;
        }
    }
    warn_about_idle_keys(config, root, warnings);
    Ok(())
}
