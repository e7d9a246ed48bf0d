//! The program that composes a configuration, as far as composition needs to know it.

use super::node::Node;
use crate::error::Result;

/// A program's own part in composition.
pub struct HydraProgram {
    /// YAML text of the section `hydra` before any file or override changes it.
    pub hydra_section: &'static str,
    /// Edits the tree after the files are merged and before the overrides of keys are applied.
    pub edit: fn(&mut Node) -> Result<()>,
    /// Hint for an override of one of Hydra's own groups (`hydra/launcher=...`), which do not exist here.
    pub launcher_hint: &'static str,
}
