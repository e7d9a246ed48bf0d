//! Overrides of choices, from the command line and from `override` entries of defaults lists.

use std::collections::HashMap;

use super::entry::{DefaultsEntry, DefaultsItem, EntryChoice};
use super::package::{FilePlace, override_key};
use crate::error::{Error, Result, did_you_mean};
use crate::hydra::library::ConfigLibrary;
use crate::hydra::node::{Node, Origin, Value};
use crate::hydra::overrides::{Override, OverrideAction};

/// The overrides of choices, by group key: `group` or `group@package`.
#[derive(Default)]
pub(super) struct GroupSelection {
    changed: HashMap<String, ChangedChoice>,
    deleted: Vec<DeletedGroup>,
    /// Entries that `+group=choice` adds to the root's defaults list.
    pub appended: Vec<DefaultsEntry>,
    /// The other overrides: those of keys.
    pub key_overrides: Vec<Override>,
}

struct ChangedChoice {
    choice: EntryChoice,
    origin: Origin,
    used: bool,
}

struct DeletedGroup {
    key: String,
    /// The only choice that may be deleted. None: any.
    choice: Option<String>,
    origin: Origin,
    used: bool,
}

impl GroupSelection {
    /// Sorts the overrides of the command line. An override is one of a choice if the library has its group.
    ///
    /// # Errors
    /// An override that a group does not allow.
    pub fn new(library: &ConfigLibrary, overrides: Vec<Override>) -> Result<Self> {
        let mut selection = GroupSelection::default();
        for given in overrides {
            let is_map = matches!(given.value, Some(Node { value: Value::Map(_), .. }));
            if is_map || !library.is_group(&given.key) {
                selection.key_overrides.push(given);
            } else {
                selection.add(given)?;
            }
        }
        Ok(selection)
    }

    fn add(&mut self, given: Override) -> Result<()> {
        let text = &given.text;
        let origin = Origin::Override { text: text.clone(), added: false };
        let choice = match given.value.as_ref().map(|node| &node.value) {
            None => None,
            Some(Value::List(items)) => Some(EntryChoice::list(items)),
            Some(Value::Null) => {
                return Err(Error::usage(format!("override `{text}`: a group cannot be set to null"))
                    .hint(format!("leave it out, or write `~{}` to take the group away", given.key)));
            }
            Some(value) => Some(EntryChoice::named(&value.python_str())),
        };
        match (given.action, choice) {
            (OverrideAction::ForceAdd, _) => {
                return Err(Error::usage(format!(
                    "override `{text}`: `++` does not work on a group; write `+` or nothing"
                )));
            }
            (OverrideAction::Delete, None) => {
                self.deleted.push(DeletedGroup { key: given.full_key(), choice: None, origin, used: false });
            }
            (OverrideAction::Delete, Some(EntryChoice::One(name))) => {
                self.deleted.push(DeletedGroup { key: given.full_key(), choice: Some(name), origin, used: false });
            }
            (OverrideAction::Change, Some(choice)) => {
                self.changed.insert(given.full_key(), ChangedChoice { choice, origin, used: false });
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
            }
            _ => return Err(Error::usage(format!("override `{text}`: wanted the name of a choice"))),
        }
        Ok(())
    }

    /// Adds the `override` entries of the defaults list of the file at `place`. Earlier additions win.
    ///
    /// # Errors
    /// An `override` entry that does not stand at the end of the list, or below an interpolated choice.
    pub fn add_entries(&mut self, items: &[DefaultsItem], place: &FilePlace, in_interpolated: bool) -> Result<()> {
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
            if in_interpolated {
                let origin = &entry.origin;
                return Err(Error::usage(format!(
                    "{origin}: a file that an interpolation chooses cannot hold `override` entries"
                ))
                .hint("interpolations are resolved when all overrides are known; choose the file by its name"));
            }
            let key = override_key(entry, place);
            let changed = ChangedChoice { choice: entry.choice.clone(), origin: entry.origin.clone(), used: false };
            self.changed.entry(key).or_insert(changed);
        }
        Ok(())
    }

    /// Puts the overriding choice of the group `key`, if there is one, into its entry.
    pub fn change(&mut self, key: &str, entry: &mut DefaultsEntry) {
        if !entry.is_group {
            return;
        }
        if let Some(changed) = self.changed.get_mut(key) {
            changed.used = true;
            entry.choice = changed.choice.clone();
            entry.origin = changed.origin.clone();
        }
    }

    /// Whether the group `key` with the choice `name` is deleted.
    pub fn delete(&mut self, key: &str, name: &str) -> bool {
        let fits = |deleted: &&mut DeletedGroup| {
            deleted.key == key && deleted.choice.as_ref().is_none_or(|choice| choice == name)
        };
        match self.deleted.iter_mut().find(fits) {
            Some(deleted) => {
                deleted.used = true;
                true
            }
            None => false,
        }
    }

    /// Checks that every override matched an entry. `known` are the groups of all entries.
    ///
    /// # Errors
    /// An override that matched none.
    pub fn check_all_used(&self, known: &[&str]) -> Result<()> {
        for (key, changed) in &self.changed {
            if !changed.used && !key.starts_with("hydra/") {
                let mut error =
                    Error::usage(format!("{}: no defaults list has a group `{key}` to override", changed.origin));
                if let (Origin::Override { .. }, EntryChoice::One(name)) = (&changed.origin, &changed.choice) {
                    error =
                        error.hint(format!("`+{key}={name}` adds it; {}", did_you_mean(key, known.iter().copied())));
                }
                return Err(error);
            }
        }
        match self.deleted.iter().find(|deleted| !deleted.used) {
            Some(DeletedGroup { key, choice: Some(name), origin, .. }) => {
                Err(Error::usage(format!("{origin}: the choice of `{key}` is not `{name}`, so it cannot be deleted")))
            }
            Some(DeletedGroup { key, choice: None, origin, .. }) => {
                Err(Error::usage(format!("{origin}: no defaults list has a group `{key}` to delete"))
                    .hint(did_you_mean(key, known.iter().copied())))
            }
            None => Ok(()),
        }
    }
}
