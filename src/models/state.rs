//! The state of a network: its named tensors, apart from the code that computes with them.
//!
//! Four-dimensional tensors (convolution weights) are kept channels-last in memory; shapes are PyTorch's.

use std::collections::HashMap;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::layout::{Dtype, Entry, Layout, Slot};
use crate::error::{Error, ErrorKind, Result};
use crate::random::Stream;
use crate::torch;

/// How many names an error lists.
const NAMES_SHOWN: usize = 5;
/// How many letters of a name it shows.
const LONGEST_NAME: usize = 100;

/// One tensor for each entry of the layout. Cloning is not offered: see [`State::deep_copy`].
#[derive(Debug)]
pub struct State {
    layout: Arc<Layout>,
    tensors: Vec<Tensor>,
}

impl State {
    /// Fresh initial values, a function of (layout, seed, purpose) alone. Purpose reads like "base/init".
    pub fn init(layout: &Arc<Layout>, seed: u64, purpose: &str, dtype: Kind, device: Device) -> Result<Self> {
        let stream = Stream::new(seed, purpose);
        Self::from_fn(layout, dtype, device, |slot, entry| {
            let values = entry.init.draw(entry.num_elements(), stream.at(0, slot.index() as u64));
            Ok(Tensor::f_from_slice(&values)?.f_reshape(&entry.shape)?)
        })
    }

    /// The tensors of a checkpoint, by name. Every name of the layout must be there with its shape, and no other.
    pub fn from_named(
        layout: &Arc<Layout>,
        named: impl IntoIterator<Item = (String, Tensor)>,
        dtype: Kind,
        device: Device,
    ) -> Result<Self> {
        let mut named: HashMap<String, Tensor> = named.into_iter().collect();
        check_names(layout, &named)?;
        Self::from_fn(layout, dtype, device, |_, entry| {
            named.remove(&entry.name).ok_or_else(|| Error::missing(format!("no tensor named {}", entry.name)))
        })
    }

    fn from_fn(
        layout: &Arc<Layout>,
        dtype: Kind,
        device: Device,
        mut tensor: impl FnMut(Slot, &Entry) -> Result<Tensor>,
    ) -> Result<Self> {
        let tensors = layout
            .slots()
            .map(|(slot, entry)| fresh_copy(&tensor(slot, entry)?, kind_of(entry, dtype), device))
            .collect::<Result<_>>()?;
        Ok(State { layout: Arc::clone(layout), tensors })
    }

    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub fn get(&self, slot: Slot) -> &Tensor {
        &self.tensors[slot.index()]
    }

    pub fn by_name(&self, name: &str) -> Option<&Tensor> {
        self.layout.find(name).map(|slot| self.get(slot))
    }

    /// In layout order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// In layout order, which is the order of a checkpoint.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.layout.entries().iter().map(|entry| entry.name.as_str()).zip(&self.tensors)
    }

    /// The learned tensors, in layout order.
    pub fn parameters(&self) -> impl Iterator<Item = (Slot, &Entry, &Tensor)> {
        self.layout.parameters().map(|(slot, entry)| (slot, entry, self.get(slot)))
    }

    /// Replaces a tensor by another of its shape; the flat parameter buffers move in this way.
    pub(crate) fn replace(&mut self, slot: Slot, tensor: Tensor) {
        debug_assert_eq!(self.tensors[slot.index()].size(), tensor.size());
        self.tensors[slot.index()] = tensor;
    }

    /// Copies the values of `other` into this state's own memory; whoever shares that memory sees them too.
    pub fn copy_from(&mut self, other: &State) -> Result<()> {
        if self.layout != other.layout {
            return Err(Error::new(ErrorKind::Bug, "copy between states of two architectures"));
        }
        for (mine, theirs) in self.tensors.iter().zip(&other.tensors) {
            mine.f_detach()?.f_copy_(theirs)?;
        }
        Ok(())
    }

    /// An independent copy without gradients: a frozen teacher, a reference, a snapshot.
    pub fn deep_copy(&self) -> Result<Self> {
        let copy = |tensor: &Tensor| fresh_copy(tensor, tensor.f_kind()?, tensor.device());
        let tensors = self.tensors.iter().map(copy).collect::<Result<_>>()?;
        Ok(State { layout: Arc::clone(&self.layout), tensors })
    }

    /// An independent copy without gradients of another float type or on another device; integers stay integers.
    pub fn to(&self, dtype: Kind, device: Device) -> Result<Self> {
        Self::from_fn(&self.layout, dtype, device, |slot, _| Ok(self.get(slot).shallow_clone()))
    }
}

fn kind_of(entry: &Entry, dtype: Kind) -> Kind {
    match entry.dtype {
        Dtype::Float => dtype,
        Dtype::Int64 => Kind::Int64,
    }
}

/// A new dense tensor of the same values: channels-last where it has four dimensions.
fn fresh_copy(tensor: &Tensor, kind: Kind, device: Device) -> Result<Tensor> {
    let size = tensor.size();
    let mut copy = Tensor::f_empty_strided(&size, torch::dense_strides(&size), (kind, device))?;
    copy.f_copy_(&tensor.f_detach()?)?;
    Ok(copy)
}

fn check_names(layout: &Layout, named: &HashMap<String, Tensor>) -> Result<()> {
    let missing = layout.entries().iter().filter(|entry| !named.contains_key(&entry.name));
    let missing: Vec<String> = missing.map(|entry| entry.name.clone()).collect();
    let mut unexpected: Vec<&String> = named.keys().filter(|name| layout.find(name).is_none()).collect();
    unexpected.sort_unstable();
    // Only those that are shown are worth the search.
    let described =
        |(i, name): (usize, &String)| if i < NAMES_SHOWN { with_nearest(name, &missing) } else { name.clone() };
    let unexpected: Vec<String> = unexpected.into_iter().enumerate().map(described).collect();
    let misshapen = |entry: &Entry| {
        let got = named.get(&entry.name)?.size();
        (got != entry.shape).then(|| format!("{} (got {got:?}, wanted {:?})", entry.name, entry.shape))
    };
    let misshapen: Vec<String> = layout.entries().iter().filter_map(misshapen).collect();

    let faults = [("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)];
    let said: Vec<String> =
        faults.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| listed(what, names)).collect();
    if said.is_empty() {
        return Ok(());
    }
    Err(Error::missing(format!("the tensors are not those of this architecture; {}", said.join("; ")))
        .hint("check `model.model.name`, `model.model.stem` and `model.model.num_classes` against the checkpoint"))
}

/// An unexpected name, and the missing one that was perhaps meant.
fn with_nearest(name: &str, missing: &[String]) -> String {
    // The name comes from a file: it must neither flood nor steer the terminal.
    let name: String = name.chars().take(LONGEST_NAME).flat_map(char::escape_debug).collect();
    let distance = |known: &&String| strsim::damerau_levenshtein(&name, known);
    match missing.iter().min_by_key(distance).filter(|known| distance(known) <= name.len() / 3) {
        Some(nearest) => format!("{name} (for {nearest}?)"),
        None => name,
    }
}

/// "2 missing: a, b", with at most [`NAMES_SHOWN`] names.
fn listed(what: &str, names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rest = if names.len() > NAMES_SHOWN { ", ..." } else { "" };
    format!("{} {what}: {shown}{rest}", names.len())
}
