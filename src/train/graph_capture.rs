//! Steps whose kernels are recorded once and launched again as one piece (CUDA graphs): the GPU then does not wait for
//! a host that launches hundreds of small kernels.
//!
//! A recorded step always reads and writes the same memory. What goes in is copied there first; weights, moments,
//! learning rate, loss scale and meters stay where they are. Shapes and constants are those of the recording, so a step
//! is only replayed for batches of the same sizes, in the same pass, as long as
//! [`Method::graph_key`](super::Method::graph_key) says the same; any other runs as usual. The first steps run as usual
//! too: libraries choose their algorithms there.
//!
//! All ranks decide alike, by sizes over all ranks: the sums between them are part of the recording.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Tensor};

use super::method::MicroStep;
use super::trainer::Trainer;
use super::update::Done;
use crate::config::schema::CudaGraphMode;
use crate::data::Batch;
use crate::distributed::{WorkCounts, World};
use crate::error::{Error, ErrorKind, Result};
use crate::torch::CudaGraph;

/// Steps of a kind that run as usual before one is recorded.
const WARM_UP: usize = 3;

/// A recording of this process has failed. libtorch's allocator does not recover from every such failure: another try
/// would not say anything new.
static FAILED: AtomicBool = AtomicBool::new(false);

/// What a step's shapes follow from: the pass, and for each micro-step and sampler the samples of the micro-step and of
/// the step, over all ranks.
type Sizes = (&'static str, Vec<usize>);

/// A step, given its inputs.
type StepFn<'a> = dyn FnMut(&[MicroStep]) -> Result<Done> + 'a;

pub struct GraphCapture {
    /// None: all steps run as usual.
    captured: Option<CapturedSteps>,
    /// A step that cannot be recorded is an error.
    required: bool,
}

struct CapturedSteps {
    launcher: Launcher,
    /// How often each kind of step ran so far.
    seen: HashMap<Sizes, usize>,
    kept: Vec<CapturedStep>,
}

enum Launcher {
    /// The index of a CUDA device.
    Cuda(usize),
    /// Runs the step again on the memory of its first inputs, where there is nothing to step_graph with.
    #[cfg(test)]
    Rerun,
}

struct CapturedStep {
    sizes: Sizes,
    /// [`Method::graph_key`](super::Method::graph_key) when it was made.
    constants: u64,
    inputs: Vec<MicroStep>,
    /// None only with [`Launcher::Rerun`].
    graph: Option<CudaGraph>,
    done: Done,
    counts: WorkCounts,
}

impl GraphCapture {
    pub fn new(trainer: &Trainer<'_>) -> Result<Self> {
        let required = trainer.settings.cuda_graph == CudaGraphMode::On;
        let off = GraphCapture { captured: None, required };
        let (Device::Cuda(index), true) = (trainer.dataset.device(), trainer.settings.cuda_graph != CudaGraphMode::Off)
        else {
            return if required { Err(impossible("the data is not on a GPU")) } else { Ok(off) };
        };
        let obstacle = match trainer.model.state.parameters().next() {
            _ if FAILED.load(Ordering::Relaxed) => Some("an earlier recording failed"),
            _ if !CudaGraph::is_available() => Some("this libtorch has no CUDA graphs"),
            _ if trainer.model.architecture().draws_at_random() => Some("the network leaves out branches at random"),
            _ if !trainer.world.is_asynchronous() => Some("the sums over the ranks go through the host"),
            _ if trainer.world.overlap()?.is_some() => Some("launch.trace_sums=true takes the time of single sums"),
            Some((.., weight)) if weight.f_kind()? != tch::Kind::Float => Some("the weights are not float32"),
            _ => None,
        };
        match obstacle {
            None => Ok(GraphCapture { captured: Some(CapturedSteps::new(Launcher::Cuda(index))), required }),
            Some(obstacle) if required => Err(impossible(obstacle)),
            Some(obstacle) => {
                say_once(obstacle);
                Ok(off)
            }
        }
    }

    /// CapturedSteps nothing, and runs each step that would be replayed on the memory of the recording.
    #[cfg(test)]
    pub fn rerunning() -> Self {
        GraphCapture { captured: Some(CapturedSteps::new(Launcher::Rerun)), required: true }
    }

    /// Steps that would be replayed now.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.captured.as_ref().map_or(0, |captured| captured.kept.len())
    }

    pub fn is_on(&self) -> bool {
        self.captured.is_some()
    }

    /// One step, recorded or as usual. `constants`: what [`Method::graph_key`](super::Method::graph_key) says.
    pub fn run(
        &mut self,
        world: &World,
        pass: &'static str,
        constants: Option<u64>,
        inputs: &[MicroStep],
        step: &mut StepFn<'_>,
    ) -> Result<Done> {
        let Some(captured) = &mut self.captured else { return step(inputs) };
        let Some(constants) = constants else {
            if self.required {
                return Err(impossible("the method decides on the host what a step does"));
            }
            say_once("the method decides on the host what a step does");
            return step(inputs);
        };
        let sizes = (pass, sizes(inputs));
        if let Some(step_graph) = captured.find(&sizes, constants) {
            return step_graph.replay(world, inputs, step);
        }
        let seen = captured.seen.entry(sizes.clone()).or_default();
        *seen += 1;
        if *seen <= WARM_UP {
            return step(inputs);
        }
        let made = captured.make(world, sizes, constants, inputs, step);
        // All ranks go on in the same way.
        let failure = made.as_ref().err().map(|error| error.message().to_owned()).unwrap_or_default();
        let failures = world.all_gather(&failure)?;
        if failures.iter().any(|failure| !failure.is_empty()) {
            FAILED.store(true, Ordering::Relaxed);
        }
        match (made, failures.into_iter().find(|failure| !failure.is_empty())) {
            (Ok(step_graph), None) => {
                captured.kept.push(step_graph);
                let step_graph =
                    captured.kept.last_mut().ok_or_else(|| Error::new(ErrorKind::Bug, "no step_graph was kept"))?;
                step_graph.launch(step)
            }
            (Err(error), _) if self.required => Err(error.context("recording a step as a CUDA graph")),
            (_, failure) => {
                let failure = failure.unwrap_or_default();
                tracing::warn!("steps are not recorded as CUDA graphs (trainer.cuda_graph): {failure}");
                self.captured = None;
                step(inputs)
            }
        }
    }
}

