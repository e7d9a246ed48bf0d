//! Parameters and gradients as views of flat buffers, one pair of buffers for each weight decay.
//!
//! The optimizer, clipping and the all-reduce between ranks then work on a few long vectors instead of many tensors.
//! What backward leaves at the parameters is added to the gradient buffers ([`FlatParams::accumulate`]); a parameter
//! that got no gradient counts as zero. Where each parameter lies, and how the buffers are cut into buckets, is a pure
//! function of the sizes.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};

use super::groups::Groups;
use crate::config::schema::BucketOrder;
use crate::error::Result;
use crate::models::{Slot, State};
use crate::torch::{self, GradAccumulator};

/// Parameters start at multiples of so many elements (64 bytes of float32): kernels read aligned memory. The gaps hold
/// zeros, in gradients and moments too, and no update changes them.
const ALIGNMENT: usize = 16;

/// Added to the norm before dividing by it, as PyTorch's `clip_grad_norm_` does.
const CLIP_EPS: f64 = 1e-6;

/// Where a parameter lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub slot: Slot,
    pub name: String,
    pub size: Vec<i64>,
    /// Index of its buffer.
    pub group: usize,
    /// First element in that buffer.
    pub offset: i64,
    /// Index of its bucket.
    pub bucket: usize,
}

impl Param {
    pub fn num_elements(&self) -> i64 {
        self.size.iter().product()
    }

    /// This parameter's part of a flat buffer, with the parameter's shape and strides.
    pub fn view(&self, buffer: &Tensor) -> Result<Tensor> {
        Ok(buffer.f_as_strided(&self.size, torch::dense_strides(&self.size), self.offset)?)
    }
}

/// A piece of a buffer that is reduced between ranks in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub group: usize,
    pub offset: i64,
    pub len: i64,
    /// Parameters inside; it is ready when all of them have their gradient.
    pub num_params: usize,
}

/// How buffers are cut into buckets. Small ones start early, large ones carry less overhead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cuts {
    /// A bucket is closed when it holds at least so much.
    pub bytes: usize,
    /// The same for the one that backward completes first: the sooner it is on its way, the better.
    pub first_bytes: usize,
    pub order: BucketOrder,
}

/// All of at least so many bytes, in the order in which backward completes them.
impl From<usize> for Cuts {
    fn from(bytes: usize) -> Self {
        Cuts { bytes, first_bytes: bytes, order: BucketOrder::Ready }
    }
}

/// What a [`FlatLayout`] is made from: the learning parameters, in layout order.
#[derive(Debug, Clone)]
pub struct ParamSpec {
    pub slot: Slot,
    pub name: String,
    pub size: Vec<i64>,
    pub weight_decay: f64,
}

/// Places of all learning parameters, buffer lengths and buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct FlatLayout {
    params: Vec<Param>,
    /// Weight decay and length of each buffer, by first appearance.
    buffers: Vec<(f64, i64)>,
    buckets: Vec<Bucket>,
}

impl FlatLayout {
    /// Buckets are cut from the back of the buffers, where backward finishes first.
    pub fn new(specs: Vec<ParamSpec>, element_bytes: usize, cuts: Cuts) -> Self {
        let mut buffers: Vec<(f64, i64)> = Vec::new();
        let mut params: Vec<Param> = Vec::with_capacity(specs.len());
        for ParamSpec { slot, name, size, weight_decay } in specs {
            let known = buffers.iter().position(|(decay, _)| *decay == weight_decay);
            let group = known.unwrap_or_else(|| {
                buffers.push((weight_decay, 0));
                buffers.len() - 1
            });
            let param = Param { slot, name, size, group, offset: buffers[group].1, bucket: 0 };
            buffers[group].1 += (param.num_elements() as usize).next_multiple_of(ALIGNMENT) as i64;
            params.push(param);
        }
        let buckets = cut_buckets(&mut params, &buffers, element_bytes, cuts);
        FlatLayout { params, buffers, buckets }
    }

    /// In layout order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// In the order in which they are reduced.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// New flat buffers of zeros, one for each group.
    pub fn zeros(&self, options: (Kind, Device)) -> Result<Vec<Tensor>> {
        self.buffers.iter().map(|(_, len)| Ok(Tensor::f_zeros([*len], options)?)).collect()
    }
}

fn cut_buckets(params: &mut [Param], buffers: &[(f64, i64)], element_bytes: usize, cuts: Cuts) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; buffers.len()];
    let mut ends: Vec<i64> = buffers.iter().map(|(_, len)| *len).collect();
    // The earliest parameter of each bucket: the one whose gradient comes last.
    let mut first: Vec<usize> = Vec::new();
    for (i, param) in params.iter_mut().enumerate().rev() {
        let group = param.group;
        let bucket = *open[group].get_or_insert_with(|| {
            buckets.push(Bucket { group, offset: ends[group], len: 0, num_params: 0 });
            first.push(i);
            buckets.len() - 1
        });
        param.bucket = bucket;
        first[bucket] = i;
        let Bucket { offset, len, num_params, .. } = &mut buckets[bucket];
        *len += *offset - param.offset;
        *offset = param.offset;
        *num_params += 1;
        ends[group] = param.offset;
        let enough = if bucket == 0 { cuts.first_bytes } else { cuts.bytes };
        if *len as usize * element_bytes >= enough {
            open[group] = None;
        }
    }
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    match cuts.order {
        BucketOrder::Ready => order.sort_by_key(|&bucket| std::cmp::Reverse(first[bucket])),
        BucketOrder::Layout => order.sort_by_key(|&bucket| first[bucket]),
    }
    let mut rank = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        rank[old] = new;
    }
    for param in params {
        param.bucket = rank[param.bucket];
    }
    order.into_iter().map(|bucket| buckets[bucket].clone()).collect()
}

