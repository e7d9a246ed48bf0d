//! One phase of a training: its epochs, passes and steps.

use std::ops::Range;

use super::graph_capture::GraphCapture;
use super::meter::{Meter, MeterMeans};
use super::method::{Drawn, Method, MicroStep, Pass, Phase};
use super::trainer::{Observer, StepReport, Trainer};
use super::update::{Place, Updater};
use crate::data::DataLoader;
use crate::error::{Error, ErrorKind, Result};
use crate::torch::HostCopy;

/// The state of one phase: parameters and optimizer, and how far each sampler has come.
pub struct PhaseRun<'p> {
    number: usize,
    phase: &'p Phase,
    updater: Updater,
    capture: GraphCapture,
    meter: Meter,
    loaders: Vec<DataLoader>,
    micro_steps: u64,
}

/// A step that is on its way through the device.
struct Pending {
    outcome: HostCopy,
    epoch: usize,
    pass: &'static str,
    /// 0-based within the pass.
    step: usize,
}

impl<'p> PhaseRun<'p> {
    /// `micro_steps`: how many there were in the phases before.
    pub fn new(trainer: &mut Trainer<'_>, number: usize, phase: &'p Phase, micro_steps: u64) -> Result<Self> {
        let capture = GraphCapture::new(trainer)?;
        let updater = Updater::new(trainer, phase, capture.is_on())?;
        let meter = Meter::new(trainer.dataset.num_classes(), trainer.dataset.device());
        Ok(PhaseRun { number, phase, updater, capture, meter, loaders: Vec::new(), micro_steps })
    }

    /// Micro-steps since the start of the training.
    pub fn micro_steps(&self) -> u64 {
        self.micro_steps
    }

    /// One epoch. Returns the means of its losses and the samples of its driving samplers.
    pub fn epoch(
        &mut self,
        trainer: &mut Trainer<'_>,
        method: &mut dyn Method,
        observer: &mut dyn Observer,
        epoch: usize,
        learning_rate: f64,
    ) -> Result<(MeterMeans, usize)> {
        self.meter.reset()?;
        self.updater.set_learning_rate(learning_rate)?;
        let recording = method.graph_key(self.number, epoch);
        let mut images = 0;
        for pass in method.passes(self.number, epoch) {
            let loaders = self.loaders_of(trainer, &pass)?;
            let micro_steps = self.length(&loaders, &pass)?;
            let window = trainer.settings.accumulate;
            let steps = micro_steps.div_ceil(window);
            let mut pending = None;
            for step in 0..steps {
                let micro = step * window..micro_steps.min((step + 1) * window);
                let place = Place { phase: self.number, pass: pass.name, epoch, micro_steps: self.micro_steps };
                let (inputs, step_images) = self.draw(trainer, method, &loaders, place, micro)?;
                self.micro_steps += inputs.len() as u64;
                trainer.world.set_current_step(format!(
                    "{}, epoch {}, step {}",
                    trainer.settings.purpose,
                    epoch + 1,
                    step + 1
                ));
                let done = self.capture.run(trainer.world, pass.name, recording, &inputs, &mut |inputs| {
                    self.updater.step(trainer, method, &mut self.meter, place, inputs)
                })?;
                trainer.world.watch_queued_step()?;
                self.meter.count(&done.counts);
                images += step_images;
                let outcome = HostCopy::start(&done.outcome)?;
                if let Some(before) = pending.replace(Pending { outcome, epoch, pass: pass.name, step }) {
                    self.check(trainer, before)?;
                }
                // ---- below: only watching ----
                observer.step(&StepReport {
                    phase: self.phase.name,
                    epoch,
                    step: step + 1,
                    steps,
                    images: step_images,
                    meter: &self.meter,
                    model: trainer.model,
                    params: self.updater.params(),
                    grad_norm: done.outcome.f_get(0)?,
                })?;
            }
            if let Some(last) = pending {
                self.check(trainer, last)?;
            }
        }
        Ok((self.meter.means(trainer.world)?, images))
    }

    /// What the micro-steps of a step work on, and the samples of the samplers that drive.
    fn draw(
        &mut self,
        trainer: &Trainer<'_>,
        method: &mut dyn Method,
        loaders: &[usize],
        place: Place,
        window: Range<usize>,
    ) -> Result<(Vec<MicroStep>, usize)> {
        let (mut inputs, mut images) = (Vec::with_capacity(window.len()), 0);
        for index in window.clone() {
            let mut batches = Vec::with_capacity(loaders.len());
            // How far this micro-step is into the window.
            let before = index - window.start;
            for &number in loaders {
                let loader = &mut self.loaders[number];
                // Samples of this sampler in the whole step: what came before in the window, and what is still to come.
                let size = |i| loader.size_at(place.epoch as u64, index, i as i64 - before as i64);
                let step_count = (0..window.len()).map(size).sum();
                let mut batch = loader.next_batch(trainer.dataset, trainer.world, place.epoch as u64, index)?;
                batch.step_count = step_count;
                if loader.ends_pass() {
                    images += batch.global.len();
                }
                trainer
                    .world
                    .count_images(&format!("{}/{}", trainer.settings.purpose, loader.name()), batch.shard.len());
                batches.push((loader.name(), batch));
            }
            let mut input = MicroStep { batches, drawn: Drawn::default() };
            input.drawn = method.draw(&place.step(trainer, &input, before))?;
            inputs.push(input);
        }
        Ok((inputs, images))
    }

