//! The program's error type and its exit codes.
//!
//! An [`Error`] has a kind, a message and an optional hint. The message states the failure, the place, the value found
//! and the value wanted. The hint says how to fix it and is printed on a line of its own. Each [`ErrorKind`] is one
//! exit code of the program ([`ErrorKind::exit_code`]). Code that reacts to an error checks its kind, never its
//! message.

use std::fmt;

/// A result whose error is an [`Error`] unless another type is given.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why the program ends. Each kind has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage or configuration.
    Usage,
    /// Data, a checkpoint or reference models are missing or unusable.
    Missing,
    /// A bug in this program.
    Bug,
    /// A collective timed out or another rank was lost.
    Peer,
    /// The disk is full or read-only, or reading or writing failed.
    Storage,
    /// A loss or a gradient is not finite.
    NonFinite,
    /// Stopped on request with the training state saved.
    Stopped,
    /// Interrupted a second time.
    Interrupted,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The exit code of a program that ends with an error of this kind.
    pub fn exit_code(self) -> i32 {
        match self {
            ErrorKind::Other => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Missing => 3,
            ErrorKind::Bug => 70,
            ErrorKind::Peer => 71,
            ErrorKind::Storage => 72,
            ErrorKind::NonFinite => 73,
            ErrorKind::Stopped => 75,
            ErrorKind::Interrupted => 130,
        }
    }
}

/// An error with the text that the user reads.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None }
    }

    /// Wrong usage or configuration (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Data, a checkpoint or reference models are missing or unusable (exit code 3).
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, message)
    }

    /// A file cannot be read or written (exit code 72). `action` is the start of the message, such as "cannot write".
    pub fn storage(action: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        Self::new(ErrorKind::Storage, format!("{action} {}: {source}", path.display()))
            .hint("check that the folder is writable and that the disk has space left")
    }

    /// Adds a hint that says how to fix the error. It is printed on a line of its own.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the place of the error and a colon before the message.
    pub fn context(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A hint for a misspelt name: "did you mean ...?" with the nearest of the `known` names, or only the list of them if
/// none is near.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&typed.to_lowercase(), &name.to_lowercase()), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + typed.len().max(name.len()) / 4);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`? Known: {}", known.join(", ")),
        None if known.is_empty() => "there are no names to choose from".into(),
        None => format!("known: {}", known.join(", ")),
    }
}
