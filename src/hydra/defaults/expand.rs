//! The expansion of defaults lists.
//!
//! The walk through the lists goes from the end to the start. So an `override` in a later file is known before the entry
//! that it changes. A choice on the command line beats every `override`.

use std::collections::HashMap;

use super::entry::{DefaultsEntry, DefaultsItem, EntryChoice, read_list};
use super::package::{FilePlace, final_package, group_path, override_key, parent_group};
use crate::error::{Error, Result, did_you_mean};
use crate::hydra::library::{ConfigFile, ConfigLibrary};
use crate::hydra::node::{MANDATORY, Node, Origin, Value};
use crate::hydra::overrides::{Override, OverrideAction};

/// A file to merge, and the package of its content: a dotted path, empty for the root.
pub(in crate::hydra) struct PackagedConfig {
    pub package: String,
    pub body: Node,
}

/// The files and choices of a configuration.
pub(in crate::hydra) struct ExpandedDefaults {
    /// In merge order.
    pub configs: Vec<PackagedConfig>,
    /// The choice of each group, in merge order.
    pub choices: Vec<ChosenOption>,
    /// The overrides that change keys, not choices of files.
    pub key_overrides: Vec<Override>,
    pub warnings: Vec<String>,
}

/// The choice of one group.
pub(in crate::hydra) struct ChosenOption {
    pub group: String,
    /// None if a placeholder stayed `null`.
    pub name: Option<String>,
    origin: Origin,
}

/// Expands the defaults list of `config_name` under the given overrides.
///
/// # Errors
/// A file or choice that does not exist, an override that matches nothing, a group chosen twice, a malformed list.
pub(in crate::hydra) fn expand(
    library: &ConfigLibrary,
    config_name: &str,
    overrides: Vec<Override>,
) -> Result<ExpandedDefaults> {
    let mut walk = DefaultsWalk::new(library, overrides)?;
    let Some(file) = library.load(config_name)? else {
        return Err(Error::usage(format!("there is no configuration `{config_name}` in {}", library.described()))
            .hint(did_you_mean(config_name, library.options("").iter().map(String::as_str))));
    };
    let root = FilePlace { path: config_name.into(), group: parent_group(config_name).into(), package: String::new() };
    let appended = std::mem::take(&mut walk.appended);
    let configs = walk.file(file, root, appended, &mut Vec::new())?;
    walk.check_all_used()?;
    walk.choices.reverse();
    Ok(ExpandedDefaults { configs, choices: walk.choices, key_overrides: walk.key_overrides, warnings: walk.warnings })
}

/// The choice of an `override`, in a list or on the command line.
struct SelectedChoice {
    choice: EntryChoice,
    origin: Origin,
    used: bool,
}

/// State of the walk through the lists.
struct DefaultsWalk<'a> {
    library: &'a ConfigLibrary,
    selected: HashMap<String, SelectedChoice>,
    /// Group key, the only choice that may be deleted (None: any), the override, and whether it matched an entry.
    deleted: Vec<(String, Option<String>, Origin, bool)>,
    appended: Vec<DefaultsEntry>,
    choices: Vec<ChosenOption>,
    key_overrides: Vec<Override>,
    warnings: Vec<String>,
}

impl<'a> DefaultsWalk<'a> {
    fn new(library: &'a ConfigLibrary, overrides: Vec<Override>) -> Result<Self> {
        let mut walk = DefaultsWalk {
            library,
            selected: HashMap::new(),
            deleted: Vec::new(),
            appended: Vec::new(),
            choices: Vec::new(),
            key_overrides: Vec::new(),
            warnings: Vec::new(),
        };
        for given in overrides {
            let is_map = matches!(given.value, Some(Node { value: Value::Map(_), .. }));
            if is_map || !library.is_group(&given.key) {
                walk.key_overrides.push(given);
            } else {
                walk.group_override(given)?;
            }
        }
        Ok(walk)
    }

