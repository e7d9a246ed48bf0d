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

/// A source of files.
#[derive(Debug, Clone)]
enum Source {
    Builtin(BuiltinFiles),
    /// A folder, and the option or key that names it.
    Folder(PathBuf, &'static str),
}

/// All configuration files that a run can use.
pub struct ConfigLibrary {
    /// In the order of search.
    sources: Vec<Source>,
}

impl ConfigLibrary {
    /// The files of the given folders, each with the option that names it, in this order, then the built-in files.
    ///
    /// # Errors
    /// A folder does not exist.
    pub fn open(builtin: BuiltinFiles, folders: &[(&'static str, &Path)]) -> Result<Self> {
        let mut sources = Vec::new();
        for &(option, folder) in folders {
            if !folder.is_dir() {
                return Err(Error::usage(format!("{option} {}: there is no such folder", folder.display())));
            }
            sources.push(Source::Folder(folder.to_path_buf(), option));
        }
        sources.push(Source::Builtin(builtin));
        Ok(ConfigLibrary { sources })
    }

    /// The same files, and after them those of the folders of `hydra.searchpath`.
    pub(super) fn with_search_path(&self, folders: Vec<PathBuf>) -> Self {
        let mut sources = self.sources.clone();
        sources.extend(folders.into_iter().map(|folder| Source::Folder(folder, "hydra.searchpath")));
        ConfigLibrary { sources }
    }

    /// The file with the given name, as it stands in a defaults list: `group/choice`, with or without `.yaml`. None if
    /// there is no such file.
    ///
    /// # Errors
    /// An unreadable file; text that is not YAML or holds no map.
    pub(super) fn load(&self, config: &str) -> Result<Option<ConfigFile>> {
        let stem = without_extension(config);
        // The extension that was typed comes first.
        let mut names = EXTENSIONS.map(|extension| format!("{stem}{extension}"));
        names.sort_by_key(|name| name != config);
        for source in &self.sources {
            for relative in &names {
                match source {
                    Source::Builtin(files) => {
                        if let Some(text) = files.text(relative) {
                            return split(text, format!("{}{relative}", files.prefix)).map(Some);
                        }
                    }
                    Source::Folder(folder, _) => {
                        let path = folder.join(relative);
                        if path.is_file() {
                            let name = path.display().to_string();
                            let text = std::fs::read_to_string(&path)
                                .map_err(|error| Error::missing(format!("cannot read {name}: {error}")))?;
                            return split(&text, name).map(Some);
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether there is a folder of choices with this name.
    pub(super) fn is_group(&self, group: &str) -> bool {
        let prefix = format!("{group}/");
        !group.is_empty()
            && self.sources.iter().any(|source| match source {
                Source::Builtin(files) => files.files.iter().any(|(path, _)| path.starts_with(&prefix)),
                Source::Folder(folder, _) => folder.join(group).is_dir(),
            })
    }

    /// The choices of a group (for an empty name: the files at the root), sorted.
    pub(super) fn options(&self, group: &str) -> Vec<String> {
        let prefix = if group.is_empty() { String::new() } else { format!("{group}/") };
        let mut options = BTreeSet::new();
        for source in &self.sources {
            let names = match source {
                Source::Builtin(files) => {
                    files.files.iter().filter_map(|(path, _)| Some(path.strip_prefix(&prefix)?.to_owned())).collect()
                }
                Source::Folder(folder, _) => entries(&folder.join(group), false),
            };
            let is_choice = |name: &&String| !name.contains('/') && without_extension(name) != name.as_str();
            options.extend(names.iter().filter(is_choice).map(|name| without_extension(name).to_owned()));
        }
        options.into_iter().collect()
    }

    /// The groups at the root, sorted.
    pub(super) fn groups(&self) -> Vec<String> {
        let mut groups = BTreeSet::new();
        for source in &self.sources {
            match source {
                Source::Builtin(files) => {
                    groups.extend(files.files.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0.to_owned())));
                }
                Source::Folder(folder, _) => groups.extend(entries(folder, true)),
            }
        }
        groups.into_iter().collect()
    }

    /// The places that are searched, for error messages.
    pub(super) fn described(&self) -> String {
        let places = self.sources.iter().map(|source| match source {
            Source::Builtin(_) => "the built-in conf".to_owned(),
            Source::Folder(folder, _) => folder.display().to_string(),
        });
        places.collect::<Vec<_>>().join(" and ")
    }

    /// The places that are searched, each as provider and address, in the order of search.
    pub fn search_path(&self) -> Vec<(&'static str, String)> {
        let place = |source: &Source| match source {
            Source::Builtin(files) => ("main", files.prefix.to_owned()),
            Source::Folder(folder, provider) => (*provider, format!("file://{}", folder.display())),
        };
        self.sources.iter().map(place).collect()
    }
}

/// Extensions of configuration files.
const EXTENSIONS: [&str; 2] = [".yaml", ".yml"];

/// The name of a configuration file without its extension.
pub fn without_extension(name: &str) -> &str {
    EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

/// The names in a folder: of folders, or of files. There are none in a folder that cannot be read.
fn entries(folder: &Path, folders: bool) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| entry.path().is_dir() == folders);
    wanted.filter_map(|entry| entry.file_name().into_string().ok()).collect()
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

/// The package in the header of a file: the lines `# @KEY VALUE` at its start. As in Hydra, another comment ends it.
fn package_header(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut header =
        lines.map_while(|line| line.strip_prefix('#').and_then(|line| line.trim_start().strip_prefix('@')));
    let package = header.find_map(|entry| entry.strip_prefix("package").filter(|rest| rest.starts_with([' ', '\t'])));
    package.map(|package| package.trim().to_owned())
}
