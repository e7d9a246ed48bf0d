//! AMUN: trains on adversarial images near the forget images, with the wrong labels that the model itself predicts
//! (Ebrahimpour-Boroojeny et al. 2025, arXiv 2503.00917).
//!
//! ```text
//! adversarial set A = for each forget image an image nearby and the class that the model predicts for it
//! step:             minimise CE(f; batch of retain + forget + A, shuffled together)
//! or, weighted:     minimise w_f CE(f; B_A) + w_r CE(f; B_r); an epoch ends with the shorter of A and retain
//! ```
//!
//! The attack ([`PgdAttack`]) runs on the base model in evaluation mode and on the forget images under evaluation
//! transforms. Its images are network input: they are not augmented, and are clamped with the statistics of the
//! transforms in use (the Python program takes the data set's own). Retain and forget are augmented, and all of retain
//! takes part. `use_retain=false` and `use_forget=false` leave those out of the shuffled set. The weighted form ignores
//! both settings.
//!
//! The set is kept on disk under the Python program's name, with a fingerprint of everything that it depends on
//! (weights, images, labels, settings). A set with another fingerprint is made again.

use serde::Deserialize;
use tch::{Kind, Tensor};

use super::attack::PgdAttack;
use crate::checkpoint::{self, Facts};
use crate::config::schema::UnlearnConfig;
use crate::data::{Part, Pool, Sampler, View};
use crate::error::{Error, Result};
use crate::inference;
use crate::names;
use crate::torch::Numerics;
use crate::train::cross_entropy::cross_entropy_term;
use crate::train::{Method, Pass, Phase, Step, Term, TrainContext};
use crate::unlearn::forget_samples::forget_samples;
use crate::unlearn::settings::{check_at_least_one, check_non_negative, check_positive, method_settings, single_phase};

/// Least number of batches of the attack, if there are as many images. The ranks divide the batches.
const BATCHES: usize = 16;

const ADVERSARIAL: &str = "adversarial";
const MIXED: &str = "mixed";

/// AMUN's own keys of the group `unlearn`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct AmunSettings {
    pub attack: PgdAttack,
    pub use_weighted_loss: bool,
    pub retain_weight: f64,
    pub forget_weight: f64,
    pub use_retain: bool,
    pub use_forget: bool,
}

/// Adversarial images [n, C, S, S] as network input, in the order of the forget part, and their classes int64 [n].
#[derive(Debug)]
pub struct AdversarialSet {
    pub images: Tensor,
    pub labels: Tensor,
}

/// AMUN as a training method, with the adversarial set once `prepare` has made it.
pub struct Amun {
    settings: AmunSettings,
    phase: Phase,
    adversarial: Option<AdversarialSet>,
}

pub fn build(config: &UnlearnConfig) -> Result<Box<dyn Method>> {
    let settings: AmunSettings = method_settings(config)?;
    let PgdAttack { epsilon_init, steps, step_factor, max_rounds } = settings.attack;
    check_non_negative(
        config,
        &[("retain_weight", settings.retain_weight), ("forget_weight", settings.forget_weight)],
    )?;
    check_positive(config, &[("attack.epsilon_init", epsilon_init), ("attack.step_factor", step_factor)])?;
    check_at_least_one(config, &[("attack.steps", steps), ("attack.max_rounds", max_rounds)])?;
    Ok(Box::new(Amun::new(settings, single_phase(config))))
}

impl Amun {
    pub fn new(settings: AmunSettings, phase: Phase) -> Self {
        Amun { settings, phase, adversarial: None }
    }

    /// The adversarial set, made by `prepare`.
    pub fn adversarial(&self) -> Option<&AdversarialSet> {
        self.adversarial.as_ref()
    }

    /// Reads the set from the cache, or makes it by the attack. A collective call, with the same result on all ranks.
    fn adversarial_set(&self, context: &TrainContext<'_>) -> Result<AdversarialSet> {
        let TrainContext { world, dataset, settings, .. } = context;
        let clean = clean_images(context)?;
        let attack = self.settings.attack;
        let names = settings.names.as_ref();
        let path = names.map(|names| names.adversarial_set(&attack.file_name_part(), names::SAFETENSORS));
        // Rank 0 alone reads the disk. Its result decides for all ranks.
        let key = match (world.is_root(), &path) {
            (true, Some(_)) => Some(self.fingerprint(context, &clean)?),
            _ => None,
        };
        let cached = match (&key, &path) {
            (Some(key), Some(path)) => checkpoint::read_cache(path, key, |tensors| decode(tensors, &clean)),
            _ => None,
        };
        if world.broadcast_bool(cached.is_some())? {
            // On the other ranks these tensors receive the broadcast.
            let AdversarialSet { mut images, mut labels } = cached.unwrap_or(clean);
            images = images.f_contiguous()?;
            world.broadcast(&mut images)?;
            world.broadcast(&mut labels)?;
            return Ok(AdversarialSet { images, labels });
        }
        let model = context.model.fused_with_gradient()?;
        let bounds = dataset.bounds();
        let batch_size = clean.labels.numel().div_ceil(BATCHES).min(dataset.eval_batch_size());
        let work = format!("{}/attack", settings.purpose);
        // A row is an image and its label.
        let rows = inference::all_gather_labelled_rows(world, dataset, Part::Forget, batch_size, &work, |x, y| {
            // Each round attacks fewer images than the one before: benchmarks of new shapes would cost too much.
            let run = || attack.run(&model, x, y, bounds.as_ref());
            let (images, labels) = Numerics::without_benchmark(run)?;
            let labels = labels.f_to_kind(images.kind())?.f_unsqueeze(1)?;
            Ok(Tensor::f_cat(&[images.f_contiguous()?.f_flatten(1, -1)?, labels], 1)?)
        })?;
        let width = rows.size()[1] - 1;
        let images = rows.f_narrow(1, 0, width)?.f_reshape(clean.images.size())?;
        let labels = rows.f_narrow(1, width, 1)?.f_flatten(0, -1)?.f_to_kind(Kind::Int64)?;
        if let (Some(key), Some(path)) = (&key, &path) {
            let tensors = [("images", &images), ("labels", &labels)];
            checkpoint::write_cache(path, key, &tensors.map(|(name, tensor)| (name.into(), tensor.shallow_clone())));
        }
        Ok(AdversarialSet { images, labels })
    }

