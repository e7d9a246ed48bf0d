//! YAML text to a [`Node`] tree by PyYAML's rules, with line and column of every key.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, options};

use super::node::{KeyMap, Node, Origin, Value};
use super::scalar;
use crate::error::{Error, Result};

/// Reads one YAML document. `file` is the name in errors and origins. An empty document is an empty map.
///
/// # Errors
/// Broken YAML, a key given twice, a merge key (`<<`) without a map, more than one document, an unknown tag.
pub fn parse(text: &str, file: &str) -> Result<Node> {
    let options = options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = YamlReader { parser, file: file.into(), anchors: HashMap::new() };
    let mut root = None;
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentEnd, _) => {}
            (Event::DocumentStart(..), span) if root.is_some() => {
                return Err(Error::usage(format!("{}: a configuration file holds one document", reader.origin(&span))));
            }
            (Event::DocumentStart(..), _) => {
                let (event, span) = reader.next()?;
                root = Some(reader.node(event, &span)?);
            }
            (Event::StreamEnd, _) => break,
            (_, span) => return Err(Error::usage(format!("{}: unexpected content", reader.origin(&span)))),
        }
    }
    let empty = || Node::new(Value::Map(KeyMap::new()), Origin::File { file: file.into(), line: 1, column: 1 });
    Ok(root.filter(|node| node.value != Value::Null).unwrap_or_else(empty))
}

struct YamlReader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    file: Arc<str>,
    anchors: HashMap<usize, Node>,
}

impl<'a> YamlReader<'a> {
    fn origin(&self, span: &Span) -> Origin {
        Origin::File { file: self.file.clone(), line: span.start.line(), column: span.start.col() + 1 }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let mark = error.marker();
                let place = format!("{}:{}:{}", self.file, mark.line(), mark.col() + 1);
                Err(Error::usage(format!("{place}: not valid YAML: {}", error.info())))
            }
            None => Err(Error::usage(format!("{}: the YAML ends in the middle", self.file))),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node> {
        let origin = self.origin(span);
        let (value, anchor) = match event {
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => return Ok(node.clone()),
                None => return Err(Error::usage(format!("{origin}: this alias refers to a value that contains it"))),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let value = match tag.as_ref().and_then(|tag| tag.core_suffix()) {
                    Some("str") => Value::Str(text.into_owned()),
                    Some("float") => match scalar::yaml_scalar(&text) {
                        Value::Int(value) => Value::Float(value as f64),
                        value => value,
                    },
                    Some("int" | "bool" | "null") => scalar::yaml_scalar(&text),
                    _ if tag.is_some() => return Err(Error::usage(format!("{origin}: this tag is not supported"))),
                    _ if style == ScalarStyle::Plain => scalar::yaml_scalar(&text),
                    _ => Value::Str(text.into_owned()),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break (Value::List(items), anchor),
                        (event, span) => items.push(self.node(event, &span)?),
                    }
                }
            }
            Event::MappingStart(_, anchor, _) => (Value::Map(self.map()?), anchor),
            _ => return Err(Error::usage(format!("{origin}: a value is missing here"))),
        };
        let node = Node::new(value, origin);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// The keys and values up to the end of a map. Merged keys come first; the map's own keys win over them.
    fn map(&mut self) -> Result<KeyMap> {
        let (mut merged, mut own) = (KeyMap::new(), KeyMap::new());
        loop {
            let (key, key_origin, is_merge) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, _, tag), span) => {
                    let is_merge = text == "<<" && style == ScalarStyle::Plain && tag.is_none();
                    (text.into_owned(), self.origin(&span), is_merge)
                }
                (_, span) => {
                    return Err(Error::usage(format!("{}: a key must be plain text", self.origin(&span))));
                }
            };
            let (event, span) = self.next()?;
            let mut node = self.node(event, &span)?;
            if is_merge {
                merge_keys(&mut merged, node, &key_origin)?;
                continue;
            }
            if let Some(first) = own.get(&key) {
                return Err(Error::usage(format!("{key_origin}: `{key}` is already given at {}", first.origin)));
            }
            node.origin = key_origin;
            own.insert(key, node);
        }
        for (key, node) in own {
            merged.insert(key, node);
        }
        Ok(merged)
    }
}

/// Adds the value of a merge key `<<`: a map, or a list of maps, whose first map with a key decides (YAML's rule).
fn merge_keys(merged: &mut KeyMap, node: Node, place: &Origin) -> Result<()> {
    let maps = match node.value {
        Value::List(items) => items,
        _ => vec![node],
    };
    let mut together = KeyMap::new();
    for map in maps {
        let Value::Map(map) = map.value else {
            let got = map.value.described();
            return Err(Error::usage(format!("{place}: the merge key `<<` takes a map or a list of maps, got {got}"))
                .hint("write `<<: *name` for the map that is marked with `&name`"));
        };
        for (key, node) in map {
            if together.get(&key).is_none() {
                together.insert(key, node);
            }
        }
    }
    for (key, node) in together {
        merged.insert(key, node);
    }
    Ok(())
}
