//! The value grammar of Hydra's overrides: numbers, words, quotes, lists, dictionaries, casts and sweeps. The arguments
//! of a resolver (`${eval:1 - ${.x}}`) follow the same rules, with more characters allowed without quotes.
//!
//! Interpolations stay text here. Hydra's lexer ends one at the first `}`; this parser reads nested ones whole.

use super::cast::Cast;
use super::node::{KeyMap, Node, Origin, Value};
use super::scalar;
use super::sweep_range::sweep_range;

/// A fault in a text.
#[derive(Debug)]
pub(super) struct SyntaxFault {
    /// Byte offset.
    pub at: usize,
    pub message: String,
}

/// The value of an override, or the values of a sweep.
pub(super) enum ParsedValue {
    Value(Value),
    /// The values as written.
    Sweep(Vec<String>),
}

/// A parser and its position in the text.
pub(super) struct ValueParser<'a> {
    text: &'a str,
    pos: usize,
    /// The text is the arguments of a resolver, inside `${...}`.
    in_resolver: bool,
    /// Number of open brackets.
    depth: usize,
}

const MAX_DEPTH: usize = 100;

/// Characters that a backslash makes ordinary.
const ESCAPABLE: &[char] = &['\\', '(', ')', '[', ']', '{', '}', ':', '=', ',', ' ', '\t'];

const SWEEPS: &[&str] = &["choice", "range", "interval", "glob", "sort", "shuffle", "tag"];

impl<'a> ValueParser<'a> {
    pub fn new(text: &'a str) -> Self {
        ValueParser { text, pos: 0, in_resolver: false, depth: 0 }
    }

    pub fn in_resolver(text: &'a str) -> Self {
        ValueParser { text, pos: 0, in_resolver: true, depth: 0 }
    }

    /// The whole text as one value. Commas outside brackets and sweep functions make it a sweep.
    pub fn value(mut self) -> Result<ParsedValue, SyntaxFault> {
        let mut elements = Vec::new();
        loop {
            let start = self.pos;
            let parsed = self.element()?;
            elements.push((parsed, self.text[start..self.pos].trim().to_owned()));
            self.skip_blanks();
            match self.peek() {
                Some(',') => self.pos += 1,
                Some(other) => return Err(self.unexpected(other)),
                None => break,
            }
        }
        if elements.len() > 1 {
            return Ok(ParsedValue::Sweep(elements.into_iter().map(|(_, text)| text).collect()));
        }
        elements.pop().map(|(parsed, _)| parsed).ok_or(SyntaxFault { at: 0, message: "a value is missing".into() })
    }

    /// Values separated by commas, to the end of the text. An empty text has none. A missing value is empty text.
    pub fn arguments(mut self) -> Result<Vec<Value>, SyntaxFault> {
        let mut values = Vec::new();
        self.skip_blanks();
        if self.peek().is_none() {
            return Ok(values);
        }
        loop {
            self.skip_blanks();
            values.push(match self.peek() {
                None | Some(',') => Value::Str(String::new()),
                Some(_) => self.plain_element()?,
            });
            self.skip_blanks();
            match self.peek() {
                Some(',') => self.pos += 1,
                Some(other) => return Err(self.unexpected(other)),
                None => return Ok(values),
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.pos..].chars().next()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.pos += 1;
        }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxFault> {
        Err(SyntaxFault { at: self.pos, message: message.into() })
    }

    fn unexpected(&self, found: char) -> SyntaxFault {
        let message = match found {
            '=' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' => {
                format!("`{found}` is not expected here; put the value in quotes or write `\\{found}`")
            }
            _ => format!("`{found}` is not expected here; put the value in quotes"),
        };
        SyntaxFault { at: self.pos, message }
    }

