//! Constants of BatchNorm, PyTorch's defaults. All implementations of the layer use them.

/// Added to the variance.
pub const EPS: f64 = 1e-5;
/// Weight of the newest batch in the running averages.
pub const MOMENTUM: f64 = 0.1;
