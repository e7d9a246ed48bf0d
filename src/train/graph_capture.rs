//! Training steps as CUDA graphs. The kernels of a step are captured once and replayed as one launch, so the GPU does
//! not wait for a host that launches hundreds of small kernels.
//!
//! A captured step always reads and writes the same memory. New inputs are copied there before a replay. Weights,
//! moments, learning rate, loss scale and meters stay at their addresses. Shapes and constants are those of the
//! capture, so a step is replayed only for batches of the same sizes, in the same pass, while
//! [`Method::graph_key`](super::Method::graph_key) is unchanged. All other steps run kernel by kernel. So do the first
//! steps of each kind, because libraries choose their algorithms then.
//!
//! The choice depends on sizes over all ranks, so all ranks make the same one: the all-reduces are part of the capture.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Once;

#[cfg(test)]
use tch::Tensor;
use tch::{Device, Kind};

use super::context::TrainContext;
use super::graph_obstacle::{HOST_DECISION, graph_obstacle, note_failed_capture};
use super::step::{Drawn, MicroStep};
use super::update::StepOutcome;
use crate::config::schema::CudaGraphMode;
use crate::data::Batch;
use crate::distributed::{WorkCounts, World};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::CudaGraph;

/// Number of steps of the same sizes that run kernel by kernel before one is captured.
const WARM_UP: usize = 3;

