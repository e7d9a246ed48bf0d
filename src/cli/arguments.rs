//! Hydra's short options in the form that the parser of the command line reads.
//!
//! Hydra has options of one dash and two letters: `-cn`, `-cd`, `-cp`. `-c` is `--cfg` there. In earlier versions of
//! this program it named the folder of `--config-dir`; a folder is still understood.

use std::ffi::OsString;
use std::path::Path;

/// The short options of two letters.
const TWO_LETTERS: [(&str, &str); 3] = [("-cn", "--config-name"), ("-cd", "--config-dir"), ("-cp", "--config-path")];

/// Values of `--cfg`.
const CFG: [&str; 3] = ["job", "hydra", "all"];

/// Replaces Hydra's short options of two letters by the long ones.
pub fn expand(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter().peekable();
    let mut expanded = Vec::new();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            expanded.push(argument);
            continue;
        };
        if text == "--" {
            expanded.push(argument);
            break;
        }
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        let is_folder = |value: &OsString| !CFG.iter().any(|known| value == known) && Path::new(value).is_dir();
        if let Some((_, long)) = TWO_LETTERS.iter().find(|(short, _)| *short == name) {
            expanded.push(text.replacen(name, long, 1).into());
        } else if text == "-c" && arguments.peek().is_some_and(is_folder) {
            expanded.push("--config-dir".into());
        } else {
            expanded.push(argument);
        }
    }
    expanded.extend(arguments);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_and_a_folder_after_c_become_long_options() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        for (typed, wanted) in [
            ("base -cn mine -cd=a -cp b", "base --config-name mine --config-dir=a --config-path b"),
            ("base -c job data=-cn", "base -c job data=-cn"),
            (&format!("config -c {folder}"), &format!("config --config-dir {folder}")),
            ("config -c no/such/folder", "config -c no/such/folder"),
            ("config -- -cn", "config -- -cn"),
        ] {
            let expanded = expand(typed.split(' ').map(OsString::from));
            assert_eq!(expanded.join(" ".as_ref()), OsString::from(wanted));
        }
    }
}