    /// An error where a step was not finite: the same one on all ranks, at the same step. With a loss scale that is
    /// ordinary until the scale is as low as 1.
    fn check(&self, trainer: &Trainer<'_>, pending: Pending) -> Result<()> {
        let outcome = pending.outcome.wait()?;
        let (norm, scale) = (outcome.f_double_value(&[0])?, outcome.f_double_value(&[1])?);
        if norm.is_finite() || scale > 1.0 {
            return Ok(());
        }
        let loss = self.meter.means(trainer.world).map_or(f64::NAN, |means| means.loss);
        Err(Error::new(
            ErrorKind::NonFinite,
            format!(
                "{}, phase {}: the gradient is not finite in epoch {}, pass {}, step {} (mean loss of the epoch so far {loss}); the \
                 weights were left as they were before this step",
                trainer.settings.purpose,
                self.phase.name,
                pending.epoch + 1,
                pending.pass,
                pending.step + 1
            ),
        )
        .hint("lower the learning rate, or set trainer.gradient_clip_val"))
    }

    /// The loaders of a pass, made when first needed.
    fn loaders_of(&mut self, trainer: &Trainer<'_>, pass: &Pass) -> Result<Vec<usize>> {
        let settings = &trainer.settings;
        pass.samplers
            .iter()
            .map(|sampler| match self.loaders.iter().position(|known| known.name() == sampler.name) {
                Some(known) => Ok(known),
                None => {
                    let purpose = format!("{}/{}", settings.purpose, self.phase.name);
                    let batch_size = settings.batch_size;
                    self.loaders.push(DataLoader::new(
                        sampler.clone(),
                        trainer.dataset,
                        batch_size,
                        settings.seed,
                        &purpose,
                    )?);
                    Ok(self.loaders.len() - 1)
                }
            })
            .collect()
    }

    /// Micro-steps of a pass: batches of the shortest driving sampler.
    fn length(&self, loaders: &[usize], pass: &Pass) -> Result<usize> {
        let driving = loaders.iter().map(|&number| &self.loaders[number]).filter(|loader| loader.ends_pass());
        driving
            .map(DataLoader::batches)
            .min()
            .ok_or_else(|| Error::new(ErrorKind::Bug, format!("pass {} has no sampler that ends it", pass.name)))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind as Dtype, Tensor};

    use super::*;
    use crate::config::{Request, load};
    use crate::data::{DeviceDataset, LoadOptions, Part, load_dataset, split};
    use crate::distributed::World;
    use crate::models::{self, Model};
    use crate::train::Settings;
    use crate::train::supervised::Supervised;
    use crate::unlearn;

    /// 40 held-out images; 67 to forget and 77 to retain, in batches of 8: four full steps of two batches, and a small
    /// one.
    const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=200 data.batch_size=8 split.heldout_frac=0.2 \
        split.forget_frac=0.42 split.retain_frac=0.5 trainer.precision=32 trainer.accumulate_grad_batches=2";

    /// Weights, losses, and how many kinds of steps would be replayed.
    fn train(method: &str, capture: impl Fn() -> Option<GraphCapture>) -> (Vec<Tensor>, Vec<f64>, usize) {
        let words = SETUP.split_whitespace().chain(method.split_whitespace());
        let overrides: Vec<String> = words.map(String::from).collect();
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let dataset =
            load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
        let parts = split::split(&dataset.train.labels, &config.split).unwrap();
        let dataset = DeviceDataset::new(&dataset, parts, &config.data, Dtype::Float, Device::Cpu).unwrap();
        let architecture = models::build(&config.model.model).unwrap().into();
        let mut model = Model::initialise(&architecture, 1, "base", Dtype::Float, Device::Cpu).unwrap();
        let world = World::solo();
        let settings = Settings { names: None, ..Settings::new(&config, &world, "test", 1) };
        let mut trainer = Trainer { world: &world, dataset: &dataset, model: &mut model, settings };
        let mut method: Box<dyn Method> = match &config.unlearn {
            Some(chosen) => unlearn::build(chosen).unwrap(),
            None => {
                let optim = config.model.optim.clone();
                let phase = Phase { name: "train", epochs: 4, optim, scheduler: None, named_parameters: false };
                Box::new(Supervised { part: Part::Train, label_smoothing: 0.0, phase })
            }
        };
        method.prepare(&mut trainer).unwrap();
        let phase = method.phases().remove(0);
        let mut run = PhaseRun::new(&mut trainer, 0, &phase, 0).unwrap();
        run.capture = capture().unwrap_or(run.capture);
        let mut losses = Vec::new();
        for epoch in 0..4 {
            let rate = 0.05 / (1 + epoch) as f64;
            losses.push(run.epoch(&mut trainer, &mut *method, &mut (), epoch, rate).unwrap().0.loss);
        }
        let kept = run.capture.kept();
        (trainer.model.state.tensors().iter().map(Tensor::copy).collect(), losses, kept)
    }

    /// What a recording replays is the step on other memory: with inputs copied there, and everything that changes from
    /// step to step read from tensors.
    #[test]
    fn steps_on_the_memory_of_a_recording_are_the_same_to_the_last_bit() {
        for (method, kinds) in [
            ("", 1),
            ("unlearn=regun unlearn.regun.selector=uniform", 1),
            ("unlearn=salun", 2),
            ("unlearn=l1sparse unlearn.trainer.max_epochs=4 unlearn.l1.schedule=linear_decay", 2),
        ] {
            let (weights, losses, _) = train(method, || None);
            let (again, same_losses, kept) = train(method, || Some(GraphCapture::rerunning()));
            assert!(kept >= kinds, "{method}: {kept} kinds of steps were replayed");
            assert_eq!(losses, same_losses, "{method}");
            assert!(weights.iter().zip(&again).all(|(one, other)| one == other), "{method}: other weights");
        }
    }
}
