//! The choice of held-out images in a step of ReGUn. They stand for unseen images.
//!
//! A position is an index into the held-out part of the split. All selectors choose for the global forget batch, so
//! every rank draws the same images.

use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::data::{Batch, Part};
use crate::error::{Error, Result};
use crate::inference;
use crate::random::RandomStream;
use crate::random::python::PythonRandom;
use crate::train::{Step, TrainContext};

/// Chooses held-out images.
pub trait Selector {
    /// Runs once, on the initial model.
    fn prepare(&mut self, context: &TrainContext<'_>) -> Result<()>;

    /// Positions of the held-out images of this step.
    fn select(&mut self, step: &Step<'_>, forget: &Batch) -> Result<Vec<usize>>;
}

/// The choice of a selector, `unlearn.regun.selector` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectorChoice {
    Uniform,
    ClassInformed,
    #[serde(rename = "feature_1nn")]
    Feature1nn,
}

impl SelectorChoice {
    pub fn build(self) -> Box<dyn Selector> {
        match self {
            SelectorChoice::Uniform => Box::new(UniformSelector::default()),
            SelectorChoice::ClassInformed => Box::new(ClassInformedSelector::default()),
            SelectorChoice::Feature1nn => Box::new(Feature1nnSelector::default()),
        }
    }
}

/// Number of held-out images.
///
/// # Errors
/// `Usage` if there are none.
fn heldout_samples(context: &TrainContext<'_>) -> Result<usize> {
    match context.dataset.indices(Part::HeldOut).len() {
        0 => Err(Error::usage("unlearn=regun needs held-out images, and the split has none")
            .hint("set split.heldout_frac above 0")),
        n => Ok(n),
    }
}

/// The next batch of a shuffled cycle over held-out. It does not depend on the forget batch.
#[derive(Default)]
struct UniformSelector {
    samples: usize,
    batch_size: usize,
    /// Number of the current pass, and its order.
    order: Option<(u64, Vec<usize>)>,
}

impl Selector for UniformSelector {
    fn prepare(&mut self, context: &TrainContext<'_>) -> Result<()> {
        self.samples = heldout_samples(context)?;
        self.batch_size = context.settings.batch_size;
        Ok(())
    }

    fn select(&mut self, step: &Step<'_>, _: &Batch) -> Result<Vec<usize>> {
        let batches = self.samples.div_ceil(self.batch_size) as u64;
        let (pass, batch) = (step.index / batches, (step.index % batches) as usize);
        if !matches!(&self.order, Some((current, _)) if *current == pass) {
            let mut order: Vec<usize> = (0..self.samples).collect();
            RandomStream::new(step.seed, &format!("{}/heldout/order", step.purpose)).at(pass, 0).shuffle(&mut order);
            self.order = Some((pass, order));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        Ok(order.chunks(self.batch_size).nth(batch).unwrap_or_default().to_vec())
    }
}

/// As many images of each class as the forget batch has, drawn with replacement. For a class that held-out lacks, any
/// images.
#[derive(Default)]
struct ClassInformedSelector {
    labels: Vec<i64>,
}

impl Selector for ClassInformedSelector {
    fn prepare(&mut self, context: &TrainContext<'_>) -> Result<()> {
        heldout_samples(context)?;
        self.labels = context.dataset.labels(Part::HeldOut);
        Ok(())
    }

    fn select(&mut self, step: &Step<'_>, forget: &Batch) -> Result<Vec<usize>> {
        let part = step.dataset.indices(Part::Forget);
        let classes: Vec<i64> =
            forget.global.iter().map(|&position| step.dataset.label(Part::Forget, part[position])).collect();
        let key = RandomStream::new(step.seed, &format!("{}/heldout/draw", step.purpose)).at(step.index, 0).next_u64();
        Ok(class_informed(&mut PythonRandom::new(key), &classes, &self.labels))
    }
}

/// Draws the positions. `forget` and `heldout` are labels. For each class in ascending order with k members among
/// `forget`, k draws with replacement from the positions of that class in `heldout` (from all positions if there is
/// none). One shuffle of the list follows.
pub fn class_informed(random: &mut PythonRandom, forget: &[i64], heldout: &[i64]) -> Vec<usize> {
    let mut classes = forget.to_vec();
    classes.sort_unstable();
    let all_positions: Vec<usize> = (0..heldout.len()).collect();
    let mut drawn = Vec::with_capacity(forget.len());
    for members in classes.chunk_by(|a, b| a == b) {
        let of_class: Vec<usize> = all_positions.iter().copied().filter(|&p| heldout[p] == members[0]).collect();
        let pool = if of_class.is_empty() { &all_positions } else { &of_class };
        drawn.extend(random.choices(pool, members.len()));
    }
    random.shuffle(&mut drawn);
    drawn
}

/// For each forget image the held-out image whose penultimate features are nearest in angle, under the initial model.
#[derive(Default)]
struct Feature1nnSelector {
    /// For each position in forget, the position in held-out.
    nearest: Vec<usize>,
}

/// Rows of the similarity matrix that are computed at once. The matrix then takes at most 1024 x held-out elements.
const SIMILARITY_ROWS: i64 = 1024;

impl Selector for Feature1nnSelector {
    fn prepare(&mut self, context: &TrainContext<'_>) -> Result<()> {
        heldout_samples(context)?;
        let unit = |part| -> Result<Tensor> {
            let model = &*context.model;
            let features =
                inference::all_gather_rows(context.world, context.dataset, part, |images| model.features(images))?;
            let norm = features.norm_scalaropt_dim(2.0, [1], true).clamp_min(1e-12);
            Ok(features / norm)
        };
        let (forget, heldout) = (unit(Part::Forget)?, unit(Part::HeldOut)?.tr());
        let nearest: Vec<Tensor> =
            forget.split(SIMILARITY_ROWS, 0).iter().map(|rows| rows.matmul(&heldout).argmax(1, false)).collect();
        let nearest: Vec<i64> = Vec::try_from(Tensor::cat(&nearest, 0).to_kind(Kind::Int64))?;
        self.nearest = nearest.into_iter().map(|position| position as usize).collect();
        Ok(())
    }

    fn select(&mut self, _: &Step<'_>, forget: &Batch) -> Result<Vec<usize>> {
        Ok(forget.global.iter().map(|&position| self.nearest[position]).collect())
    }
}
