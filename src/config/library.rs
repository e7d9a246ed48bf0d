//! Where configuration files are found: the user's folder first, then the files compiled in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Map, Node, Value, builtin, yaml};
use crate::error::{Error, Result};

/// One configuration file, cut into header, defaults list and content.
pub(super) struct File {
    /// Name that errors show.
    pub name: String,
    /// What `# @package NAME` in the leading comments says.
    pub package: Option<String>,
    pub defaults: Option<Node>,
    pub body: Node,
}

pub(super) struct Library {
    user: Option<PathBuf>,
}

impl Library {
    pub fn open(user: Option<&Path>) -> Result<Self> {
        if let Some(folder) = user
            && !folder.is_dir()
        {
            return Err(Error::usage(format!("--config-dir {}: there is no such folder", folder.display())));
        }
        Ok(Library { user: user.map(Path::to_path_buf) })
    }

    /// The file of a configuration named as in a defaults list, `data/cifar10` for instance.
    pub fn load(&self, config: &str) -> Result<Option<File>> {
        let relative = format!("{config}.yaml");
        if let Some(folder) = &self.user {
            let path = folder.join(&relative);
            if path.is_file() {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| Error::missing(format!("cannot read {name}: {error}")))?;
                return split(&text, name).map(Some);
            }
        }
        builtin::text(&relative).map(|text| split(text, format!("{}{relative}", builtin::PREFIX))).transpose()
    }

    pub fn is_group(&self, group: &str) -> bool {
        let prefix = format!("{group}/");
        let in_folder = self.user.as_ref().is_some_and(|folder| folder.join(group).is_dir());
        !group.is_empty() && (in_folder || builtin::FILES.iter().any(|(path, _)| path.starts_with(&prefix)))
    }

    /// The choices of a group (for an empty name: the files at the root), sorted.
    pub fn options(&self, group: &str) -> Vec<String> {
        let prefix = if group.is_empty() { String::new() } else { format!("{group}/") };
        let builtin = builtin::FILES.iter().filter_map(|(path, _)| path.strip_prefix(&prefix)?.strip_suffix(".yaml"));
        let mut options: BTreeSet<String> = builtin.filter(|name| !name.contains('/')).map(String::from).collect();
        if let Some(entries) = self.user.as_ref().and_then(|folder| std::fs::read_dir(folder.join(group)).ok()) {
            let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            options.extend(names.filter_map(|name| name.strip_suffix(".yaml").map(String::from)));
        }
        options.into_iter().collect()
    }

    /// The groups at the root, sorted.
    pub fn groups(&self) -> Vec<String> {
        let builtin = builtin::FILES.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0.to_owned()));
        let mut groups: BTreeSet<String> = builtin.collect();
        if let Some(entries) = self.user.as_ref().and_then(|folder| std::fs::read_dir(folder).ok()) {
            let folders = entries.flatten().filter(|entry| entry.path().is_dir());
            groups.extend(folders.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        groups.into_iter().collect()
    }

    /// Where this looks, for error messages.
    pub fn described(&self) -> String {
        match &self.user {
            Some(folder) => format!("{} and the built-in conf", folder.display()),
            None => "the built-in conf".into(),
        }
    }
}

fn split(text: &str, name: String) -> Result<File> {
    let mut body = yaml::parse(text, &name)?;
    let defaults = match &mut body.value {
        Value::Map(map) => map.remove("defaults"),
        value => {
            return Err(Error::usage(format!("{name}: a configuration file holds keys, not {}", value.described())));
        }
    };
    Ok(File { package: package_header(text), name, defaults, body })
}

fn package_header(text: &str) -> Option<String> {
    let comments = text.lines().map(str::trim).take_while(|line| line.is_empty() || line.starts_with('#'));
    let mut packages = comments.filter_map(|line| line.trim_start_matches('#').trim().strip_prefix("@package "));
    packages.next().map(|package| package.trim().to_owned())
}

/// A map with one key below the keys of `package` (joined with dots), holding `body`.
pub(super) fn embed(package: &str, body: Node) -> Node {
    package.split('.').filter(|key| !key.is_empty()).rev().fold(body, |inner, key| {
        let origin = inner.origin.clone();
        let mut map = Map::new();
        map.insert(key, inner);
        Node::new(Value::Map(map), origin)
    })
}
