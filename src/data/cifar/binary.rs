//! The binary layout: records of labels and pixels, without a header.

use std::fs;
use std::path::Path;

use super::file::{IMAGE, check_label, size, unusable};
use super::format::CifarFormat;
use crate::data::images::Images;
use crate::error::Result;

/// Appends the images of one binary file to `into`.
pub(super) fn read_binary(path: &Path, format: &CifarFormat, images: usize, into: &mut Images) -> Result<()> {
    let record = format.labels_per_record + IMAGE;
    let wanted = images * record;
    let unusable = |reason: String| unusable(path, &format.binary, reason);
    let size = size(path, &format.binary, &format!("{wanted} bytes"))?;
    if size != wanted as u64 {
        return Err(unusable(format!("got {size} bytes, wanted {wanted} ({images} records of {record})")));
    }
    let bytes = fs::read(path).map_err(|e| unusable(e.to_string()))?;
    if bytes.len() != wanted {
        return Err(unusable(format!("got {} bytes, wanted {wanted}: it changed while it was read", bytes.len())));
    }
    for (i, record) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = record.split_at(format.labels_per_record);
        let label = labels.last().map_or(0, |&label| i64::from(label));
        check_label(label.into(), i, format).map_err(unusable)?;
        into.push(label, pixels);
    }
    Ok(())
}
