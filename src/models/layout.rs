//! The names, shapes and order of a network's tensors: what a state is checked against, and what layers refer to.
//!
//! An architecture registers its tensors once, while it is built. The order and the names are those of torchvision's
//! `state_dict`, so that checkpoints map one to one.

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRole {
    /// Learned by gradient.
    Parameter,
    /// Part of the state, changed by the forward pass or never.
    Buffer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// The floating-point type that the state was made with.
    Float,
    Int64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: String,
    pub shape: Vec<i64>,
    pub role: TensorRole,
    pub dtype: Dtype,
    pub init: Init,
}

impl Entry {
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
}

/// A convolution and the BatchNorm right behind it: what [`super::fused`] makes one operation of.
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
pub struct Layout {
    entries: Vec<Entry>,
    by_name: HashMap<String, Slot>,
    conv_norm_pairs: Vec<ConvNormPair>,
}

impl Layout {
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entry(&self, slot: Slot) -> &Entry {
        &self.entries[slot.0]
    }

    pub fn slots(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        self.entries.iter().enumerate().map(|(i, entry)| (Slot(i), entry))
    }

    /// In `state_dict` order.
    pub fn parameters(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        self.slots().filter(|(_, entry)| entry.role == TensorRole::Parameter)
    }

    pub fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub fn conv_norm_pairs(&self) -> &[ConvNormPair] {
        &self.conv_norm_pairs
    }

    /// Number of learned values.
    pub fn num_parameters(&self) -> usize {
        self.parameters().map(|(_, entry)| entry.num_elements()).sum()
    }
}

/// Collects entries while layers are built; names are dotted paths of the scopes they are registered in.
#[derive(Debug, Default)]
pub struct Builder {
    path: Vec<String>,
    entries: Vec<Entry>,
    conv_norm_pairs: Vec<ConvNormPair>,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers what `build` registers under `name.`.
    pub fn scope<T>(&mut self, name: impl Display, build: impl FnOnce(&mut Builder) -> T) -> T {
        self.path.push(name.to_string());
        let built = build(self);
        self.path.pop();
        built
    }

    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Slot {
        self.register(name, shape, TensorRole::Parameter, Dtype::Float, init)
    }

    pub fn buffer(&mut self, name: &str, shape: &[i64], dtype: Dtype, init: Init) -> Slot {
        self.register(name, shape, TensorRole::Buffer, dtype, init)
    }

    /// Says that a convolution and a BatchNorm can be computed as one.
    pub fn pair_conv_norm(&mut self, pair: ConvNormPair) {
        self.conv_norm_pairs.push(pair);
    }

    fn register(&mut self, name: &str, shape: &[i64], role: TensorRole, dtype: Dtype, init: Init) -> Slot {
        let name = self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        self.entries.push(Entry { name, shape: shape.to_vec(), role, dtype, init });
        Slot(self.entries.len() - 1)
    }

    pub fn finish(self) -> Layout {
        let by_name = self.entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), Slot(i))).collect();
        Layout { entries: self.entries, by_name, conv_norm_pairs: self.conv_norm_pairs }
    }
}
