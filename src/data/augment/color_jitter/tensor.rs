//! Colour jitter as operations on whole batches, on any device.

use tch::Tensor;

use super::change::{ColorChange, Jitter};
use crate::data::augment::color;
use crate::data::augment::rows::{edit_rows, per_sample, rows_with};
use crate::error::Result;

/// Changes `images` [N, 3, H, W] in [0, 1] in place. First all samples do their first change, then all their second,
/// and so on. Changes of one kind run together.
pub fn apply(images: &mut Tensor, jitters: &[Jitter]) -> Result<()> {
    let (kind, device) = (images.kind(), images.device());
    for turn in 0..jitters.iter().map(Vec::len).max().unwrap_or(0) {
        let with = |pick: fn(&ColorChange) -> Option<f64>| rows_with(jitters, |jitter| jitter.get(turn).and_then(pick));
        let column = |values: &[f64]| per_sample(values, kind, device);
        let rests = |factors: &[f64]| column(&factors.iter().map(|factor| 1.0 - factor).collect::<Vec<_>>());

        let (rows, factors) =
            with(|change| if let ColorChange::Brightness(factor) = change { Some(*factor) } else { None });
        edit_rows(images, &rows, |images| Ok(images.f_mul(&column(&factors)?)?.f_clamp_(0.0, 1.0)?))?;
        let (rows, factors) =
            with(|change| if let ColorChange::Contrast(factor) = change { Some(*factor) } else { None });
        edit_rows(images, &rows, |images| {
            color::blend(images, &color::mean_grey(images)?, &column(&factors)?, &rests(&factors)?, 1.0)
        })?;
        let (rows, factors) =
            with(|change| if let ColorChange::Saturation(factor) = change { Some(*factor) } else { None });
        edit_rows(images, &rows, |images| {
            color::blend(images, &color::grey(images)?, &column(&factors)?, &rests(&factors)?, 1.0)
        })?;
        let (rows, turns) = with(|change| if let ColorChange::Hue(turns) = change { Some(*turns) } else { None });
        edit_rows(images, &rows, |images| color::turn_hue(images, &column(&turns)?))?;
    }
    Ok(())
}
