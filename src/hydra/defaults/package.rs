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
    let written = entry.group.trim_start_matches('/');
    let package = final_package(entry.package.as_deref(), None, &parent.package, written, &group);
    if package == group.replace('/', ".") {
        group
    } else {
        format!("{group}@{}", if package.is_empty() { "_global_" } else { &package })
    }
}

/// The package that a file's header `# @package NAME` gives. Headers are absolute.
pub(super) fn header_package(header: Option<&str>) -> Option<String> {
    match header {
        None | Some("_group_") => None,
        Some("") | Some("_global_") => Some("_global_".to_owned()),
        Some(package) if package.starts_with("_global_.") => Some(package.to_owned()),
        Some(package) => Some(format!("_global_.{package}")),
    }
}

/// The package of a file: the one that its entry gives, else its header's, else the group's name as the entry writes
/// it. It lies below the parent's package unless it starts with `_global_`. `group` is the group's absolute path.
pub(super) fn final_package(
    given: Option<&str>,
    header: Option<&str>,
    parent: &str,
    written_group: &str,
    group: &str,
) -> String {
    let own = match given.or(header) {
        Some("_here_") => String::new(),
        Some(package) if package.contains("_group_") => {
            format!("_global_.{}", package.replace("_group_", &group.replace('/', ".")))
        }
        Some(package) => package.into(),
        None => written_group.replace('/', "."),
    };
    let full = [parent, &own].into_iter().filter(|package| !package.is_empty()).collect::<Vec<_>>().join(".");
    match full.rfind("_global_") {
        Some(at) => full[at + "_global_".len()..].trim_start_matches('.').into(),
        None => full,
    }
}
