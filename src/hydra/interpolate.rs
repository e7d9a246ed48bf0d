//! Interpolations: `${a.b}`, `${.sibling}`, `${resolver:arguments}`, alone (the value keeps its type) or inside text.
//!
//! As in OmegaConf, an interpolation is resolved at its own place in the composed tree. A reference to a section copies
//! the section, with its own interpolations resolved at their places. The resolver keeps the chain of values that it is
//! resolving, so that an error can name a cycle.

use std::borrow::Cow;
use std::env::VarError;

use jiff::Zoned;

use super::expression::evaluate;
use super::grammar::{ParsedValue, ValueParser, interpolation_end};
use super::nearest::nearest;
use super::node::{KeyMap, MANDATORY, Node, Origin, Value, join};
use crate::error::{Error, Result, did_you_mean};

const RESOLVERS: &[&str] = &[
    "oc.env",
    "oc.select",
    "oc.decode",
    "oc.create",
    "oc.deprecated",
    "oc.dict.keys",
    "oc.dict.values",
    "eval",
    "now",
    "hydra",
];

/// Looks up an environment variable.
pub type Environment = fn(&str) -> Result<String, VarError>;

/// Resolves the interpolations of one composed tree.
pub(super) struct Interpolator<'a> {
    pub root: &'a Node,
    /// The time of all `${now:...}` of a run.
    pub now: &'a Zoned,
    pub environment: Environment,
}

/// The value that is being resolved.
struct Site<'a> {
    path: &'a str,
    origin: &'a Origin,
    /// The value whose interpolation refers to this one.
    caller: Option<&'a Site<'a>>,
    /// Number of texts that are being resolved inside each other.
    depth: usize,
}

/// Limit of nested interpolations. It protects the stack; sensible configurations need far fewer.
const MAX_DEPTH: usize = 100;

impl Site<'_> {
    fn fail(&self, message: impl std::fmt::Display) -> Error {
        Error::usage(format!("{}: `{}`: {message}", self.origin, self.path))
    }

    /// The chain of values from `path` to this one. None if `path` is not being resolved.
    fn cycle_from(&self, path: &str) -> Option<String> {
        let mut chain = vec![path.to_owned()];
        let mut site = Some(self);
        while let Some(current) = site {
            chain.push(current.path.to_owned());
            if current.path == path {
                return Some(chain.into_iter().rev().collect::<Vec<_>>().join(" -> "));
            }
            site = current.caller;
        }
        None
    }
}

