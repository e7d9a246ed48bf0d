//! Unpacks the wanted files of one top folder of an archive.
//!
//! No member is trusted. Unpacking fails on a path that is absolute or leaves the folder, on a link or a device, on two
//! files with one name, and on more bytes than the archive is known to hold. The folder grows as `<name>.partial` and
//! gets its name at the end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::files;

/// The file format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    TarGz,
    Zip,
}

/// The files that are wanted from an archive.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveContents {
    pub format: ArchiveFormat,
    /// The folder in the archive that becomes the target folder.
    pub top: &'static str,
    /// True for a wanted file. The argument is its path below `top`.
    pub wanted: fn(&str) -> bool,
    /// Upper limit of the bytes of all wanted files together.
    pub max_bytes: u64,
}

/// Unpacks `archive` into the new folder `target`.
///
/// # Errors
/// `Missing` if the archive is damaged, hostile or has none of the wanted files; `Storage` if nothing can be written.
/// After an error there is no `target`.
pub fn unpack(archive: &Path, contents: &ArchiveContents, target: &Path) -> Result<()> {
    let mut partial = target.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        remove(&partial)?;
    }
    let parent = target.parent().unwrap_or(Path::new("."));
    files::check_space(parent, contents.max_bytes)?;
    files::create_folder(&partial)?;
    let mut unpacking = Unpacking { archive, contents, partial: &partial, left: contents.max_bytes, files: 0 };
    let done = match contents.format {
        ArchiveFormat::TarGz => unpacking.tar_gz(),
        ArchiveFormat::Zip => unpacking.zip(),
    };
    let done = done.and_then(|()| match unpacking.files {
        0 => Err(unpacking.refuse(&format!("it has none of the wanted files of {}/", contents.top))),
        _ => fs::rename(&partial, target).map_err(|error| Error::storage("cannot make", target, &error)),
    });
    if done.is_err() {
        // The first error is the one to report.
        let _ = remove(&partial);
    }
    done
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).map_err(|source| Error::storage("cannot remove", folder, &source))
}

/// The kind of a member of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberKind {
    File,
    Folder,
    /// A link or a device: no published data set has one.
    Other,
}

struct Unpacking<'a> {
    archive: &'a Path,
    contents: &'a ArchiveContents,
    partial: &'a Path,
    /// Bytes that may still be written.
    left: u64,
    /// Files written so far.
    files: usize,
}

impl Unpacking<'_> {
    fn tar_gz(&mut self) -> Result<()> {
        let file = self.open()?;
        let mut tar = tar::Archive::new(MultiGzDecoder::new(io::BufReader::new(file)));
        let damaged = |error: io::Error| damaged(self.archive, &error);
        for entry in tar.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                continue;
            }
            let member = match (kind.is_file(), kind.is_dir()) {
                (true, _) => MemberKind::File,
                (_, true) => MemberKind::Folder,
                _ => MemberKind::Other,
            };
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            self.write_member(&path, member, &mut entry)?;
        }
        // The end of the compressed stream has its checksum.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
        Ok(())
    }

    fn zip(&mut self) -> Result<()> {
        let damaged = |error| damaged(self.archive, &io::Error::from(error));
        let mut zip = zip::ZipArchive::new(io::BufReader::new(self.open()?)).map_err(damaged)?;
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(damaged)?;
            let member = match (entry.is_symlink(), entry.is_dir()) {
                (true, _) => MemberKind::Other,
                (_, true) => MemberKind::Folder,
                _ => MemberKind::File,
            };
            let path = entry.name().map_err(damaged)?.into_owned();
            self.write_member(&path, member, &mut entry)?;
        }
        Ok(())
    }

    fn open(&self) -> Result<File> {
        File::open(self.archive).map_err(|error| damaged(self.archive, &error))
    }

    /// Writes one member if it is a wanted file.
    fn write_member(&mut self, path: &str, member: MemberKind, content: &mut impl Read) -> Result<()> {
        let relative = Path::new(path.strip_prefix("./").unwrap_or(path));
        if relative.components().any(|part| !matches!(part, Component::Normal(_))) || path.contains(['\\', '\0']) {
            return Err(self.refuse(&format!("its member {path:?} leads out of the folder")));
        }
        if member == MemberKind::Other {
            return Err(self.refuse(&format!("its member {path:?} is neither a file nor a folder")));
        }
        let Ok(below) = relative.strip_prefix(self.contents.top) else { return Ok(()) };
        if member == MemberKind::Folder || !below.to_str().is_some_and(self.contents.wanted) {
            return Ok(());
        }
        let target = self.partial.join(below);
        if let Some(folder) = target.parent() {
            files::create_folder(folder)?;
        }
        let unwritable = |source: &io::Error| Error::storage("cannot write", &target, source);
        // `create_new` never opens an existing file, so a member cannot write through a link or over another member.
        let mut file = File::create_new(&target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.refuse(&format!("it has two members {path:?}")),
            _ => unwritable(&error),
        })?;
        let mut buffer = [0; 1 << 16];
        loop {
            let got = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => return Err(damaged(self.archive, &error)),
            };
            self.left = self.left.checked_sub(got as u64).ok_or_else(|| {
                self.refuse(&format!("it unpacks to more than the {} bytes expected", self.contents.max_bytes))
            })?;
            io::Write::write_all(&mut file, &buffer[..got]).map_err(|error| unwritable(&error))?;
        }
        self.files += 1;
        Ok(())
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::missing(format!("cannot unpack {}: {reason}", self.archive.display()))
            .hint("this is not the archive that was published: remove it")
    }
}

fn damaged(archive: &Path, error: &io::Error) -> Error {
    Error::missing(format!("cannot unpack {}: {error}", archive.display()))
        .hint("the archive is damaged: remove it, and it is fetched again")
}