/// One buffer of parameters with one weight decay, and the gradient buffer beside it.
#[derive(Debug)]
pub struct Group {
    pub weight_decay: f64,
    /// All parameters of the group, one after the other (1-d).
    pub values: Tensor,
    /// Their gradients, in the same places.
    pub grads: Tensor,
}

/// The learning parameters of a state.
#[derive(Debug)]
pub struct FlatParams {
    layout: Arc<FlatLayout>,
    groups: Vec<Group>,
    /// Of the parameters in each bucket.
    grads: Vec<GradAccumulator>,
}

impl FlatParams {
    /// Moves the parameters of `state` for which `trainable` holds into flat buffers: afterwards the state's tensors
    /// are leaves that share memory with [`Group::values`]. All other tensors stay where they are and need no gradient.
    pub fn new(
        state: &mut State,
        groups: Groups,
        cuts: impl Into<Cuts>,
        trainable: impl Fn(Slot) -> bool,
    ) -> Result<Self> {
        let specs: Vec<ParamSpec> = state
            .layout()
            .parameters()
            .filter(|(slot, _)| trainable(*slot))
            .map(|(slot, entry)| ParamSpec {
                slot,
                name: entry.name.clone(),
                size: entry.shape.clone(),
                weight_decay: groups.weight_decay(&entry.name),
            })
            .collect();
        let options = match specs.first() {
            Some(spec) => (state.get(spec.slot).f_kind()?, state.get(spec.slot).device()),
            None => (Kind::Float, Device::Cpu),
        };
        let layout = FlatLayout::new(specs, options.0.elt_size_in_bytes(), cuts.into());
        no_grad(|| Self::move_in(state, layout, options))
    }

    fn move_in(state: &mut State, layout: FlatLayout, options: (Kind, Device)) -> Result<Self> {
        let buffers = layout.buffers.iter().zip(layout.zeros(options)?.into_iter().zip(layout.zeros(options)?));
        let groups: Vec<Group> =
            buffers.map(|(&(weight_decay, _), (values, grads))| Group { weight_decay, values, grads }).collect();
        let mut sums: Vec<GradAccumulator> = layout.buckets.iter().map(|_| GradAccumulator::default()).collect();
        for param in &layout.params {
            let Group { values, grads, .. } = &groups[param.group];
            let mut leaf = param.view(values)?.f_detach()?;
            leaf.f_copy_(&state.get(param.slot).f_detach()?)?;
            let leaf = leaf.f_set_requires_grad(true)?;
            sums[param.bucket].push(&leaf, param.view(grads)?);
            state.replace(param.slot, leaf);
        }
        Ok(FlatParams { layout: Arc::new(layout), groups, grads: sums })
    }

    pub fn layout(&self) -> &Arc<FlatLayout> {
        &self.layout
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub fn groups_mut(&mut self) -> &mut [Group] {
        &mut self.groups
    }

    /// Adds the gradients that backward passes have left at the parameters to the buffers.
    pub fn accumulate(&mut self) -> Result<()> {
        self.grads.iter().try_for_each(GradAccumulator::add)
    }

    /// The same for the parameters of each bucket, in the order of [`FlatLayout::buckets`].
    pub fn grad_sums(&self) -> &[GradAccumulator] {
        &self.grads
    }

    /// The gradient of one parameter, as a view.
    pub fn grad(&self, param: &Param) -> Result<Tensor> {
        param.view(&self.groups[param.group].grads)
    }

    /// Forgets all gradients, those too that a pass which failed has left at the parameters.
    pub fn zero_grad(&mut self) -> Result<()> {
        self.accumulate()?; // takes them from there; zeroed with the others
        for group in &mut self.groups {
            let _ = group.grads.f_zero_()?;
        }
        Ok(())
    }

    /// Euclidean norm of the whole gradient: a float64 scalar on the parameters' device. Summed in float64 on a CPU, in
    /// the gradient's own dtype on a GPU, where sums are trees and a wider copy of the whole gradient costs more.
    pub fn grad_norm(&self) -> Result<Tensor> {
        no_grad(|| {
            let norm = |group: &Group| match group.grads.device() {
                Device::Cpu => group.grads.f_norm_scalaropt_dtype(2, Kind::Double),
                _ => group.grads.f_norm()?.f_to_kind(Kind::Double),
            };
            let norms = self.groups.iter().map(norm).collect::<Result<Vec<_>, _>>()?;
            Ok(Tensor::f_stack(&norms, 0)?.f_norm_scalaropt_dtype(2, Kind::Double)?)
        })
    }

    /// Scales the gradient so that its norm is at most `max_norm`: by max_norm / (norm + 1e-6) where that is below 1.
    /// Returns the norm before; does not wait for the device.
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
