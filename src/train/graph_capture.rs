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

use tch::{Device, Kind, Tensor};

use super::context::TrainContext;
use super::graph_obstacle::{HOST_DECISION, graph_obstacle, note_failed_capture};
use super::step::{Drawn, MicroStep};
use super::update::StepOutcome;
use crate::config::schema::CudaGraphMode;
use crate::data::Batch;
use crate::distributed::{Capture, WorkCounts, World};
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
    /// Like [`GraphLauncher::Rerun`], and runs the step also in the place of the capture.
    #[cfg(test)]
    RunAsCapture,
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
            (Some(obstacle), _) if required => return Err(cannot_capture(&obstacle)),
            (Some(obstacle), Device::Cuda(_)) if mode == CudaGraphMode::Auto => {
                log_once(&obstacle);
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
        match captured.capture(world, sizes, key, inputs, step)? {
            Capture::Done(captured_step, counts) => {
                captured.steps.push(CapturedStep { counts, ..captured_step });
                let captured_step = captured.steps.last_mut();
                captured_step
                    .ok_or_else(|| Error::new(ErrorKind::Bug, "no captured step was kept"))?
                    .launch(world, step)
            }
            Capture::Failed(error) => {
                note_failed_capture();
                if self.required {
                    return Err(error.context("capturing a step as a CUDA graph"));
                }
                tracing::warn!("CUDA graphs are off (trainer.cuda_graph): a capture failed: {}", error.message());
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

    /// Captures a step on a copy of its inputs. The kernels do not run yet. A failure on one rank is a failure on all
    /// ranks: they must make the same collective calls from here on. A collective call. The counts of the captured step
    /// are still empty.
    fn capture(
        &self,
        world: &World,
        sizes: StepSizes,
        key: u64,
        inputs: &[MicroStep],
        step: &mut StepFn<'_>,
    ) -> Result<Capture<CapturedStep>> {
        world.capture(|| {
            let inputs = inputs.iter().map(copy_inputs).collect::<Result<Vec<_>>>()?;
            let (graph, outcome) = match self.launcher {
                GraphLauncher::Cuda(index) => {
                    let same_pool = self.steps.iter().find_map(|step| step.graph.as_ref());
                    let (graph, outcome) = CudaGraph::capture(index, same_pool, || step(&inputs))?;
                    (Some(graph), outcome)
                }
                #[cfg(test)]
                GraphLauncher::Rerun => (None, StepOutcome { norm_and_scale: Tensor::new(), counts: Rc::new([]) }),
                #[cfg(test)]
                GraphLauncher::RunAsCapture => (None, step(&inputs)?),
            };
            Ok(CapturedStep { sizes, key, inputs, graph, outcome, counts: WorkCounts::default() })
        })
    }
}

impl CapturedStep {
    /// Copies new inputs into the memory of the capture and runs the step.
    fn replay(&mut self, world: &World, inputs: &[MicroStep], step: &mut StepFn<'_>) -> Result<StepOutcome> {
        for (captured, new) in self.inputs.iter_mut().zip(inputs) {
            load_inputs(captured, new)?;
        }
        self.launch(world, step)
    }

    /// Runs the step on the inputs in the memory of the capture.
    fn launch(&mut self, world: &World, step: &mut StepFn<'_>) -> Result<StepOutcome> {
        match &self.graph {
            // SAFETY: the step uses its inputs, which this value owns, and weights, moments, meters and frozen copies of
            // the phase, the model and the method, which stay at their addresses until the phase has ended.
            Some(graph) => unsafe { graph.replay() }?,
            None => return step(&self.inputs),
        }
        world.add_counts(&self.counts);
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
fn copy_inputs(inputs: &MicroStep) -> Result<MicroStep> {
    // Keeps the memory layout.
    let copy = |tensor: &Tensor| -> Result<Tensor> {
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(tensor)?;
        Ok(copy)
    };
    let copy_batch = |batch: &Batch| -> Result<Batch> {
        Ok(Batch {
            images: copy(&batch.images)?,
            labels: copy(&batch.labels)?,
            global: batch.global.clone(),
            shard: batch.shard.clone(),
            step_count: batch.step_count,
            layer_stream: batch.layer_stream,
            pass: batch.pass,
        })
    };
    let drawn = &inputs.drawn;
    Ok(MicroStep {
        batches: inputs.batches.iter().map(|(name, batch)| Ok((*name, copy_batch(batch)?))).collect::<Result<_>>()?,
        drawn: Drawn {
            tensors: drawn.tensors.iter().map(copy).collect::<Result<_>>()?,
            samples: drawn.samples,
            indices: drawn.indices.clone(),
        },
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::as_ranks::{rank_folder, run_as_ranks};
    use crate::distributed::{Transport, launch};
    use crate::mpirun::said;
    use crate::train::graph_obstacle::shared_obstacle;

    /// A transport whose all-reduces exchange nothing, as in a capture. Everything else goes through the world.
    struct Noting(World);

    impl Transport for Noting {
        fn name(&self) -> &'static str {
            "noting"
        }

        fn rank(&self) -> usize {
            self.0.rank()
        }

        fn size(&self) -> usize {
            self.0.size()
        }

        fn local_rank(&self) -> usize {
            self.0.local_rank()
        }

        fn local_size(&self) -> usize {
            self.0.local_size()
        }

        fn all_reduce(&self, _: &mut Tensor) -> Result<()> {
            Ok(())
        }

        fn reduce(&self, tensor: &mut Tensor) -> Result<()> {
            self.0.reduce(tensor)
        }

        fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
            self.0.broadcast(tensor)
        }

        fn all_gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
            self.0.all_gather_rows(rows)
        }

        fn gather_rows(&self, rows: &Tensor) -> Result<Option<Tensor>> {
            self.0.gather_rows(rows)
        }

        fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
            let texts = self.0.all_gather(std::str::from_utf8(bytes).unwrap())?;
            Ok(texts.into_iter().map(String::into_bytes).collect())
        }

        fn barrier(&self) -> Result<()> {
            self.0.barrier()
        }
    }

    /// The results of six steps of three all-reduces each. The fourth is captured; there `in_capture` decides how many
    /// all-reduces the rank makes, and whether it fails after them.
    fn six_steps(world: &World, required: bool, in_capture: impl Fn(usize) -> (usize, bool)) -> Vec<Result<()>> {
        let captured = Some(CapturedSteps::new(GraphLauncher::RunAsCapture));
        let mut capture = GraphCapture { captured, required };
        let mut calls = 0;
        let steps = (0..6).map(|_| {
            let outcome = capture.run(world, "train", Some(1), &[], &mut |_| {
                calls += 1;
                let (all_reduces, fails) = if calls == WARM_UP + 1 { in_capture(world.rank()) } else { (3, false) };
                for _ in 0..all_reduces {
                    world.all_reduce(&mut Tensor::zeros([4], (Kind::Float, Device::Cpu)))?;
                }
                match fails {
                    true => Err(Error::new(ErrorKind::Other, "out of memory")),
                    false => Ok(StepOutcome { norm_and_scale: Tensor::new(), counts: Rc::new([]) }),
                }
            });
            outcome.map(drop)
        });
        steps.collect()
    }

    #[test]
    #[ignore = "one rank of another test"]
    fn rank_with_a_failing_capture() {
        rank_folder();
        let joined = launch::start().unwrap();
        let world = World::new(Box::new(Noting(joined)));
        world.configure(Duration::from_secs(60), true);

        let obstacle = |of: usize| shared_obstacle(&world, (world.rank() == of).then_some("no graphs")).unwrap();
        let wanted = ["rank 1: no graphs", "no graphs"][world.rank()];
        assert_eq!((obstacle(1).as_deref(), obstacle(7)), (Some(wanted), None));

        // Rank 1 fails after one of three all-reduces. All ranks go on without graphs and count the same calls.
        world.reset_counts();
        let steps = six_steps(&world, false, |rank| if rank == 1 { (1, true) } else { (3, false) });
        assert!(steps.iter().all(Result::is_ok), "{steps:?}");
        assert_eq!(world.traffic().collectives, 6 * 3 + 1);
        assert_eq!(world.traffic().bytes_reduced, 6 * 3 * 16);

        let steps = six_steps(&world, true, |rank| if rank == 1 { (1, true) } else { (3, false) });
        let error = steps[WARM_UP].as_ref().unwrap_err();
        let cause = ["rank 1: out of memory", "out of memory"][world.rank()];
        assert_eq!(error.message(), format!("capturing a step as a CUDA graph: {cause}"));

        let steps = six_steps(&world, false, |rank| (3 + rank, false));
        let error = steps[WARM_UP].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Peer);
        assert!(error.message().contains("rank 0 calls in a CUDA graph: all-reduce of [4] Float;"), "{error}");
        world.barrier().unwrap();
    }

    #[test]
    fn a_capture_that_fails_on_one_rank_turns_graphs_off_on_all_ranks() {
        let folder = tempfile::tempdir().unwrap();
        let name = "train::graph_capture::tests::rank_with_a_failing_capture";
        let output = run_as_ranks(name, 2, folder.path());
        assert!(output.status.success(), "{}", said(&output));
    }
}
