//! Identity and provenance of models, as checkpoints store them. The identity tells models apart; the provenance holds
//! the settings of the training.

use crate::checkpoint::Facts;
use crate::config::Loaded;
use crate::config::schema::{BatchLimit, Config, ModelConfig, Scheme};
use crate::data::Dataset;
use crate::data::split::{SplitIndices, digest};
use crate::digest::sha256;

/// The fact of an identity that tells the content of the data.
pub const CONTENT: &str = "data content (sha256)";

/// Identity of data and split: name, subset and content of the data set, settings and indices of the split.
pub fn of_data(config: &Config, dataset: &Dataset, parts: &SplitIndices) -> Facts {
    let subset = config.data.debug_subset_size.map_or("all".into(), |n| format!("first {n}"));
    let indices = [&parts.retain, &parts.forget, &parts.heldout, &parts.val].map(|part| digest(part)).concat();
    let classes = format!("{:?}", config.split.forget_classes);
    Facts::default()
        .with("data", &dataset.name)
        .with("data subset", subset)
        .with(CONTENT, &dataset.fingerprints.all)
        .with("split scheme", config.split.scheme.name())
        .with("split seed", config.split.seed)
        .with("split forget_frac", config.split.forget_frac)
        .with(
            "split forget_classes",
            if config.split.scheme == Scheme::Class { classes.as_str() } else { "of any class" },
        )
        .with("split indices (sha256)", sha256(indices))
}

/// Identity that all models of a configuration have in common: that of its data, architecture and number of classes.
/// The weights of a checkpoint are used only if its identity is equal.
pub fn of_setup(data: &Facts, model: &ModelConfig) -> Facts {
    data.clone()
        .with("model", &model.name)
        .with("model stem", model.stem.map_or("none".into(), |stem| format!("{stem:?}").to_lowercase()))
        .with("classes", model.num_classes)
}

/// Identity of one model: that of its configuration, with role and seed.
pub fn of_role(setup: &Facts, role: &str, seed: u64) -> Facts {
    setup.clone().with("role", role).with("seed", seed)
}

/// Settings that describe how a model was trained.
pub const PROVENANCE: &[&str] = &[
    "model.optim",
    "model.scheduler",
    "model.model.label_smoothing",
    "model.model.pretrained",
    "trainer.max_epochs",
    "trainer.precision",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.sync_batchnorm",
    "launch.compress_gradients",
    "data.batch_size",
    "data.batch_scope",
    "data.transforms",
];

/// Provenance of a model: the settings that it is trained with. A difference between two models is a warning.
pub fn provenance(loaded: &Loaded) -> Facts {
    let mut facts = Facts::default();
    for key in PROVENANCE {
        if let Some(value) = loaded.value(key) {
            facts = facts.with(key, value);
        }
    }
    // Only where they change the model, so that files of earlier versions compare as equal.
    let trainer = &loaded.config.trainer;
    for (key, limit, is_default) in [
        ("trainer.limit_train_batches", trainer.limit_train_batches, trainer.limit_train_batches == BatchLimit::ALL),
        ("trainer.overfit_batches", trainer.overfit_batches, trainer.overfit_batches.is_none()),
    ] {
        if !is_default {
            facts = facts.with(key, limit);
        }
    }
    facts
}
