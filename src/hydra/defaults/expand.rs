//! The expansion of defaults lists.
//!
//! The walk through the lists goes from the end to the start. So an `override` in a later file is known before the
//! entry that it changes. A choice on the command line beats every `override`. Interpolations are resolved when all
//! other entries of their list are known.

use jiff::Zoned;

use super::entry::{DefaultsEntry, DefaultsItem, EntryChoice, read_list};
use super::package::{FilePlace, final_package, group_path, header_package, override_key, parent_group};
use super::selection::GroupSelection;
use super::tree::DefaultsTree;
use crate::error::{Error, Result, did_you_mean};
use crate::hydra::interpolate::{Environment, Interpolator};
use crate::hydra::library::{ConfigFile, ConfigLibrary, without_extension};
use crate::hydra::node::{KeyMap, MANDATORY, Node, Origin, Value};
use crate::hydra::overrides::Override;
use crate::hydra::program::ChoiceHint;

/// The files and choices of a configuration.
pub(in crate::hydra) struct ExpandedDefaults {
    pub tree: DefaultsTree,
    /// The choice of each group, in merge order.
    pub choices: Vec<ChosenOption>,
    /// The overrides that change keys, not choices of files.
    pub key_overrides: Vec<Override>,
    pub warnings: Vec<String>,
}

/// The choice of a group.
pub(in crate::hydra) struct ChosenOption {
    /// `group` or `group@package`.
    pub group: String,
    /// None if a placeholder stayed `null`.
    pub name: Option<String>,
    origin: Origin,
}

/// The surroundings of an expansion.
pub(in crate::hydra) struct DefaultsContext<'a> {
    pub library: &'a ConfigLibrary,
    /// The program's hint for a choice that does not exist.
    pub choice_hint: ChoiceHint,
    pub now: &'a Zoned,
    pub environment: Environment,
}

/// Expands the defaults list of `config_name` under the given overrides.
///
/// # Errors
/// A file or choice that does not exist, an override that matches nothing, a group chosen twice, a malformed list.
pub(in crate::hydra) fn expand(
    context: &DefaultsContext,
    config_name: &str,
    overrides: Vec<Override>,
) -> Result<ExpandedDefaults> {
    let library = context.library;
    let selection = GroupSelection::new(library, overrides)?;
    let mut walk = DefaultsWalk {
        context,
        selection,
        choices: Vec::new(),
        warnings: Vec::new(),
        parents: Vec::new(),
        in_interpolated: false,
    };
    let Some(file) = library.load(config_name)? else {
        return Err(Error::usage(format!("there is no configuration `{config_name}` in {}", library.described()))
            .hint(did_you_mean(config_name, library.options("").iter().map(String::as_str))));
    };
    let path = without_extension(config_name);
    let group = parent_group(path);
    let header = header_package(file.package.as_deref());
    let package = final_package(None, header.as_deref(), "", group, group);
    let root = FilePlace { path: path.into(), group: group.into(), package };
    let appended = std::mem::take(&mut walk.selection.appended);
    let tree = walk.file(path.to_owned(), file, root, None, appended)?;
    let DefaultsWalk { selection, mut choices, warnings, .. } = walk;
    selection.check_all_used(&choices.iter().map(|chosen| chosen.group.as_str()).collect::<Vec<_>>())?;
    choices.reverse();
    Ok(ExpandedDefaults { tree, choices, key_overrides: selection.key_overrides, warnings })
}

/// State of the walk through the lists.
struct DefaultsWalk<'a> {
    context: &'a DefaultsContext<'a>,
    selection: GroupSelection,
    choices: Vec<ChosenOption>,
    warnings: Vec<String>,
    /// Paths of the files whose lists are being read.
    parents: Vec<String>,
    /// The walk is below an entry whose choice was an interpolation.
    in_interpolated: bool,
}

/// A file that an entry names.
struct NamedFile {
    /// `group/name`.
    path: String,
    /// The group of the relative entries of its own list.
    group: String,
    /// The group as the entry writes it: the package of the file unless another is given.
    written_group: String,
}

