//! Networks and images with the values of [`crate::formula`], for the golden tests.

use regun::models::init::Init;
use regun::models::{Architecture, State};
use regun::random::RandomStream;
use tch::{Device, Kind, Tensor};

use crate::formula::s;

/// The weights of an architecture by formula, in `dtype` on the CPU. The position of a tensor in the state dict is its
/// stream, and the last part of its name selects the rule.
pub fn formula_state(architecture: &dyn Architecture, dtype: Kind) -> State {
    let layout = architecture.layout();
    let named: Vec<(String, Tensor)> = layout
        .slots()
        .map(|(slot, entry)| {
            let stream = slot.index() as u64;
            let last = entry.name.rsplit('.').next().unwrap();
            let fan_in: i64 = entry.shape.iter().skip(1).product();
            let value = |i: u64| match last {
                "num_batches_tracked" => 0.0,
                "class_token" | "pos_embedding" | "relative_position_bias_table" => 0.5 * s(stream, i),
                "running_mean" => 0.1 * s(stream, i),
                "running_var" => 1.0 + 0.5 * s(stream, i),
                "bias" | "in_proj_bias" => 0.05 * s(stream, i),
                _ if entry.shape.len() == 1 => 1.0 + 0.1 * s(stream, i),
                _ => s(stream, i) * (3.0 / fan_in as f64).sqrt(),
            };
            let values: Vec<f64> = match entry.init {
                // This table is not learned, so the architecture sets its values.
                Init::RelativePositions { .. } => {
                    entry.init.draw(entry.num_elements(), RandomStream::new(0, "").at(0, 0))
                }
                _ => (0..entry.num_elements() as u64).map(value).collect(),
            };
            (entry.name.clone(), Tensor::from_slice(&values).reshape(&entry.shape))
        })
        .collect();
    State::from_named(layout, named, dtype, Device::Cpu).unwrap()
}

/// Images of `shape` from one stream of the formula, with values in [-`amplitude`, `amplitude`).
pub fn formula_images(shape: &[i64], stream: u64, amplitude: f64, dtype: Kind) -> Tensor {
    let n = shape.iter().product::<i64>() as u64;
    let values: Vec<f64> = (0..n).map(|i| amplitude * s(stream, i)).collect();
    Tensor::from_slice(&values).reshape(shape).to_kind(dtype)
}