    /// Everything that the set depends on.
    fn fingerprint(&self, context: &TrainContext<'_>, clean: &AdversarialSet) -> Result<Facts> {
        let PgdAttack { epsilon_init, steps, step_factor, max_rounds } = self.settings.attack;
        let bounds = context.dataset.bounds();
        let bounds = bounds.iter().flat_map(|(least, greatest)| [("least pixel", least), ("greatest pixel", greatest)]);
        let data = [("images", &clean.images), ("labels", &clean.labels)].into_iter().chain(bounds);
        Ok(Facts::default()
            .with("holds", "adversarial images of AMUN")
            .with("model (sha256)", checkpoint::fingerprint(context.model.state.named())?)
            .with("forget data (sha256)", checkpoint::fingerprint(data)?)
            .with("attack.epsilon_init", epsilon_init)
            .with("attack.steps", steps)
            .with("attack.step_factor", step_factor)
            .with("attack.max_rounds", max_rounds))
    }
}

/// The forget images under evaluation transforms, from which the attack starts, and their own labels.
fn clean_images(context: &TrainContext<'_>) -> Result<AdversarialSet> {
    let samples = forget_samples(context.dataset, "amun")?;
    let (images, labels) = context.dataset.make_batch(Part::Forget, samples, None)?;
    Ok(AdversarialSet { images, labels })
}

/// The set of a cache file, in the shapes and dtypes and on the device of `clean`.
fn decode(tensors: &[(String, Tensor)], clean: &AdversarialSet) -> Result<AdversarialSet> {
    let tensor = |name: &str, like: &Tensor| {
        let found = tensors.iter().find(|(known, tensor)| known == name && tensor.size() == like.size());
        let (_, tensor) = found.ok_or_else(|| {
            Error::missing(format!("an adversarial set without a tensor `{name}` of shape {:?}", like.size()))
        })?;
        Ok::<_, Error>(tensor.f_to_device(like.device())?.f_to_kind(like.kind())?)
    };
    Ok(AdversarialSet { images: tensor("images", &clean.images)?, labels: tensor("labels", &clean.labels)? })
}

impl Method for Amun {
    fn prepare(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        let set = self.adversarial_set(context)?;
        if context.world.is_root() {
            let true_labels =
                Tensor::from_slice(&context.dataset.labels(Part::Forget)).f_to_device(set.labels.device())?;
            let fooled = set.labels.f_ne_tensor(&true_labels)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
            tracing::info!("AMUN: {fooled} of {} forget images have an adversarial image", true_labels.numel());
        }
        self.adversarial = Some(set);
        Ok(())
    }

    fn phases(&self) -> Vec<Phase> {
        vec![self.phase.clone()]
    }

    fn passes(&self, _: usize, _: usize) -> Vec<Pass> {
        let adversarial = match &self.adversarial {
            Some(AdversarialSet { images, labels }) => {
                Pool::Made { images: images.shallow_clone(), labels: labels.shallow_clone() }
            }
            // Before `prepare` the forget images stand for the adversarial ones: there are as many.
            None => Pool::Part(Part::Forget, View::Eval),
        };
        let sampler = |name, pools| Sampler { name, pools, shuffled: true, ends_pass: true };
        if self.settings.use_weighted_loss {
            return vec![Pass::new("train", [sampler(ADVERSARIAL, vec![adversarial]), Sampler::train(Part::Retain)])];
        }
        let AmunSettings { use_retain, use_forget, .. } = self.settings;
        let parts = [(use_retain, Part::Retain), (use_forget, Part::Forget)];
        let parts = parts.into_iter().filter(|(used, _)| *used).map(|(_, part)| Pool::Part(part, View::Train));
        vec![Pass::new("train", [sampler(MIXED, parts.chain([adversarial]).collect())])]
    }

    fn graph_key(&self, _: usize, _: usize) -> Option<u64> {
        Some(0)
    }

    fn losses(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let AmunSettings { use_weighted_loss, retain_weight, forget_weight, .. } = self.settings;
        let terms: &[_] = match use_weighted_loss {
            // The order of the forward passes is part of the method: each moves the running statistics of BatchNorm.
            true => {
                &[(ADVERSARIAL, "adversarial_ce", forget_weight), (Part::Retain.name(), "retain_ce", retain_weight)]
            }
            false => &[(MIXED, "ce", 1.0)],
        };
        let term = |&(sampler, name, weight)| cross_entropy_term(step, step.batch(sampler)?, name, weight, 0.0);
        terms.iter().map(term).collect()
    }
}
