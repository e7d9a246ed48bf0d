//! The python layout: a pickled dict with `data`, a uint8 array of shape (images, 3072), and a list of classes.

use std::fs;
use std::path::Path;

use super::file::{IMAGE, check_label, size, unusable};
use super::format::CifarFormat;
use crate::data::images::Images;
use crate::error::Result;
use crate::pickle::{self, NumpyArray, NumpyDtype, NumpyObject, PickleValue, PlainDialect};

/// Appends the images of one pickled file to `into`.
pub(super) fn read_python(path: &Path, format: &CifarFormat, images: usize, into: &mut Images) -> Result<()> {
    let wanted = images * IMAGE;
    let unusable = |reason: String| unusable(path, &format.python, reason);
    let size = size(path, &format.python, &format!("more than {wanted} bytes"))?;
    // A pickle may store bytes as text, which takes up to twice their room; file names and labels take little.
    let most = 3 * wanted as u64 + (1 << 20);
    if size <= wanted as u64 || size > most {
        return Err(unusable(format!("got {size} bytes, wanted more than {wanted} and at most {most}")));
    }
    let bytes = fs::read(path).map_err(|e| unusable(e.to_string()))?;
    let batch =
        pickle::load(&bytes, &mut PlainDialect).map_err(|e| e.context(format!("cannot use {}", path.display())))?;
    if batch.length != bytes.len() {
        return Err(unusable(format!("{} bytes follow the end of the pickle", bytes.len() - batch.length)));
    }
    let heap = &batch.heap;

    let data = heap.entry(batch.root, "data").map(|id| heap.get(id));
    let Some(PickleValue::Numpy(NumpyObject::Array(data))) = data else {
        return Err(unusable("it has no array `data` with the pixels".into()));
    };
    check_shape(data, images).map_err(unusable)?;

    let labels = heap.entry(batch.root, format.label_key).and_then(|id| heap.items(id));
    let Some(labels) = labels.filter(|labels| labels.len() == images) else {
        let got = labels.map_or("nothing".into(), |labels| labels.len().to_string());
        return Err(unusable(format!("under `{}` got {got}, wanted {images} classes", format.label_key)));
    };
    for (i, (&label, pixels)) in labels.iter().zip(data.row_major().chunks_exact(IMAGE)).enumerate() {
        let Some(label) = heap.int(label) else {
            return Err(unusable(format!("the label of image {i} is a {}, wanted int", heap.get(label).type_name())));
        };
        check_label(label, i, format).map_err(unusable)?;
        into.push(label as i64, pixels);
    }
    Ok(())
}

fn check_shape(data: &NumpyArray, images: usize) -> Result<(), String> {
    if data.dtype != NumpyDtype::U8 || data.shape != [images, IMAGE] {
        return Err(format!(
            "got pixels of type {} and shape {:?}, wanted u1 and [{images}, {IMAGE}]",
            data.dtype, data.shape
        ));
    }
    Ok(())
}
