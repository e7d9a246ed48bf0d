//! Initial values of tensors, stated by the distribution that they are drawn from.
//!
//! Values are drawn on the CPU, in float64, from a stream that belongs to the tensor: they depend on the seed, the
//! purpose and the tensor's place in the layout, and neither on threads nor on the device.

use crate::random::Draws;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Constant(f64),
    /// Mean 0.
    Normal {
        std: f64,
    },
    /// On [-bound, bound).
    Uniform {
        bound: f64,
    },
    /// Not random: for each pair of places in a square window, which of their (2 side - 1)^2 possible relative
    /// positions they have.
    RelativePositions {
        side: usize,
    },
}

impl Init {
    /// Weights (out, in, h, w) of a convolution followed by a ReLU: variance 2 / (out h w), which keeps the size of the
    /// gradient from layer to layer. He et al. 2015 ("Delving deep into rectifiers", eq. 14), `kaiming_normal_` with
    /// `fan_out` in torchvision's ResNets.
    pub fn kaiming_normal_fan_out(shape: [i64; 4]) -> Self {
        let [out, _, h, w] = shape;
        Init::Normal { std: (2.0 / (out * h * w) as f64).sqrt() }
    }

    /// Weights and biases of PyTorch's `Linear`: uniform within 1 / sqrt(inputs).
    pub fn linear(inputs: i64) -> Self {
        Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() }
    }

    /// Weights that keep the size of values and gradients from layer to layer: uniform within
    /// sqrt(6 / (inputs + outputs)). Glorot and Bengio 2010, eq. 16; PyTorch's `xavier_uniform_`.
    pub fn xavier_uniform(inputs: i64, outputs: i64) -> Self {
        Init::Uniform { bound: (6.0 / (inputs + outputs) as f64).sqrt() }
    }

    /// `n` values.
    pub fn draw(self, n: usize, mut draws: Draws) -> Vec<f64> {
        match self {
            Init::Constant(value) => vec![value; n],
            Init::Normal { std } => (0..n).map(|_| std * draws.normal()).collect(),
            Init::Uniform { bound } => (0..n).map(|_| bound * (2.0 * draws.uniform() - 1.0)).collect(),
            Init::RelativePositions { side } => (0..n).map(|pair| relative_position(pair, side) as f64).collect(),
        }
    }
}

/// Row-major over the differences of rows and columns, both counted from 0.
fn relative_position(pair: usize, side: usize) -> usize {
    let (query, key) = (pair / (side * side), pair % (side * side));
    let difference = |of: fn(usize, usize) -> usize| of(query, side) + side - 1 - of(key, side);
    difference(|place, side| place / side) * (2 * side - 1) + difference(|place, side| place % side)
}
