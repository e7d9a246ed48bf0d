//! The published archives of the data sets. Each is downloaded and unpacked to the folder that its reader expects.

use std::fs;
use std::path::{Path, PathBuf};

use super::cifar;
use super::tiny_imagenet;
use crate::config::schema::{DataConfig, DatasetName};
use crate::distributed::process;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::unpack::{ArchiveContents, ArchiveFormat, unpack};
use crate::fetch::{Checksum, FileLock, Remote, RetryPolicy, fetch_locked};
use crate::hydra::text_override;
use crate::shell;

/// The published archive of one data set.
#[derive(Debug, Clone, Copy)]
pub struct Archive<'a> {
    /// The value of `data.name`.
    pub name: &'a str,
    pub remote: Remote<'a>,
    pub contents: ArchiveContents,
    /// Files and folders that the reader accepts in place of this archive: another layout, or the files without their
    /// folder. If one of them is in `data.data_dir`, the archive is not downloaded.
    pub alternatives: &'a [&'a str],
}

/// Checksum and size are those of the publisher's page (<https://www.cs.toronto.edu/~kriz/cifar.html>).
pub const CIFAR10: Archive = Archive {
    name: "cifar10",
    remote: Remote {
        url: cifar::CIFAR10.binary.url,
        bytes: Some(170_052_171),
        checksum: Checksum::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
    },
    contents: ArchiveContents {
        format: ArchiveFormat::TarGz,
        top: cifar::CIFAR10.binary.folder,
        wanted: |path| path.ends_with(".bin") || path.ends_with(".txt"),
        max_bytes: 200_000_000,
    },
    alternatives: &[cifar::CIFAR10.python.folder, "data_batch_1.bin", "data_batch_1"],
};

/// Checksum and size are those of the page given at [`CIFAR10`].
pub const CIFAR100: Archive = Archive {
    name: "cifar100",
    remote: Remote {
        url: cifar::CIFAR100.binary.url,
        bytes: Some(168_513_733),
        checksum: Checksum::Md5("03b5dce01913d631647c71ecec9e9cb8"),
    },
    contents: ArchiveContents {
        format: ArchiveFormat::TarGz,
        top: cifar::CIFAR100.binary.folder,
        wanted: |path| path.ends_with(".bin") || path.ends_with(".txt"),
        max_bytes: 200_000_000,
    },
    alternatives: &[cifar::CIFAR100.python.folder, "train.bin", "meta"],
};

/// Published without a checksum; this one is that of the copies in common use. The test images have no labels and are
/// not unpacked.
pub const TINY_IMAGENET: Archive = Archive {
    name: "tiny_imagenet",
    remote: Remote {
        url: tiny_imagenet::URL,
        bytes: Some(248_100_043),
        checksum: Checksum::Md5("90528d7ca1a48142e341f4ef8d21d0de"),
    },
    contents: ArchiveContents {
        format: ArchiveFormat::Zip,
        top: tiny_imagenet::FOLDER,
        wanted: |path| !path.starts_with("test/"),
        max_bytes: 1_000_000_000,
    },
    alternatives: &["train"],
};

/// Downloads and unpacks the configured data set if it is absent, can be downloaded, and `data.download` is true. Only
/// the rank with `downloads` does so; the other ranks call this later and find it.
///
/// # Errors
/// `Missing` if it cannot be downloaded, or if this rank does not see the files of the rank that has downloaded it.
pub fn provide(data: &DataConfig, downloads: bool) -> Result<()> {
    let archive = match data.name {
        DatasetName::Cifar10 => CIFAR10,
        DatasetName::Cifar100 => CIFAR100,
        DatasetName::TinyImagenet => TINY_IMAGENET,
        DatasetName::Digits | DatasetName::ImageFolder => return Ok(()),
    };
    match data.download {
        true => archive.provide(&data.data_dir, data.mirror.as_deref(), downloads, &RetryPolicy::default()),
        false => Ok(()), // the reader reports missing files
    }
}

impl Archive<'_> {
    /// Downloads and unpacks this archive unless its files are in `data_dir` already, see [`provide`].
    pub fn provide(&self, data_dir: &Path, mirror: Option<&str>, downloads: bool, retry: &RetryPolicy) -> Result<()> {
        if self.is_in(data_dir) {
            return Ok(());
        }
        if !downloads {
            return Err(Error::missing(format!(
                "rank 0 has put {} in {}, but {} does not see it there",
                self.name,
                data_dir.display(),
                process::host()
            ))
            .hint("data.data_dir must be a folder that all machines share, or the data must be on each machine"));
        }
        let target = self.target(data_dir);
        let parent = target.parent().unwrap_or(Path::new("."));
        let path = parent.join(self.remote.name());
        let lock = FileLock::take(&path)?;
        if self.is_in(data_dir) {
            return Ok(()); // another process made it while this one waited
        }
        let was_there = path.exists();
        let path = fetch_locked(&self.remote, mirror, parent, retry, &lock)
            .map_err(|error| self.with_advice(error, data_dir, parent))?;
        tracing::info!("unpacking {} to {}", path.display(), target.display());
        unpack(&path, &self.contents, &target)?;
        if !was_there {
            fs::remove_file(&path).map_err(|source| Error::storage("cannot remove", &path, &source))?;
        }
        Ok(())
    }

    /// Whether the data set, in this layout or another one, is in `data_dir`.
    fn is_in(&self, data_dir: &Path) -> bool {
        self.target(data_dir).is_dir() && has_entries(&self.target(data_dir))
            || self.alternatives.iter().any(|name| data_dir.join(name).exists())
    }

    /// The folder that the archive is unpacked to: `data_dir` itself if it has the name of the archive's top folder (as
    /// Tiny ImageNet's default has), else a folder in it.
    fn target(&self, data_dir: &Path) -> PathBuf {
        match data_dir.ends_with(self.contents.top) {
            true => data_dir.to_owned(),
            false => data_dir.join(self.contents.top),
        }
    }

    /// Adds the name of the data set and advice to an error of the download.
    fn with_advice(&self, error: Error, data_dir: &Path, parent: &Path) -> Error {
        if error.kind() != ErrorKind::Missing || error.hint_text().is_some() {
            return error;
        }
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = text_override("data.data_dir", &absolute(data_dir).to_string_lossy());
        let fetch = shell::command(["regun", "splits", &format!("data={}", self.name), &folder]);
        error.context(format!("{} is not in {}", self.name, data_dir.display())).hint(format!(
            "if this machine has no network (a compute node), do one of these first:\n  \
             on a machine with a network that sees the folder (a login node):\n    \
             {fetch} > /dev/null\n  \
             put {} by hand into {}\n  \
             name a folder or server with a copy: data.mirror=FOLDER, or data.mirror=http://HOST/PATH\n  \
             name the proxy: export HTTPS_PROXY=http://HOST:PORT",
            self.remote.url,
            absolute(parent).display()
        ))
    }
}

fn has_entries(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
