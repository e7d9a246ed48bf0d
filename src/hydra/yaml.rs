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
/// Broken YAML, a key given twice, merge keys (`<<`), more than one document, an unknown tag.
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
                    Some("int" | "float" | "bool" | "null") => scalar::yaml_scalar(&text),
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

    fn map(&mut self) -> Result<KeyMap> {
        let mut map = KeyMap::new();
        loop {
            let (key, key_origin) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(map),
                (Event::Scalar(text, ..), span) => (text.into_owned(), self.origin(&span)),
                (_, span) => {
                    return Err(Error::usage(format!("{}: a key must be plain text", self.origin(&span))));
                }
            };
            if key == "<<" {
                return Err(Error::usage(format!("{key_origin}: merge keys (`<<`) are not supported"))
                    .hint("write the keys out, or use a defaults list"));
            }
            if let Some(first) = map.get(&key) {
                return Err(Error::usage(format!("{key_origin}: `{key}` is already given at {}", first.origin)));
            }
            let (event, span) = self.next()?;
            let mut node = self.node(event, &span)?;
            node.origin = key_origin;
            map.insert(key, node);
        }
    }
}