    fn element(&mut self) -> Result<ParsedValue, SyntaxFault> {
        if self.depth == MAX_DEPTH {
            return self.error("brackets are nested too deeply");
        }
        self.depth += 1;
        self.skip_blanks();
        let parsed = match self.peek() {
            Some('[') => self.list().map(ParsedValue::Value),
            Some('{') => self.dictionary().map(ParsedValue::Value),
            Some('"' | '\'') => self.quoted().map(ParsedValue::Value),
            _ => match self.function_name() {
                Some(name) => self.function(name),
                None => self.primitive(false).map(ParsedValue::Value),
            },
        };
        self.depth -= 1;
        parsed
    }

    fn plain_element(&mut self) -> Result<Value, SyntaxFault> {
        let start = self.pos;
        match self.element()? {
            ParsedValue::Value(value) => Ok(value),
            ParsedValue::Sweep(_) => {
                Err(SyntaxFault { at: start, message: "a sweep cannot be part of a value".into() })
            }
        }
    }

    fn list(&mut self) -> Result<Value, SyntaxFault> {
        self.pos += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        while self.peek() != Some(']') {
            items.push(Node::new(self.plain_element()?, Origin::Program));
            self.next_or_close(']')?;
        }
        self.pos += 1;
        Ok(Value::List(items))
    }

    fn dictionary(&mut self) -> Result<Value, SyntaxFault> {
        self.pos += 1;
        let mut map = KeyMap::new();
        self.skip_blanks();
        while self.peek() != Some('}') {
            let at = self.pos;
            let key = self.primitive(true)?.python_str();
            if self.peek() != Some(':') {
                return self.error("wanted `:` after the key");
            }
            self.pos += 1;
            let value = Node::new(self.plain_element()?, Origin::Program);
            if map.get(&key).is_some() {
                return Err(SyntaxFault { at, message: format!("`{key}` is given twice") });
            }
            map.insert(key, value);
            self.next_or_close('}')?;
        }
        self.pos += 1;
        Ok(Value::Map(map))
    }

    /// Reads the comma after an item, or stops before `close`.
    fn next_or_close(&mut self, close: char) -> Result<(), SyntaxFault> {
        self.skip_blanks();
        match self.peek() {
            Some(',') => {
                self.pos += 1;
                self.skip_blanks();
                if self.peek() == Some(close) { self.error("a value is missing after the comma") } else { Ok(()) }
            }
            Some(found) if found == close => Ok(()),
            Some(found) => Err(self.unexpected(found)),
            None => self.error(format!("`{close}` is missing")),
        }
    }

    /// Text in quotes. Backslashes are special only before the quote character; each pair there is one backslash.
    fn quoted(&mut self) -> Result<Value, SyntaxFault> {
        let start = self.pos;
        let quote = self.text.as_bytes()[start];
        let mut text = String::new();
        let mut backslashes = 0;
        for (offset, c) in self.text[start + 1..].char_indices() {
            if c == '\\' {
                backslashes += 1;
                continue;
            }
            let is_quote = c == quote as char;
            text.extend(std::iter::repeat_n('\\', if is_quote { backslashes / 2 } else { backslashes }));
            if is_quote && backslashes % 2 == 0 {
                self.pos = start + 1 + offset + 1;
                return Ok(Value::Str(text));
            }
            backslashes = 0;
            text.push(c);
        }
        Err(SyntaxFault { at: start, message: "the closing quote is missing".into() })
    }

