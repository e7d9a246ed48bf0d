//! Groups and packages: the key that an `override` uses for an entry, and the place of a chosen file in the tree.

use super::entry::DefaultsEntry;

/// A file's name, the group of the relative entries in its defaults list, and its package.
pub(super) struct FilePlace {
    pub path: String,
    pub group: String,
    pub package: String,
}

/// The group of a file: the folder of its path.
pub(super) fn parent_group(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(group, _)| group)
}

/// The absolute path of a group that an entry of the group `parent` names.
pub(super) fn group_path(group: &str, parent: &str) -> String {
    match group.strip_prefix('/') {
        Some(absolute) => absolute.into(),
        None if parent.is_empty() => group.into(),
        None if group.is_empty() => parent.into(),
        None => format!("{parent}/{group}"),
    }
}

/// `group`, or `group@package` if the package is not the group's own.
pub(super) fn override_key(entry: &DefaultsEntry, parent: &FilePlace) -> String {
    let group = group_path(&entry.group, &parent.group);
    let package = final_package(entry, &parent.package, None, &group);
    if package == group.replace('/', ".") {
        group
    } else {
        format!("{group}@{}", if package.is_empty() { "_global_" } else { &package })
    }
}

/// The package of a chosen file: of the entry, else of the file's header, else the group's name. It lies below the
/// parent's package unless it starts with `_global_`.
pub(super) fn final_package(entry: &DefaultsEntry, parent: &str, header: Option<&str>, group: &str) -> String {
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
