//! The program that composes a configuration, as far as composition needs to know it.

use super::nearest::Synonyms;
use super::node::Node;
use crate::error::Result;

/// A hint for a choice that does not exist, from its group, its name and the choices that there are. None: no hint.
pub type ChoiceHint = fn(group: &str, name: &str, choices: &[String]) -> Option<String>;

/// A program's own part in composition.
#[derive(Clone, Copy)]
pub struct HydraProgram {
    /// YAML text of the section `hydra` before any file or override changes it.
    pub hydra_section: &'static str,
    /// Edits the tree after the files are merged and before the overrides of keys are applied.
    pub edit: fn(&mut Node) -> Result<()>,
    pub choice_hint: ChoiceHint,
    /// Other names that users have for keys and groups.
    pub synonyms: Synonyms,
    /// Hint for an override of one of Hydra's own groups (`hydra/launcher=...`), which do not exist here.
    pub hydra_group_hint: &'static str,
}
