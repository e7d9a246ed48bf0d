//! The place that a published file is taken from: its address or a mirror.

use std::path::{Path, PathBuf};

use super::remote::Remote;

/// The file or the address to take a published file from.
pub(super) enum DownloadSource {
    File(PathBuf),
    Address(String),
}

impl DownloadSource {
    /// The source of `remote`. `mirror` replaces the file's address up to its name: an `http` or `https` address, a
    /// `file://` address or a path. An empty mirror counts as none.
    pub(super) fn of(remote: &Remote, mirror: Option<&str>) -> Self {
        match mirror.filter(|mirror| !mirror.is_empty()) {
            None => DownloadSource::Address(remote.url.to_owned()),
            Some(mirror) => match mirror.strip_prefix("file://") {
                Some(folder) => DownloadSource::File(Path::new(folder).join(remote.name())),
                None if mirror.contains("://") => {
                    DownloadSource::Address(format!("{}/{}", mirror.trim_end_matches('/'), remote.name()))
                }
                None => DownloadSource::File(Path::new(mirror).join(remote.name())),
            },
        }
    }
}
