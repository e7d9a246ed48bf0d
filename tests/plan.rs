//! A training takes the steps that its plan counts.

use regun::config::schema::BatchLimit;
use regun::config::{Request, load};
use regun::data::{DeviceDataset, LoadOptions, Part, load_dataset, split};
use regun::distributed::World;
use regun::error::{ErrorKind, Result};
use regun::models::{Model, build};
use regun::train::supervised::Supervised;
use regun::train::{Method, Observer, Phase, StepReport, TrainSettings, Trainer, plan};
use regun::unlearn;
use tch::{Device, Kind};

/// Batches of 16, and two micro-steps to an optimizer step. No part has a size that is a multiple of 32.
const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=150 data.batch_size=16 split.heldout_frac=0.2 \
    split.forget_frac=0.3 split.retain_frac=0.6 trainer.accumulate_grad_batches=2";

/// Every method, and ordinary training.
const VARIANTS: &[&str] = &[
    "",
    "unlearn=finetune unlearn.trainer.max_epochs=2",
    "unlearn=neggrad unlearn.trainer.max_epochs=2",
    "unlearn=neggradp unlearn.trainer.max_epochs=2",
    "unlearn=neggradp unlearn.sequential=true unlearn.neggrad.epochs=1 unlearn.finetune.epochs=2",
    "unlearn=l1sparse unlearn.trainer.max_epochs=1",
    "unlearn=scrub unlearn.trainer.max_epochs=3",
    "unlearn=salun unlearn.trainer.max_epochs=1",
    "unlearn=ssd",
    "unlearn=amun unlearn.trainer.max_epochs=1 unlearn.attack.steps=1 unlearn.attack.max_rounds=1",
    "unlearn=amun unlearn.use_weighted_loss=true unlearn.trainer.max_epochs=1 unlearn.attack.steps=1 \
     unlearn.attack.max_rounds=1",
    "unlearn=lur unlearn.pruning.enabled=false unlearn.trainer.max_epochs=1",
    "unlearn=regun unlearn.trainer.max_epochs=2",
    // Limits of the batches.
    "trainer.limit_train_batches=3",
    "unlearn=scrub unlearn.trainer.max_epochs=2 trainer.limit_train_batches=0.5",
    "unlearn=regun unlearn.trainer.max_epochs=2 trainer.overfit_batches=1",
    "unlearn=neggradp unlearn.sequential=true trainer.fast_dev_run=2",
];

/// For each phase, in order: its name, the optimizer steps of its first epoch, and those of all epochs.
#[derive(Default)]
struct CountedSteps(Vec<(&'static str, usize, usize)>);

impl Observer for CountedSteps {
    fn step(&mut self, report: &StepReport<'_>) -> Result<()> {
        if self.0.last().is_none_or(|(phase, ..)| *phase != report.phase) {
            self.0.push((report.phase, 0, 0));
        }
        if let Some((_, first, all)) = self.0.last_mut() {
            *first += usize::from(report.epoch == 0);
            *all += 1;
        }
        Ok(())
    }
}

#[test]
fn the_plan_counts_the_steps_of_the_run() {
    let overrides: Vec<String> = SETUP.split_whitespace().map(String::from).collect();
    let base = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
    let images = load_dataset(&base.data, LoadOptions { cache_dir: &base.paths.cache_dir, threads: 1 }).unwrap();
    let parts = split::split(&images.train.labels, &base.split).unwrap();
    let dataset = DeviceDataset::new(&images, parts, &base.data, Kind::Float, Device::Cpu).unwrap();
    for part in [Part::Train, Part::Forget, Part::Retain] {
        assert_ne!(dataset.indices(part).len() % 32, 0, "{part:?}: {}", dataset.indices(part).len());
    }
    let architecture = build(&base.model.model).unwrap().into();
    tch::set_num_threads(1);
    let world = World::solo();

    for method in unlearn::REGISTRY {
        let chosen = format!("unlearn={}", method.name);
        assert!(VARIANTS.iter().any(|variant| variant.split(' ').next() == Some(&chosen)), "{chosen} has no variant");
    }
    for variant in VARIANTS {
        let overrides: Vec<String> =
            SETUP.split_whitespace().chain(variant.split_whitespace()).map(String::from).collect();
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let mut method: Box<dyn Method> = match &config.unlearn {
            Some(chosen) => unlearn::build(chosen).unwrap(),
            None => {
                let optim = config.model.optim.clone();
                let phase = Phase { name: "train", epochs: 2, optim, scheduler: None, named_parameters: false };
                Box::new(Supervised { part: Part::Train, label_smoothing: 0.0, phase })
            }
        };
        let settings = TrainSettings { names: None, ..TrainSettings::new(&config, &world, "test", 1) };
        let planned = plan(&*method, &dataset, &settings).unwrap();

        let mut counted = CountedSteps::default();
        let mut model = Model::initialise(&architecture, 1, "base", Kind::Float, Device::Cpu).unwrap();
        let mut trainer = Trainer { world: &world, dataset: &dataset, model: &mut model, settings: settings.clone() };
        trainer.run(&mut *method, &mut counted).unwrap();
        let limit = TrainSettings::new(&config, &world, "test", 1).limit;
        if let BatchLimit::Batches(batches) = limit {
            let wanted = batches.div_ceil(2);
            assert!(planned.iter().all(|phase| phase.steps_per_epoch == wanted), "{variant}: {planned:?}");
        }
        let in_plan: Vec<_> = planned.iter().map(|phase| (phase.name, phase.steps_per_epoch, phase.steps)).collect();
        assert_eq!(in_plan, counted.0, "{variant}");
        let epochs: Vec<usize> = planned.iter().map(|phase| phase.epochs).collect();
        assert_eq!(epochs, method.phases().iter().map(|phase| phase.epochs).collect::<Vec<_>>(), "{variant}");
        // `prepare`, which the run has called, does not change the plan.
        assert_eq!(plan(&*method, &dataset, &settings).unwrap(), planned, "{variant}");
    }

    let overrides: Vec<String> = SETUP
        .split_whitespace()
        .chain(["unlearn=finetune", "unlearn.trainer.max_epochs=9223372036854775807"])
        .map(String::from)
        .collect();
    let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
    let method = unlearn::build(config.unlearn.as_ref().unwrap()).unwrap();
    let error = plan(&*method, &dataset, &TrainSettings::new(&config, &world, "test", 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("9223372036854775807 epochs in the phase"), "{error}");
}
