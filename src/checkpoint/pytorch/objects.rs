//! The pickle dialect of PyTorch and Lightning: the names that may be called, and the objects that they make.
//!
//! A tensor is `_rebuild_tensor_v2(storage, offset, shape, strides, ..)`; its storage is a persistent id
//! `("storage", torch.FloatStorage, key, device, elements)`. The hyper-parameters of a Lightning file are nodes of
//! omegaconf: plain objects whose attributes are their state. Sources: `torch/_utils.py`, `torch/serialization.py`,
//! `omegaconf/basecontainer.py`.

use std::sync::Arc;

use super::tensors::{ElementType, Storage, TensorView};
use crate::checkpoint::errors::damaged;
use crate::error::{Error, Result};
use crate::pickle::{Dialect, Global, Heap, PickleValue, ValueId, constructors};

/// Maximum number of dimensions of a tensor: more than any layer has. It limits the memory that a small pickle can
/// take.
const MAX_DIMENSIONS: usize = 8;

/// An object of this dialect.
#[derive(Debug, Clone)]
pub enum TorchObject {
    Storage(Arc<Storage>),
    Tensor(Arc<TensorView>),
    /// An object that consists only of its attributes.
    Record {
        class: Global,
        attributes: Option<ValueId>,
    },
}

/// The dialect: tensors, plain data, omegaconf's nodes.
#[derive(Debug, Clone, Copy)]
pub struct TorchDialect;

impl Dialect for TorchDialect {
    type Object = TorchObject;

    fn reduce(
        &mut self,
        heap: &Heap<TorchObject>,
        callable: &Global,
        args: &[ValueId],
    ) -> Result<PickleValue<TorchObject>> {
        if let Some(value) = constructors::reduce(heap, callable, args) {
            return value;
        }
        match (&*callable.module, &*callable.name) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => tensor(heap, args),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => parameter(heap, args),
            ("torch", "Size") => match args {
                &[sizes] => heap.items(sizes).map(|sizes| PickleValue::Tuple(sizes.to_vec())),
                _ => None,
            }
            .ok_or_else(|| damaged("a torch.Size is made of no list")),
            ("torch", "device") => {
                args.first().map(|&id| heap.get(id).clone()).ok_or_else(|| damaged("a torch.device without a name"))
            }
            ("pathlib" | "pathlib._local", name) if name.ends_with("Path") => path(heap, args),
            (module, "AttributeDict") if module.contains("lightning") => Ok(PickleValue::Dict(Vec::new())),
            ("argparse", "Namespace") => Ok(record(callable)),
            (module, _) if module == "omegaconf" || module.starts_with("omegaconf.") => Ok(record(callable)),
            _ => Err(unknown(callable)),
        }
    }

    fn build(&mut self, _heap: &Heap<TorchObject>, object: &TorchObject, state: ValueId) -> Result<TorchObject> {
        Ok(match object {
            TorchObject::Record { class, .. } => TorchObject::Record { class: class.clone(), attributes: Some(state) },
            // Python attributes of a tensor are ignored.
            other => other.clone(),
        })
    }

    fn persistent(&mut self, heap: &Heap<TorchObject>, id: ValueId) -> Result<PickleValue<TorchObject>> {
        let Some([kind, class, key, _device, elements, rest @ ..]) = heap.items(id) else {
            return Err(damaged("a reference to a storage is not a tuple of at least 5"));
        };
        if heap.text(*kind) == Some("module") {
            return Err(whole_module());
        }
        if rest.iter().any(|&view| !matches!(heap.get(view), PickleValue::None)) {
            return Err(damaged("a storage is a part of another one, as only PyTorch 0.3 and older wrote it"));
        }
        let (Some("storage"), PickleValue::Global(class), Some(key), Some(elements)) =
            (heap.text(*kind), heap.get(*class), heap.text(*key), heap.int(*elements))
        else {
            return Err(damaged("a reference to a storage is malformed"));
        };
        let element = ElementType::of_storage(class).ok_or_else(|| {
            Error::missing(format!("the file has a {class}, whose elements this version cannot read"))
                .hint("save the weights as float32 (or float64, float16, bfloat16, or an integer type)")
        })?;
        let elements = usize::try_from(elements).map_err(|_| damaged("a storage has an impossible size"))?;
        Ok(PickleValue::Object(TorchObject::Storage(Arc::new(Storage { key: key.into(), element, elements }))))
    }
}

fn record(class: &Global) -> PickleValue<TorchObject> {
    PickleValue::Object(TorchObject::Record { class: class.clone(), attributes: None })
}

fn unknown(callable: &Global) -> Error {
    if callable.module.starts_with("torch.nn") || callable.module.starts_with("torchvision.models") {
        return whole_module();
    }
    Error::missing(format!("the pickle wants to call {callable}, which is not known to make plain data"))
        .hint("nothing was executed; save only the weights: torch.save(model.state_dict(), PATH)")
}

fn whole_module() -> Error {
    Error::missing("the file holds a whole module with its code, wanted its weights")
        .hint("load it with PyTorch and save only the weights: torch.save(model.state_dict(), PATH)")
}

/// `_rebuild_tensor_v2(storage, offset, shape, strides, ..)`.
fn tensor(heap: &Heap<TorchObject>, args: &[ValueId]) -> Result<PickleValue<TorchObject>> {
    let &[storage, offset, shape, strides, ..] = args else {
        return Err(damaged(format!("a tensor is made of {} values, wanted at least 4", args.len())));
    };
    let PickleValue::Object(TorchObject::Storage(storage)) = heap.get(storage) else {
        return Err(damaged(format!("a tensor is made of a {}, wanted a storage", heap.get(storage).type_name())));
    };
    let size = |id: ValueId| heap.int(id).and_then(|value| usize::try_from(value).ok());
    let sizes = |id: ValueId| -> Option<Vec<usize>> {
        heap.items(id).filter(|sizes| sizes.len() <= MAX_DIMENSIONS)?.iter().map(|&id| size(id)).collect()
    };
    match (size(offset), sizes(shape), sizes(strides)) {
        (Some(offset), Some(shape), Some(strides)) => {
            let view = TensorView::new(Arc::clone(storage), offset, shape, strides)?;
            Ok(PickleValue::Object(TorchObject::Tensor(Arc::new(view))))
        }
        _ => Err(damaged(format!("offset, shape and strides of a tensor are not up to {MAX_DIMENSIONS} sizes each"))),
    }
}

fn parameter(heap: &Heap<TorchObject>, args: &[ValueId]) -> Result<PickleValue<TorchObject>> {
    match args.first().map(|&id| heap.get(id)) {
        Some(tensor @ PickleValue::Object(TorchObject::Tensor(_))) => Ok(tensor.clone()),
        _ => Err(damaged("a parameter is made of something that is no tensor")),
    }
}

fn path(heap: &Heap<TorchObject>, args: &[ValueId]) -> Result<PickleValue<TorchObject>> {
    let parts: Option<Vec<&str>> = args.iter().map(|&id| heap.text(id)).collect();
    let parts = parts.ok_or_else(|| damaged("a path is made of something that is no text"))?;
    Ok(PickleValue::Str(parts.join("/").into()))
}
