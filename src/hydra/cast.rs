//! Casts in overrides: `int(...)`, `float(...)`, `str(...)`, `bool(...)` and `json_str(...)`.

use super::node::{KeyMap, Node, Origin, Value};
use super::scalar;

/// The target type of a cast.
#[derive(Clone, Copy)]
pub(super) enum Cast {
    Int,
    Float,
    Str,
    Bool,
    Json,
}

impl Cast {
    /// The cast of a function's name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "int" => Cast::Int,
            "float" => Cast::Float,
            "str" => Cast::Str,
            "bool" => Cast::Bool,
            "json_str" => Cast::Json,
            _ => return None,
        })
    }

    /// The value in the cast's type; every item of a list or map is cast.
    ///
    /// # Errors
    /// A message about a value that the type cannot hold.
    pub fn apply(self, value: &Value) -> Result<Value, String> {
        let each = |node: &Node| Ok(Node::new(self.apply(&node.value)?, Origin::Program));
        match (self, value) {
            (Cast::Json, value) => Ok(Value::Str(Node::new(value.clone(), Origin::Program).to_json().to_string())),
            (_, Value::List(items)) => Ok(Value::List(items.iter().map(each).collect::<Result<_, String>>()?)),
            (_, Value::Map(map)) => {
                let mut cast = KeyMap::new();
                for (key, node) in map.iter() {
                    cast.insert(key, each(node)?);
                }
                Ok(Value::Map(cast))
            }
            (Cast::Str, Value::Null) => Ok(Value::Str("null".into())),
            (Cast::Str, Value::Bool(value)) => Ok(Value::Str(value.to_string())),
            (Cast::Str, value) => Ok(Value::Str(value.python_str())),
            (Cast::Int, Value::Float(value)) if value.abs() < i64::MAX as f64 => Ok(Value::Int(value.trunc() as i64)),
            (Cast::Int, Value::Int(_)) | (Cast::Float, Value::Float(_)) | (Cast::Bool, Value::Bool(_)) => {
                Ok(value.clone())
            }
            (Cast::Int, Value::Bool(value)) => Ok(Value::Int((*value).into())),
            (Cast::Float, Value::Bool(value)) => Ok(Value::Float(f64::from(u8::from(*value)))),
            (Cast::Float, Value::Int(value)) => Ok(Value::Float(*value as f64)),
            (Cast::Bool, Value::Int(value)) => Ok(Value::Bool(*value != 0)),
            (Cast::Bool, Value::Float(value)) => Ok(Value::Bool(*value != 0.0)),
            (cast, Value::Str(text)) => match (cast, scalar::override_scalar(text)) {
                (Cast::Int, number @ Value::Int(_)) | (Cast::Float, number @ Value::Float(_)) => Ok(number),
                (Cast::Float, Value::Int(number)) => Ok(Value::Float(number as f64)),
                (Cast::Bool, truth @ Value::Bool(_)) => Ok(truth),
                _ => Err(format!("\"{text}\" cannot be cast")),
            },
            (_, value) => Err(format!("{} cannot be cast", value.described())),
        }
    }
}
