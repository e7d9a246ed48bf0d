//! Pruning by connection sensitivity (SNIP, Lee, Ajanthan, Torr 2018, arXiv 1810.02340), reversed: the weights that
//! matter most for forget data are re-initialised.
//!
//! ```text
//! saliency  = |w| sum over prune batches of |gradient of CE(f; batch)|         (train mode, augmented forget batches)
//! threshold = the k-th smallest saliency, k = sparsity n, in 1..n-1            (over the n eligible weights together)
//! reset     = saliency > threshold
//! ```
//!
//! As in the Python program, the batches change BatchNorm's running statistics, and a threshold within 1e-12 of the
//! least or the greatest saliency is replaced by half their distance. Eligible parameters are chosen by name, so
//! `exclude_bn` spares those with "bn" in their names and not the norms of a ResNet's shortcuts (`downsample.1`). If
//! there are more prune batches than one pass over forget has, the next pass follows.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use crate::data::DataLoader;
use crate::error::{Error, Result};
use crate::models::init::Init;
use crate::models::layout::TensorSpec;
use crate::models::{Forward, Mode, Slot, State};
use crate::names::Names;
use crate::random::RandomStream;
use crate::train::TrainContext;
use crate::train::loss::cross_entropy_sum;
use crate::unlearn::concatenation::{concatenate, views_of};
use crate::unlearn::saliency::check_finite;

/// Distance from the least or the greatest saliency below which a threshold would select all weights or none.
const DEGENERATE: f64 = 1e-12;

/// Settings of the pruning, `unlearn.pruning` of the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct PruningSettings {
    pub enabled: bool,
    /// Chooses sparsity and layers by data set and forget fraction, if they are not given.
    pub auto: bool,
    /// Fraction of the eligible weights that stays.
    pub sparsity: Option<f64>,
    /// Number of forget batches in the saliency.
    pub prune_num: usize,
    /// Parameters with one of these texts in their names are eligible. None: all are.
    pub layer_patterns: Option<Vec<String>>,
    /// Parameters with "bn" in their names are not eligible.
    pub exclude_bn: bool,
}

/// Sparsity and layers of the pruning, with all automatic choices made.
#[derive(Debug, Clone, PartialEq)]
pub struct PruningPlan {
    pub sparsity: f64,
    pub patterns: Option<Vec<String>>,
}

/// (forget fraction, sparsity), ascending. Sparsity is interpolated between the entries and constant beyond them.
type SparsityTable = &'static [(f64, f64)];

/// The automatic choice of sparsities and layers. Data sets that the paper does not treat have CIFAR-10's.
fn automatic(dataset: &str) -> (SparsityTable, Option<&'static [&'static str]>) {
    match dataset {
        "cifar100" => (&[(0.1, 0.99), (0.5, 0.9)], Some(&["layer4", "fc"])),
        "tiny_imagenet" => (&[(0.1, 0.95), (0.5, 0.85)], None),
        _ => (&[(0.1, 0.97)], Some(&["layer3", "layer4", "fc"])),
    }
}

/// Linear interpolation in `table` at the forget fraction `at`.
fn interpolate(table: SparsityTable, at: f64) -> f64 {
    let after = table.iter().position(|(x, _)| at <= *x).unwrap_or(table.len());
    match (after.checked_sub(1).map(|before| table[before]), table.get(after)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (at - x0) / (x1 - x0),
        (Some((_, y)), None) | (None, Some(&(_, y))) => y,
        (None, None) => f64::NAN,
    }
}

impl PruningSettings {
    /// Given values, or else the automatic ones for the data set and forget fraction in `names`.
    pub fn plan(&self, names: Option<&Names>) -> Result<PruningPlan> {
        let (chosen, patterns) = match names {
            Some(names) if self.auto => {
                let (table, patterns) = automatic(&names.dataset);
                let patterns = patterns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
                (Some(interpolate(table, names.forget_frac)), patterns)
            }
            _ => (None, None),
        };
        let sparsity = self.sparsity.or(chosen).ok_or_else(|| {
            Error::usage("unlearn=lur: pruning needs unlearn.pruning.sparsity, since unlearn.pruning.auto is false")
                .hint("add unlearn.pruning.sparsity=0.97, say, or unlearn.pruning.auto=true")
        })?;
        Ok(PruningPlan { sparsity, patterns: self.layer_patterns.clone().or(patterns) })
    }

