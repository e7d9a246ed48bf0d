//! Sums over an epoch: losses and accuracy. They are kept on the device and read once, at the end of the epoch.

use tch::{Device, Kind, Tensor};

use super::accuracy::AccuracyCounts;
use super::term::Term;
use crate::distributed::World;
use crate::error::Result;

/// Sums of losses and accuracy over the steps of an epoch.
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
    /// int64 [3 * K]: this rank's counts of [`AccuracyCounts`].
    accuracy: Option<Tensor>,
}

/// Weight and counts of a term in a micro-step, which the host knows.
#[derive(Debug, Clone)]
pub struct TermCount {
    /// Index of the term in the meter.
    term: usize,
    weight: f64,
    count: usize,
    local_count: usize,
}

/// Mean losses and accuracies of a [`Meter`].
#[derive(Debug, Clone, Default)]
pub struct MeterMeans {
    /// Weighted sum of the terms' means: the loss.
    pub loss: f64,
    pub terms: Vec<TermMeans>,
}

/// The means of one term of the loss.
#[derive(Debug, Clone)]
pub struct TermMeans {
    pub name: &'static str,
    pub loss: f64,
    /// If logits were given.
    pub accuracy: Option<AccuracyCounts>,
}

impl MeterMeans {
    /// Accuracy of the first term that has one.
    pub fn accuracy(&self) -> Option<&AccuracyCounts> {
        self.terms.iter().find_map(|term| term.accuracy.as_ref())
    }
}

impl Meter {
    pub fn new(num_classes: usize, device: Device) -> Self {
        Meter { num_classes: num_classes as i64, device, terms: Vec::new() }
    }

    /// Starts a new epoch. The sums keep their addresses, as captured steps require.
    pub fn reset(&mut self) -> Result<()> {
        for term in &mut self.terms {
            (term.count, term.local_count) = (0, 0);
            let _ = term.sum.f_zero_()?;
            if let Some(accuracy) = &mut term.accuracy {
                let _ = accuracy.f_zero_()?;
            }
        }
        Ok(())
    }

    /// Adds the terms of one micro-step to the sums on the device. [`Meter::count`] takes the counts that it returns.
    pub fn add_on_device(&mut self, terms: &[Term]) -> Result<Vec<TermCount>> {
        let mut counts = Vec::with_capacity(terms.len());
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
            let Term { weight, count, local_count, .. } = *term;
            counts.push(TermCount { term: index, weight, count, local_count });
            let meter = &mut self.terms[index];
            let _ = meter.sum.f_add_(&term.sum.f_detach()?.f_to_kind(Kind::Double)?)?;
            if let Some((logits, labels)) = &term.predictions {
                let k = self.num_classes;
                let totals = meter.accuracy.get_or_insert_with(|| Tensor::zeros([3 * k], (Kind::Int64, self.device)));
                let predicted = logits.f_argmax(1, false)?;
                let correct = predicted.f_eq_tensor(labels)?.f_to_kind(Kind::Int64)?;
                let indices = Tensor::f_cat(&[labels, &(labels + k), &(&predicted + 2 * k)], 0)?;
                let ones = predicted.ones_like();
                let _ = totals.f_index_add_(0, &indices, &Tensor::f_cat(&[&correct, &ones, &ones], 0)?)?;
            }
        }
        Ok(counts)
    }

    /// Adds counts of [`Meter::add_on_device`] on the host. A replayed step adds the counts of its capture again.
    pub fn count(&mut self, counts: &[TermCount]) {
        for added in counts {
            let meter = &mut self.terms[added.term];
            meter.weight = added.weight;
            meter.count += added.count;
            meter.local_count += added.local_count;
        }
    }

    /// Means over all ranks. A collective call.
    pub fn means(&self, world: &World) -> Result<MeterMeans> {
        self.read(|term| term.count, |sum| world.all_reduce(sum))
    }

    /// Like [`means`](Self::means), but only rank 0 gets the result. A collective call.
    pub fn means_at_root(&self, world: &World) -> Result<Option<MeterMeans>> {
        let means = self.read(|term| term.count, |sum| world.reduce(sum))?;
        Ok(world.is_root().then_some(means))
    }

    /// Means over this rank's samples alone, for a progress bar. No collective call.
    pub fn local_means(&self) -> Result<MeterMeans> {
        self.read(|term| term.local_count, |_| Ok(()))
    }

    /// Means with these divisors, after `reduce` has run on each tensor of sums.
    fn read(
        &self,
        count: impl Fn(&TermMeter) -> usize,
        mut reduce: impl FnMut(&mut Tensor) -> Result<()>,
    ) -> Result<MeterMeans> {
        let mut means = MeterMeans::default();
        // A term without samples belongs to a pass that this epoch does not have.
        for term in self.terms.iter().filter(|term| term.count > 0) {
            let mut sum = term.sum.copy();
            reduce(&mut sum)?;
            let mean = sum.f_double_value(&[0])? / count(term).max(1) as f64;
            let accuracy = match &term.accuracy {
                None => None,
                Some(counts) => {
                    let mut counts = counts.copy();
                    reduce(&mut counts)?;
                    Some(AccuracyCounts::from_counts(Vec::try_from(counts)?))
                }
            };
            means.loss += term.weight * mean;
            means.terms.push(TermMeans { name: term.name, loss: mean, accuracy });
        }
        Ok(means)
    }
}
