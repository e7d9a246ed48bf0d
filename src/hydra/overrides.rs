//! Command-line overrides: `key=value`, `+key=value`, `++key=value`, `~key`, `group=choice`, in Hydra's grammar.

use std::sync::Arc;

use super::grammar::{ParsedValue, SyntaxFault, ValueParser};
use super::node::{Node, Origin, Value};
use crate::error::{Error, Result};

/// The change that an override makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideAction {
    /// `key=value`: the key must exist.
    Change,
    /// `+key=value`: the key must not exist.
    Add,
    /// `++key=value`: the key may exist.
    ForceAdd,
    /// `~key` or `~key=value`.
    Delete,
}

/// One override of a key or of a group's choice.
#[derive(Debug, Clone)]
pub struct Override {
    pub action: OverrideAction,
    /// `a.b.c` or `group/subgroup`.
    pub key: String,
    /// The package in `group@package=choice`.
    pub package: Option<String>,
    /// None for a deletion without a value.
    pub value: Option<Node>,
    /// The override as typed.
    pub text: Arc<str>,
}

impl Override {
    /// Reads one override.
    ///
    /// # Errors
    /// The text is not in the grammar, or it is a sweep (`a=1,2`): one run has one value.
    pub fn parse(text: &str) -> Result<Self> {
        match OverrideLine::parse(text)? {
            OverrideLine { sweep: Some(values), .. } => Err(Error::usage(format!(
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

    /// The value as typed.
    pub(super) fn value_text(&self) -> &str {
        self.text.split_once('=').map_or("...", |(_, value)| value)
    }

    /// The key as written, with its package.
    pub(super) fn full_key(&self) -> String {
        match &self.package {
            Some(package) => format!("{}@{package}", self.key),
            None => self.key.clone(),
        }
    }
}

/// The jobs of a multirun: every combination of the swept values. The last key changes fastest. Without a sweep there
/// is one job.
///
/// # Errors
/// The errors of [`Override::parse`], except that sweeps are allowed.
pub fn sweep(overrides: &[String]) -> Result<Vec<Vec<String>>> {
    let mut jobs = vec![Vec::new()];
    for text in overrides {
        let choices = match OverrideLine::parse(text)?.sweep {
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

/// An override whose value may be a sweep.
struct OverrideLine {
    override_: Override,
    sweep: Option<Vec<String>>,
}

impl OverrideLine {
    fn parse(text: &str) -> Result<Self> {
        let (action, rest) = if let Some(rest) = text.strip_prefix("++") {
            (OverrideAction::ForceAdd, rest)
        } else if let Some(rest) = text.strip_prefix('+') {
            (OverrideAction::Add, rest)
        } else if let Some(rest) = text.strip_prefix('~') {
            (OverrideAction::Delete, rest)
        } else {
            (OverrideAction::Change, text)
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None if action == OverrideAction::Delete => (rest, None),
            None => {
                return Err(Error::usage(format!("`{text}` is not an override")).hint(
                    "write `key=value` or `~key`, without blanks; a value with blanks needs quotes for the shell: \
                     'key=[1, 2]'",
                ));
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
            Some(value) => match ValueParser::new(value).value() {
                Ok(ParsedValue::Value(value)) => Some(value),
                Ok(ParsedValue::Sweep(values)) => {
                    sweep = Some(values);
                    None
                }
                Err(SyntaxFault { at, message }) => {
                    let before = text.len() - value.len() + at;
                    let column = text.get(..before).map_or(before, |text| text.chars().count()) + 1;
                    let error = Error::usage(format!("override `{text}`, character {column}: {message}"));
                    // The shell cuts `key=[1, 2]` into two arguments.
                    let is_cut = at >= value.trim_end().len() && value.contains(['[', '{', '(', '\'', '"']);
                    return Err(match is_cut {
                        true => error.hint(format!("a value with blanks needs quotes for the shell: '{text} ...'")),
                        false => error,
                    });
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
        Ok(OverrideLine { override_, sweep })
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
