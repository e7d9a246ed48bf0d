//! The configuration files: the user's folder is searched first, then the files compiled into the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::node::{Node, Value};
use super::yaml;
use crate::error::{Error, Result};

/// One configuration file, cut into header, defaults list and content.
pub(super) struct ConfigFile {
    /// The name in errors.
    pub name: String,
    /// The name in `# @package NAME` of the leading comments.
    pub package: Option<String>,
    pub defaults: Option<Node>,
    pub body: Node,
}

/// The configuration files compiled into a program.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinFiles {
    /// Prefix of a file's path in errors and origins.
    pub prefix: &'static str,
    /// Path and text of each file, sorted by path.
    pub files: &'static [(&'static str, &'static str)],
}

impl BuiltinFiles {
    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&'static str> {
        self.files.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
    }
}

/// All configuration files that a run can use.
pub struct ConfigLibrary {
    builtin: BuiltinFiles,
    user: Option<PathBuf>,
}

impl ConfigLibrary {
    /// The built-in files and those of the user's folder, which win.
    ///
    /// # Errors
    /// The folder does not exist.
    pub fn open(builtin: BuiltinFiles, user: Option<&Path>) -> Result<Self> {
        if let Some(folder) = user
            && !folder.is_dir()
        {
            return Err(Error::usage(format!("--config-dir {}: there is no such folder", folder.display())));
        }
        Ok(ConfigLibrary { builtin, user: user.map(Path::to_path_buf) })
    }

    /// The file with the given name, as it stands in a defaults list: `group/choice`. None if there is no such file.
    ///
    /// # Errors
    /// An unreadable file; text that is not YAML or holds no map.
    pub(super) fn load(&self, config: &str) -> Result<Option<ConfigFile>> {
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
        let name = format!("{}{relative}", self.builtin.prefix);
        self.builtin.text(&relative).map(|text| split(text, name)).transpose()
    }

    /// Whether there is a folder of choices with this name.
    pub(super) fn is_group(&self, group: &str) -> bool {
        let prefix = format!("{group}/");
        let in_folder = self.user.as_ref().is_some_and(|folder| folder.join(group).is_dir());
        !group.is_empty() && (in_folder || self.builtin.files.iter().any(|(path, _)| path.starts_with(&prefix)))
    }

    /// The choices of a group (for an empty name: the files at the root), sorted.
    pub(super) fn options(&self, group: &str) -> Vec<String> {
        let prefix = if group.is_empty() { String::new() } else { format!("{group}/") };
        let builtin =
            self.builtin.files.iter().filter_map(|(path, _)| path.strip_prefix(&prefix)?.strip_suffix(".yaml"));
        let mut options: BTreeSet<String> = builtin.filter(|name| !name.contains('/')).map(String::from).collect();
        if let Some(entries) = self.user.as_ref().and_then(|folder| std::fs::read_dir(folder.join(group)).ok()) {
            let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            options.extend(names.filter_map(|name| name.strip_suffix(".yaml").map(String::from)));
        }
        options.into_iter().collect()
    }

    /// The groups at the root, sorted.
    pub(super) fn groups(&self) -> Vec<String> {
        let builtin = self.builtin.files.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0.to_owned()));
        let mut groups: BTreeSet<String> = builtin.collect();
        if let Some(entries) = self.user.as_ref().and_then(|folder| std::fs::read_dir(folder).ok()) {
            let folders = entries.flatten().filter(|entry| entry.path().is_dir());
            groups.extend(folders.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        groups.into_iter().collect()
    }

    /// The places that are searched, for error messages.
    pub(super) fn described(&self) -> String {
        match &self.user {
            Some(folder) => format!("{} and the built-in conf", folder.display()),
            None => "the built-in conf".into(),
        }
    }
}

fn split(text: &str, name: String) -> Result<ConfigFile> {
    let mut body = yaml::parse(text, &name)?;
    let defaults = match &mut body.value {
        Value::Map(map) => map.remove("defaults"),
        value => {
            return Err(Error::usage(format!("{name}: a configuration file holds keys, not {}", value.described())));
        }
    };
    Ok(ConfigFile { package: package_header(text), name, defaults, body })
}

fn package_header(text: &str) -> Option<String> {
    let comments = text.lines().map(str::trim).take_while(|line| line.is_empty() || line.starts_with('#'));
    let mut packages = comments.filter_map(|line| line.trim_start_matches('#').trim().strip_prefix("@package "));
    packages.next().map(|package| package.trim().to_owned())
}
