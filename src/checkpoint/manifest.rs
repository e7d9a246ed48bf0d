//! The manifest of a checkpoint: everything that the file says besides its tensors.

use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// The manifest of a checkpoint. Stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Facts that must match before the weights are used.
    pub identity: Facts,
    /// Facts about the training. A difference is a warning.
    pub provenance: Facts,
    /// Number of epochs that the weights were trained for.
    pub epoch: usize,
    /// The resolved configuration as YAML. Empty if the file has none.
    pub config: String,
    /// Version of the program that wrote the file.
    pub version: String,
    /// The program that made the model, if it was not regun: "Lightning 2.6.6", "PyTorch". Such a model has neither
    /// identity nor provenance. It is checked by its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}
