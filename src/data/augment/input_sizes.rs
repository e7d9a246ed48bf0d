//! Sizes of network input.

use crate::config::schema::TransformsConfig;
use crate::data::images::Images;

/// Height and width of network input in training and in evaluation, for a data set of `stored` images.
pub fn input_sizes(transforms: &TransformsConfig, stored: &Images) -> [(i64, i64); 2] {
    let resize = &transforms.imagenet_resize;
    if resize.enabled {
        return [resize.train_size, resize.eval_crop].map(|side| (side, side));
    }
    let stored = (stored.height as i64, stored.width as i64);
    let crop = &transforms.random_crop;
    [if crop.enabled { crop.window(stored) } else { stored }, stored]
}
