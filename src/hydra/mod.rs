//! Hydra and OmegaConf in Rust: configuration files and command-line overrides become one tree of values.
//!
//! The configurations of the Python program must load unchanged, so this module follows the rules of Hydra 1.3 and
//! OmegaConf 2.3. No maintained Rust crate implements Hydra's defaults lists, its override grammar and OmegaConf's
//! interpolations. Each value here also remembers its file and line or its override, so that an error can name them.
//!
//! The module knows no key of a particular program. A program describes itself with a [`HydraProgram`].
//!
//! | file | task |
//! | --- | --- |
//! | `node`, `merge`, `nearest` | the tree, its edits, and hints for keys that do not exist |
//! | `yaml`, `scalar`, `emit`, `float_text` | YAML and JSON text to values and back |
//! | `grammar`, `cast`, `sweep_range`, `overrides` | the grammar of overrides |
//! | `library`, `defaults` | the files that take part, in merge order |
//! | `compose`, `apply`, `own_section` | files and overrides to one tree |
//! | `interpolate`, `expression` | `${...}` |
//! | `decode`, `decode_fault`, `section` | the tree, or a part of it, to typed structs |

mod apply;
mod cast;
mod compose;
mod composed;
mod decode;
mod decode_fault;
mod defaults;
mod emit;
mod expression;
mod float_text;
mod grammar;
mod interpolate;
mod library;
mod merge;
mod nearest;
mod node;
pub mod overrides;
mod own_section;
mod program;
pub mod scalar;
mod section;
mod sweep_range;
mod text_override;
pub mod yaml;

pub use compose::compose;
pub use composed::Composed;
pub use float_text::float_text;
pub use interpolate::Environment;
pub use library::{BuiltinFiles, ConfigLibrary, without_extension};
pub use merge::{embed, fill, merge};
pub use nearest::Synonyms;
pub use node::{KeyMap, Node, Origin, Value, join};
pub use program::{ChoiceHint, HydraProgram};
pub use section::Section;
pub use text_override::text_override;