    fn group_override(&mut self, given: Override) -> Result<()> {
        let text = &given.text;
        let origin = Origin::Override { text: text.clone(), added: false };
        let choice = match given.value.as_ref().map(|node| &node.value) {
            None => None,
            Some(Value::List(items)) => {
                Some(EntryChoice::Several(items.iter().map(|item| item.value.python_str()).collect()))
            }
            Some(Value::Null) => {
                return Err(Error::usage(format!("override `{text}`: a group cannot be set to null"))
                    .hint(format!("leave it out, or write `~{}` to take the group away", given.key)));
            }
            Some(value) => Some(EntryChoice::One(value.python_str())),
        };
        match (given.action, choice) {
            (OverrideAction::ForceAdd, _) => {
                Err(Error::usage(format!("override `{text}`: `++` does not work on a group; write `+` or nothing")))
            }
            (OverrideAction::Delete, None) => {
                self.deleted.push((given.full_key(), None, origin, false));
                Ok(())
            }
            (OverrideAction::Delete, Some(EntryChoice::One(name))) => {
                self.deleted.push((given.full_key(), Some(name), origin, false));
                Ok(())
            }
            (OverrideAction::Change, Some(choice)) => {
                self.selected.insert(given.full_key(), SelectedChoice { choice, origin, used: false });
                Ok(())
            }
            (OverrideAction::Add, Some(choice)) => {
                self.appended.push(DefaultsEntry {
                    group: given.key,
                    choice,
                    is_group: true,
                    package: given.package,
                    optional: false,
                    is_override: false,
                    origin,
                });
                Ok(())
            }
            _ => Err(Error::usage(format!("override `{text}`: wanted the name of a choice"))),
        }
    }

    /// The files of a file's defaults list, in merge order. Its own content stands at `_self_`, else at the end.
    fn file(
        &mut self,
        file: ConfigFile,
        place: FilePlace,
        appended: Vec<DefaultsEntry>,
        parents: &mut Vec<String>,
    ) -> Result<Vec<PackagedConfig>> {
        if parents.contains(&place.path) {
            return Err(Error::usage(format!("{}: its defaults list leads back to itself", file.name)));
        }
        let mut items = match &file.defaults {
            Some(list) => read_list(list, &file.name)?,
            None => Vec::new(),
        };
        match items.iter().filter(|item| matches!(item, DefaultsItem::SelfFile)).count() {
            0 => items.push(DefaultsItem::SelfFile),
            1 => {}
            _ => return Err(Error::usage(format!("{}: `_self_` stands twice in the defaults list", file.name))),
        }
        items.extend(appended.into_iter().map(DefaultsItem::Entry));
        self.note_overrides(&items, &place)?;

        parents.push(place.path.clone());
        let mut body = Some(file.body);
        let mut reversed: Vec<Vec<PackagedConfig>> = Vec::new();
        for item in items.into_iter().rev() {
            match item {
                DefaultsItem::SelfFile => {
                    let own = body.take().map(|body| PackagedConfig { package: place.package.clone(), body });
                    reversed.push(own.into_iter().collect());
                }
                DefaultsItem::Entry(entry) if entry.is_override => {}
                DefaultsItem::Entry(entry) => reversed.push(self.entry(entry, &place, parents)?),
            }
        }
        parents.pop();
        Ok(reversed.into_iter().rev().flatten().collect())
    }

