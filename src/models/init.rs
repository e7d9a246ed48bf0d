//! Distributions of initial values.
//!
//! Values are drawn on the CPU in float64, and each tensor has a random stream of its own. So they depend on the seed,
//! the purpose and the tensor's position in the layout, but not on threads or on the device.

use crate::random::Draws;

/// Distribution of a tensor's initial values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Constant(f64),
    /// Normal distribution with mean 0.
    Normal {
        std: f64,
    },
    /// Uniform distribution on [-bound, bound).
    Uniform {
        bound: f64,
    },
    /// Not random. For each pair of positions in a square window: the index of their relative position, one of
    /// (2 side - 1)^2.
    RelativePositions {
        side: usize,
    },
}

impl Init {
    /// Distribution for weights (out, in, h, w) of a convolution followed by a ReLU: normal, with variance
    /// 2 / (out h w), which keeps the size of the gradient from layer to layer. He et al. 2015, arXiv 1502.01852,
    /// eq. 14; `kaiming_normal_` with `fan_out` in torchvision's ResNets.
    pub fn kaiming_normal_fan_out(shape: [i64; 4]) -> Self {
        let [out, _, h, w] = shape;
        Init::Normal { std: (2.0 / (out * h * w) as f64).sqrt() }
    }

    /// Distribution for weights and biases of PyTorch's `Linear`: uniform within 1 / sqrt(inputs).
    pub fn linear(inputs: i64) -> Self {
        Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() }
    }

    /// Uniform within sqrt(6 / (inputs + outputs)), which keeps the size of values and gradients from layer to layer.
    /// Glorot and Bengio 2010, eq. 16; PyTorch's `xavier_uniform_`.
    pub fn xavier_uniform(inputs: i64, outputs: i64) -> Self {
        Init::Uniform { bound: (6.0 / (inputs + outputs) as f64).sqrt() }
    }

    /// Draws `n` values, in row-major order of the tensor.
    pub fn draw(self, n: usize, mut draws: Draws) -> Vec<f64> {
        match self {
            Init::Constant(value) => vec![value; n],
            Init::Normal { std } => (0..n).map(|_| std * draws.normal()).collect(),
            Init::Uniform { bound } => (0..n).map(|_| bound * (2.0 * draws.uniform() - 1.0)).collect(),
            Init::RelativePositions { side } => (0..n).map(|pair| relative_position(pair, side) as f64).collect(),
        }
    }
}

/// Index of the relative position of a query and a key. Indices are row-major over the differences of rows and columns,
/// both counted from 0.
fn relative_position(pair: usize, side: usize) -> usize {
    let (query, key) = (pair / (side * side), pair % (side * side));
    let difference = |of: fn(usize, usize) -> usize| of(query, side) + side - 1 - of(key, side);
    difference(|place, side| place / side) * (2 * side - 1) + difference(|place, side| place % side)
}
