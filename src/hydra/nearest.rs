//! Hints for keys that do not exist.

use super::node::{Node, Value, join};
use crate::error::did_you_mean;

/// "did you mean ..." for the path of a missing key, from the keys of the deepest section on the path that exists.
pub(super) fn nearest(root: &Node, path: &str) -> String {
    let (mut section, mut walked) = (root, String::new());
    for key in path.split('.') {
        match (section.child(key), &section.value) {
            (Some(child), _) => section = child,
            (None, Value::Map(map)) => return did_you_mean(key, map.keys().filter(|key| *key != "hydra")),
            (None, value) => return format!("`{walked}` is {}", value.described()),
        }
        walked = join(&walked, key);
    }
    format!("`{walked}` is {}", section.value.described())
}