    /// Stores the `override` entries of a list, which must stand at its end.
    fn note_overrides(&mut self, items: &[DefaultsItem], place: &FilePlace) -> Result<()> {
        let mut last_override = None;
        for item in items {
            let DefaultsItem::Entry(entry) = item else { continue };
            let from_command_line = matches!(entry.origin, Origin::Override { .. });
            if !entry.is_override {
                if let Some(origin) = last_override.filter(|_| !from_command_line) {
                    return Err(Error::usage(format!(
                        "{origin}: `override` entries must stand at the end of the list"
                    )));
                }
                continue;
            }
            last_override = Some(&entry.origin);
            let key = override_key(entry, place);
            let selected = SelectedChoice { choice: entry.choice.clone(), origin: entry.origin.clone(), used: false };
            self.selected.entry(key).or_insert(selected);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        mut entry: DefaultsEntry,
        parent: &FilePlace,
        parents: &mut Vec<String>,
    ) -> Result<Vec<PackagedConfig>> {
        let group = group_path(&entry.group, &parent.group);
        if group.starts_with("hydra/") || group == "hydra" {
            self.warnings.push(format!("{}: settings of Hydra's own groups (`{group}`) have no effect", entry.origin));
            return Ok(Vec::new());
        }
        let key = override_key(&entry, parent);
        if entry.is_group
            && let Some(selected) = self.selected.get_mut(&key)
        {
            selected.used = true;
            entry.choice = selected.choice.clone();
            entry.origin = selected.origin.clone();
        }
        let names = match &entry.choice {
            EntryChoice::None => vec![None],
            EntryChoice::One(name) => vec![Some(name.clone())],
            EntryChoice::Several(names) => names.iter().cloned().map(Some).collect(),
        };
        if entry.is_group {
            let shown = names.iter().flatten().cloned().collect::<Vec<_>>().join(",");
            let deletion = self
                .deleted
                .iter_mut()
                .find(|(deleted, name, ..)| *deleted == key && name.as_ref().is_none_or(|name| *name == shown));
            if let Some(deletion) = deletion {
                deletion.3 = true;
                return Ok(Vec::new());
            }
            // The walk goes backwards, so a choice that it has met before stands later.
            let is_placeholder = shown.is_empty();
            let later = self.choices.iter().find(|chosen| chosen.group == key);
            if let Some(later) = later.filter(|later| !(is_placeholder && later.name.is_none())) {
                let name = later.name.as_deref().unwrap_or("...");
                let mend = match later.origin {
                    Origin::Override { .. } => format!("write `{key}={name}`"),
                    _ => format!("write `override /{key}: {name}`"),
                };
                let place = format!("{}: the group `{key}` is already chosen at {}", later.origin, entry.origin);
                return Err(Error::usage(place).hint(format!("to change that choice {mend}")));
            }
            let name = (!is_placeholder).then_some(shown);
            self.choices.push(ChosenOption { group: key, name, origin: entry.origin.clone() });
        }
        let mut reversed = Vec::new();
        for name in names.into_iter().rev().flatten() {
            reversed.push(self.chosen(&entry, &group, &name, parent, parents)?);
        }
        Ok(reversed.into_iter().rev().flatten().collect())
    }

    fn chosen(
        &mut self,
        entry: &DefaultsEntry,
        group: &str,
        name: &str,
        parent: &FilePlace,
        parents: &mut Vec<String>,
    ) -> Result<Vec<PackagedConfig>> {
        let origin = &entry.origin;
        let options = || self.library.options(group);
        if name == MANDATORY {
            return Err(Error::usage(format!("a choice for `{group}` must be given: `{group}=...`"))
                .hint(format!("choices: {}", options().join(", "))));
        }
        if name.contains("${") {
            return Err(Error::usage(format!("{origin}: interpolations in a defaults list are not supported")));
        }
        let path = if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") };
        let Some(file) = self.library.load(&path)? else {
            if entry.optional {
                return Ok(Vec::new());
            }
            let what =
                if entry.is_group { format!("`{group}` has no choice `{name}`") } else { format!("no `{path}`") };
            return Err(Error::usage(format!("{origin}: {what} in {}", self.library.described()))
                .hint(did_you_mean(name, options().iter().map(String::as_str))));
        };
        let header = match file.package.as_deref() {
            None | Some("_group_") => None,
            Some("") | Some("_global_") => Some("_global_".to_owned()),
            Some(package) if package.starts_with("_global_.") => Some(package.to_owned()),
            Some(package) => Some(format!("_global_.{package}")),
        };
        let package = final_package(entry, &parent.package, header.as_deref(), group);
        let place = FilePlace { group: parent_group(&path).into(), path, package };
        self.file(file, place, Vec::new(), parents)
    }

    fn check_all_used(&self) -> Result<()> {
        let known = || self.choices.iter().map(|chosen| chosen.group.as_str());
        for (key, selected) in &self.selected {
            if !selected.used && !key.starts_with("hydra/") {
                let mut error =
                    Error::usage(format!("{}: no defaults list has a group `{key}` to override", selected.origin));
                if let (Origin::Override { .. }, EntryChoice::One(name)) = (&selected.origin, &selected.choice) {
                    error = error.hint(format!("`+{key}={name}` adds it; {}", did_you_mean(key, known())));
                }
                return Err(error);
            }
        }
        match self.deleted.iter().find(|(.., used)| !used) {
            Some((key, Some(name), origin, _)) => {
                Err(Error::usage(format!("{origin}: the choice of `{key}` is not `{name}`, so it cannot be deleted")))
            }
            Some((key, None, origin, _)) => {
                Err(Error::usage(format!("{origin}: no defaults list has a group `{key}` to delete"))
                    .hint(did_you_mean(key, known())))
            }
            None => Ok(()),
        }
    }
}