impl Interpolator<'_> {
    /// The tree at `path` without interpolations.
    ///
    /// # Errors
    /// A missing key or a cycle (both ends named), an unknown resolver, a resolver that fails.
    pub fn resolve(&self, path: &str, node: &Node) -> Result<Node> {
        self.node(node, path, None)
    }

    fn node(&self, node: &Node, path: &str, caller: Option<&Site>) -> Result<Node> {
        let value = match &node.value {
            Value::Str(text) if text.contains("${") => {
                let depth = caller.map_or(0, |caller| caller.depth);
                let site = Site { path, origin: &node.origin, caller, depth };
                if let Some(cycle) = caller.and_then(|caller| caller.cycle_from(path)) {
                    return Err(site.fail(format!("interpolations form a cycle: {cycle}")));
                }
                return self.text(text, &site);
            }
            Value::List(items) => {
                let item = |(index, item)| self.node(item, &join(path, &format!("{index}")), caller);
                Value::List(items.iter().enumerate().map(item).collect::<Result<_>>()?)
            }
            Value::Map(map) => {
                let mut resolved = KeyMap::new();
                for (key, node) in map.iter() {
                    resolved.insert(key, self.node(node, &join(path, key), caller)?);
                }
                Value::Map(resolved)
            }
            value => value.clone(),
        };
        Ok(Node::new(value, node.origin.clone()))
    }

    /// A text with its interpolations resolved. `\${` is the text `${`.
    fn text(&self, text: &str, site: &Site) -> Result<Node> {
        if site.depth == MAX_DEPTH {
            return Err(site.fail("interpolations are nested too deeply"));
        }
        let site = &Site { depth: site.depth + 1, ..*site };
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let before = rest[..start].trim_end_matches('\\');
            let backslashes = start - before.len();
            out.push_str(before);
            out.extend(std::iter::repeat_n('\\', backslashes / 2));
            if backslashes % 2 == 1 {
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            let Some(length) = interpolation_end(&rest[start..]) else {
                return Err(site.fail(format!("the `}}` of an interpolation is missing in \"{text}\"")));
            };
            let inner = &rest[start + 2..start + length - 1];
            let mut resolved = self.interpolation(inner, site)?;
            if start == 0 && length == text.len() {
                resolved.origin = site.origin.clone();
                return Ok(resolved);
            }
            out.push_str(&resolved.value.python_str());
            rest = &rest[start + length..];
        }
        out.push_str(rest);
        Ok(Node::new(Value::Str(out), site.origin.clone()))
    }

    fn interpolation(&self, inner: &str, site: &Site) -> Result<Node> {
        let inner = inner.trim_matches([' ', '\t']);
        match resolver_name(inner) {
            Some((name, arguments)) => {
                let name = self.nested(name, site)?;
                let value = self.call(&name, arguments, site)?;
                Ok(Node::new(value, site.origin.clone()))
            }
            None => self.reference(&self.nested(inner, site)?, site),
        }
    }

    /// A key or name that may itself hold interpolations.
    fn nested<'t>(&self, text: &'t str, site: &Site) -> Result<Cow<'t, str>> {
        if text.contains("${") {
            Ok(Cow::Owned(self.text(text, site)?.value.python_str()))
        } else {
            Ok(Cow::Borrowed(text))
        }
    }

    fn reference(&self, key: &str, site: &Site) -> Result<Node> {
        let path = absolute(key, site.path).ok_or_else(|| {
            site.fail(format!("`${{{key}}}` does not name a key: wanted `${{a.b}}` or `${{.sibling}}`"))
        })?;
        match self.select(&path, site)? {
            Some(Node { value: Value::Str(text), origin }) if text == MANDATORY => Err(site
                .fail(format!("refers to `{path}`, which must be given ({origin})"))
                .hint(format!("write `{path}=...`"))),
            Some(node) => Ok(node),
            // A shell's variable, which stands at the head of paths.
            None if path == "HOME" => {
                self.call("oc.env", "HOME", site).map(|home| Node::new(home, site.origin.clone()))
            }
            None => Err(site.fail(format!("refers to `{path}`, which does not exist")).hint(nearest(self.root, &path))),
        }
    }

    /// The resolved value at a path. None if there is none. Interpolations on the way are followed.
    fn select(&self, path: &str, site: &Site) -> Result<Option<Node>> {
        let mut node = Cow::Borrowed(self.root);
        let mut walked = String::new();
        for key in path.split('.').filter(|key| !key.is_empty()) {
            if matches!(&node.value, Value::Str(text) if text.contains("${")) {
                node = Cow::Owned(self.node(&node, &walked, Some(site))?);
            }
            walked = join(&walked, key);
            node = match node {
                Cow::Borrowed(parent) => match parent.child(key) {
                    Some(child) => Cow::Borrowed(child),
                    None => return Ok(None),
                },
                Cow::Owned(parent) => match parent.child(key) {
                    Some(child) => Cow::Owned(child.clone()),
                    None => return Ok(None),
                },
            };
        }
        self.node(&node, path, Some(site)).map(Some)
    }

    fn call(&self, name: &str, arguments: &str, site: &Site) -> Result<Value> {
        let call = format!("${{{name}:{arguments}}}");
        let mut values = Vec::new();
        let parsed = ValueParser::in_resolver(arguments).arguments();
        for value in parsed.map_err(|syntax| site.fail(format!("`{call}`: {}", syntax.message)))? {
            let node = Node::new(value, site.origin.clone());
            values.push(self.argument(&node, site)?.value);
        }
        let fail = |message: String| site.fail(format!("`{call}`: {message}"));
        match (name, values.as_slice()) {
            ("oc.env", [Value::Str(variable), rest @ ..]) if rest.len() <= 1 => {
                match ((self.environment)(variable), rest.first()) {
                    (Ok(text), _) => Ok(Value::Str(text)),
                    // Its default would be another file or folder than the one that the user has set.
                    (Err(VarError::NotUnicode(text)), _) => {
                        Err(fail(format!("the environment variable `{variable}` is not UTF-8: {text:?}"))
                            .hint("rename the folder, or make a symbolic link to it with a name in UTF-8 and set that"))
                    }
                    (Err(VarError::NotPresent), Some(Value::Null)) => Ok(Value::Null),
                    (Err(VarError::NotPresent), Some(default)) => Ok(Value::Str(default.python_str())),
                    (Err(VarError::NotPresent), None) => {
                        Err(fail(format!("the environment variable `{variable}` is not set"))
                            .hint(format!("set it, or give a default: `${{oc.env:{variable},default}}`")))
                    }
                }
            }
            ("oc.select", [Value::Str(key), rest @ ..]) if rest.len() <= 1 => {
                let path = absolute(key, site.path).ok_or_else(|| fail(format!("`{key}` is not a key")))?;
                let found = self.select(&path, site)?.map(|node| node.value);
                let missing = |value: &Value| matches!(value, Value::Str(text) if text == MANDATORY);
                Ok(found.filter(|value| !missing(value)).or_else(|| rest.first().cloned()).unwrap_or(Value::Null))
            }
            ("oc.create", [value]) => Ok(value.clone()),
            ("oc.deprecated", [Value::Str(key)] | [Value::Str(key), Value::Str(_)]) => {
                let path = absolute(key, site.path).ok_or_else(|| fail(format!("`{key}` is not a key")))?;
                let found = self.select(&path, site)?.map(|node| node.value);
                found.ok_or_else(|| fail(format!("`{path}` does not exist")).hint(nearest(self.root, &path)))
            }
            ("oc.dict.keys" | "oc.dict.values", [of @ (Value::Str(_) | Value::Map(_))]) => {
                let section = match of {
                    Value::Str(key) => {
                        let path = absolute(key, site.path).ok_or_else(|| fail(format!("`{key}` is not a key")))?;
                        self.select(&path, site)?.map(|node| node.value)
                    }
                    section => Some(section.clone()),
                };
                let Some(Value::Map(map)) = section else { return Err(fail("this is not a section".into())) };
                let item = |(key, node): (String, Node)| match name {
                    "oc.dict.keys" => Node::new(Value::Str(key), site.origin.clone()),
                    _ => node,
                };
                Ok(Value::List(map.into_iter().map(item).collect()))
            }
            ("oc.decode", [Value::Str(text)]) => match ValueParser::new(text).value() {
                Ok(ParsedValue::Value(value)) => {
                    self.argument(&Node::new(value, site.origin.clone()), site).map(|node| node.value)
                }
                Ok(ParsedValue::Sweep(_)) => Err(fail("a list needs brackets".into())),
                Err(syntax) => Err(fail(syntax.message)),
            },
            ("oc.decode", [value]) => Ok(value.clone()),
            ("eval", [Value::Str(expression)]) => evaluate(expression).map_err(fail),
            ("eval", [number @ (Value::Int(_) | Value::Float(_) | Value::Bool(_))]) => Ok(number.clone()),
            ("now", []) => self.time("%Y-%m-%d_%H-%M-%S").map_err(fail),
            ("now", [format]) => self.time(&format.python_str()).map_err(fail),
            ("hydra", [Value::Str(key)]) => {
                let path = join("hydra", key);
                match self.select(&path, site)? {
                    Some(node) => Ok(node.value),
                    // A group that no defaults list has, or that was deleted.
                    None if key.starts_with("runtime.choices.") => Ok(Value::Null),
                    None => Err(fail(format!("there is no `{key}`")).hint(nearest(self.root, &path))),
                }
            }
            _ if RESOLVERS.contains(&name) => Err(fail("wrong number or type of arguments".into())),
            _ => Err(fail(format!("unknown resolver `{name}`")).hint(did_you_mean(name, RESOLVERS.iter().copied()))),
        }
    }

    /// An argument with its interpolations resolved. They are relative to the value that holds the call.
    fn argument(&self, node: &Node, site: &Site) -> Result<Node> {
        let value = match &node.value {
            Value::Str(text) if text.contains("${") => return self.text(text, site),
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.argument(item, site)).collect::<Result<_>>()?)
            }
            value => value.clone(),
        };
        Ok(Node::new(value, site.origin.clone()))
    }

    fn time(&self, format: &str) -> Result<Value, String> {
        jiff::fmt::strtime::format(format, self.now).map(Value::Str).map_err(|error| error.to_string())
    }
}

