//! Names, shapes and order of a network's tensors.
//!
//! An architecture registers its tensors once, while it is built. Order and names are those of torchvision's
//! `state_dict`, so checkpoints map one to one. States are checked against the layout, and layers refer to its slots.

use std::collections::HashMap;
use std::fmt::Display;

use super::init::Init;

/// Position of a tensor in its layout, and so in every state of that layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(usize);

impl Slot {
    pub fn index(self) -> usize {
        self.0
    }
}

/// Role of a tensor in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRole {
    /// Learned by gradient.
    Parameter,
    /// Not learned: changed by the forward pass, or constant.
    Buffer,
}

/// Dtype of a tensor in the layout. The state, not the layout, chooses the floating-point dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorDtype {
    /// The floating-point dtype of the state.
    Float,
    Int64,
}

/// Description of one tensor of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Dotted path, as in torchvision's `state_dict`.
    pub name: String,
    pub shape: Vec<i64>,
    pub role: TensorRole,
    pub dtype: TensorDtype,
    /// Distribution of the initial values.
    pub init: Init,
}

impl TensorSpec {
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
}

/// A convolution and the BatchNorm directly after it. [`FusedState`](super::FusedState) makes one operation of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvNormPair {
    pub conv_weight: Slot,
    pub norm_weight: Slot,
    pub norm_bias: Slot,
    pub running_mean: Slot,
    pub running_var: Slot,
}

/// All tensors of a network, in `state_dict` order.
#[derive(Debug, PartialEq)]
pub struct StateLayout {
    specs: Vec<TensorSpec>,
    by_name: HashMap<String, Slot>,
    conv_norm_pairs: Vec<ConvNormPair>,
}

impl StateLayout {
    /// Descriptions of all tensors, in `state_dict` order.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    pub fn spec(&self, slot: Slot) -> &TensorSpec {
        &self.specs[slot.0]
    }

    /// Slot and description of each tensor, in `state_dict` order.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &TensorSpec)> {
        self.specs.iter().enumerate().map(|(i, spec)| (Slot(i), spec))
    }

    /// Slot and description of each learned tensor, in `state_dict` order.
    pub fn parameters(&self) -> impl Iterator<Item = (Slot, &TensorSpec)> {
        self.slots().filter(|(_, spec)| spec.role == TensorRole::Parameter)
    }

    pub fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub fn conv_norm_pairs(&self) -> &[ConvNormPair] {
        &self.conv_norm_pairs
    }

    /// Number of elements of all learned tensors.
    pub fn num_parameters(&self) -> usize {
        self.parameters().map(|(_, spec)| spec.num_elements()).sum()
    }
}

/// Collects the tensors of layers while these are built. A tensor's name is the dotted path of its scopes.
#[derive(Debug, Default)]
pub struct LayoutBuilder {
    path: Vec<String>,
    specs: Vec<TensorSpec>,
    conv_norm_pairs: Vec<ConvNormPair>,
}

impl LayoutBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `build` in a scope: the names of its tensors begin with `name.`.
    pub fn scope<T>(&mut self, name: impl Display, build: impl FnOnce(&mut LayoutBuilder) -> T) -> T {
        self.path.push(name.to_string());
        let built = build(self);
        self.path.pop();
        built
    }

    /// Registers a floating-point parameter.
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Slot {
        self.register(name, shape, TensorRole::Parameter, TensorDtype::Float, init)
    }

    /// Registers a tensor that is not learned.
    pub fn buffer(&mut self, name: &str, shape: &[i64], dtype: TensorDtype, init: Init) -> Slot {
        self.register(name, shape, TensorRole::Buffer, dtype, init)
    }

    /// Registers a convolution and a BatchNorm that can be computed as one operation.
    pub fn pair_conv_norm(&mut self, pair: ConvNormPair) {
        self.conv_norm_pairs.push(pair);
    }

    fn register(&mut self, name: &str, shape: &[i64], role: TensorRole, dtype: TensorDtype, init: Init) -> Slot {
        let name = self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        self.specs.push(TensorSpec { name, shape: shape.to_vec(), role, dtype, init });
        Slot(self.specs.len() - 1)
    }

    pub fn finish(self) -> StateLayout {
        let by_name = self.specs.iter().enumerate().map(|(i, spec)| (spec.name.clone(), Slot(i))).collect();
        StateLayout { specs: self.specs, by_name, conv_norm_pairs: self.conv_norm_pairs }
    }
}
