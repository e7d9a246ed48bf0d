//! A tree as YAML text and as JSON. Both read back to the same values: floats keep a point or an exponent, and text
//! that YAML would read as another type is quoted.

use std::fmt::Write;

use super::float_text::float_text;
use super::node::{Node, Value};
use super::scalar;

impl Node {
    /// Block-style YAML, two spaces per level, keys in their order.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        match &self.value {
            Value::Map(map) if !map.is_empty() => block(self, 0, &mut out),
            Value::List(items) if !items.is_empty() => block(self, 0, &mut out),
            value => {
                out.push_str(&inline(value));
                out.push('\n');
            }
        }
        out
    }

    /// JSON with integers and floats kept apart. JSON has no infinities: they become the strings `inf`, `-inf`, `nan`.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None => Json::String(float_text(*value)),
            },
            Value::Str(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(map) => Json::Object(map.iter().map(|(key, node)| (key.to_owned(), node.to_json())).collect()),
        }
    }
}

fn block(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(map) => {
            for (key, child) in map.iter() {
                let _ = write!(out, "{:indent$}{}:", "", text(key));
                below(child, indent + 2, out);
            }
        }
        Value::List(items) => {
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                below(item, indent + 2, out);
            }
        }
        _ => {}
    }
}

/// The value after `key:` or `-`: on the same line, or as a block below it.
fn below(node: &Node, indent: usize, out: &mut String) {
    let nested = match &node.value {
        Value::Map(map) => !map.is_empty(),
        Value::List(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        block(node, indent, out);
    } else {
        let _ = writeln!(out, " {}", inline(&node.value));
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => ".nan".into(),
        Value::Float(value) if value.is_infinite() => if *value > 0.0 { ".inf" } else { "-.inf" }.into(),
        Value::Float(value) => {
            let text = float_text(*value);
            // Plain YAML 1.1 readers want a point in a float with an exponent.
            match text.split_once('e') {
                Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
                _ => text,
            }
        }
        Value::Str(value) => text(value),
        Value::List(_) => "[]".into(),
        Value::Map(_) => "{}".into(),
    }
}

fn text(value: &str) -> String {
    if value.chars().any(|c| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')) {
        return escaped(value);
    }
    let safe_start = value.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '_' | '.' | '$' | '+'));
    let plain = safe_start
        && matches!(scalar::yaml_scalar(value), Value::Str(_))
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.ends_with([':', ' ']);
    if plain { value.into() } else { format!("'{}'", value.replace('\'', "''")) }
}

/// Double-quoted, with everything outside printable ASCII as a numeric escape.
fn escaped(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\U{:08X}", c as u32);
            }
        }
    }
    out.push('"');
    out
}
