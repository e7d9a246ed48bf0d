//! Calls in a pickle: known constructors make plain values, all other names make records. Nothing is executed.

use super::dialect::Dialect;
use super::effects::{acts, is_plain_attribute};
use super::errors::damaged;
use super::value::{Global, Heap, PickleValue, Record, ValueId};
use super::{constructors, numpy};
use crate::error::{Error, Result};

/// The value of `callable(*args, **keywords)`. With keywords it is a record whose state they are.
///
/// # Errors
/// The callable or an argument is a name that would act on the machine; the message names it.
pub(super) fn call<D: Dialect>(
    dialect: &mut D,
    heap: &Heap<D::Object>,
    callable: ValueId,
    args: &[ValueId],
    keywords: Option<ValueId>,
) -> Result<PickleValue<D::Object>> {
    match heap.get(callable) {
        PickleValue::Global(callable) if keywords.is_none() => call_name(dialect, heap, callable, args),
        PickleValue::Global(callable) => record(heap, callable, args, keywords),
        // A class that the pickle describes, or a function with some of its arguments.
        PickleValue::Record(callable) => record(heap, &callable.class, args, keywords),
        other => Err(damaged(format!("the pickle calls a {}", other.type_name()))),
    }
}

/// The value of `callable(*args)`.
///
/// # Errors
/// The errors of [`call`].
pub(super) fn call_name<D: Dialect>(
    dialect: &mut D,
    heap: &Heap<D::Object>,
    callable: &Global,
    args: &[ValueId],
) -> Result<PickleValue<D::Object>> {
    if let Some(value) = constructors::reduce(heap, callable, args).or_else(|| numpy::reduce(heap, callable, args)) {
        return value;
    }
    if let Some(value) = dialect.reduce(heap, callable, args)? {
        return Ok(value);
    }
    match (&*callable.module, &*callable.name, args) {
        ("builtins" | "__builtin__", "getattr", &[of, name]) => match attribute(heap, of, name) {
            Some(value) => Ok(value),
            None => Err(acting(callable)),
        },
        // The forms in which older protocols write a new object of a class.
        ("copyreg" | "copy_reg", "__newobj__", &[class, ref args @ ..]) => call(dialect, heap, class, args, None),
        ("copyreg" | "copy_reg", "_reconstructor", &[class, _base, state]) => {
            let PickleValue::Global(class) = heap.get(class) else {
                return Err(damaged("an object is made of something that is no class"));
            };
            let mut made = new_record(heap, class, &[state])?;
            made.entries = heap.entries(state).map(<[_]>::to_vec).unwrap_or_default();
            made.items = heap.items(state).map(<[_]>::to_vec).unwrap_or_default();
            Ok(PickleValue::Record(Box::new(made)))
        }
        _ => record(heap, callable, args, None),
    }
}

/// An attribute of a class or of an object, as older protocols write nested classes and methods. `None` if it could
/// lead to more than that.
fn attribute<O>(heap: &Heap<O>, of: ValueId, name: ValueId) -> Option<PickleValue<O>> {
    let name = heap.text(name).filter(|name| is_plain_attribute(name))?;
    let (class, is_class) = match heap.get(of) {
        PickleValue::Global(class) => (class, true),
        PickleValue::Record(record) => (&record.class, false),
        _ => return None,
    };
    let nested = Global { module: class.module.clone(), name: format!("{}.{name}", class.name).into() };
    let is_builtin = ["builtins", "__builtin__"].contains(&&*class.module);
    if is_builtin || acts(class) || acts(&nested) {
        return None;
    }
    Some(if is_class { PickleValue::Global(nested) } else { PickleValue::Record(Box::new(Record::new(nested, &[of]))) })
}

fn record<O>(heap: &Heap<O>, class: &Global, args: &[ValueId], keywords: Option<ValueId>) -> Result<PickleValue<O>> {
    let made = Record { state: keywords, ..new_record(heap, class, args)? };
    Ok(PickleValue::Record(Box::new(made)))
}

fn new_record<O>(heap: &Heap<O>, class: &Global, args: &[ValueId]) -> Result<Record> {
    check_names([class].into_iter().chain(args.iter().filter_map(|&id| name(heap, id))))?;
    Ok(Record::new(class.clone(), args))
}

/// Checks that no member of a state is a name that would act. A `functools.partial` has its function there.
pub(super) fn check_state<O>(heap: &Heap<O>, state: ValueId) -> Result<()> {
    check_names(heap.items(state).unwrap_or_default().iter().filter_map(|&id| name(heap, id)))
}

fn name<O>(heap: &Heap<O>, id: ValueId) -> Option<&Global> {
    match heap.get(id) {
        PickleValue::Global(name) => Some(name),
        _ => None,
    }
}

fn check_names<'a>(names: impl IntoIterator<Item = &'a Global>) -> Result<()> {
    match names.into_iter().find(|name| acts(name)) {
        Some(name) => Err(acting(name)),
        None => Ok(()),
    }
}

fn acting(name: &Global) -> Error {
    Error::missing(format!("the pickle wants to call {name}, which would act on this machine"))
        .hint("nothing was executed; the file may be hostile: do not load it in Python, and ask where it comes from")
}
