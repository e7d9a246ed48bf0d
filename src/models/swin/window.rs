//! Partition of a map of tokens into windows, and the way back.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Tokens along a side of a window.
pub const SIDE: i64 = 7;
/// Added to the score of two tokens that only the cyclic shift has made neighbours. After the softmax their attention
/// is practically 0.
const MASKED: f64 = -100.0;

/// The partition of a map (N, H, W, C) into windows: it is padded with zeros at bottom and right to whole windows, then
/// shifted cyclically.
#[derive(Debug, PartialEq)]
pub struct WindowGrid {
    n: i64,
    /// H and W.
    size: [i64; 2],
    /// H and W after padding.
    padded: [i64; 2],
    /// Shift along H and W: half a window, or 0 along a side with a single window.
    shift: [i64; 2],
    channels: i64,
}

impl WindowGrid {
    pub fn new(x: &Tensor, shifted: bool) -> Result<Self> {
        let (n, height, width, channels) = x.size4()?;
        let size = [height, width];
        let padded = size.map(|side| (side + SIDE - 1) / SIDE * SIDE);
        let shift = padded.map(|side| if shifted && side > SIDE { SIDE / 2 } else { 0 });
        Ok(WindowGrid { n, size, padded, shift, channels })
    }

    /// Number of windows in one image.
    pub fn windows(&self) -> i64 {
        self.padded[0] / SIDE * (self.padded[1] / SIDE)
    }

    /// Maps (N, H, W, C) to (N, windows x 49, C), window after window.
    pub fn partition(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        if self.padded != self.size {
            x = x.f_constant_pad_nd([0, 0, 0, self.padded[1] - self.size[1], 0, self.padded[0] - self.size[0]])?;
        }
        if self.shift != [0, 0] {
            x = x.f_roll(self.shift.map(|shift| -shift), [1, 2])?;
        }
        let [rows, columns] = self.padded.map(|side| side / SIDE);
        Ok(x.f_reshape([self.n, rows, SIDE, columns, SIDE, self.channels])?
            .f_permute([0, 1, 3, 2, 4, 5])?
            .f_reshape([self.n, self.padded[0] * self.padded[1], self.channels])?)
    }

    /// Maps (N, windows x 49, C) to (N, H, W, C): the inverse of [`WindowGrid::partition`].
    pub fn reverse(&self, windows: &Tensor) -> Result<Tensor> {
        let [rows, columns] = self.padded.map(|side| side / SIDE);
        let mut x = windows
            .f_view([self.n, rows, columns, SIDE, SIDE, self.channels])?
            .f_permute([0, 1, 3, 2, 4, 5])?
            .f_reshape([self.n, self.padded[0], self.padded[1], self.channels])?;
        if self.shift != [0, 0] {
            x = x.f_roll(self.shift, [1, 2])?;
        }
        if self.padded != self.size {
            x = x.f_narrow(1, 0, self.size[0])?.f_narrow(2, 0, self.size[1])?.f_contiguous()?;
        }
        Ok(x)
    }

    /// Mask of the scores, (windows, 49, 49), in dtype and device of `like`: it keeps tokens apart that were not
    /// neighbours before the shift. None without a shift.
    pub fn mask(&self, like: &Tensor) -> Result<Option<Tensor>> {
        if self.shift == [0, 0] {
            return Ok(None);
        }
        let rows = self.regions(0, like)?.f_mul_scalar(3)?.f_unsqueeze(1)?;
        let regions = rows.f_add(&self.regions(1, like)?)?; // [H, W] after padding
        let of_image = WindowGrid { n: 1, size: self.padded, padded: self.padded, shift: [0, 0], channels: 1 };
        let tokens =
            of_image.partition(&regions.f_unsqueeze(0)?.f_unsqueeze(-1)?)?.f_view([self.windows(), SIDE * SIDE])?;
        let differ = tokens.f_unsqueeze(1)?.f_ne_tensor(&tokens.f_unsqueeze(2)?)?;
        Ok(Some(differ.f_to_kind(like.f_kind()?)?.f_mul_scalar(MASKED)?))
    }

    /// For each position along a side: 0 before the last window, 1 in the last window, and 2 for those of its positions
    /// that the shift has brought from the opposite edge.
    fn regions(&self, axis: usize, like: &Tensor) -> Result<Tensor> {
        let (side, shift) = (self.padded[axis], self.shift[axis]);
        let places = Tensor::f_arange(side, (Kind::Int64, like.device()))?;
        let from = |start: i64| -> Result<Tensor> { Ok(places.f_ge(start)?.f_to_kind(Kind::Int64)?) };
        match shift {
            0 => Ok(places.f_zeros_like()?),
            _ => Ok(from(side - SIDE)?.f_add(&from(side - shift)?)?),
        }
    }
}
