//! Networks. An [`Architecture`] is a pure function of weights and images; a [`State`] is an ordered list of named
//! tensors; a [`Model`] holds one of each.
//!
//! | module | holds |
//! | --- | --- |
//! | [`architecture`], [`registry`] | the trait of all networks; the list of them, by name |
//! | [`model`] | an architecture with its state |
//! | [`layout`] | names, shapes and order of a network's tensors |
//! | [`state`], [`init`] | the tensors and their initial values |
//! | [`forward`], [`statistics`] | the context of a forward pass: weights, mode, BatchNorm statistics, hooks |
//! | [`conv`], [`batch_norm`], [`norm_constants`], [`linear`] | layers |
//! | [`sync_batch_norm`] | BatchNorm with the statistics of all ranks |
//! | [`patches`], [`attention`], [`mlp`], [`layer_norm`] | layers of transformers |
//! | [`stochastic_depth`] | residual branches dropped at random |
//! | [`resnet`], [`resnet20`], [`swin`], [`vit`] | architectures |
//! | [`layer_pass`], [`per_sample`] | inputs and outputs of layers, and the squared gradients of single samples |
//! | [`fused`] | BatchNorm fused into convolutions, for evaluation |
//!
//! To add a network: write its file, then add its line to [`REGISTRY`].

pub mod architecture;
pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod forward;
pub mod fused;
pub mod init;
pub mod layer_norm;
pub mod layer_pass;
pub mod layout;
pub mod linear;
pub mod mlp;
pub mod model;
pub mod norm_constants;
pub mod patches;
pub mod per_sample;
pub mod registry;
pub mod resnet;
pub mod resnet20;
pub mod state;
pub mod statistics;
pub mod stochastic_depth;
pub mod swin;
pub mod sync_batch_norm;
pub mod vit;

pub use architecture::Architecture;
pub use forward::{FEATURES, Forward, Mode};
pub use fused::FusedState;
pub use layout::{Slot, StateLayout};
pub use model::Model;
pub use registry::{ModelInfo, REGISTRY, build, build_for, check, choice_hint};
pub use state::State;
pub use statistics::Statistics;