/// Splits `name:arguments`. None if the text is a key, not a call of a resolver.
fn resolver_name(inner: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    while let Some(c) = inner[end..].chars().next() {
        match c {
            ':' => return (end > 0).then(|| (inner[..end].trim_end(), &inner[end + 1..])),
            '$' if inner[end..].starts_with("${") => end += interpolation_end(&inner[end..])?,
            _ if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ') => end += 1,
            _ => return None,
        }
    }
    None
}

/// The absolute path of a key in the value at `site`. `.x` is a sibling, each further dot goes one section up, `a[b]`
/// is `a.b`.
fn absolute(key: &str, site: &str) -> Option<String> {
    let name = key.trim_start_matches('.');
    let dots = key.len() - name.len();
    let name = name.replace('[', ".").replace(']', "");
    let name = name.strip_prefix('.').unwrap_or(&name);
    if name.is_empty() || name.split('.').any(str::is_empty) || name.contains([' ', ':', '{', '}']) {
        return None;
    }
    let mut parent = site;
    for _ in 0..dots {
        parent = match parent.rsplit_once('.') {
            Some((parent, _)) => parent,
            None if !parent.is_empty() => "",
            None => return None,
        };
    }
    Some(if dots == 0 { name.to_owned() } else { join(parent, name) })
}
