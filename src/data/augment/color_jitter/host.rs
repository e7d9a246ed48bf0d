//! Colour jitter in host memory, sample by sample: the pixels of a sample stay in a core's cache from its first change
//! to its last.
//!
//! Each change is one pass over the three planes of a sample. The passes have selections instead of branches, and
//! values that are the same for a whole sample are computed once, so the compiler turns the passes into SIMD
//! instructions.

use std::ops::{Add, Div, Mul, Sub};
use std::thread;

use tch::{Kind, Tensor};

use super::change::{ColorChange, Jitter};
use crate::data::augment::color::GREY;
use crate::error::{Error, ErrorKind, Result};
use crate::torch::{HostElement, unshared_slice};

/// Least number of values for one thread (libtorch's grain size).
const VALUES_PER_THREAD: usize = 1 << 15;

/// Changes float32 or float64 `images` [N, 3, H, W] in [0, 1] in host memory, in place. Uses at most as many threads as
/// libtorch may use. The result of a sample depends neither on the other samples nor on the number of threads.
pub fn apply(images: &mut Tensor, jitters: &[Jitter]) -> Result<()> {
    if jitters.is_empty() || images.numel() == 0 {
        return Ok(());
    }
    let (_, channels, height, width) = images.size4()?;
    if channels != 3 {
        return Err(Error::new(ErrorKind::Bug, format!("colour jitter of {channels} channels")));
    }
    let pixels = (height * width) as usize;
    if images.is_contiguous() && change_unshared(images, pixels, jitters)? {
        return Ok(());
    }
    // In other layouts, and in memory that another tensor shares, on a copy.
    let mut planes = Tensor::f_empty(images.size(), (images.f_kind()?, images.device()))?;
    planes.f_copy_(images)?;
    if !change_unshared(&mut planes, pixels, jitters)? {
        return Err(Error::new(ErrorKind::Bug, "colour jitter of a copy that another tensor shares"));
    }
    Ok(images.f_copy_(&planes)?)
}

/// Changes contiguous images if no other tensor shares their memory. False if one does.
fn change_unshared(images: &mut Tensor, pixels: usize, jitters: &[Jitter]) -> Result<bool> {
    fn change<T: Real>(images: &mut Tensor, pixels: usize, jitters: &[Jitter]) -> Result<bool> {
        let Some(values) = unshared_slice::<T>(images)? else { return Ok(false) };
        in_parallel(values, pixels, jitters)?;
        Ok(true)
    }
    match images.f_kind()? {
        Kind::Double => change::<f64>(images, pixels, jitters),
        _ => change::<f32>(images, pixels, jitters),
    }
}

/// Each thread, including the calling one, takes a range of consecutive samples.
fn in_parallel<T: Real>(values: &mut [T], pixels: usize, jitters: &[Jitter]) -> Result<()> {
    let threads = (tch::get_num_threads().max(1) as usize).min(values.len().div_ceil(VALUES_PER_THREAD));
    let samples = jitters.len().div_ceil(threads);
    let mut parts = values.chunks_mut(samples * 3 * pixels).zip(jitters.chunks(samples));
    let own = parts.next();
    thread::scope(|scope| {
        for (values, jitters) in parts {
            let part = move || change_samples(values, pixels, jitters);
            thread::Builder::new().name("color-jitter".into()).spawn_scoped(scope, part).map_err(|error| {
                Error::new(ErrorKind::Other, format!("cannot start {threads} threads: {error}"))
                    .hint("lower trainer.threads")
            })?;
        }
        if let Some((values, jitters)) = own {
            change_samples(values, pixels, jitters);
        }
        Ok(())
    })
}

fn change_samples<T: Real>(values: &mut [T], pixels: usize, jitters: &[Jitter]) {
    for (sample, jitter) in values.chunks_exact_mut(3 * pixels).zip(jitters) {
        let (red, rest) = sample.split_at_mut(pixels);
        let (green, blue) = rest.split_at_mut(pixels);
        for change in jitter {
            change_sample(red, green, blue, *change);
        }
    }
}

