//! The home folder at the head of a path: `~`, `~name`, `$HOME` and `${HOME}`.
//!
//! A shell replaces them only where they stand free. In a configuration file, in an environment variable or after
//! `key=` they reach the program as written.

use std::path::{Path, PathBuf};

/// The path with a leading `~`, `~name`, `$HOME` or `${HOME}` replaced by that home folder. A path without one, and one
/// whose home folder is not known, stays as it is.
pub fn expand(path: &Path) -> PathBuf {
    let mut parts = path.components();
    let home = match parts.next().and_then(|head| head.as_os_str().to_str()) {
        Some("~" | "$HOME" | "${HOME}") => own_home(),
        Some(head) => head.strip_prefix('~').and_then(home_of),
        None => None,
    };
    home.map_or_else(|| path.to_path_buf(), |home| home.join(parts.as_path()))
}

fn own_home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The home folder of another user, from the list of users.
fn home_of(user: &str) -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find(|fields| fields.len() >= 6 && fields[0] == user)?;
    Some(found[5].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_home_folder_at_the_head_is_replaced() {
        let home = own_home().expect("the tests have a home folder");
        for path in ["~/a/b", "$HOME/a/b", "${HOME}/a/b"] {
            assert_eq!(expand(Path::new(path)), home.join("a/b"));
        }
        assert_eq!(expand(Path::new("~")), home);
        assert_eq!(expand(Path::new("~root/x")), Path::new("/root/x"));
        for path in ["a/~/b", "x~", "~nobody-has-this-name/x", "$HOMES/x", "/abs", "", "./~"] {
            assert_eq!(expand(Path::new(path)), Path::new(path));
        }
    }
}
