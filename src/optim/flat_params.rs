//! Parameters and gradients as views of flat buffers, one pair of buffers for each weight decay.
//!
//! The optimizer, clipping and the all-reduce then work on a few long vectors instead of many tensors. The backward
//! pass stores a gradient at each parameter, and [`FlatParams::accumulate`] adds it to the gradient buffers. A
//! parameter without a gradient counts as zero.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};

use super::buckets::BucketSizes;
use super::flat_layout::FlatLayout;
use super::param::{Param, ParamSpec};
use super::weight_decay::WeightDecayGroups;
use crate::error::Result;
use crate::models::{Slot, State};
use crate::torch::GradAccumulator;

/// Added to the norm before the division by it, as in PyTorch's `clip_grad_norm_`.
const CLIP_EPS: f64 = 1e-6;

/// The parameters of one weight decay and their gradients, in flat buffers.
#[derive(Debug)]
pub struct ParamGroup {
    pub weight_decay: f64,
    /// All parameters of the group, one after the other, [length].
    pub values: Tensor,
    /// Their gradients, at the same positions.
    pub grads: Tensor,
}

/// The learned parameters of a state.
#[derive(Debug)]
pub struct FlatParams {
    layout: Arc<FlatLayout>,
    groups: Vec<ParamGroup>,
    /// One for each bucket: adds the gradients of its parameters to the buffers.
    grad_accumulators: Vec<GradAccumulator>,
}

impl FlatParams {
    /// Moves the parameters of `state` for which `trainable` is true into flat buffers. Afterwards the state's tensors
    /// are leaves that share memory with [`ParamGroup::values`]. All other tensors stay in place and need no gradient.
    pub fn new(
        state: &mut State,
        groups: WeightDecayGroups,
        sizes: impl Into<BucketSizes>,
        trainable: impl Fn(Slot) -> bool,
    ) -> Result<Self> {
        let specs: Vec<ParamSpec> = state
            .layout()
            .parameters()
            .filter(|(slot, _)| trainable(*slot))
            .map(|(slot, spec)| ParamSpec {
                slot,
                name: spec.name.clone(),
                size: spec.shape.clone(),
                weight_decay: groups.weight_decay(&spec.name),
            })
            .collect();
        let options = match specs.first() {
            Some(spec) => (state.get(spec.slot).f_kind()?, state.get(spec.slot).device()),
            None => (Kind::Float, Device::Cpu),
        };
        let layout = FlatLayout::new(specs, options.0.elt_size_in_bytes(), sizes.into());
        no_grad(|| Self::move_into_buffers(state, layout, options))
    }

    fn move_into_buffers(state: &mut State, layout: FlatLayout, options: (Kind, Device)) -> Result<Self> {
        let buffers = layout.buffers().iter().zip(layout.zeros(options)?.into_iter().zip(layout.zeros(options)?));
        let groups: Vec<ParamGroup> =
            buffers.map(|(&(weight_decay, _), (values, grads))| ParamGroup { weight_decay, values, grads }).collect();
        let mut grad_accumulators: Vec<GradAccumulator> =
            layout.buckets().iter().map(|_| GradAccumulator::default()).collect();
        for param in layout.params() {
            let ParamGroup { values, grads, .. } = &groups[param.group];
            let mut leaf = param.view(values)?.f_detach()?;
            leaf.f_copy_(&state.get(param.slot).f_detach()?)?;
            let leaf = leaf.f_set_requires_grad(true)?;
            grad_accumulators[param.bucket].push(&leaf, param.view(grads)?);
            state.replace(param.slot, leaf);
        }
        Ok(FlatParams { layout: Arc::new(layout), groups, grad_accumulators })
    }

    /// Dtype and device of the parameters; float32 on the CPU if there are none.
    pub fn options(&self) -> Result<(Kind, Device)> {
        match self.groups.first() {
            Some(group) => Ok((group.values.f_kind()?, group.values.device())),
            None => Ok((Kind::Float, Device::Cpu)),
        }
    }

    pub fn layout(&self) -> &Arc<FlatLayout> {
        &self.layout
    }

    pub fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    pub fn groups_mut(&mut self) -> &mut [ParamGroup] {
        &mut self.groups
    }

    /// Adds the gradients that backward passes have stored at the parameters to the buffers, and clears them there.
    pub fn accumulate(&mut self) -> Result<()> {
        self.grad_accumulators.iter().try_for_each(GradAccumulator::add)
    }

    /// One accumulator for each bucket, in the order of [`FlatLayout::buckets`]. Together they do the work of
    /// [`FlatParams::accumulate`].
    pub fn grad_accumulators(&self) -> &[GradAccumulator] {
        &self.grad_accumulators
    }

    /// The gradient of one parameter, as a view.
    pub fn grad(&self, param: &Param) -> Result<Tensor> {
        param.view(&self.groups[param.group].grads)
    }

    /// Sets all gradients to zero, including those that a failed backward pass has stored at the parameters.
    pub fn zero_grad(&mut self) -> Result<()> {
        // Moves gradients from the parameters into the buffers, which are then zeroed.
        self.accumulate()?;
        for group in &mut self.groups {
            let _ = group.grads.f_zero_()?;
        }
        Ok(())
    }

    /// Euclidean norm of the whole gradient, a float64 scalar on the parameters' device. A CPU sums in float64. A GPU
    /// sums in the gradient's own dtype: its sums are trees, which round less, and a float64 copy of the gradient is
    /// expensive.
    pub fn grad_norm(&self) -> Result<Tensor> {
        no_grad(|| {
            let norm = |group: &ParamGroup| match group.grads.device() {
                Device::Cpu => group.grads.f_norm_scalaropt_dtype(2, Kind::Double),
                _ => group.grads.f_norm()?.f_to_kind(Kind::Double),
            };
            let norms = self.groups.iter().map(norm).collect::<Result<Vec<_>, _>>()?;
            Ok(Tensor::f_stack(&norms, 0)?.f_norm_scalaropt_dtype(2, Kind::Double)?)
        })
    }

    /// Scales the gradient so that its norm is at most `max_norm`: by max_norm / (norm + 1e-6) if that is below 1.
    /// Returns the norm before scaling. Does not wait for the device.
    pub fn clip_grad_norm(&mut self, max_norm: f64) -> Result<Tensor> {
        no_grad(|| {
            let norm = self.grad_norm()?;
            let scale = (norm.f_add_scalar(CLIP_EPS)?.f_reciprocal()? * max_norm).f_clamp_max(1.0)?;
            for group in &mut self.groups {
                let _ = group.grads.f_mul_(&scale)?;
            }
            Ok(norm)
        })
    }
}
