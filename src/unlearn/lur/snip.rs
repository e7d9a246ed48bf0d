//! Pruning by connection sensitivity (SNIP, Lee, Ajanthan, Torr 2018, arXiv 1810.02340), turned round: the weights that
//! matter most for forget data are drawn anew.
//!
//! ```text
//! saliency  = |w| sum over prune batches of |gradient of CE(f; batch)|         (train mode, augmented forget batches)
//! threshold = the k-th smallest saliency, k = sparsity n, in 1..n-1            (over the n eligible weights together)
//! reset     = saliency > threshold
//! ```
//!
//! As in the Python program: running statistics move; a threshold within 1e-12 of the least or the greatest saliency is
//! replaced by half their distance; which parameters are eligible is a matter of names, so `exclude_bn` spares those
//! with "bn" in theirs and not the norms of a ResNet's shortcuts (`downsample.1`). More batches than one pass over
//! forget are taken from the next pass.

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use crate::data::DataLoader;
use crate::error::{Error, ErrorKind, Result};
use crate::models::init::Init;
use crate::models::layout::TensorSpec;
use crate::models::{Forward, Mode, Slot, State};
use crate::names::Names;
use crate::random::RandomStream;
use crate::train::Trainer;
use crate::train::loss::cross_entropy_sum;

/// A threshold this close to an end of the range selects all or nothing.
const DEGENERATE: f64 = 1e-12;

/// `unlearn.pruning` of the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    pub enabled: bool,
    /// Sparsity and layers that are not given are chosen by data set and forget fraction.
    pub auto: bool,
    /// Share of the eligible weights that stays.
    pub sparsity: Option<f64>,
    /// Forget batches that the saliency is taken over.
    pub prune_num: usize,
    /// Eligible are the parameters whose names hold one of these; all where none are given.
    pub layer_patterns: Option<Vec<String>>,
    /// Parameters with "bn" in their names are not eligible.
    pub exclude_bn: bool,
}

/// What is pruned, after all choices are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub sparsity: f64,
    pub patterns: Option<Vec<String>>,
}

/// (forget fraction, sparsity) as listed, ascending; between them sparsity is interpolated, beyond them it stays.
type Table = &'static [(f64, f64)];

/// The automatic choice: sparsities and layers. Data sets that the paper does not treat take CIFAR-10's.
fn automatic(dataset: &str) -> (Table, Option<&'static [&'static str]>) {
    match dataset {
        "cifar100" => (&[(0.1, 0.99), (0.5, 0.9)], Some(&["layer4", "fc"])),
        "tiny_imagenet" => (&[(0.1, 0.95), (0.5, 0.85)], None),
        _ => (&[(0.1, 0.97)], Some(&["layer3", "layer4", "fc"])),
    }
}

fn interpolate(table: Table, at: f64) -> f64 {
    let after = table.iter().position(|(x, _)| at <= *x).unwrap_or(table.len());
    match (after.checked_sub(1).map(|before| table[before]), table.get(after)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (at - x0) / (x1 - x0),
        (Some((_, y)), None) | (None, Some(&(_, y))) => y,
        (None, None) => f64::NAN,
    }
}

impl Settings {
    /// Given values first, then the automatic ones. `names` says what the experiment is about.
    pub fn plan(&self, names: Option<&Names>) -> Result<Plan> {
        let (chosen, patterns) = match names {
            Some(names) if self.auto => {
                let (table, patterns) = automatic(&names.dataset);
                let patterns = patterns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
                (Some(interpolate(table, names.forget_frac)), patterns)
            }
            _ => (None, None),
        };
        let sparsity = self.sparsity.or(chosen).ok_or_else(|| {
            Error::usage("unlearn=lur: pruning needs unlearn.pruning.sparsity where unlearn.pruning.auto is false")
                .hint("add unlearn.pruning.sparsity=0.97, say, or unlearn.pruning.auto=true")
        })?;
        Ok(Plan { sparsity, patterns: self.layer_patterns.clone().or(patterns) })
    }

    fn eligible(&self, entry: &TensorSpec, patterns: Option<&[String]>) -> bool {
        let name = &entry.name;
        let matches = patterns.is_none_or(|patterns| patterns.iter().any(|pattern| name.contains(pattern.as_str())));
        matches && !(self.exclude_bn && name.contains("bn"))
    }
}

/// Which weights are drawn anew, and how that was found.
#[derive(Debug)]
pub struct Selection {
    /// For each eligible parameter a bool tensor of its shape: true where it is drawn anew.
    pub reset: Vec<(Slot, Tensor)>,
    pub threshold: f64,
    /// Loss of the last prune batch, over all ranks.
    pub last_loss: f64,
}

