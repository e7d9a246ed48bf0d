//! The value grammar of Hydra's overrides: numbers, words, quotes, lists, dictionaries, casts and sweeps. The arguments
//! of an interpolation's resolver (`${eval:1 - ${.x}}`) are read by the same rules, with more characters allowed bare.
//!
//! Interpolations stay text here. Unlike Hydra's lexer, which ends one at the first `}`, nested ones are read whole.

use super::{Map, Node, Origin, Value, scalar};

/// What is wrong with a text, and where (byte offset).
#[derive(Debug)]
pub(super) struct Syntax {
    pub at: usize,
    pub message: String,
}

pub(super) enum Parsed {
    Value(Value),
    /// The values of a sweep, as written.
    Sweep(Vec<String>),
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    pos: usize,
    /// Reading the arguments of a resolver, inside `${...}`.
    in_resolver: bool,
    /// Brackets that are open.
    depth: usize,
}

const MAX_DEPTH: usize = 100;

/// Characters that a backslash makes ordinary.
const ESCAPABLE: &[char] = &['\\', '(', ')', '[', ']', '{', '}', ':', '=', ',', ' ', '\t'];

const SWEEPS: &[&str] = &["choice", "range", "interval", "glob", "sort", "shuffle", "tag"];

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, pos: 0, in_resolver: false, depth: 0 }
    }

    pub fn in_resolver(text: &'a str) -> Self {
        Cursor { text, pos: 0, in_resolver: true, depth: 0 }
    }

    /// The whole text as one value, or as a sweep where it has commas outside brackets or is a sweep function.
    pub fn value(mut self) -> Result<Parsed, Syntax> {
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
            return Ok(Parsed::Sweep(elements.into_iter().map(|(_, text)| text).collect()));
        }
        elements.pop().map(|(parsed, _)| parsed).ok_or(Syntax { at: 0, message: "a value is missing".into() })
    }

    /// Values separated by commas, to the end of the text; an empty text has none, a missing value is empty text.
    pub fn arguments(mut self) -> Result<Vec<Value>, Syntax> {
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

    fn error<T>(&self, message: impl Into<String>) -> Result<T, Syntax> {
        Err(Syntax { at: self.pos, message: message.into() })
    }

    fn unexpected(&self, found: char) -> Syntax {
        let message = match found {
            '=' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' => {
                format!("`{found}` is not expected here; put the value in quotes or write `\\{found}`")
            }
            _ => format!("`{found}` is not expected here; put the value in quotes"),
        };
        Syntax { at: self.pos, message }
    }

    fn element(&mut self) -> Result<Parsed, Syntax> {
        if self.depth == MAX_DEPTH {
            return self.error("brackets are nested too deeply");
        }
        self.depth += 1;
        self.skip_blanks();
        let parsed = match self.peek() {
            Some('[') => self.list().map(Parsed::Value),
            Some('{') => self.dictionary().map(Parsed::Value),
            Some('"' | '\'') => self.quoted().map(Parsed::Value),
            _ => match self.function_name() {
                Some(name) => self.function(name),
                None => self.primitive(false).map(Parsed::Value),
            },
        };
        self.depth -= 1;
        parsed
    }

    fn plain_element(&mut self) -> Result<Value, Syntax> {
        let start = self.pos;
        match self.element()? {
            Parsed::Value(value) => Ok(value),
            Parsed::Sweep(_) => Err(Syntax { at: start, message: "a sweep cannot be part of a value".into() }),
        }
    }

    fn list(&mut self) -> Result<Value, Syntax> {
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

    fn dictionary(&mut self) -> Result<Value, Syntax> {
        self.pos += 1;
        let mut map = Map::new();
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
                return Err(Syntax { at, message: format!("`{key}` is given twice") });
            }
            map.insert(key, value);
            self.next_or_close('}')?;
        }
        self.pos += 1;
        Ok(Value::Map(map))
    }

    /// After an item: eats a comma, or stops before `close`.
    fn next_or_close(&mut self, close: char) -> Result<(), Syntax> {
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

    /// Text in quotes. Backslashes count only in front of the quote character, where each pair is one.
    fn quoted(&mut self) -> Result<Value, Syntax> {
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
        Err(Syntax { at: start, message: "the closing quote is missing".into() })
    }

    /// A run of bare characters: one token is typed (`3`, `1e-3`, `true`, `null`), several are text.
    fn primitive(&mut self, is_key: bool) -> Result<Value, Syntax> {
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

    fn function(&mut self, name: &str) -> Result<Parsed, Syntax> {
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
        let fault = |message: String| Syntax { at: start, message };
        if let Some(cast) = Cast::named(name) {
            let [(value, _)] = arguments.as_slice() else {
                return Err(fault(format!("`{name}(...)` takes one value")));
            };
            return cast.apply(value).map(Parsed::Value).map_err(fault);
        }
        match name {
            "choice" if !arguments.is_empty() => {
                Ok(Parsed::Sweep(arguments.into_iter().map(|(_, text)| text).collect()))
            }
            "range" => range(arguments.into_iter().map(|(value, _)| value).collect()).map(Parsed::Sweep).map_err(fault),
            _ if SWEEPS.contains(&name) => Err(fault(format!("the sweep `{name}(...)` is not supported"))),
            _ => {
                Err(fault(format!("unknown function `{name}`; known: int, float, str, bool, json_str, choice, range")))
            }
        }
    }
}

/// Length of the interpolation that `text` starts with, nested ones and quotes included.
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

#[derive(Clone, Copy)]
enum Cast {
    Int,
    Float,
    Str,
    Bool,
    Json,
}

impl Cast {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "int" => Cast::Int,
            "float" => Cast::Float,
            "str" => Cast::Str,
            "bool" => Cast::Bool,
            "json_str" => Cast::Json,
            _ => return None,
        })
    }

    fn apply(self, value: &Value) -> Result<Value, String> {
        let each = |node: &Node| Ok(Node::new(self.apply(&node.value)?, Origin::Program));
        match (self, value) {
            (Cast::Json, value) => Ok(Value::Str(Node::new(value.clone(), Origin::Program).to_json().to_string())),
            (_, Value::List(items)) => Ok(Value::List(items.iter().map(each).collect::<Result<_, String>>()?)),
            (_, Value::Map(map)) => {
                let mut cast = Map::new();
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

/// `range(stop)`, `range(start, stop)`, `range(start, stop, step)`: the stop is left out, as in Python.
fn range(arguments: Vec<Value>) -> Result<Vec<String>, String> {
    const MOST: usize = 100_000;
    let wrong = || "wanted range(stop), range(start, stop) or range(start, stop, step) with numbers".to_owned();
    let number = |value: &Value| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) if value.is_finite() => Some(*value),
        _ => None,
    };
    let is_whole = arguments.iter().all(|value| matches!(value, Value::Int(_)));
    let numbers: Vec<f64> = arguments.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0.0, stop, 1.0),
        [start, stop] => (start, stop, 1.0),
        [start, stop, step] if step != 0.0 => (start, stop, step),
        _ => return Err(wrong()),
    };
    let inside = |value: f64| if step > 0.0 { value < stop } else { value > stop };
    let values = (0..=MOST).map(|index| start + index as f64 * step).take_while(|value| inside(*value));
    let texts: Vec<String> =
        values.map(|value| if is_whole { (value as i64).to_string() } else { scalar::float_text(value) }).collect();
    match texts.len() {
        0 => Err("the range is empty".into()),
        count if count > MOST => Err(format!("the range has more than {MOST} values")),
        _ => Ok(texts),
    }
}