/// The pass, and for each micro-step and sampler the samples of the micro-step and of the step, over all ranks. The
/// shapes of a step follow from them.
type StepSizes = (&'static str, Vec<usize>);

/// Runs a step on its inputs.
type StepFn<'a> = dyn FnMut(&[MicroStep]) -> Result<StepOutcome> + 'a;

/// Runs the steps of a phase, as CUDA graphs where possible.
pub struct GraphCapture {
    /// None: all steps run kernel by kernel.
    captured: Option<CapturedSteps>,
    /// True (`trainer.cuda_graph=true`): a step that cannot be captured is an error.
    required: bool,
}

/// The captured steps of a phase, one for each [`StepSizes`].
struct CapturedSteps {
    launcher: GraphLauncher,
    /// Number of uncaptured steps of these sizes so far.
    uncaptured: HashMap<StepSizes, usize>,
    steps: Vec<CapturedStep>,
}

/// The way in which a captured step runs again.
enum GraphLauncher {
    /// Replays the CUDA graph on the device with this index.
    Cuda(usize),
    /// Runs the step again on the memory of its first inputs, for tests without a GPU.
    #[cfg(test)]
    Rerun,
}

/// The CUDA graph of a step, with the memory that it reads and writes.
struct CapturedStep {
    sizes: StepSizes,
    /// [`Method::graph_key`](super::Method::graph_key) at the capture.
    key: u64,
    inputs: Vec<MicroStep>,
    /// None only with [`GraphLauncher::Rerun`].
    graph: Option<CudaGraph>,
    outcome: StepOutcome,
    /// Collectives inside the graph, counted again at each replay.
    counts: WorkCounts,
}

impl GraphCapture {
    /// Decides from the settings, the device and the model if steps can be captured.
    ///
    /// # Errors
    /// `Usage` if steps cannot be captured and `trainer.cuda_graph=true` asks for it.
    pub fn new(context: &TrainContext<'_>) -> Result<Self> {
        let (mode, device) = (context.settings.cuda_graph, context.dataset.device());
        let kind = match context.model.state.parameters().next() {
            Some((.., weight)) => weight.f_kind()?,
            None => Kind::Float,
        };
        let required = mode == CudaGraphMode::On;
        let obstacle = graph_obstacle(mode, device, context.world, context.model.architecture(), kind)?;
        let captured = match (obstacle, device) {
            (None, Device::Cuda(index)) => Some(CapturedSteps::new(GraphLauncher::Cuda(index))),
            (Some(obstacle), _) if required => return Err(cannot_capture(obstacle)),
            (Some(obstacle), Device::Cuda(_)) if mode == CudaGraphMode::Auto => {
                log_once(obstacle);
                None
            }
            _ => None,
        };
        Ok(GraphCapture { captured, required })
    }

    /// Captures nothing, and runs each step that would be replayed on the memory of the capture.
    #[cfg(test)]
    pub fn rerunning() -> Self {
        GraphCapture { captured: Some(CapturedSteps::new(GraphLauncher::Rerun)), required: true }
    }

    /// Number of steps that would be replayed now.
    #[cfg(test)]
    pub fn num_captured(&self) -> usize {
        self.captured.as_ref().map_or(0, |captured| captured.steps.len())
    }

    pub fn is_on(&self) -> bool {
        self.captured.is_some()
    }

    /// Runs one step: replays it, captures it, or runs it kernel by kernel. `key` is
    /// [`Method::graph_key`](super::Method::graph_key).
    pub fn run(
        &mut self,
        world: &World,
        pass: &'static str,
        key: Option<u64>,
        inputs: &[MicroStep],
        step: &mut StepFn<'_>,
    ) -> Result<StepOutcome> {
        let Some(captured) = &mut self.captured else { return step(inputs) };
        let Some(key) = key else {
            if self.required {
                return Err(cannot_capture(HOST_DECISION));
            }
            log_once(HOST_DECISION);
            return step(inputs);
        };
        let sizes = (pass, step_sizes(inputs));
        if let Some(captured_step) = captured.find(&sizes, key) {
            return captured_step.replay(world, inputs, step);
        }
        let uncaptured = captured.uncaptured.entry(sizes.clone()).or_default();
        *uncaptured += 1;
        if *uncaptured <= WARM_UP {
            return step(inputs);
        }
        let result = captured.capture(world, sizes, key, inputs, step);
        // A failure on one rank is a failure on all ranks: they must make the same collective calls from here on.
        let failure = result.as_ref().err().map(|error| error.message().to_owned()).unwrap_or_default();
        let failures = world.all_gather(&failure)?;
        if failures.iter().any(|failure| !failure.is_empty()) {
            note_failed_capture();
        }
        match (result, failures.into_iter().find(|failure| !failure.is_empty())) {
            (Ok(captured_step), None) => {
                captured.steps.push(captured_step);
                let captured_step =
                    captured.steps.last_mut().ok_or_else(|| Error::new(ErrorKind::Bug, "no captured step was kept"))?;
                captured_step.launch(step)
            }
            (Err(error), _) if self.required => Err(error.context("capturing a step as a CUDA graph")),
            (_, failure) => {
                let failure = failure.unwrap_or_default();
                tracing::warn!("CUDA graphs are off (trainer.cuda_graph): a capture failed: {failure}");
                self.captured = None;
                step(inputs)
            }
        }
    }
}

impl CapturedSteps {
    fn new(launcher: GraphLauncher) -> Self {
        CapturedSteps { launcher, uncaptured: HashMap::new(), steps: Vec::new() }
    }

    /// The captured step of these sizes. Drops the steps of the same pass whose key has changed.
    fn find(&mut self, sizes: &StepSizes, key: u64) -> Option<&mut CapturedStep> {
        // Steps of this pass with other constants will not come back.
        self.steps.retain(|step| step.sizes.0 != sizes.0 || step.key == key);
        self.steps.iter_mut().find(|step| step.sizes == *sizes)
    }

    /// Captures a step on a copy of its inputs. The kernels do not run yet.
    fn capture(
        &self,
        world: &World,
        sizes: StepSizes,
        key: u64,
        inputs: &[MicroStep],
        step: &mut StepFn<'_>,
    ) -> Result<CapturedStep> {
        let inputs = inputs.iter().map(copy_inputs).collect::<Vec<_>>();
        let (result, counts) = world.count_during(|| match self.launcher {
            GraphLauncher::Cuda(index) => {
                let same_pool = self.steps.iter().find_map(|step| step.graph.as_ref());
                CudaGraph::capture(index, same_pool, || step(&inputs)).map(|(graph, outcome)| (Some(graph), outcome))
            }
            #[cfg(test)]
            GraphLauncher::Rerun => Ok((None, StepOutcome { norm_and_scale: Tensor::new(), counts: Rc::new([]) })),
        });
        let (graph, outcome) = result?;
        Ok(CapturedStep { sizes, key, inputs, graph, outcome, counts })
    }
}

impl CapturedStep {
    /// Copies new inputs into the memory of the capture and runs the step.
    fn replay(&mut self, world: &World, inputs: &[MicroStep], step: &mut StepFn<'_>) -> Result<StepOutcome> {
        for (captured, new) in self.inputs.iter_mut().zip(inputs) {
            load_inputs(captured, new)?;
        }
        world.add_counts(&self.counts);
        self.launch(step)
    }

    /// Runs the step on the inputs in the memory of the capture.
    fn launch(&mut self, step: &mut StepFn<'_>) -> Result<StepOutcome> {
        match &self.graph {
            Some(graph) => graph.replay()?,
            None => return step(&self.inputs),
        }
        let StepOutcome { norm_and_scale, counts } = &self.outcome;
        Ok(StepOutcome { norm_and_scale: norm_and_scale.shallow_clone(), counts: Rc::clone(counts) })
    }
}

fn step_sizes(inputs: &[MicroStep]) -> Vec<usize> {
    let micro_step = |input: &MicroStep| {
        let batches = input.batches.iter().flat_map(|(_, batch)| [batch.global.len(), batch.step_count]);
        batches.chain([input.drawn.samples]).collect::<Vec<_>>()
    };
    inputs.iter().flat_map(micro_step).collect()
}

/// New memory for inputs like these, with their values.
fn copy_inputs(inputs: &MicroStep) -> MicroStep {
    let copy_batch = |batch: &Batch| Batch {
        images: batch.images.copy(),
        labels: batch.labels.copy(),
        global: batch.global.clone(),
        shard: batch.shard.clone(),
        step_count: batch.step_count,
        layer_stream: batch.layer_stream,
        pass: batch.pass,
    };
    let drawn = &inputs.drawn;
    MicroStep {
        batches: inputs.batches.iter().map(|(name, batch)| (*name, copy_batch(batch))).collect(),
        drawn: Drawn {
            tensors: drawn.tensors.iter().map(|tensor| tensor.copy()).collect(),
            samples: drawn.samples,
            indices: drawn.indices.clone(),
        },
    }
}

/// Copies `new` inputs of the same sizes into the memory of the `captured` ones.
fn load_inputs(captured: &mut MicroStep, new: &MicroStep) -> Result<()> {
    for ((_, captured), (_, new)) in captured.batches.iter_mut().zip(&new.batches) {
        captured.images.f_copy_(&new.images)?;
        captured.labels.f_copy_(&new.labels)?;
        captured.global.clone_from(&new.global);
        captured.pass = new.pass;
    }
    captured.drawn.indices.clone_from(&new.drawn.indices);
    for (captured, tensor) in captured.drawn.tensors.iter_mut().zip(&new.drawn.tensors) {
        captured.f_copy_(tensor)?;
    }
    Ok(())
}

fn cannot_capture(obstacle: &str) -> Error {
    Error::usage(format!("trainer.cuda_graph=true: steps cannot be captured: {obstacle}"))
        .hint("set trainer.cuda_graph=auto or false, or remove that obstacle")
}

fn log_once(obstacle: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::info!("CUDA graphs are off: {obstacle}"));
}
