//! Sums over an epoch: losses and accuracy, kept on the device and read once at its end.

use tch::{Device, Kind, Tensor};

use super::method::Term;
use crate::dist::World;
use crate::error::Result;
use crate::eval::performance::MacroAccuracy;

/// What an epoch's steps added up to.
pub struct Meter {
    num_classes: i64,
    device: Device,
    terms: Vec<TermMeter>,
}

struct TermMeter {
    name: &'static str,
    weight: f64,
    /// float64 scalar: this rank's sum.
    sum: Tensor,
    count: usize,
    local_count: usize,
    /// int64 [3 * K], the counts of a [`MacroAccuracy`]; of this rank.
    accuracy: Option<Tensor>,
}

/// Means over all ranks of what a [`Meter`] collected.
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// Weighted sum of the terms' means: the loss.
    pub loss: f64,
    /// Per term: name, mean loss, macro accuracy where logits were given.
    pub terms: Vec<(&'static str, f64, Option<f64>)>,
}

impl Means {
    /// Accuracy of the first term that has one.
    pub fn accuracy(&self) -> Option<f64> {
        self.terms.iter().find_map(|(_, _, accuracy)| *accuracy)
    }
}

impl Meter {
    pub fn new(num_classes: usize, device: Device) -> Self {
        Meter { num_classes: num_classes as i64, device, terms: Vec::new() }
    }

    /// Adds the terms of one micro-step.
    pub fn add(&mut self, terms: &[Term]) {
        for term in terms {
            let index = match self.terms.iter().position(|known| known.name == term.name) {
                Some(index) => index,
                None => {
                    self.terms.push(TermMeter {
                        name: term.name,
                        weight: term.weight,
                        sum: Tensor::zeros([1], (Kind::Double, self.device)),
                        count: 0,
                        local_count: 0,
                        accuracy: None,
                    });
                    self.terms.len() - 1
                }
            };
            let meter = &mut self.terms[index];
            meter.weight = term.weight;
            let _ = meter.sum.g_add_(&term.sum.detach().to_kind(Kind::Double));
            meter.count += term.count;
            meter.local_count += term.local_count;
            if let Some((logits, labels)) = &term.predictions {
                let k = self.num_classes;
                let counts = meter.accuracy.get_or_insert_with(|| Tensor::zeros([3 * k], (Kind::Int64, self.device)));
                let predicted = logits.argmax(1, false);
                let correct = predicted.eq_tensor(labels).to_kind(Kind::Int64);
                let places = Tensor::cat(&[labels, &(labels + k), &(&predicted + 2 * k)], 0);
                let ones = predicted.ones_like();
                let _ = counts.index_add_(0, &places, &Tensor::cat(&[&correct, &ones, &ones], 0));
            }
        }
    }

    /// Means over all ranks; a collective call.
    pub fn means(&self, world: &World) -> Result<Means> {
        self.read(|term| term.count, |sum| world.sum(sum))
    }

    /// The same for rank 0 alone; `None` elsewhere. A collective call.
    pub fn means_at_root(&self, world: &World) -> Result<Option<Means>> {
        let means = self.read(|term| term.count, |sum| world.sum_at_root(sum))?;
        Ok(world.is_root().then_some(means))
    }

    /// Means of this rank's samples alone, for a progress bar.
    pub fn local_means(&self) -> Result<Means> {
        self.read(|term| term.local_count, |_| Ok(()))
    }

    fn read(
        &self,
        count: impl Fn(&TermMeter) -> usize,
        mut total: impl FnMut(&mut Tensor) -> Result<()>,
    ) -> Result<Means> {
        let mut means = Means::default();
        for term in &self.terms {
            let mut sum = term.sum.copy();
            total(&mut sum)?;
            let mean = sum.f_double_value(&[0])? / count(term).max(1) as f64;
            let accuracy = match &term.accuracy {
                None => None,
                Some(counts) => {
                    let mut counts = counts.copy();
                    total(&mut counts)?;
                    Some(MacroAccuracy::from_counts(Vec::try_from(counts)?).value())
                }
            };
            means.loss += term.weight * mean;
            means.terms.push((term.name, mean, accuracy));
        }
        Ok(means)
    }
}
