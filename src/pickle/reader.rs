//! The input of the stack machine: reads the numbers and texts of opcodes.

use super::errors::damaged;
use crate::error::Result;

/// The input and the current position. A length is checked against the remaining bytes before anything is allocated.
pub struct PickleReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> PickleReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        PickleReader { bytes, at: 0 }
    }

    /// Number of bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Number of bytes of the whole input.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        if n > rest.len() {
            return Err(damaged(format!("the input ends too early: got {} more bytes, wanted {n}", rest.len())));
        }
        self.at += n;
        Ok(&rest[..n])
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A little-endian unsigned number of N bytes.
    pub fn number<const N: usize>(&mut self) -> Result<u64> {
        Ok(self.array::<N>()?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A length of N bytes, then as many bytes.
    pub fn sized<const N: usize>(&mut self) -> Result<&'a [u8]> {
        let n = self.number::<N>()?;
        self.take(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// A line without its newline.
    pub fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(damaged("the input ends within a line"));
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    pub fn text_line(&mut self) -> Result<&'a str> {
        utf8(self.line()?)
    }

    pub fn text_number(&mut self) -> Result<u64> {
        let line = self.text_line()?;
        line.parse().map_err(|_| damaged("a memo key is not a number"))
    }
}

/// An integer of protocol 0, in decimal digits. `None` if it has more than 128 bits.
pub fn decimal(digits: &str) -> Result<Option<i128>> {
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(damaged("an integer is malformed"));
    }
    Ok(digits.parse().ok())
}

/// An integer in little-endian two's complement. `None` if it has more than 16 bytes.
pub fn long(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut padded = [if negative { 0xff } else { 0 }; 16];
    padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(padded))
}

pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| damaged("a text is not UTF-8"))
}

/// The bytes of a string in the form of Python 2's `repr`, quotes included.
pub fn quoted(line: &[u8]) -> Result<Vec<u8>> {
    let bytes = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => unescape_string(inner),
        _ => None,
    };
    bytes.ok_or_else(|| damaged("a quoted string is malformed"))
}

fn unescape_string(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                quoted @ (b'\\' | b'\'' | b'"') => quoted,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => u8::try_from(hex(&mut rest, 2)?).ok()?,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(bytes)
}

/// The text of Python's encoding `raw-unicode-escape`: Latin-1 with \uXXXX and \UXXXXXXXX.
pub fn raw_unicode(line: &[u8]) -> Result<String> {
    unescape_text(line).ok_or_else(|| damaged("a text line is malformed"))
}

fn unescape_text(escaped: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped.iter().copied();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits = match (byte, ahead.next()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                continue;
            }
        };
        text.push(char::from_u32(hex(&mut ahead, digits)?)?);
        rest = ahead;
    }
    Some(text)
}

fn hex(digits: &mut impl Iterator<Item = u8>, n: usize) -> Option<u32> {
    let mut value = 0;
    for _ in 0..n {
        value = value << 4 | char::from(digits.next()?).to_digit(16)?;
    }
    Some(value)
}
