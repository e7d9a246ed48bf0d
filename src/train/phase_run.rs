//! One phase of a training: its epochs, passes and steps.

use std::ops::Range;

use super::context::TrainContext;
use super::graph_capture::GraphCapture;
use super::meter::{Meter, MeterMeans};
use super::method::Method;
use super::observer::{Observer, StepReport};
use super::phase::Phase;
use super::phase_loaders::PhaseLoaders;
use super::step::{Drawn, MicroStep, StepPosition};
use super::update::Updater;
use crate::error::{Error, ErrorKind, Result};
use crate::torch::HostCopy;

/// The state of one phase: parameters and optimizer, and the position of each loader.
pub struct PhaseRun<'p> {
    /// Number of the phase, from 0.
    number: usize,
    phase: &'p Phase,
    updater: Updater,
    capture: GraphCapture,
    meter: Meter,
    loaders: PhaseLoaders,
    /// Micro-steps since the start of the training.
    micro_steps: u64,
}

/// A step in the queue of the device. The host has not read its outcome yet.
struct QueuedStep {
    norm_and_scale: HostCopy,
    epoch: usize,
    pass: &'static str,
    /// 0-based within the pass.
    step: usize,
}

impl<'p> PhaseRun<'p> {
    /// `micro_steps`: the number of micro-steps in the phases before.
    pub fn new(context: &mut TrainContext<'_>, number: usize, phase: &'p Phase, micro_steps: u64) -> Result<Self> {
        let capture = GraphCapture::new(context)?;
        let updater = Updater::new(context, phase, capture.is_on())?;
        let meter = Meter::new(context.dataset.num_classes(), context.dataset.device());
        let loaders = PhaseLoaders::new(context.settings, phase.name);
        Ok(PhaseRun { number, phase, updater, capture, meter, loaders, micro_steps })
    }

    /// Micro-steps since the start of the training.
    pub fn micro_steps(&self) -> u64 {
        self.micro_steps
    }

    /// Trains one epoch. Returns the means of its losses, and the number of samples from the samplers that end a pass.
    pub fn epoch(
        &mut self,
        context: &mut TrainContext<'_>,
        method: &mut dyn Method,
        observer: &mut dyn Observer,
        epoch: usize,
        learning_rate: f64,
    ) -> Result<(MeterMeans, usize)> {
        self.meter.reset()?;
        self.updater.set_learning_rate(learning_rate)?;
        let graph_key = method.graph_key(self.number, epoch);
        let mut images = 0;
        for pass in method.passes(self.number, epoch) {
            let loaders = self.loaders.loader_indices(&pass, context.dataset)?;
            let micro_steps = self.loaders.micro_steps(&pass, &loaders)?;
            let accumulate = context.settings.accumulate;
            let steps = micro_steps.div_ceil(accumulate);
            let mut queued = None;
            for step in 0..steps {
                let window = step * accumulate..micro_steps.min((step + 1) * accumulate);
                let position =
                    StepPosition { phase: self.number, pass: pass.name, epoch, micro_steps: self.micro_steps };
                let (inputs, step_images) = self.load_inputs(context, method, &loaders, position, window)?;
                self.micro_steps += inputs.len() as u64;
                context.world.set_current_step(format!(
                    "{}, epoch {}, step {}",
                    context.settings.purpose,
                    epoch + 1,
                    step + 1
                ));
                let outcome = self.capture.run(context.world, pass.name, graph_key, &inputs, &mut |inputs| {
                    self.updater.step(context, method, &mut self.meter, position, inputs)
                })?;
                context.world.watch_queued_step()?;
                self.meter.count(&outcome.counts);
                images += step_images;
                let norm_and_scale = HostCopy::start(&outcome.norm_and_scale)?;
                if let Some(previous) = queued.replace(QueuedStep { norm_and_scale, epoch, pass: pass.name, step }) {
                    self.check_finite(context, previous)?;
                }
                observer.step(&StepReport {
                    phase: self.phase.name,
                    epoch,
                    step: step + 1,
                    steps,
                    images: step_images,
                    meter: &self.meter,
                    model: context.model,
                    params: self.updater.params(),
                    grad_norm: outcome.norm_and_scale.f_get(0)?,
                })?;
            }
            if let Some(last) = queued {
                self.check_finite(context, last)?;
            }
        }
        Ok((self.meter.means(context.world)?, images))
    }

    /// The inputs of the micro-steps `window` of a pass, which make one optimizer step, and the number of samples from
    /// the samplers that end the pass. `loaders` are the indices of the loaders of the pass.
    fn load_inputs(
        &mut self,
        context: &TrainContext<'_>,
        method: &mut dyn Method,
        loaders: &[usize],
        position: StepPosition,
        window: Range<usize>,
    ) -> Result<(Vec<MicroStep>, usize)> {
        let (epoch, purpose) = (position.epoch as u64, &context.settings.purpose);
        let (mut inputs, mut images) = (Vec::with_capacity(window.len()), 0);
        for index in window.clone() {
            let mut batches = Vec::with_capacity(loaders.len());
            // Number of this micro-step in the optimizer step, from 0.
            let micro_step = index - window.start;
            for &loader in loaders {
                let loader = self.loaders.get_mut(loader);
                // Samples of this sampler in the whole optimizer step, earlier and later micro-steps included.
                let size = |i| loader.size_at(epoch, index, i as i64 - micro_step as i64);
                let step_count = (0..window.len()).map(size).sum();
                let mut batch = loader.next_batch(context.dataset, context.world, epoch, index)?;
                batch.step_count = step_count;
                if loader.ends_pass() {
                    images += batch.global.len();
                }
                context.world.count_images(&format!("{purpose}/{}", loader.name()), batch.shard.len());
                batches.push((loader.name(), batch));
            }
            let mut input = MicroStep { batches, drawn: Drawn::default() };
            input.drawn = method.draw(&position.step(context, &input, micro_step))?;
            inputs.push(input);
        }
        Ok((inputs, images))
    }