/// Chooses the weights; a collective call with the same answer on all ranks. `loader` gives forget batches.
pub fn select(trainer: &Trainer<'_>, settings: &Settings, plan: &Plan, loader: &mut DataLoader) -> Result<Selection> {
    let slots = eligible(trainer, settings, plan)?;
    let state = &trainer.model.state;
    // Leaves that share memory with the model: its running statistics move, its weights are differentiated.
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
        let batch = loader.next_batch(trainer.dataset, trainer.world, 0, 0)?;
        let statistics = trainer.statistics(batch.global.len());
        let context = Forward::new(&weights, Mode::Train, statistics).drawing(batch.keys());
        let logits = trainer.model.forward(context, &batch.images)?;
        let loss = cross_entropy_sum(&logits, &batch.labels, 0.0) / batch.global.len() as f64;
        let gradients = Tensor::f_run_backward(&[&loss], &leaves, false, false)?;
        // The gradient of the whole batch first, then its absolute value.
        let mut gradient = joined(&gradients)?;
        trainer.world.all_reduce(&mut gradient)?;
        total = Some(match total {
            Some(total) => total.f_add(&gradient.f_abs()?)?,
            None => gradient.f_abs()?,
        });
        let mut loss = loss.f_detach()?.f_to_kind(Kind::Double)?;
        trainer.world.all_reduce(&mut loss)?;
        last_loss = loss.f_double_value(&[])?;
        trainer.world.count_images(&format!("{}/snip", trainer.settings.purpose), batch.shard.len());
    }
    let total = total.ok_or_else(|| Error::usage("unlearn.pruning.prune_num=0: wanted at least one batch"))?;
    let saliency = joined(&leaves)?.f_abs()?.f_mul(&total)?;
    if !saliency.f_sum(Kind::Double)?.f_double_value(&[])?.is_finite() {
        return Err(Error::new(ErrorKind::NonFinite, "unlearn=lur: the saliency of the base model is not finite")
            .hint("check the base model: its loss on forget overflows"));
    }
    let threshold = threshold(&saliency, plan.sparsity)?;
    let chosen = saliency.f_gt(threshold)?;
    let (mut reset, mut start) = (Vec::with_capacity(slots.len()), 0);
    for slot in slots {
        let shape = &state.layout().spec(slot).shape;
        let length = shape.iter().product();
        reset.push((slot, chosen.f_narrow(0, start, length)?.f_view(&shape[..])?));
        start += length;
    }
    Ok(Selection { reset, threshold, last_loss })
}

fn eligible(trainer: &Trainer<'_>, settings: &Settings, plan: &Plan) -> Result<Vec<Slot>> {
    let layout = trainer.model.state.layout();
    let head = trainer.model.architecture().head();
    let with = |patterns: Option<&[String]>| -> Vec<Slot> {
        let learns = |slot| !trainer.settings.freeze_backbone || head.contains(&slot);
        let parameters = layout.parameters().filter(|(slot, _)| learns(*slot));
        parameters.filter(|(_, entry)| settings.eligible(entry, patterns)).map(|(slot, _)| slot).collect()
    };
    let mut slots = with(plan.patterns.as_deref());
    if slots.is_empty() && settings.layer_patterns.is_none() {
        // The automatic patterns are a ResNet's names.
        tracing::info!("LUR: no layer is called {:?}: all layers are pruned", plan.patterns.iter().flatten());
        slots = with(None);
    }
    if slots.is_empty() {
        return Err(Error::usage(format!(
            "unlearn.pruning.layer_patterns={:?}: no parameter that may be pruned has one of these in its name",
            plan.patterns.as_deref().unwrap_or_default()
        ))
        .hint("names read like layer4.1.conv2.weight; unlearn.pruning.exclude_bn=false admits those with `bn`"));
    }
    Ok(slots)
}

fn joined(tensors: &[Tensor]) -> Result<Tensor> {
    let flat = tensors.iter().map(|t| Ok(t.f_detach()?.f_reshape([-1])?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::f_cat(&flat, 0)?)
}

/// The k-th smallest of the saliencies [n].
fn threshold(saliency: &Tensor, sparsity: f64) -> Result<f64> {
    let n = saliency.numel() as i64;
    let k = ((sparsity * n as f64) as i64).min(n - 1).max(1);
    // Sorted in full: the selection of one value has no deterministic algorithm on GPUs.
    let threshold = saliency.f_sort(0, false)?.0.f_double_value(&[k - 1])?;
    let (least, greatest) = (saliency.f_min()?.f_double_value(&[])?, saliency.f_max()?.f_double_value(&[])?);
    let degenerate = (threshold - least).abs() <= DEGENERATE || (threshold - greatest).abs() <= DEGENERATE;
    Ok(if degenerate { (greatest - least) / 2.0 } else { threshold })
}

/// Draws the chosen weights anew: biases become 0, others uniform within 1 / sqrt(fan_in) (Kaiming's uniform
/// distribution with a = sqrt 5, He et al. 2015, arXiv 1502.01852), the scale of a norm within 1. A function of
/// (`seed`, `purpose`, place in the layout).
pub fn redraw(state: &State, selection: &Selection, seed: u64, purpose: &str) -> Result<()> {
    let stream = RandomStream::new(seed, &format!("{purpose}/redraw"));
    for (slot, reset) in &selection.reset {
        let entry = state.layout().spec(*slot);
        let weight = state.get(*slot);
        let values = initial(entry).draw(entry.num_elements(), stream.at(0, slot.index() as u64));
        let fresh = Tensor::f_from_slice(&values)?.f_view(&entry.shape[..])?;
        let fresh = fresh.f_to_kind(weight.f_kind()?)?.f_to_device(weight.device())?;
        no_grad(|| Ok::<_, Error>(weight.f_detach()?.f_copy_(&fresh.f_where_self(reset, weight)?)?))?;
    }
    Ok(())
}

fn initial(entry: &TensorSpec) -> Init {
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

    fn settings() -> Settings {
        Settings { enabled: true, auto: true, sparsity: None, prune_num: 1, layer_patterns: None, exclude_bn: true }
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
    fn given_values_win_and_nothing_to_go_by_is_an_error() {
        let given = Settings { sparsity: Some(0.5), layer_patterns: Some(vec!["fc".into()]), ..settings() };
        let plan = given.plan(Some(&names("cifar10", 0.1))).unwrap();
        assert_eq!(plan, Plan { sparsity: 0.5, patterns: Some(vec!["fc".into()]) });
        assert!(Settings { auto: false, ..settings() }.plan(Some(&names("cifar10", 0.1))).is_err());
    }
}
