//! The method that a configuration trains, for tests that run the training loop themselves.

use regun::config::Config;
use regun::config::schema::SchedulerConfig;
use regun::data::Part;
use regun::train::supervised::Supervised;
use regun::train::{Method, Phase};
use regun::unlearn;

/// The unlearning method of the configuration. Without one, the training of the base model under `scheduler`.
pub fn method(config: &Config, scheduler: Option<SchedulerConfig>) -> Box<dyn Method> {
    match &config.unlearn {
        Some(chosen) => unlearn::build(chosen).unwrap(),
        None => Box::new(Supervised {
            part: Part::Train,
            label_smoothing: 0.0,
            phase: Phase {
                name: "train",
                epochs: config.trainer.max_epochs,
                optim: config.model.optim.clone(),
                scheduler,
                named_parameters: false,
            },
        }),
    }
}
