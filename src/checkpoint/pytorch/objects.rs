//! The pickle dialect of PyTorch: tensors and their storages. All else in such a file is plain data or a record.
//!
//! A tensor is `_rebuild_tensor_v2(storage, offset, shape, strides, ..)`; its storage is a persistent id
//! `("storage", torch.FloatStorage, key, device, elements)`. Sources: `torch/_utils.py`, `torch/_tensor.py`,
//! `torch/serialization.py`.

use std::sync::Arc;

use super::tensors::{ElementType, Storage, TensorView};
use crate::checkpoint::errors::damaged;
use crate::error::Result;
use crate::pickle::{Dialect, Global, Heap, PickleValue, ValueId};

/// Maximum number of dimensions of a tensor: more than any layer has. It limits the memory that a small pickle can
/// take.
const MAX_DIMENSIONS: usize = 8;

/// An object of this dialect.
#[derive(Debug, Clone)]
pub enum TorchObject {
    Storage(Arc<Storage>),
    Tensor(Arc<TensorView>),
    /// A storage or a tensor that this version cannot read, with the name of its class or of its constructor.
    Unreadable(Global),
}

/// The dialect of PyTorch's tensors.
#[derive(Debug, Clone, Copy)]
pub struct TorchDialect;

impl Dialect for TorchDialect {
    type Object = TorchObject;

    fn reduce(
        &mut self,
        heap: &Heap<TorchObject>,
        callable: &Global,
        args: &[ValueId],
    ) -> Result<Option<PickleValue<TorchObject>>> {
        match (&*callable.module, &*callable.name) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => tensor(heap, args),
            (
                "torch._utils",
                "_rebuild_parameter" | "_rebuild_parameter_with_state" | "_rebuild_device_tensor_from_cpu_tensor",
            ) => parameter(heap, args),
            ("torch._utils", name) if name.starts_with("_rebuild_") && name.contains("tensor") => {
                Ok(PickleValue::Object(TorchObject::Unreadable(callable.clone())))
            }
            // `(function, class, arguments, attributes)`: a tensor with attributes, or of a subclass.
            ("torch._tensor", "_rebuild_from_type_v2") => match args {
                &[function, _class, arguments, ..] => match (heap.get(function), heap.items(arguments)) {
                    (PickleValue::Global(function), Some(arguments)) if function != callable => {
                        return self.reduce(heap, function, arguments);
                    }
                    _ => Err(damaged("a tensor is made by something that is no function")),
                },
                _ => Err(damaged("a tensor of a subclass is made of too few values")),
            },
            ("torch", "Size") => match args {
                &[sizes] => heap.items(sizes).map(|sizes| PickleValue::Tuple(sizes.to_vec())),
                _ => None,
            }
            .ok_or_else(|| damaged("a torch.Size is made of no list")),
            ("torch", "device") => {
                args.first().map(|&id| heap.get(id).clone()).ok_or_else(|| damaged("a torch.device without a name"))
            }
            _ => return Ok(None),
        }
        .map(Some)
    }

    fn build(&mut self, _heap: &Heap<TorchObject>, object: &TorchObject, _state: ValueId) -> Result<TorchObject> {
        // Python attributes of a tensor are ignored.
        Ok(object.clone())
    }

    fn persistent(&mut self, heap: &Heap<TorchObject>, id: ValueId) -> Result<PickleValue<TorchObject>> {
        let parts = heap.items(id).unwrap_or_default();
        // `("module", class, file, source)`: the class of a module, with its source.
        if let &[kind, class, ..] = parts
            && heap.text(kind) == Some("module")
        {
            return Ok(heap.get(class).clone());
        }
        let [kind, class, key, _device, elements, rest @ ..] = parts else {
            return Err(damaged("a reference to a storage is not a tuple of at least 5"));
        };
        if rest.iter().any(|&view| !matches!(heap.get(view), PickleValue::None)) {
            return Err(damaged("a storage is a part of another one, as only PyTorch 0.3 and older wrote it"));
        }
        let (Some("storage"), PickleValue::Global(class), Some(key), Some(elements)) =
            (heap.text(*kind), heap.get(*class), heap.text(*key), heap.int(*elements))
        else {
            return Err(damaged("a reference to a storage is malformed"));
        };
        let Some(element) = ElementType::of_storage(class) else {
            return Ok(PickleValue::Object(TorchObject::Unreadable(class.clone())));
        };
        let elements = usize::try_from(elements).map_err(|_| damaged("a storage has an impossible size"))?;
        let storage = Storage { key: key.into(), class: class.clone(), element, elements };
        Ok(PickleValue::Object(TorchObject::Storage(Arc::new(storage))))
    }
}

/// `_rebuild_tensor_v2(storage, offset, shape, strides, ..)`.
fn tensor(heap: &Heap<TorchObject>, args: &[ValueId]) -> Result<PickleValue<TorchObject>> {
    let &[storage, offset, shape, strides, ..] = args else {
        return Err(damaged(format!("a tensor is made of {} values, wanted at least 4", args.len())));
    };
    let storage = match heap.get(storage) {
        PickleValue::Object(TorchObject::Storage(storage)) if storage.element.is_readable() => storage,
        PickleValue::Object(TorchObject::Storage(storage)) => {
            return Ok(PickleValue::Object(TorchObject::Unreadable(storage.class.clone())));
        }
        unreadable @ PickleValue::Object(TorchObject::Unreadable(_)) => return Ok(unreadable.clone()),
        other => return Err(damaged(format!("a tensor is made of a {}, wanted a storage", other.type_name()))),
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
        Some(tensor @ PickleValue::Object(TorchObject::Tensor(_) | TorchObject::Unreadable(_))) => Ok(tensor.clone()),
        _ => Err(damaged("a parameter is made of something that is no tensor")),
    }
}
