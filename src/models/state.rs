//! The state of a network: its named tensors, without the code that computes with them.
//!
//! Four-dimensional tensors (convolution weights) are channels-last in memory. Shapes are PyTorch's.

use std::collections::HashMap;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::layout::{Slot, StateLayout, TensorDtype, TensorSpec};
use crate::error::{Error, Result};
use crate::random::RandomStream;
use crate::torch;

/// Largest number of names in an error message.
const NAMES_SHOWN: usize = 5;
/// Largest number of characters of a name in an error message.
const LONGEST_NAME: usize = 100;

/// One tensor for each slot of the layout. There is no `Clone`: see [`State::deep_copy`].
#[derive(Debug)]
pub struct State {
    layout: Arc<StateLayout>,
    tensors: Vec<Tensor>,
}

impl State {
    /// Draws fresh initial values. They depend only on (layout, seed, purpose). An example of a purpose is "base/init".
    pub fn init(layout: &Arc<StateLayout>, seed: u64, purpose: &str, dtype: Kind, device: Device) -> Result<Self> {
        let stream = RandomStream::new(seed, purpose);
        Self::from_fn(layout, dtype, device, |slot, spec| {
            let values = spec.init.draw(spec.num_elements(), stream.at(0, slot.index() as u64));
            Ok(Tensor::f_from_slice(&values)?.f_reshape(&spec.shape)?)
        })
    }

    /// Copies the tensors of a checkpoint.
    ///
    /// # Errors
    /// `Missing` unless `named` has exactly the names of the layout, each with its shape. The message lists the
    /// differences.
    pub fn from_named(
        layout: &Arc<StateLayout>,
        named: impl IntoIterator<Item = (String, Tensor)>,
        dtype: Kind,
        device: Device,
    ) -> Result<Self> {
        let mut named: HashMap<String, Tensor> = named.into_iter().collect();
        check_names(layout, &named)?;
        Self::from_fn(layout, dtype, device, |_, spec| {
            named.remove(&spec.name).ok_or_else(|| Error::missing(format!("no tensor named {}", spec.name)))
        })
    }

    fn from_fn(
        layout: &Arc<StateLayout>,
        dtype: Kind,
        device: Device,
        mut tensor: impl FnMut(Slot, &TensorSpec) -> Result<Tensor>,
    ) -> Result<Self> {
        let tensors = layout
            .slots()
            .map(|(slot, spec)| fresh_copy(&tensor(slot, spec)?, kind_of(spec, dtype), device))
            .collect::<Result<_>>()?;
        Ok(State { layout: Arc::clone(layout), tensors })
    }

    pub fn layout(&self) -> &Arc<StateLayout> {
        &self.layout
    }

    pub fn get(&self, slot: Slot) -> &Tensor {
        &self.tensors[slot.index()]
    }

    pub fn by_name(&self, name: &str) -> Option<&Tensor> {
        self.layout.find(name).map(|slot| self.get(slot))
    }

    /// All tensors in layout order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Names and tensors in layout order, which is the order of a checkpoint.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.layout.specs().iter().map(|spec| spec.name.as_str()).zip(&self.tensors)
    }

    /// The learned tensors in layout order.
    pub fn parameters(&self) -> impl Iterator<Item = (Slot, &TensorSpec, &Tensor)> {
        self.layout.parameters().map(|(slot, spec)| (slot, spec, self.get(slot)))
    }

    /// Replaces a tensor by another one of the same shape. `optim::FlatParams` uses it to move parameters into flat
    /// buffers.
    pub(crate) fn replace(&mut self, slot: Slot, tensor: Tensor) {
        debug_assert_eq!(self.tensors[slot.index()].size(), tensor.size());
        self.tensors[slot.index()] = tensor;
    }

    /// An independent copy without gradients, such as a frozen teacher or a snapshot.
    pub fn deep_copy(&self) -> Result<Self> {
        let copy = |tensor: &Tensor| fresh_copy(tensor, tensor.f_kind()?, tensor.device());
        let tensors = self.tensors.iter().map(copy).collect::<Result<_>>()?;
        Ok(State { layout: Arc::clone(&self.layout), tensors })
    }

    /// An independent copy without gradients, with another floating-point dtype or on another device. Integer tensors
    /// keep their dtype.
    pub fn to(&self, dtype: Kind, device: Device) -> Result<Self> {
        Self::from_fn(&self.layout, dtype, device, |slot, _| Ok(self.get(slot).shallow_clone()))
    }
}

/// The dtype of a tensor in a state with the floating-point dtype `dtype`.
fn kind_of(spec: &TensorSpec, dtype: Kind) -> Kind {
    match spec.dtype {
        TensorDtype::Float => dtype,
        TensorDtype::Int64 => Kind::Int64,
    }
}

/// A new dense tensor with the same values, channels-last if it has four dimensions.
fn fresh_copy(tensor: &Tensor, kind: Kind, device: Device) -> Result<Tensor> {
    let size = tensor.size();
    let mut copy = Tensor::f_empty_strided(&size, torch::dense_strides(&size), (kind, device))?;
    copy.f_copy_(&tensor.f_detach()?)?;
    Ok(copy)
}

/// Checks that `named` has exactly the names and shapes of the layout.
fn check_names(layout: &StateLayout, named: &HashMap<String, Tensor>) -> Result<()> {
    let missing = layout.specs().iter().filter(|spec| !named.contains_key(&spec.name));
    let missing: Vec<String> = missing.map(|spec| spec.name.clone()).collect();
    let mut unexpected: Vec<&String> = named.keys().filter(|name| layout.find(name).is_none()).collect();
    unexpected.sort_unstable();
    // The search for similar names is slow: only the names in the message are worth it.
    let described =
        |(i, name): (usize, &String)| if i < NAMES_SHOWN { with_nearest(name, &missing) } else { name.clone() };
    let unexpected: Vec<String> = unexpected.into_iter().enumerate().map(described).collect();
    let misshapen = |spec: &TensorSpec| {
        let got = named.get(&spec.name)?.size();
        (got != spec.shape).then(|| format!("{} (got {got:?}, wanted {:?})", spec.name, spec.shape))
    };
    let misshapen: Vec<String> = layout.specs().iter().filter_map(misshapen).collect();

    let faults = [("missing", missing), ("unexpected", unexpected), ("with another shape", misshapen)];
    let differences: Vec<String> = faults
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(fault, names)| count_and_list(fault, names))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::missing(format!("the tensors are not those of this architecture; {}", differences.join("; ")))
        .hint("check `model.model.name`, `model.model.stem` and `model.model.num_classes` against the checkpoint"))
}

/// An unexpected name, and the most similar missing name if there is one.
fn with_nearest(name: &str, missing: &[String]) -> String {
    // The name comes from a file. A long one or one with control characters must not disturb the terminal.
    let name: String = name.chars().take(LONGEST_NAME).flat_map(char::escape_debug).collect();
    let distance = |known: &&String| strsim::damerau_levenshtein(&name, known);
    match missing.iter().min_by_key(distance).filter(|known| distance(known) <= name.len() / 3) {
        Some(nearest) => format!("{name} (did you mean {nearest}?)"),
        None => name,
    }
}

/// "2 missing: a, b", with at most [`NAMES_SHOWN`] names.
fn count_and_list(fault: &str, names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rest = if names.len() > NAMES_SHOWN { ", ..." } else { "" };
    format!("{} {fault}: {shown}{rest}", names.len())
}
