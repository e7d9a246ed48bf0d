//! Which configuration files make up a run, in which order and under which package: the expansion of defaults lists.
//!
//! The rules are Hydra 1.3's. The lists are walked from the end, so that an `override` in a later file is known before
//! the entry that it changes; a choice on the command line beats every `override`.

use std::collections::HashMap;

use super::library::{File, Library};
use super::overrides::{Action, Override};
use super::{Node, Origin, Value};
use crate::error::{Error, Result, did_you_mean};

/// A file to merge, with the package (dotted path, empty for the root) that its content goes to.
pub(super) struct Part {
    pub package: String,
    pub body: Node,
}

pub(super) struct Expansion {
    /// In merge order.
    pub parts: Vec<Part>,
    /// The choice of each group, in merge order.
    pub choices: Vec<Chosen>,
    /// The overrides that change keys rather than choose files.
    pub key_overrides: Vec<Override>,
    pub warnings: Vec<String>,
}

pub(super) struct Chosen {
    pub group: String,
    /// `None` where a placeholder stayed `null`.
    pub name: Option<String>,
    origin: Origin,
}

/// Expands the defaults list of `config_name` under the given overrides.
///
/// # Errors
/// A file or choice that does not exist, an override that matches nothing, a group chosen twice, a malformed list.
pub(super) fn expand(library: &Library, config_name: &str, overrides: Vec<Override>) -> Result<Expansion> {
    let mut walk = Walk::new(library, overrides)?;
    let Some(file) = library.load(config_name)? else {
        return Err(Error::usage(format!("there is no configuration `{config_name}` in {}", library.described()))
            .hint(did_you_mean(config_name, library.options("").iter().map(String::as_str))));
    };
    let root = Place { path: config_name.into(), group: parent_group(config_name).into(), package: String::new() };
    let appended = std::mem::take(&mut walk.appended);
    let parts = walk.file(file, root, appended, &mut Vec::new())?;
    walk.check_all_used()?;
    walk.choices.reverse();
    Ok(Expansion { parts, choices: walk.choices, key_overrides: walk.key_overrides, warnings: walk.warnings })
}

/// Where a file sits: its own name, the group that relative entries of its list belong to, its package.
struct Place {
    path: String,
    group: String,
    package: String,
}

/// One entry of a defaults list, except `_self_`.
#[derive(Clone)]
struct Entry {
    /// The group, or for a file named directly the folder part of its path. May be absolute (`/data`).
    group: String,
    choice: Choice,
    /// A file named directly cannot be overridden.
    is_group: bool,
    package: Option<String>,
    optional: bool,
    is_override: bool,
    origin: Origin,
}

#[derive(Clone)]
enum Choice {
    None,
    One(String),
    Several(Vec<String>),
}

enum Item {
    SelfFile,
    Entry(Entry),
}

struct Selected {
    choice: Choice,
    origin: Origin,
    used: bool,
}

