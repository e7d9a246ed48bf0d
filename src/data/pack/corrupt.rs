//! The error about image files that cannot be decoded.

use crate::data::decode::ONLY_READ;
use crate::error::Error;

/// Number of files that the message names.
const NAMED: usize = 5;

/// A command that converts files of other formats, under the names that they have.
const CONVERT: &str = "python3 -c 'import sys; from PIL import Image; \
    [Image.open(f).convert(\"RGB\").save(f, \"PNG\") for f in sys.argv[1:]]' FILE...";

/// `bad` are sentences that begin with the name of a file; `files` is the number of all files.
pub(super) fn corrupt(bad: &[String], files: usize) -> Error {
    let mut lines: Vec<&str> = bad.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("and {} more", bad.len().saturating_sub(NAMED));
    if bad.len() > NAMED {
        lines.push(&more);
    }
    let mut hint = "mend or remove them, or leave them out with data.skip_corrupt=true".to_owned();
    if bad.iter().any(|reason| reason.contains(ONLY_READ)) {
        hint += &format!("; this makes PNG files of other formats, with Pillow (names do not matter):\n  {CONVERT}");
    }
    Error::missing(format!("{} of {files} image files cannot be decoded:\n  {}", bad.len(), lines.join("\n  ")))
        .hint(hint)
}
