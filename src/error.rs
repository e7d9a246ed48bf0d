//! The one error type: what happened, what to do about it, and the exit code that tells a script.
//!
//! A message says what went wrong, where, what was found and what was wanted; the hint, on a line of its own,
//! says how to mend it. Nobody matches on messages: code that must react asks for the [`ErrorKind`].

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the program stops. Each kind is one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage or configuration.
    Usage,
    /// Something needed is missing or unusable: data, a checkpoint, reference models.
    Missing,
    /// A bug of ours.
    Bug,
    /// A collective timed out or a peer was lost.
    Peer,
    /// Storage failed: full, read-only, I/O error.
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

/// An error as the user reads it.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None }
    }

    /// Wrong usage or configuration (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Something needed is missing or unusable (exit code 3).
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, message)
    }

    /// Storage failed (exit code 72). `action` reads like "cannot write".
    pub fn storage(action: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        Self::new(ErrorKind::Storage, format!("{action} {}: {source}", path.display()))
            .hint("check that the folder is writable and that the disk has space left")
    }

    /// Says how to mend it; printed on a line of its own.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts "while doing this" before the message.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
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

/// Among `known`, the names nearest to `typed`, as a hint: "did you mean ...?", else the whole list.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&typed.to_lowercase(), &name.to_lowercase()), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + typed.len().max(name.len()) / 4);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`? Known: {}", known.join(", ")),
        None if known.is_empty() => "nothing is known here".into(),
        None => format!("known: {}", known.join(", ")),
    }
}
