//! Command-line overrides: `key=value`, `+key=value`, `++key=value`, `~key`, `group=choice`, in Hydra's grammar.

use std::sync::Arc;

use super::grammar::{Cursor, Parsed, Syntax};
use super::{Node, Origin, Value};
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `key=value`: the key must exist.
    Change,
    /// `+key=value`: the key must not exist.
    Add,
    /// `++key=value`: either.
    ForceAdd,
    /// `~key` or `~key=value`.
    Delete,
}

#[derive(Debug, Clone)]
pub struct Override {
    pub action: Action,
    /// `a.b.c` or `group/subgroup`.
    pub key: String,
    /// What follows `@` in `group@package=choice`.
    pub package: Option<String>,
    /// Absent for a deletion without a value.
    pub value: Option<Node>,
    /// As typed.
    pub text: Arc<str>,
}

impl Override {
    /// # Errors
    /// The text is not in the grammar, or it is a sweep (`a=1,2`): one run has one value.
    pub fn parse(text: &str) -> Result<Self> {
        match Line::parse(text)? {
            Line { sweep: Some(values), .. } => Err(Error::usage(format!(
                "override `{text}`: several values ({}), but a run has one; sweeps are not supported by this version",
                values.join(", ")
            ))
            .hint(format!(
                "for a list write `{}=[{}]`",
                text.split('=').next().unwrap_or(text),
                values.join(",")
            ))),
            line => Ok(line.override_),
        }
    }

    /// The key as written, with its package.
    pub(super) fn full_key(&self) -> String {
        match &self.package {
            Some(package) => format!("{}@{package}", self.key),
            None => self.key.clone(),
        }
    }
}

/// The jobs of a multirun: every combination of the swept values, the last key fastest. Without a sweep, one job.
///
/// # Errors
/// As [`Override::parse`], sweeps apart.
pub fn sweep(overrides: &[String]) -> Result<Vec<Vec<String>>> {
    let mut jobs = vec![Vec::new()];
    for text in overrides {
        let choices = match Line::parse(text)?.sweep {
            Some(values) => {
                let key = text.split('=').next().unwrap_or(text);
                values.iter().map(|value| format!("{key}={value}")).collect()
            }
            None => vec![text.clone()],
        };
        let extend = |job: Vec<String>| {
            choices.iter().map(move |choice| [job.as_slice(), std::slice::from_ref(choice)].concat())
        };
        jobs = jobs.into_iter().flat_map(extend).collect();
    }
    Ok(jobs)
}

struct Line {
    override_: Override,
    sweep: Option<Vec<String>>,
}

impl Line {
    fn parse(text: &str) -> Result<Self> {
        let (action, rest) = if let Some(rest) = text.strip_prefix("++") {
            (Action::ForceAdd, rest)
        } else if let Some(rest) = text.strip_prefix('+') {
            (Action::Add, rest)
        } else if let Some(rest) = text.strip_prefix('~') {
            (Action::Delete, rest)
        } else {
            (Action::Change, text)
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None if action == Action::Delete => (rest, None),
            None => {
                return Err(Error::usage(format!("`{text}` is not an override")).hint("write `key=value` or `~key`"));
            }
        };
        let (key, package) = match name.split_once('@') {
            Some((key, package)) => (key, Some(package)),
            None => (name, None),
        };
        if !(is_dotted(key) || is_group(key)) || package.is_some_and(|package| !is_dotted(package)) {
            return Err(Error::usage(format!("override `{text}`: `{name}` is not a key"))
                .hint("keys are names joined with `.`, groups are names joined with `/`"));
        }
        let origin = Origin::Override { text: text.into(), added: false };
        let mut sweep = None;
        let value = match value {
            Some(value) if value.trim_matches([' ', '\t']).is_empty() => Some(Value::Str(String::new())),
            Some(value) => match Cursor::new(value).value() {
                Ok(Parsed::Value(value)) => Some(value),
                Ok(Parsed::Sweep(values)) => {
                    sweep = Some(values);
                    None
                }
                Err(Syntax { at, message }) => {
                    let before = text.len() - value.len() + at;
                    let column = text.get(..before).map_or(before, |text| text.chars().count()) + 1;
                    return Err(Error::usage(format!("override `{text}`, character {column}: {message}")));
                }
            },
            None => None,
        };
        let value = value.map(|value| {
            let mut node = Node::new(value, Origin::Program);
            node.set_origin(&origin);
            node
        });
        let override_ =
            Override { action, key: key.into(), package: package.map(String::from), value, text: text.into() };
        Ok(Line { override_, sweep })
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'))
}

/// Names (or indices, after the first name) joined with dots.
fn is_dotted(text: &str) -> bool {
    let is_index = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').enumerate().all(|(place, key)| is_name(key) || (place > 0 && is_index(key)))
}

fn is_group(text: &str) -> bool {
    text.split('/').all(is_name)
}
