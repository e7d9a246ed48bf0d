//! What the names in PyTorch's and Lightning's pickles stand for.
//!
//! A tensor is `_rebuild_tensor_v2(storage, offset, shape, strides, ..)`; its storage is a persistent id
//! `("storage", torch.FloatStorage, key, device, elements)`. The hyper-parameters of a Lightning file are nodes of
//! omegaconf: plain objects whose attributes are their state. Sources: `torch/_utils.py`, `torch/serialization.py`,
//! `omegaconf/basecontainer.py`.

use std::sync::Arc;

use super::damaged;
use super::tensors::{Element, Storage, View};
use crate::error::{Error, Result};
use crate::pickle::{Dialect, Global, Heap, Id, Value, constructors};

/// More dimensions than any layer has; bounds what a small pickle can make us hold.
const MAX_DIMENSIONS: usize = 8;

#[derive(Debug, Clone)]
pub enum Object {
    Storage(Arc<Storage>),
    Tensor(Arc<View>),
    /// An object that is nothing but its attributes.
    Record {
        class: Global,
        attributes: Option<Id>,
    },
}

/// Tensors, plain data, omegaconf's nodes.
#[derive(Debug, Clone, Copy)]
pub struct Torch;

impl Dialect for Torch {
    type Object = Object;

    fn reduce(&mut self, heap: &Heap<Object>, callable: &Global, args: &[Id]) -> Result<Value<Object>> {
        if let Some(value) = constructors::reduce(heap, callable, args) {
            return value;
        }
        match (&*callable.module, &*callable.name) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => tensor(heap, args),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => parameter(heap, args),
            ("torch", "Size") => match args {
                &[sizes] => heap.items(sizes).map(|sizes| Value::Tuple(sizes.to_vec())),
                _ => None,
            }
            .ok_or_else(|| damaged("a torch.Size is made of no list")),
            ("torch", "device") => {
                args.first().map(|&id| heap.get(id).clone()).ok_or_else(|| damaged("a torch.device without a name"))
            }
            ("pathlib" | "pathlib._local", name) if name.ends_with("Path") => path(heap, args),
            (module, "AttributeDict") if module.contains("lightning") => Ok(Value::Dict(Vec::new())),
            ("argparse", "Namespace") => Ok(record(callable)),
            (module, _) if module == "omegaconf" || module.starts_with("omegaconf.") => Ok(record(callable)),
            _ => Err(unknown(callable)),
        }
    }

    fn build(&mut self, _heap: &Heap<Object>, object: &Object, state: Id) -> Result<Object> {
        Ok(match object {
            Object::Record { class, .. } => Object::Record { class: class.clone(), attributes: Some(state) },
            // Python attributes on a tensor are none of its values.
            other => other.clone(),
        })
    }

    fn persistent(&mut self, heap: &Heap<Object>, id: Id) -> Result<Value<Object>> {
        let Some([kind, class, key, _device, elements, rest @ ..]) = heap.items(id) else {
            return Err(damaged("a reference to a storage is not a tuple of at least 5"));
        };
        if heap.text(*kind) == Some("module") {
            return Err(whole_module());
        }
        if rest.iter().any(|&view| !matches!(heap.get(view), Value::None)) {
            return Err(damaged("a storage is a part of another one, as only PyTorch 0.3 and older wrote it"));
        }
        let (Some("storage"), Value::Global(class), Some(key), Some(elements)) =
            (heap.text(*kind), heap.get(*class), heap.text(*key), heap.int(*elements))
        else {
            return Err(damaged("a reference to a storage is malformed"));
        };
        let element = Element::of_storage(class).ok_or_else(|| {
            Error::missing(format!("the file has a {class}, whose elements this version cannot read"))
                .hint("save the weights as float32 (or float64, float16, bfloat16, or an integer type)")
        })?;
        let elements = usize::try_from(elements).map_err(|_| damaged("a storage has an impossible size"))?;
        Ok(Value::Object(Object::Storage(Arc::new(Storage { key: key.into(), element, elements }))))
    }
}

fn record(class: &Global) -> Value<Object> {
    Value::Object(Object::Record { class: class.clone(), attributes: None })
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

/// (storage, offset, shape, strides, ..)
fn tensor(heap: &Heap<Object>, args: &[Id]) -> Result<Value<Object>> {
    let &[storage, offset, shape, strides, ..] = args else {
        return Err(damaged(format!("a tensor is made of {} values, wanted at least 4", args.len())));
    };
    let Value::Object(Object::Storage(storage)) = heap.get(storage) else {
        return Err(damaged(format!("a tensor is made of a {}, wanted a storage", heap.get(storage).type_name())));
    };
    let size = |id: Id| heap.int(id).and_then(|value| usize::try_from(value).ok());
    let sizes = |id: Id| -> Option<Vec<usize>> {
        heap.items(id).filter(|sizes| sizes.len() <= MAX_DIMENSIONS)?.iter().map(|&id| size(id)).collect()
    };
    match (size(offset), sizes(shape), sizes(strides)) {
        (Some(offset), Some(shape), Some(strides)) => {
            let view = View::new(Arc::clone(storage), offset, shape, strides)?;
            Ok(Value::Object(Object::Tensor(Arc::new(view))))
        }
        _ => Err(damaged(format!("offset, shape and strides of a tensor are not up to {MAX_DIMENSIONS} sizes each"))),
    }
}

fn parameter(heap: &Heap<Object>, args: &[Id]) -> Result<Value<Object>> {
    match args.first().map(|&id| heap.get(id)) {
        Some(tensor @ Value::Object(Object::Tensor(_))) => Ok(tensor.clone()),
        _ => Err(damaged("a parameter is made of something that is no tensor")),
    }
}

fn path(heap: &Heap<Object>, args: &[Id]) -> Result<Value<Object>> {
    let parts: Option<Vec<&str>> = args.iter().map(|&id| heap.text(id)).collect();
    let parts = parts.ok_or_else(|| damaged("a path is made of something that is no text"))?;
    Ok(Value::Str(parts.join("/").into()))
}