    fn eligible(&self, entry: &TensorSpec, patterns: Option<&[String]>) -> bool {
        let name = &entry.name;
        let matches = patterns.is_none_or(|patterns| patterns.iter().any(|pattern| name.contains(pattern.as_str())));
        matches && !(self.exclude_bn && name.contains("bn"))
    }
}

/// The weights to re-initialise.
#[derive(Debug)]
pub struct SnipSelection {
    /// For each eligible parameter a bool tensor of its shape, true for the elements to re-initialise.
    pub reset: Vec<(Slot, Tensor)>,
    pub threshold: f64,
    /// Loss of the last prune batch, over all ranks.
    pub last_loss: f64,
}

/// Chooses the weights from batches of `loader`, which walks forget. `None` if no parameter has one of the automatic
/// patterns in its name. A collective call, with the same result on all ranks.
///
/// # Errors
/// `Usage` if no parameter has one of the given patterns in its name.
pub fn select(
    context: &TrainContext<'_>,
    settings: &PruningSettings,
    plan: &PruningPlan,
    loader: &mut DataLoader,
) -> Result<Option<SnipSelection>> {
    let slots = eligible(context, settings, plan)?;
    if slots.is_empty() {
        return Ok(None);
    }
    let state = &context.model.state;
    // Detached tensors share memory with the model, so the passes update its running statistics. The gradients go to
    // the new leaves.
    let mut weights: Vec<Tensor> = state.tensors().iter().map(Tensor::detach).collect();
    let leaves = slots
        .iter()
        .map(|slot| {
            let leaf = weights[slot.index()].f_set_requires_grad(true)?;
            weights[slot.index()] = leaf.shallow_clone();
            Ok(leaf)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut total: Option<Tensor> = None;
    let mut last_loss = f64::NAN;
    for _ in 0..settings.prune_num {
        let batch = loader.next_batch(context.dataset, context.world, 0, 0)?;
        let statistics = context.statistics(batch.global.len());
        let forward = Forward::new(&weights, Mode::Train, statistics).with_sample_keys(batch.keys());
        let logits = context.model.forward(forward, &batch.images)?;
        let loss = cross_entropy_sum(&logits, &batch.labels, 0.0) / batch.global.len() as f64;
        let gradients = Tensor::f_run_backward(&[&loss], &leaves, false, false)?;
        // The absolute value is that of the whole batch's gradient.
        let mut gradient = concatenate(&gradients)?;
        context.world.all_reduce(&mut gradient)?;
        total = Some(match total {
            Some(total) => total.f_add(&gradient.f_abs()?)?,
            None => gradient.f_abs()?,
        });
        let mut loss = loss.f_detach()?.f_to_kind(Kind::Double)?;
        context.world.all_reduce(&mut loss)?;
        last_loss = loss.f_double_value(&[])?;
        context.world.count_images(&format!("{}/snip", context.settings.purpose), batch.shard.len());
    }
    let total = total.ok_or_else(|| Error::usage("unlearn.pruning.prune_num=0: wanted at least one batch"))?;
    let saliency = concatenate(&leaves)?.f_abs()?.f_mul(&total)?;
    check_finite(&saliency, "lur")?;
    let threshold = threshold(&saliency, plan.sparsity)?;
    let chosen = saliency.f_gt(threshold)?;
    let shapes = slots.iter().map(|slot| state.layout().spec(*slot).shape.as_slice());
    let chosen = views_of(&chosen, shapes)?;
    let reset = slots.into_iter().zip(chosen).collect();
    Ok(Some(SnipSelection { reset, threshold, last_loss }))
}

/// Slots of the eligible parameters, in layout order. Empty if no name has one of the automatic patterns, which are
/// names of a ResNet: the Python program then prunes nothing.
fn eligible(context: &TrainContext<'_>, settings: &PruningSettings, plan: &PruningPlan) -> Result<Vec<Slot>> {
    let layout = context.model.state.layout();
    let patterns = plan.patterns.as_deref();
    let parameters = layout.parameters().filter(|(slot, _)| context.is_trainable(*slot));
    let eligible = parameters.filter(|(_, entry)| settings.eligible(entry, patterns));
    let slots: Vec<Slot> = eligible.map(|(slot, _)| slot).collect();
    if slots.is_empty() && settings.layer_patterns.is_some() {
        return Err(Error::usage(format!(
            "unlearn.pruning.layer_patterns=[{}]: no parameter that may be pruned has one of these in its name",
            patterns.unwrap_or_default().join(", ")
        ))
        .hint("names read like layer4.1.conv2.weight; unlearn.pruning.exclude_bn=false admits those with `bn`"));
    }
    Ok(slots)
}

/// The k-th smallest of the saliencies [n].
fn threshold(saliency: &Tensor, sparsity: f64) -> Result<f64> {
    let n = saliency.numel() as i64;
    let k = ((sparsity * n as f64) as i64).min(n - 1).max(1);
    // A full sort: selecting a single value has no deterministic algorithm on GPUs.
    let threshold = saliency.f_sort(0, false)?.0.f_double_value(&[k - 1])?;
    let (least, greatest) = (saliency.f_min()?.f_double_value(&[])?, saliency.f_max()?.f_double_value(&[])?);
    let degenerate = (threshold - least).abs() <= DEGENERATE || (threshold - greatest).abs() <= DEGENERATE;
    Ok(if degenerate { (greatest - least) / 2.0 } else { threshold })
}

/// Re-initialises the chosen weights: biases become 0, others are uniform within 1 / sqrt(fan_in) (Kaiming's uniform
/// distribution with a = sqrt 5, He et al. 2015, arXiv 1502.01852), the scale of a norm is uniform within 1. A value is
/// a function of (`seed`, `purpose`, place in the layout).
pub fn reinitialise(state: &State, selection: &SnipSelection, seed: u64, purpose: &str) -> Result<()> {
    let stream = RandomStream::new(seed, &format!("{purpose}/redraw"));
    for (slot, reset) in &selection.reset {
        let entry = state.layout().spec(*slot);
        let weight = state.get(*slot);
        let values = initial_distribution(entry).draw(entry.num_elements(), stream.at(0, slot.index() as u64));
        let fresh = Tensor::f_from_slice(&values)?.f_view(&entry.shape[..])?;
        let fresh = fresh.f_to_kind(weight.f_kind()?)?.f_to_device(weight.device())?;
        no_grad(|| Ok::<_, Error>(weight.f_detach()?.f_copy_(&fresh.f_where_self(reset, weight)?)?))?;
    }
    Ok(())
}

/// The distribution of new values.
fn initial_distribution(entry: &TensorSpec) -> Init {
    if entry.name.ends_with("bias") {
        return Init::Constant(0.0);
    }
    let fan_in: i64 = entry.shape.iter().skip(1).product();
    Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dataset: &str, forget_frac: f64) -> Names {
        Names {
            cache_dir: "cache".into(),
            model: "resnet18".into(),
            dataset: dataset.into(),
            scheme: "random".into(),
            forget_frac,
            seed: 1,
        }
    }

    fn settings() -> PruningSettings {
        PruningSettings {
            enabled: true,
            auto: true,
            sparsity: None,
            prune_num: 1,
            layer_patterns: None,
            exclude_bn: true,
        }
    }

    #[test]
    fn automatic_sparsity_is_interpolated_between_the_listed_fractions() {
        for (dataset, fraction, wanted) in [
            ("cifar100", 0.3, 0.945),
            ("tiny_imagenet", 0.3, 0.9),
            ("tiny_imagenet", 0.01, 0.95),
            ("digits", 0.5, 0.97),
        ] {
            let plan = settings().plan(Some(&names(dataset, fraction))).unwrap();
            assert!((plan.sparsity - wanted).abs() < 1e-12, "{dataset} {fraction}: {}", plan.sparsity);
        }
    }

    #[test]
    fn given_values_come_first_and_a_missing_sparsity_is_an_error() {
        let given = PruningSettings { sparsity: Some(0.5), layer_patterns: Some(vec!["fc".into()]), ..settings() };
        let plan = given.plan(Some(&names("cifar10", 0.1))).unwrap();
        assert_eq!(plan, PruningPlan { sparsity: 0.5, patterns: Some(vec!["fc".into()]) });
        assert!(PruningSettings { auto: false, ..settings() }.plan(Some(&names("cifar10", 0.1))).is_err());
    }
}
