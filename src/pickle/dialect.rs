//! Dialects of pickles: the names that have a meaning besides those of plain Python data and of numpy.

use std::convert::Infallible;

use super::errors::damaged;
use super::value::{Global, Heap, PickleValue, ValueId};
use crate::error::Result;

/// Gives names in a pickle a meaning, besides those of plain Python data and of numpy. All other names make records.
pub trait Dialect {
    /// The type of the objects that only this dialect has.
    type Object;

    /// The value of `callable(*args)`, or of `callable.__new__(callable, *args)`. `None` if the callable has no meaning
    /// in this dialect.
    fn reduce(
        &mut self,
        heap: &Heap<Self::Object>,
        callable: &Global,
        args: &[ValueId],
    ) -> Result<Option<PickleValue<Self::Object>>>;

    /// The object that `object` becomes by `object.__setstate__(state)`.
    fn build(&mut self, heap: &Heap<Self::Object>, object: &Self::Object, state: ValueId) -> Result<Self::Object>;

    /// The object that is stored outside of the pickle under the name `id`. An error by default.
    fn persistent(&mut self, _heap: &Heap<Self::Object>, _id: ValueId) -> Result<PickleValue<Self::Object>> {
        Err(damaged("the pickle refers to an object outside of itself"))
    }
}

/// The dialect without objects of its own: plain data, numpy, and records.
#[derive(Debug, Clone, Copy)]
pub struct PlainDialect;

impl Dialect for PlainDialect {
    type Object = Infallible;

    fn reduce(
        &mut self,
        _heap: &Heap<Infallible>,
        _callable: &Global,
        _args: &[ValueId],
    ) -> Result<Option<PickleValue<Infallible>>> {
        Ok(None)
    }

    fn build(&mut self, _heap: &Heap<Infallible>, object: &Infallible, _state: ValueId) -> Result<Infallible> {
        match *object {}
    }
}