impl NamedFile {
    /// The file that `entry` of a list at `parent` names with `name`. As in Hydra, only a single choice of a group has
    /// the group itself as the place of its relative entries: a name in a list and a direct name have their folder.
    fn new(entry: &DefaultsEntry, name: &str, parent: &FilePlace) -> Self {
        let is_single = entry.is_group && !matches!(entry.choice, EntryChoice::Several(_));
        let group = group_path(&entry.group, &parent.group);
        let path = if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") };
        let written_group = entry.group.trim_start_matches('/');
        if is_single {
            return NamedFile { path, group, written_group: written_group.into() };
        }
        let written = if written_group.is_empty() { name.to_owned() } else { format!("{written_group}/{name}") };
        NamedFile { group: parent_group(&path).into(), written_group: parent_group(&written).into(), path }
    }
}

impl DefaultsWalk<'_> {
    /// The tree of a file: the entries of its defaults list, and its own content at `_self_`, else at the end.
    fn file(
        &mut self,
        label: String,
        file: ConfigFile,
        place: FilePlace,
        parent: Option<&str>,
        appended: Vec<DefaultsEntry>,
    ) -> Result<DefaultsTree> {
        if self.parents.contains(&place.path) {
            return Err(Error::usage(format!("{}: its defaults list leads back to itself", file.name)));
        }
        let mut items = match &file.defaults {
            Some(list) => read_list(list, &file.name)?,
            None => Vec::new(),
        };
        let own_items = items.len();
        match items.iter().filter(|item| matches!(item, DefaultsItem::SelfFile)).count() {
            0 => items.push(DefaultsItem::SelfFile),
            1 => {}
            _ => return Err(Error::usage(format!("{}: `_self_` stands twice in the defaults list", file.name))),
        }
        items.extend(appended.into_iter().map(DefaultsItem::Entry));
        self.selection.add_entries(&items, &place, self.in_interpolated)?;
        let content = DefaultsTree {
            label: place.path.clone(),
            path: Some(place.path.clone()),
            package: place.package.clone(),
            parent: parent.map(String::from),
            is_self: true,
            body: Some(file.body),
            children: Vec::new(),
        };
        if own_items == 0 && items.len() == 1 {
            return Ok(DefaultsTree { label, is_self: false, ..content });
        }

        self.parents.push(place.path.clone());
        let mut content = Some(content);
        // In reverse order. An entry whose choice is an interpolation waits for the others.
        let mut slots: Vec<Result<Vec<DefaultsTree>, DefaultsEntry>> = Vec::new();
        for item in items.into_iter().rev() {
            slots.push(match item {
                DefaultsItem::SelfFile => Ok(content.take().into_iter().collect()),
                DefaultsItem::Entry(entry) if entry.is_override => continue,
                DefaultsItem::Entry(mut entry) => {
                    self.selection.change(&override_key(&entry, &place), &mut entry);
                    if entry.interpolation().is_some() { Err(entry) } else { Ok(self.entry(entry, &place)?) }
                }
            });
        }
        let known = self.known_choices();
        let mut reversed = Vec::new();
        for slot in slots {
            reversed.push(match slot {
                Ok(trees) => trees,
                Err(entry) => self.interpolated(entry, &known, &place)?,
            });
        }
        self.parents.pop();
        Ok(DefaultsTree {
            label,
            path: None,
            package: place.package,
            parent: None,
            is_self: false,
            body: None,
            children: reversed.into_iter().rev().flatten().collect(),
        })
    }

    /// The choices that an interpolation can refer to: those that are known by now, by the key of their group.
    fn known_choices(&self) -> Node {
        let mut known = KeyMap::new();
        for chosen in self.choices.iter().rev() {
            let name = chosen.name.clone().map_or(Value::Null, Value::Str);
            known.insert(chosen.group.clone(), Node::new(name, Origin::Program));
        }
        Node::new(Value::Map(known), Origin::Program)
    }

    /// The files of an entry whose name holds interpolations, which refer to the choices `known`.
    fn interpolated(&mut self, mut entry: DefaultsEntry, known: &Node, place: &FilePlace) -> Result<Vec<DefaultsTree>> {
        let interpolator = Interpolator { root: known, now: self.context.now, environment: self.context.environment };
        if let Some(text) = entry.interpolation() {
            let node = Node::new(Value::Str(text.clone()), entry.origin.clone());
            match interpolator.resolve("defaults", &node)?.value {
                Value::Str(name) => entry.set_name(without_extension(&name)),
                value => {
                    let (origin, got) = (&entry.origin, value.described());
                    return Err(Error::usage(format!("{origin}: `{text}` is {got}, not the name of a choice")));
                }
            }
        }
        let outer = std::mem::replace(&mut self.in_interpolated, true);
        let trees = self.entry(entry, place);
        self.in_interpolated = outer;
        trees
    }

    /// The trees of the files that an entry of `parent`'s list chooses, in merge order.
    fn entry(&mut self, entry: DefaultsEntry, parent: &FilePlace) -> Result<Vec<DefaultsTree>> {
        let group = group_path(&entry.group, &parent.group);
        if group.starts_with("hydra/") || group == "hydra" {
            self.warnings.push(format!("{}: settings of Hydra's own groups (`{group}`) have no effect", entry.origin));
            return Ok(Vec::new());
        }
        let key = override_key(&entry, parent);
        let names = match &entry.choice {
            EntryChoice::None => Vec::new(),
            EntryChoice::One(name) => vec![name.clone()],
            EntryChoice::Several(names) => names.clone(),
        };
        if entry.is_group {
            let shown = names.join(",");
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
            self.choices.push(ChosenOption { group: key.clone(), name, origin: entry.origin.clone() });
            if names.is_empty() {
                return Ok(vec![DefaultsTree::placeholder(format!("{key}: null"))]);
            }
        }
        let mut reversed = Vec::new();
        for name in names.into_iter().rev() {
            reversed.extend(self.chosen(&entry, &key, &name, parent)?);
        }
        reversed.reverse();
        Ok(reversed)
    }

    /// The tree of the chosen file. None for an optional file that does not exist.
    fn chosen(
        &mut self,
        entry: &DefaultsEntry,
        key: &str,
        name: &str,
        parent: &FilePlace,
    ) -> Result<Option<DefaultsTree>> {
        let origin = &entry.origin;
        let group = group_path(&entry.group, &parent.group);
        let library = self.context.library;
        let options = || library.options(&group);
        if name == MANDATORY {
            return Err(Error::usage(format!("a choice for `{key}` must be given: `{key}=...`"))
                .hint(format!("choices: {}", options().join(", "))));
        }
        if name.contains("${") {
            return Err(Error::usage(format!("{origin}: an interpolation cannot stand in a list of choices"))
                .hint("write one entry for each choice"));
        }
        let named = NamedFile::new(entry, name, parent);
        let Some(file) = library.load(&named.path)? else {
            if entry.optional {
                return Ok(None);
            }
            let described = library.described();
            let what = match entry.is_group {
                true => format!("`{group}` has no choice `{name}` in {described}"),
                false => format!("no `{}` in {described}", named.path),
            };
            let hint = (self.context.choice_hint)(&group, name, &options())
                .unwrap_or_else(|| did_you_mean(name, options().iter().map(String::as_str)));
            return Err(Error::usage(format!("{origin}: {what}")).hint(hint));
        };
        let header = header_package(file.package.as_deref());
        let package =
            final_package(entry.package.as_deref(), header.as_deref(), &parent.package, &named.written_group, &group);
        let is_single = entry.is_group && !matches!(entry.choice, EntryChoice::Several(_));
        let label = if is_single { format!("{key}: {name}") } else { named.path.clone() };
        let place = FilePlace { group: named.group, path: named.path, package };
        self.file(label, file, place, Some(&parent.path), Vec::new()).map(Some)
    }
}