    /// Waits for the outcome of a step. A gradient that is not finite is an error, the same one on all ranks and at the
    /// same step. With a loss scale above 1 it is no error: the scale was too high, and has been lowered.
    fn check_finite(&self, context: &TrainContext<'_>, queued: QueuedStep) -> Result<()> {
        let norm_and_scale = queued.norm_and_scale.wait()?;
        let (norm, scale) = (norm_and_scale.f_double_value(&[0])?, norm_and_scale.f_double_value(&[1])?);
        if norm.is_finite() || scale > 1.0 {
            return Ok(());
        }
        let loss = self.meter.means(context.world).map_or(f64::NAN, |means| means.loss);
        Err(Error::new(
            ErrorKind::NonFinite,
            format!(
                "{}, phase {}: the gradient is not finite in epoch {}, pass {}, step {} (mean loss of the epoch so far \
                 {loss}); the weights were left as they were before this step",
                context.settings.purpose,
                self.phase.name,
                queued.epoch + 1,
                queued.pass,
                queued.step + 1
            ),
        )
        .hint("lower the learning rate, or set trainer.gradient_clip_val"))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::config::{Request, load};
    use crate::data::{DeviceDataset, LoadOptions, Part, load_dataset, split};
    use crate::distributed::World;
    use crate::models::{self, Model};
    use crate::train::TrainSettings;
    use crate::train::supervised::Supervised;
    use crate::unlearn;

    /// 40 held-out images; 67 to forget and 77 to retain, in batches of 8: four full steps of two batches, and a small
    /// one.
    const SETUP: &str = "data=digits model=resnet20 data.debug_subset_size=200 data.batch_size=8 \
        split.heldout_frac=0.2 split.forget_frac=0.42 split.retain_frac=0.5 trainer.precision=32 \
        trainer.accumulate_grad_batches=2";

    /// Weights, losses, and the number of captured steps at the end.
    fn train(method: &str, capture: impl Fn() -> Option<GraphCapture>) -> (Vec<Tensor>, Vec<f64>, usize) {
        let words = SETUP.split_whitespace().chain(method.split_whitespace());
        let overrides: Vec<String> = words.map(String::from).collect();
        let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
        let dataset =
            load_dataset(&config.data, LoadOptions { cache_dir: &config.paths.cache_dir, threads: 1 }).unwrap();
        let parts = split::split(&dataset.train.labels, &config.split).unwrap();
        let dataset = DeviceDataset::new(&dataset, parts, &config.data, Kind::Float, Device::Cpu).unwrap();
        let architecture = models::build(&config.model.model).unwrap().into();
        let mut model = Model::initialise(&architecture, 1, "base", Kind::Float, Device::Cpu).unwrap();
        let world = World::solo();
        let settings = TrainSettings { names: None, ..TrainSettings::new(&config, &world, "test", 1) };
        let mut context = TrainContext { world: &world, dataset: &dataset, model: &mut model, settings: &settings };
        let mut method: Box<dyn Method> = match &config.unlearn {
            Some(chosen) => unlearn::build(chosen).unwrap(),
            None => {
                let optim = config.model.optim.clone();
                let phase = Phase { name: "train", epochs: 4, optim, scheduler: None, named_parameters: false };
                Box::new(Supervised { part: Part::Train, label_smoothing: 0.0, phase })
            }
        };
        method.prepare(&mut context).unwrap();
        let phase = method.phases().remove(0);
        let mut run = PhaseRun::new(&mut context, 0, &phase, 0).unwrap();
        run.capture = capture().unwrap_or(run.capture);
        let mut losses = Vec::new();
        for epoch in 0..4 {
            let rate = 0.05 / (1 + epoch) as f64;
            losses.push(run.epoch(&mut context, &mut *method, &mut (), epoch, rate).unwrap().0.loss);
        }
        let captured = run.capture.num_captured();
        (context.model.state.tensors().iter().map(Tensor::copy).collect(), losses, captured)
    }

    /// A replay is the step on the memory of its capture: inputs are copied there, and all values that change from step
    /// to step are read from tensors.
    #[test]
    fn steps_on_the_memory_of_a_capture_are_the_same_to_the_last_bit() {
        for (method, kinds) in [
            ("", 1),
            ("unlearn=regun unlearn.regun.selector=uniform", 1),
            ("unlearn=salun", 2),
            ("unlearn=l1sparse unlearn.trainer.max_epochs=4 unlearn.l1.schedule=linear_decay", 2),
        ] {
            let (weights, losses, _) = train(method, || None);
            let (again, same_losses, captured) = train(method, || Some(GraphCapture::rerunning()));
            assert!(captured >= kinds, "{method}: {captured} captured steps");
            assert_eq!(losses, same_losses, "{method}");
            assert!(weights.iter().zip(&again).all(|(one, other)| one == other), "{method}: other weights");
        }
    }
}
