//! Checks of `data.transforms`.

use super::checker::ConfigChecker;
use crate::config::schema::TransformsConfig;
use crate::error::Result;
use crate::hydra::join;

/// Checks `data.transforms`.
///
/// # Errors
/// A value out of its range.
pub(super) fn check_transforms(check: &ConfigChecker, transforms: &TransformsConfig) -> Result<()> {
    for (section, normalize) in [
        ("data.transforms.normalize", &transforms.normalize),
        ("data.transforms.imagenet_resize.normalize", &transforms.imagenet_resize.normalize),
    ] {
        check.that(normalize.mean.len() == 3, &join(section, "mean"), "three numbers")?;
        let positive = normalize.std.len() == 3 && normalize.std.iter().all(|std| *std > 0.0);
        check.that(positive, &join(section, "std"), "three numbers above 0")?;
    }
    let crop = &transforms.random_crop;
    check.at_least(crop.size.unwrap_or(1), 1, "data.transforms.random_crop.size")?;
    check.at_least(crop.padding, 0, "data.transforms.random_crop.padding")?;
    check.fraction(transforms.horizontal_flip.p, "data.transforms.horizontal_flip.p")?;
    let resize = &transforms.imagenet_resize;
    check.at_least(resize.train_size, 1, "data.transforms.imagenet_resize.train_size")?;
    check.at_least(resize.eval_crop, 1, "data.transforms.imagenet_resize.eval_crop")?;
    check.at_least(resize.eval_resize, resize.eval_crop, "data.transforms.imagenet_resize.eval_resize")?;
    if let Some(jitter) = &transforms.color_jitter {
        let path = "data.transforms.color_jitter";
        for (key, value) in
            [("brightness", jitter.brightness), ("contrast", jitter.contrast), ("saturation", jitter.saturation)]
        {
            check.that(value >= 0.0 && value.is_finite(), &join(path, key), "a number, at least 0")?;
        }
        check.that((0.0..=0.5).contains(&jitter.hue), &join(path, "hue"), "a number from 0 to 0.5")?;
    }
    if let Some(augment) = &transforms.randaugment {
        let path = "data.transforms.randaugment";
        check.at_least(augment.num_ops, 0, &join(path, "num_ops"))?;
        check.at_least(augment.num_magnitude_bins, 2, &join(path, "num_magnitude_bins"))?;
        let inside = (0..augment.num_magnitude_bins).contains(&augment.magnitude);
        check.that(inside, &join(path, "magnitude"), "an integer from 0 to below num_magnitude_bins")?;
    }
    if let Some(erasing) = &transforms.random_erasing {
        let path = "data.transforms.random_erasing";
        check.fraction(erasing.p, &join(path, "p"))?;
        let is_range = |range: &[f64]| matches!(range, [low, high] if 0.0 < *low && low <= high && high.is_finite());
        check.that(
            is_range(&erasing.scale) && erasing.scale[1] <= 1.0,
            &join(path, "scale"),
            "two rising numbers in (0, 1]",
        )?;
        check.that(is_range(&erasing.ratio), &join(path, "ratio"), "two rising numbers above 0")?;
    }
    Ok(())
}
