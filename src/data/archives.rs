//! The published archives of the data sets, and how one becomes the folder that its reader looks for.

use std::fs;
use std::path::{Path, PathBuf};

use super::{cifar, tiny_imagenet};
use crate::config::schema::{DataConfig, DatasetName};
use crate::distributed::process;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::unpack::{Contents, Format, unpack};
use crate::fetch::{Checksum, Lock, Remote, RetryPolicy, fetch_locked};

/// One archive.
#[derive(Debug, Clone, Copy)]
pub struct Archive<'a> {
    /// As in `data.name`.
    pub name: &'a str,
    pub remote: Remote<'a>,
    pub contents: Contents,
    /// Where one of these is below `data.data_dir`, there is nothing to fetch: another layout, or files without their
    /// folder, can be read as well.
    pub instead: &'a [&'a str],
}

/// Checksum and size as on the publisher's page (<https://www.cs.toronto.edu/~kriz/cifar.html>).
pub const CIFAR10: Archive = Archive {
    name: "cifar10",
    remote: Remote {
        url: cifar::CIFAR10.binary.url,
        bytes: Some(170_052_171),
        checksum: Checksum::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
    },
    contents: Contents {
        format: Format::TarGz,
        top: cifar::CIFAR10.binary.folder,
        wanted: |path| path.ends_with(".bin") || path.ends_with(".txt"),
        most_bytes: 200_000_000,
    },
    instead: &[cifar::CIFAR10.python.folder, "data_batch_1.bin", "data_batch_1"],
};

/// Same page.
pub const CIFAR100: Archive = Archive {
    name: "cifar100",
    remote: Remote {
        url: cifar::CIFAR100.binary.url,
        bytes: Some(168_513_733),
        checksum: Checksum::Md5("03b5dce01913d631647c71ecec9e9cb8"),
    },
    contents: Contents {
        format: Format::TarGz,
        top: cifar::CIFAR100.binary.folder,
        wanted: |path| path.ends_with(".bin") || path.ends_with(".txt"),
        most_bytes: 200_000_000,
    },
    instead: &[cifar::CIFAR100.python.folder, "train.bin", "meta"],
};

/// Published without a checksum; this is the one that everybody's copies have. Its test images have no labels and stay
/// in the archive.
pub const TINY_IMAGENET: Archive = Archive {
    name: "tiny_imagenet",
    remote: Remote {
        url: tiny_imagenet::URL,
        bytes: Some(248_100_043),
        checksum: Checksum::Md5("90528d7ca1a48142e341f4ef8d21d0de"),
    },
    contents: Contents {
        format: Format::Zip,
        top: tiny_imagenet::FOLDER,
        wanted: |path| !path.starts_with("test/"),
        most_bytes: 1_000_000_000,
    },
    instead: &["train"],
};

/// Makes sure that the data set is there, where it is one that can be downloaded and `data.download` is true. Only one
/// rank `downloads`; the others come later and find it.
///
/// # Errors
/// `Missing` where it cannot be had, or where this rank does not see what another has downloaded.
pub fn provide(data: &DataConfig, downloads: bool) -> Result<()> {
    let archive = match data.name {
        DatasetName::Cifar10 => CIFAR10,
        DatasetName::Cifar100 => CIFAR100,
        DatasetName::TinyImagenet => TINY_IMAGENET,
        DatasetName::Digits | DatasetName::ImageFolder => return Ok(()),
    };
    match data.download {
        true => archive.provide(&data.data_dir, data.mirror.as_deref(), downloads, &RetryPolicy::default()),
        false => Ok(()), // the reader says what is missing
    }
}

impl Archive<'_> {
    /// The same for any archive.
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
            .hint("data.data_dir must be a folder that all machines share; one of their own needs the data on each"));
        }
        let target = self.target(data_dir);
        let parent = target.parent().unwrap_or(Path::new("."));
        let path = parent.join(self.remote.name());
        let lock = Lock::take(&path)?;
        if self.is_in(data_dir) {
            return Ok(()); // made while this process waited
        }
        let was_there = path.exists();
        let path = fetch_locked(&self.remote, mirror, parent, retry, &lock)
            .map_err(|error| self.say_what_to_do(error, data_dir, parent))?;
        tracing::info!("unpacking {} to {}", path.display(), target.display());
        unpack(&path, &self.contents, &target)?;
        if !was_there {
            fs::remove_file(&path).map_err(|source| Error::storage("cannot remove", &path, &source))?;
        }
        Ok(())
    }

    fn is_in(&self, data_dir: &Path) -> bool {
        self.target(data_dir).is_dir() && has_entries(&self.target(data_dir))
            || self.instead.iter().any(|name| data_dir.join(name).exists())
    }

    /// `data_dir` itself where that is what it is called (Tiny ImageNet's default), else a folder in it.
    fn target(&self, data_dir: &Path) -> PathBuf {
        match data_dir.ends_with(self.contents.top) {
            true => data_dir.to_owned(),
            false => data_dir.join(self.contents.top),
        }
    }

    fn say_what_to_do(&self, error: Error, data_dir: &Path, parent: &Path) -> Error {
        if error.kind() != ErrorKind::Missing || error.hint_text().is_some() {
            return error;
        }
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        error.context(format!("{} is not in {}", self.name, data_dir.display())).hint(format!(
            "where this machine has no network (a compute node), do one of these first:\n  \
             on one that has and sees the folder (a login node):\n    \
             regun splits data={} data.data_dir={} > /dev/null\n  \
             put {} by hand into {}\n  \
             say where a copy is: data.mirror=FOLDER, or data.mirror=http://HOST/PATH\n  \
             name the proxy: export HTTPS_PROXY=http://HOST:PORT",
            self.name,
            absolute(data_dir).display(),
            self.remote.url,
            absolute(parent).display()
        ))
    }
}

fn has_entries(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