    /// Characters without quotes. One token has a type (`3`, `1e-3`, `true`, `null`), several are text.
    fn primitive(&mut self, is_key: bool) -> Result<Value, SyntaxFault> {
        self.skip_blanks();
        let mut text = String::new();
        let mut blanks = 0; // trailing ones, dropped at the end
        let mut is_typed = true;
        while let Some(c) = self.peek() {
            match c {
                ',' | ']' | '}' => break,
                ')' if !self.in_resolver => break,
                ':' if is_key => break,
                '$' if self.text[self.pos..].starts_with("${") => {
                    let end = match interpolation_end(&self.text[self.pos..]) {
                        Some(length) => self.pos + length,
                        None => return self.error("the `}` of this interpolation is missing"),
                    };
                    text.push_str(&self.text[self.pos..end]);
                    self.pos = end;
                    blanks = 0;
                    is_typed = false;
                    continue;
                }
                '\\' => {
                    let escaped = self.text[self.pos + 1..].chars().next();
                    match escaped.filter(|next| ESCAPABLE.contains(next)) {
                        Some(next) => {
                            text.push(next);
                            self.pos += 2;
                        }
                        None => {
                            text.push('\\');
                            self.pos += 1;
                        }
                    }
                    blanks = 0;
                    is_typed = false;
                    continue;
                }
                ' ' | '\t' => blanks += 1,
                // Hydra wants quotes around a home folder. Without them it can mean nothing else.
                '~' if text.is_empty() && self.text[self.pos + 1..].starts_with(|c: char| c == '/' || is_word(c)) => {}
                _ if c.is_ascii_alphanumeric() || "_/-+.$%*@?|:".contains(c) || self.in_resolver => blanks = 0,
                _ => return Err(self.unexpected(c)),
            }
            text.push(c);
            self.pos += c.len_utf8();
        }
        text.truncate(text.len() - blanks);
        if text.is_empty() {
            return match self.peek() {
                Some(found) => Err(self.unexpected(found)),
                None => self.error("a value is missing"),
            };
        }
        Ok(if is_typed { scalar::override_scalar(&text) } else { Value::Str(text) })
    }

    fn function_name(&mut self) -> Option<&'a str> {
        if self.in_resolver {
            return None;
        }
        let rest = &self.text[self.pos..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')?;
        let name = &rest[..length];
        let follows = rest[length..].trim_start_matches([' ', '\t']);
        (follows.starts_with('(') && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).then_some(name)
    }

    fn function(&mut self, name: &str) -> Result<ParsedValue, SyntaxFault> {
        let start = self.pos;
        self.pos += name.len();
        self.skip_blanks();
        self.pos += 1;
        let mut arguments = Vec::new();
        self.skip_blanks();
        while self.peek() != Some(')') {
            let from = self.pos;
            let value = self.plain_element()?;
            arguments.push((value, self.text[from..self.pos].trim().to_owned()));
            self.next_or_close(')')?;
        }
        self.pos += 1;
        let fault = |message: String| SyntaxFault { at: start, message };
        if let Some(cast) = Cast::named(name) {
            let [(value, _)] = arguments.as_slice() else {
                return Err(fault(format!("`{name}(...)` takes one value")));
            };
            return cast.apply(value).map(ParsedValue::Value).map_err(fault);
        }
        match name {
            "choice" if !arguments.is_empty() => {
                Ok(ParsedValue::Sweep(arguments.into_iter().map(|(_, text)| text).collect()))
            }
            "range" => sweep_range(arguments.into_iter().map(|(value, _)| value).collect())
                .map(ParsedValue::Sweep)
                .map_err(fault),
            _ if SWEEPS.contains(&name) => Err(fault(format!("the sweep `{name}(...)` is not supported"))),
            _ => {
                Err(fault(format!("unknown function `{name}`; known: int, float, str, bool, json_str, choice, range")))
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Length of the interpolation at the start of `text`, with nested ones and quotes. None if its `}` is missing.
pub(super) fn interpolation_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    let mut previous = ' ';
    for (offset, c) in text.char_indices() {
        match (quote, c) {
            (None, '{') => depth += 1,
            (None, '}') => {
                depth -= 1;
                if depth == 0 {
                    return Some(offset + 1);
                }
            }
            (None, '\'' | '"') if previous != '\\' => quote = Some(c),
            (Some(open), _) if open == c && previous != '\\' => quote = None,
            _ => {}
        }
        previous = c;
    }
    None
}
