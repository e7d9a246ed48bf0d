//! The expansion of defaults lists.
//!
//! The walk through the lists goes from the end to the start. So an `override` in a later file is known before the
//! entry that it changes. A choice on the command line beats every `override`.

use super::entry::{DefaultsEntry, DefaultsItem, EntryChoice, read_list};
use super::package::{FilePlace, final_package, group_path, override_key, parent_group};
use super::selection::GroupSelection;
use crate::error::{Error, Result, did_you_mean};
use crate::hydra::library::{ConfigFile, ConfigLibrary};
use crate::hydra::node::{MANDATORY, Node, Origin};
use crate::hydra::overrides::Override;

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
    let selection = GroupSelection::new(library, overrides)?;
    let mut walk = DefaultsWalk { library, selection, choices: Vec::new(), warnings: Vec::new() };
    let Some(file) = library.load(config_name)? else {
        return Err(Error::usage(format!("there is no configuration `{config_name}` in {}", library.described()))
            .hint(did_you_mean(config_name, library.options("").iter().map(String::as_str))));
    };
    let root = FilePlace { path: config_name.into(), group: parent_group(config_name).into(), package: String::new() };
    let appended = std::mem::take(&mut walk.selection.appended);
    let configs = walk.file(file, root, appended, &mut Vec::new())?;
    let DefaultsWalk { selection, mut choices, warnings, .. } = walk;
    selection.check_all_used(&choices.iter().map(|chosen| chosen.group.as_str()).collect::<Vec<_>>())?;
    choices.reverse();
    Ok(ExpandedDefaults { configs, choices, key_overrides: selection.key_overrides, warnings })
}

/// State of the walk through the lists.
struct DefaultsWalk<'a> {
    library: &'a ConfigLibrary,
    selection: GroupSelection,
    choices: Vec<ChosenOption>,
    warnings: Vec<String>,
}

impl DefaultsWalk<'_> {
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
        self.selection.add_entries(&items, &place)?;

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

    /// The files that an entry of `parent`'s list chooses, in merge order.
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
        if entry.is_group {
            self.selection.change(&key, &mut entry);
        }
        let names = match &entry.choice {
            EntryChoice::None => vec![None],
            EntryChoice::One(name) => vec![Some(name.clone())],
            EntryChoice::Several(names) => names.iter().cloned().map(Some).collect(),
        };
        if entry.is_group {
            let shown = names.iter().flatten().cloned().collect::<Vec<_>>().join(",");
            if self.selection.delete(&key, &shown) {
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

    /// The chosen file and the files of its own defaults list.
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
}
