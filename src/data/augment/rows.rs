//! Uploads per-sample parameters, and edits some samples of a batch.

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::torch;

/// Host values as a tensor of one dimension on `device`. The host does not wait for the work in the device's queue.
pub(super) fn upload<T: Element>(values: &[T], device: Device) -> Result<Tensor> {
    torch::upload(&Tensor::f_from_slice(values)?, device)
}

/// One number per sample as a tensor [N, 1, 1, 1] on `device`.
pub(super) fn per_sample(values: &[f64], kind: Kind, device: Device) -> Result<Tensor> {
    Ok(upload(values, device)?.f_to_kind(kind)?.f_view([values.len() as i64, 1, 1, 1])?)
}

/// Replaces the samples `rows` of `images` [N, ...] by the result of `edit`, in place. `edit` gets all of them at once,
/// in this order. It is not called if there are none.
pub(super) fn edit_rows(
    images: &mut Tensor,
    rows: &[usize],
    edit: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let rows = upload(&rows, images.device())?;
    let edited = edit(&images.f_index_select(0, &rows)?)?;
    let _same_tensor = images.f_index_copy_(0, &rows, &edited)?;
    Ok(())
}

/// The samples for which `keep` returns a value, and these values.
pub(super) fn rows_with<'a, P, Q>(params: &'a [P], keep: impl Fn(&'a P) -> Option<Q>) -> (Vec<usize>, Vec<Q>) {
    params.iter().enumerate().filter_map(|(row, param)| Some((row, keep(param)?))).unzip()
}
