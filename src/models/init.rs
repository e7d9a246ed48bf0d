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

    /// `n` values.
    pub fn draw(self, n: usize, mut draws: Draws) -> Vec<f64> {
        match self {
            Init::Constant(value) => vec![value; n],
            Init::Normal { std } => (0..n).map(|_| std * draws.normal()).collect(),
            Init::Uniform { bound } => (0..n).map(|_| bound * (2.0 * draws.uniform() - 1.0)).collect(),
        }
    }
}
