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

/// Other names that users have for a key.
pub type Synonyms = &'static [(&'static str, &'static str)];

/// Most keys that [`namesakes`] lists.
const MOST: usize = 4;

/// The full paths of the keys that have the last name of `path`, however it is written (`batch-size`, `batchSize`), or
/// that the synonyms give for it. The shortest come first.
pub(super) fn namesakes(root: &Node, path: &str, synonyms: Synonyms) -> Vec<String> {
    let typed = squashed(path.rsplit('.').next().unwrap_or(path));
    let meant = synonyms.iter().find(|(other, _)| squashed(other) == typed).map_or(typed, |(_, name)| squashed(name));
    let mut found = Vec::new();
    collect(root, "", &meant, &mut found);
    found.sort_by_key(|path| path.matches('.').count());
    found.truncate(MOST);
    found
}

fn collect(node: &Node, path: &str, name: &str, found: &mut Vec<String>) {
    let Some(map) = node.as_map() else { return };
    for (key, child) in map.iter().filter(|(key, _)| !(path.is_empty() && *key == "hydra")) {
        let path = join(path, key);
        if squashed(key) == name && child.as_map().is_none() {
            found.push(path.clone());
        }
        collect(child, &path, name, found);
    }
}

/// A name in lower case without what separates its words.
fn squashed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}