/// A float type in host memory.
trait Real:
    HostElement
    + Copy
    + PartialOrd
    + Send
    + Into<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// Rounds to this type.
    fn of(value: f64) -> Self;

    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    fn smaller(self, other: Self) -> Self {
        if self < other { self } else { other }
    }

    /// Limits the value to [0, 1].
    fn clamped(self) -> Self {
        self.larger(Self::of(0.0)).smaller(Self::of(1.0))
    }
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// Red, green and blue of one pixel.
type Pixel<T> = [T; 3];

fn change_sample<T: Real>(red: &mut [T], green: &mut [T], blue: &mut [T], change: ColorChange) {
    match change {
        ColorChange::Brightness(factor) => {
            let factor = T::of(factor);
            each_pixel(red, green, blue, |pixel| pixel.map(|value| (value * factor).clamped()));
        }
        ColorChange::Contrast(factor) => {
            let grey = mean_grey(red, green, blue);
            let (factor, rest) = (T::of(factor), T::of(1.0 - factor));
            each_pixel(red, green, blue, |pixel| blend(pixel, grey, factor, rest));
        }
        ColorChange::Saturation(factor) => {
            let (factor, rest) = (T::of(factor), T::of(1.0 - factor));
            each_pixel(red, green, blue, |pixel| blend(pixel, grey(pixel), factor, rest));
        }
        ColorChange::Hue(turns) => {
            let sixths = T::of(6.0 * turns.rem_euclid(1.0));
            each_pixel(red, green, blue, |pixel| turn_hue(pixel, sixths));
        }
    }
}

fn each_pixel<T: Real>(red: &mut [T], green: &mut [T], blue: &mut [T], change: impl Fn(Pixel<T>) -> Pixel<T>) {
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        [*red, *green, *blue] = change([*red, *green, *blue]);
    }
}

fn grey<T: Real>([red, green, blue]: Pixel<T>) -> T {
    T::of(GREY[0]) * red + T::of(GREY[1]) * green + T::of(GREY[2]) * blue
}

fn blend<T: Real>(pixel: Pixel<T>, other: T, factor: T, rest: T) -> Pixel<T> {
    let other = rest * other;
    pixel.map(|value| (factor * value + other).clamped())
}

/// Mean grey of a sample, summed in float64 in a fixed order.
fn mean_grey<T: Real>(red: &[T], green: &[T], blue: &[T]) -> T {
    const LANES: usize = 8;
    let [(red_runs, red), (green_runs, green), (blue_runs, blue)] =
        [red, green, blue].map(|plane| plane.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for ((reds, greens), blues) in red_runs.iter().zip(green_runs).zip(blue_runs) {
        for lane in 0..LANES {
            sums[lane] += grey([reds[lane], greens[lane], blues[lane]]).into();
        }
    }
    let rest: f64 =
        red.iter().zip(green).zip(blue).map(|((red, green), blue)| grey([*red, *green, *blue]).into()).sum();
    let pixels = LANES * red_runs.len() + red.len();
    T::of((sums.iter().sum::<f64>() + rest) / pixels as f64)
}

/// Turns the hue by `sixths` of the colour circle, in [0, 6] (Smith 1978, the hexagonal model).
fn turn_hue<T: Real>([red, green, blue]: Pixel<T>, sixths: T) -> Pixel<T> {
    let value = red.larger(green).larger(blue);
    let range = value - red.smaller(green).smaller(blue);
    // The hue in sixths of a turn from red. The greatest channel gives the third of the circle (the first one if two
    // are equal).
    let in_blue = (red - green, T::of(4.0));
    let in_green = if green == value { (blue - red, T::of(2.0)) } else { in_blue };
    let (ahead, third) = if red == value { (green - blue, T::of(0.0)) } else { in_green };
    // Grey has no hue: 0 / tiny.
    let hue = ahead / range.larger(T::of(f32::MIN_POSITIVE.into())) + third + sixths; // in [-1, 11]
    let hue = if hue < T::of(0.0) { hue + T::of(6.0) } else { hue };
    let hue = if hue > T::of(6.0) { hue - T::of(6.0) } else { hue };
    // Each channel lies below the greatest by a fraction of the range. The fraction is a trapezium over the circle.
    let distance = |peak: f64| (hue - T::of(peak)).larger(T::of(peak) - hue);
    let red = T::of(2.0) - distance(3.0);
    let [green, blue] = [2.0, 4.0].map(|peak| distance(peak) - T::of(1.0));
    [red, green, blue].map(|fraction| value - fraction.clamped() * range)
}