impl CapturedSteps {
    fn new(launcher: Launcher) -> Self {
        CapturedSteps { launcher, seen: HashMap::new(), kept: Vec::new() }
    }

    fn find(&mut self, sizes: &Sizes, constants: u64) -> Option<&mut CapturedStep> {
        // Those with other constants will not come back.
        self.kept.retain(|step_graph| step_graph.sizes.0 != sizes.0 || step_graph.constants == constants);
        self.kept.iter_mut().find(|step_graph| step_graph.sizes == *sizes)
    }

    fn make(
        &self,
        world: &World,
        sizes: Sizes,
        constants: u64,
        inputs: &[MicroStep],
        step: &mut StepFn<'_>,
    ) -> Result<CapturedStep> {
        let inputs = inputs.iter().map(copy).collect::<Vec<_>>();
        let (made, counts) = world.count_during(|| match self.launcher {
            Launcher::Cuda(index) => {
                let shares = self.kept.iter().find_map(|step_graph| step_graph.graph.as_ref());
                CudaGraph::capture(index, shares, || step(&inputs)).map(|(graph, done)| (Some(graph), done))
            }
            #[cfg(test)]
            Launcher::Rerun => Ok((None, Done { outcome: Tensor::new(), counts: Rc::new([]) })),
        });
        let (graph, done) = made?;
        Ok(CapturedStep { sizes, constants, inputs, graph, done, counts })
    }
}

impl CapturedStep {
    /// The step for new inputs.
    fn replay(&mut self, world: &World, inputs: &[MicroStep], step: &mut StepFn<'_>) -> Result<Done> {
        for (place, input) in self.inputs.iter_mut().zip(inputs) {
            load(place, input)?;
        }
        world.add_counts(&self.counts);
        self.launch(step)
    }

    /// The step for the inputs that are in place.
    fn launch(&mut self, step: &mut StepFn<'_>) -> Result<Done> {
        match &self.graph {
            Some(graph) => graph.replay()?,
            None => return step(&self.inputs),
        }
        let Done { outcome, counts } = &self.done;
        Ok(Done { outcome: outcome.shallow_clone(), counts: Rc::clone(counts) })
    }
}

fn sizes(inputs: &[MicroStep]) -> Vec<usize> {
    let of = |input: &MicroStep| {
        let batches = input.batches.iter().flat_map(|(_, batch)| [batch.global.len(), batch.step_count]);
        batches.chain([input.drawn.samples]).collect::<Vec<_>>()
    };
    inputs.iter().flat_map(of).collect()
}

/// Memory for inputs like these, with their values.
fn copy(inputs: &MicroStep) -> MicroStep {
    let batch = |batch: &Batch| Batch {
        images: batch.images.copy(),
        labels: batch.labels.copy(),
        global: batch.global.clone(),
        shard: batch.shard.clone(),
        step_count: batch.step_count,
        layer_stream: batch.layer_stream,
        pass: batch.pass,
    };
    let drawn = inputs.drawn.tensors.iter().map(Tensor::copy).collect();
    MicroStep {
        batches: inputs.batches.iter().map(|(name, of)| (*name, batch(of))).collect(),
        drawn: super::Drawn { tensors: drawn, samples: inputs.drawn.samples, indices: inputs.drawn.indices.clone() },
    }
}

/// Puts other inputs of the same sizes into the memory of `place`.
fn load(place: &mut MicroStep, inputs: &MicroStep) -> Result<()> {
    for ((_, place), (_, batch)) in place.batches.iter_mut().zip(&inputs.batches) {
        place.images.f_copy_(&batch.images)?;
        place.labels.f_copy_(&batch.labels)?;
        place.global.clone_from(&batch.global);
        place.pass = batch.pass;
    }
    place.drawn.indices.clone_from(&inputs.drawn.indices);
    for (place, tensor) in place.drawn.tensors.iter_mut().zip(&inputs.drawn.tensors) {
        place.f_copy_(tensor)?;
    }
    Ok(())
}

fn impossible(obstacle: &str) -> Error {
    Error::usage(format!("trainer.cuda_graph=true: {obstacle}"))
        .hint("set trainer.cuda_graph=auto or false, or mend that")
}

fn say_once(obstacle: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::info!("steps are not recorded as CUDA graphs: {obstacle}"));
}
