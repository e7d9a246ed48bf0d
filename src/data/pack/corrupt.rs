//! The error about image files that cannot be decoded.

use crate::error::Error;

/// Number of files that the message names.
const NAMED: usize = 5;

/// `bad` are sentences that begin with the name of a file; `files` is the number of all files.
pub(super) fn corrupt(bad: &[String], files: usize) -> Error {
    let mut lines: Vec<&str> = bad.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("and {} more", bad.len().saturating_sub(NAMED));
    if bad.len() > NAMED {
        lines.push(&more);
    }
    Error::missing(format!("{} of {files} image files cannot be decoded:\n  {}", bad.len(), lines.join("\n  ")))
        .hint("mend or remove them, or leave them out with data.skip_corrupt=true")
}