struct Walk<'a> {
    library: &'a Library,
    selected: HashMap<String, Selected>,
    /// Group key, the only choice that may be deleted, the override, whether it matched.
    deleted: Vec<(String, Option<String>, Origin, bool)>,
    appended: Vec<Entry>,
    choices: Vec<Chosen>,
    key_overrides: Vec<Override>,
    warnings: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(library: &'a Library, overrides: Vec<Override>) -> Result<Self> {
        let mut walk = Walk {
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
                Some(Choice::Several(items.iter().map(|item| item.value.python_str()).collect()))
            }
            Some(Value::Null) => {
                return Err(Error::usage(format!("override `{text}`: a group cannot be set to null"))
                    .hint(format!("leave it out, or write `~{}` to take the group away", given.key)));
            }
            Some(value) => Some(Choice::One(value.python_str())),
        };
        match (given.action, choice) {
            (Action::ForceAdd, _) => {
                Err(Error::usage(format!("override `{text}`: `++` does not work on a group; write `+` or nothing")))
            }
            (Action::Delete, None) => {
                self.deleted.push((given.full_key(), None, origin, false));
                Ok(())
            }
            (Action::Delete, Some(Choice::One(name))) => {
                self.deleted.push((given.full_key(), Some(name), origin, false));
                Ok(())
            }
            (Action::Change, Some(choice)) => {
                self.selected.insert(given.full_key(), Selected { choice, origin, used: false });
                Ok(())
            }
            (Action::Add, Some(choice)) => {
                self.appended.push(Entry {
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

    /// The parts of a file: those of its defaults list, with its own content where `_self_` stands (else last).
    fn file(&mut self, file: File, place: Place, appended: Vec<Entry>, parents: &mut Vec<String>) -> Result<Vec<Part>> {
        if parents.contains(&place.path) {
            return Err(Error::usage(format!("{}: its defaults list leads back to itself", file.name)));
        }
        let mut items = match &file.defaults {
            Some(list) => read_list(list, &file.name)?,
            None => Vec::new(),
        };
        match items.iter().filter(|item| matches!(item, Item::SelfFile)).count() {
            0 => items.push(Item::SelfFile),
            1 => {}
            _ => return Err(Error::usage(format!("{}: `_self_` stands twice in the defaults list", file.name))),
        }
        items.extend(appended.into_iter().map(Item::Entry));
        self.note_overrides(&items, &place)?;

        parents.push(place.path.clone());
        let mut body = Some(file.body);
        let mut reversed: Vec<Vec<Part>> = Vec::new();
        for item in items.into_iter().rev() {
            match item {
                Item::SelfFile => {
                    let own = body.take().map(|body| Part { package: place.package.clone(), body });
                    reversed.push(own.into_iter().collect());
                }
                Item::Entry(entry) if entry.is_override => {}
                Item::Entry(entry) => reversed.push(self.entry(entry, &place, parents)?),
            }
        }
        parents.pop();
        Ok(reversed.into_iter().rev().flatten().collect())
    }

    /// Remembers the `override` entries of a list, which must stand at its end.
    fn note_overrides(&mut self, items: &[Item], place: &Place) -> Result<()> {
        let mut last_override = None;
        for item in items {
            let Item::Entry(entry) = item else { continue };
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
            let selected = Selected { choice: entry.choice.clone(), origin: entry.origin.clone(), used: false };
            self.selected.entry(key).or_insert(selected);
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Entry, parent: &Place, parents: &mut Vec<String>) -> Result<Vec<Part>> {
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
            Choice::None => vec![None],
            Choice::One(name) => vec![Some(name.clone())],
            Choice::Several(names) => names.iter().cloned().map(Some).collect(),
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
            // The walk goes backwards: what was met before stands later.
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
            self.choices.push(Chosen { group: key, name, origin: entry.origin.clone() });
        }
        let mut reversed = Vec::new();
        for name in names.into_iter().rev().flatten() {
            reversed.push(self.chosen(&entry, &group, &name, parent, parents)?);
        }
        Ok(reversed.into_iter().rev().flatten().collect())
    }

    fn chosen(
        &mut self,
        entry: &Entry,
        group: &str,
        name: &str,
        parent: &Place,
        parents: &mut Vec<String>,
    ) -> Result<Vec<Part>> {
        let origin = &entry.origin;
        let options = || self.library.options(group);
        if name == super::node::MANDATORY {
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
        let place = Place { group: parent_group(&path).into(), path, package };
        self.file(file, place, Vec::new(), parents)
    }

    fn check_all_used(&self) -> Result<()> {
        let known = || self.choices.iter().map(|chosen| chosen.group.as_str());
        for (key, selected) in &self.selected {
            if !selected.used && !key.starts_with("hydra/") {
                let mut error =
                    Error::usage(format!("{}: no defaults list has a group `{key}` to override", selected.origin));
                if let (Origin::Override { .. }, Choice::One(name)) = (&selected.origin, &selected.choice) {
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

fn parent_group(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(group, _)| group)
}

fn group_path(group: &str, parent: &str) -> String {
    match group.strip_prefix('/') {
        Some(absolute) => absolute.into(),
        None if parent.is_empty() => group.into(),
        None if group.is_empty() => parent.into(),
        None => format!("{parent}/{group}"),
    }
}

/// `group`, or `group@package` where the package is not the group's own.
fn override_key(entry: &Entry, parent: &Place) -> String {
    let group = group_path(&entry.group, &parent.group);
    let package = final_package(entry, &parent.package, None, &group);
    if package == group.replace('/', ".") {
        group
    } else {
        format!("{group}@{}", if package.is_empty() { "_global_" } else { &package })
    }
}

/// The package of a chosen file: the entry's, else the file header's, else the group's name, below the parent's package
/// unless `_global_` says otherwise.
fn final_package(entry: &Entry, parent: &str, header: Option<&str>, group: &str) -> String {
    let given = entry.package.as_deref().or(header);
    let own = match given {
        Some("_here_") => String::new(),
        Some(package) if package.contains("_group_") => {
            format!("_global_.{}", package.replace("_group_", &group.replace('/', ".")))
        }
        Some(package) => package.into(),
        None => entry.group.trim_start_matches('/').replace('/', "."),
    };
    let full = [parent, &own].into_iter().filter(|package| !package.is_empty()).collect::<Vec<_>>().join(".");
    match full.rfind("_global_") {
        Some(at) => full[at + "_global_".len()..].trim_start_matches('.').into(),
        None => full,
    }
}

fn read_list(list: &Node, file: &str) -> Result<Vec<Item>> {
    let Value::List(items) = &list.value else {
        return Err(Error::usage(format!(
            "{}: `defaults` must be a list, not {}",
            list.origin,
            list.value.described()
        )));
    };
    items.iter().map(|item| read_item(item, file)).collect()
}

fn read_item(item: &Node, file: &str) -> Result<Item> {
    let origin = &item.origin;
    match &item.value {
        Value::Str(text) if text == "_self_" => Ok(Item::SelfFile),
        Value::Str(text) => {
            let (path, package) = split_package(text);
            let (group, name) = match path.rsplit_once('/') {
                Some(("", name)) => ("/", name),
                Some((group, name)) => (group, name),
                None => ("", path),
            };
            Ok(Item::Entry(Entry {
                group: group.into(),
                choice: Choice::One(name.into()),
                is_group: false,
                package,
                optional: false,
                is_override: false,
                origin: origin.clone(),
            }))
        }
        Value::Map(map) => {
            let mut entries = map.iter();
            let (Some((key, node)), None) = (entries.next(), entries.next()) else {
                return Err(Error::usage(format!("{origin}: an entry of a defaults list has one key")));
            };
            let mut words: Vec<&str> = key.split_whitespace().collect();
            let name = words.pop().unwrap_or_default();
            let known = ["override", "optional"];
            if let Some(word) = words.iter().find(|word| !known.contains(word)) {
                return Err(Error::usage(format!("{origin}: unknown keyword `{word}` in the defaults list"))
                    .hint(did_you_mean(word, known)));
            }
            let (group, package) = split_package(name);
            let choice = match &node.value {
                Value::Null => Choice::None,
                Value::Str(name) => Choice::One(name.clone()),
                Value::List(names) => Choice::Several(names.iter().map(|name| name.value.python_str()).collect()),
                value => {
                    let got = value.described();
                    return Err(Error::usage(format!("{origin}: a choice is a name or null, not {got}")));
                }
            };
            Ok(Item::Entry(Entry {
                group: group.into(),
                choice,
                is_group: true,
                package,
                optional: words.contains(&"optional"),
                is_override: words.contains(&"override"),
                origin: node.origin.clone(),
            }))
        }
        value => Err(Error::usage(format!("{file}: a defaults list cannot hold {}", value.described()))),
    }
}

fn split_package(text: &str) -> (&str, Option<String>) {
    match text.split_once('@') {
        Some((path, package)) => (path, Some(package.into())),
        None => (text, None),
    }
}
