//! Overwrites a random rectangle: torchvision's `RandomErasing` (Zhong et al. 2017, arXiv 1708.04896) on float images.

use tch::{Kind, Tensor};

use super::rows::{edit_rows, rows_with, upload};
use crate::config::schema::{ErasingValue, RandomErasingConfig};
use crate::error::Result;
use crate::random::Draws;

/// Number of draws: a rectangle that does not fit is drawn again. After the last one nothing is erased.
const TRIES: usize = 10;

/// The erased rectangle of one sample, in pixels, and its new values.
#[derive(Debug, Clone, PartialEq)]
pub struct Erasure {
    pub top: i64,
    pub left: i64,
    pub height: i64,
    pub width: i64,
    /// Either one value for all pixels, or C * height * width values, row-major.
    pub values: Vec<f32>,
}

/// The random erasing of one configuration and image size.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomErasing {
    probability: f64,
    scale: (f64, f64),
    log_ratio: (f64, f64),
    /// `None`: standard normal noise.
    value: Option<f32>,
    /// [C, H, W] of the images.
    image: [i64; 3],
}

impl RandomErasing {
    /// `None` if the configuration has no random erasing. `image` is [C, H, W] at this point of the pipeline.
    pub fn new(settings: Option<&RandomErasingConfig>, image: [i64; 3]) -> Option<Self> {
        let settings = settings.filter(|settings| settings.enabled)?;
        let (&[least, most], &[flattest, steepest]) = (settings.scale.as_slice(), settings.ratio.as_slice()) else {
            return None; // the checks of the configuration refuse this
        };
        let value = match settings.value {
            ErasingValue::Number(value) => Some(value as f32),
            ErasingValue::Random => None,
        };
        let log_ratio = (flattest.ln(), steepest.ln());
        Some(RandomErasing { probability: settings.p, scale: (least, most), log_ratio, value, image })
    }

    /// Draws the rectangle of one sample; `None` if the sample stays as it is.
    pub fn draw(&self, draws: &mut Draws) -> Option<Erasure> {
        if draws.uniform() >= self.probability {
            return None;
        }
        let [channels, image_height, image_width] = self.image;
        for _ in 0..TRIES {
            let area = (image_height * image_width) as f64 * draws.between(self.scale.0, self.scale.1);
            let ratio = draws.between(self.log_ratio.0, self.log_ratio.1).exp();
            let side = |square: f64| square.sqrt().round_ties_even() as i64;
            let (height, width) = (side(area * ratio), side(area / ratio));
            if height >= image_height || width >= image_width {
                continue;
            }
            let top = draws.below((image_height - height) as u64 + 1) as i64;
            let left = draws.below((image_width - width) as u64 + 1) as i64;
            let values = match self.value {
                Some(value) => vec![value],
                None => (0..channels * height * width).map(|_| draws.normal() as f32).collect(),
            };
            return Some(Erasure { top, left, height, width, values });
        }
        None
    }
}

/// Erases in `images` [N, C, H, W], in place.
pub fn apply(images: &mut Tensor, erasures: &[Option<Erasure>]) -> Result<()> {
    // Empty rectangles are left out: they have no values.
    let (rows, erasures) = rows_with(erasures, |erasure| erasure.as_ref().filter(|erasure| !erasure.values.is_empty()));
    edit_rows(images, &rows, |images| erase(images, &erasures))
}

/// Erases one rectangle in each image. The values of all rectangles lie in one list; inside a rectangle each pixel
/// looks up its value there.
fn erase(images: &Tensor, erasures: &[&Erasure]) -> Result<Tensor> {
    let (n, channels, height, width) = images.size4()?;
    let device = images.device();
    let column = |value: &dyn Fn(&Erasure) -> i64| -> Result<Tensor> {
        let values: Vec<i64> = erasures.iter().map(|erasure| value(erasure)).collect();
        Ok(upload(&values, device)?.f_view([n, 1, 1, 1])?)
    };
    let arange = |end: i64| Tensor::f_arange(end, (Kind::Int64, device));
    // Coordinates from the rectangle's corner.
    let y = arange(height)?.f_view([1, 1, height, 1])?.f_sub(&column(&|erasure| erasure.top)?)?;
    let x = arange(width)?.f_view([1, 1, 1, width])?.f_sub(&column(&|erasure| erasure.left)?)?;
    let (tall, wide) = (column(&|erasure| erasure.height)?, column(&|erasure| erasure.width)?);
    let within = |at: &Tensor, side: &Tensor| at.f_ge(0)?.f_logical_and(&at.f_lt_tensor(side)?);
    let inside = within(&y, &tall)?.f_logical_and(&within(&x, &wide)?)?; // [N, 1, H, W]

    let values: Vec<f32> = erasures.iter().flat_map(|erasure| erasure.values.iter().copied()).collect();
    let ends = erasures.iter().scan(0, |end, erasure| {
        *end += erasure.values.len() as i64;
        Some(*end)
    });
    let starts: Vec<i64> = ends.zip(erasures).map(|(end, erasure)| end - erasure.values.len() as i64).collect();
    let starts = upload(&starts, device)?.f_view([n, 1, 1, 1])?;
    let many = column(&|erasure| i64::from(erasure.values.len() > 1))?;
    let channel = arange(channels)?.f_view([1, channels, 1, 1])?;
    let offset = channel.f_mul(&tall)?.f_add(&y)?.f_mul(&wide)?.f_add(&x)?; // [N, C, H, W]
    let index = offset.f_mul(&inside)?.f_mul(&many)?.f_add(&starts)?;
    let replaced = upload(&values, device)?.f_to_kind(images.kind())?.f_take(&index)?;
    Ok(replaced.f_where_self(&inside, images)?)
}
