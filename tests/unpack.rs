//! Unpacking of archives, including damaged and hostile ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use regun::error::{Error, ErrorKind};
use regun::fetch::unpack::{ArchiveContents, ArchiveFormat, unpack};
use tar::{EntryType, Header};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

#[derive(Clone, Copy)]
enum Member<'a> {
    File(&'a [u8]),
    Folder,
    Symlink(&'a str),
    HardLink(&'a str),
}
use Member::{File, Folder, HardLink, Symlink};

fn tar_gz(members: &[(&str, Member)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for &(path, member) in members {
        let mut header = Header::new_gnu();
        // Not `set_path`, which refuses hostile paths.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o777);
        let (kind, content, link) = match member {
            File(content) => (EntryType::Regular, content, ""),
            Folder => (EntryType::Directory, &b""[..], ""),
            Symlink(to) => (EntryType::Symlink, &b""[..], to),
            HardLink(to) => (EntryType::Link, &b""[..], to),
        };
        header.set_entry_type(kind);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Without hard links, which a zip file cannot hold.
fn zip(members: &[(&str, Member)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for &(path, member) in members {
        match member {
            File(content) => {
                zip.start_file(path, options).unwrap();
                zip.write_all(content).unwrap();
            }
            Folder => zip.add_directory(path, options).unwrap(),
            Symlink(to) | HardLink(to) => zip.add_symlink(path, to, options).unwrap(),
        }
    }
    zip.finish().unwrap().into_inner()
}

/// Unpacks to the folder `set` of a new folder `data`.
fn unpacked(format: ArchiveFormat, archive: &[u8]) -> (TempDir, PathBuf, Result<(), Error>) {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let path = dir.path().join("archive");
    fs::write(&path, archive).unwrap();
    let contents = ArchiveContents { format, top: "set", wanted: |path| !path.starts_with("test/"), max_bytes: 1000 };
    let done = unpack(&path, &contents, &data.join("set"));
    (dir, data, done)
}

fn paths(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, below: &Path, paths: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, below, paths),
                false => paths.push(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let mut paths = Vec::new();
    walk(folder, folder, &mut paths);
    paths.sort();
    paths
}

#[test]
fn the_wanted_files_of_the_top_folder_are_unpacked() {
    let members = [
        ("set/", Folder),
        ("set/train/a/1.bin", File(b"one")),
        ("set/train/b/2.bin", File(b"")),
        ("set/test/3.bin", File(b"not wanted")),
        ("set/readme.txt", File(b"read me")),
        ("other/4.bin", File(b"not in the folder")),
        ("settle/5.bin", File(b"nor this")),
    ];
    for (format, archive) in [(ArchiveFormat::TarGz, tar_gz(&members)), (ArchiveFormat::Zip, zip(&members))] {
        let (_dir, data, done) = unpacked(format, &archive);
        done.unwrap();
        assert_eq!(paths(&data), ["set/readme.txt", "set/train/a/1.bin", "set/train/b/2.bin"], "{format:?}");
        assert_eq!(fs::read(data.join("set/train/a/1.bin")).unwrap(), b"one");
    }
    // `tar` writes such paths when it packs `.`.
    let (_dir, data, done) = unpacked(ArchiveFormat::TarGz, &tar_gz(&[("./set/1.bin", File(b"one"))]));
    done.unwrap();
    assert_eq!(paths(&data), ["set/1.bin"]);
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let outside = TempDir::new().unwrap();
    let absolute = outside.path().join("evil").display().to_string();
    let good = ("set/1.bin", File(b"one"));
    let big = [1u8; 600];
    let cases: &[(&[(&str, Member)], &str)] = &[
        (&[good, ("set/../../evil", File(b"x"))], "leads out"),
        (&[good, ("../evil", File(b"x"))], "leads out"),
        (&[good, (&absolute, File(b"x"))], "leads out"),
        (&[good, ("set\\..\\evil", File(b"x"))], "leads out"),
        (&[good, ("set/link", Symlink(".."))], "neither a file nor a folder"),
        (&[good, ("set/link", Symlink("/")), ("set/link/evil", File(b"x"))], "neither a file nor a folder"),
        (&[good, ("set/2.bin", HardLink("/etc/passwd"))], "neither a file nor a folder"),
        (&[good, ("set/2.bin", File(&big)), ("set/3.bin", File(&big))], "more than the 1000 bytes"),
        (&[("elsewhere/1.bin", File(b"one"))], "none of the wanted files of set/"),
        (&[], "none of the wanted files"),
    ];
    for (members, said) in cases {
        for (format, archive) in [(ArchiveFormat::TarGz, tar_gz(members)), (ArchiveFormat::Zip, zip(members))] {
            refused(format, &archive, said);
        }
    }
    refused(ArchiveFormat::TarGz, &tar_gz(&[good, good]), "two members");
    assert_eq!(paths(outside.path()), [""; 0]);
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let noise: Vec<u8> = (0..900u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let members = [("set/1.bin", File(&noise))];
    for (format, archive) in [(ArchiveFormat::TarGz, tar_gz(&members)), (ArchiveFormat::Zip, zip(&members))] {
        for cut in [0, 10, archive.len() / 2, archive.len() - 30] {
            refused(format, &archive[..cut], "cannot unpack");
        }
        let mut flipped = archive.clone();
        flipped[archive.len() / 2] ^= 4;
        refused(format, &flipped, "cannot unpack");
    }
}

#[track_caller]
fn refused(format: ArchiveFormat, archive: &[u8], said: &str) {
    let (dir, data, done) = unpacked(format, archive);
    let error = done.expect_err(said);
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains(said) && error.message().contains("archive"), "{format:?}, {said:?}: {error}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "{said}");
    assert_eq!(paths(dir.path()), ["archive"], "{said}");
}

#[test]
fn the_partial_folder_of_a_killed_run_is_replaced() {
    let dir = TempDir::new().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, zip(&[("set/1.bin", File(b"one"))])).unwrap();
    let partial = dir.path().join("set.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("1.bin"), "half").unwrap();
    fs::write(partial.join("2.bin"), "of an older archive").unwrap();
    let contents = ArchiveContents { format: ArchiveFormat::Zip, top: "set", wanted: |_| true, max_bytes: 1000 };
    unpack(&archive, &contents, &dir.path().join("set")).unwrap();
    assert_eq!(paths(dir.path()), ["archive", "set/1.bin"]);
    assert_eq!(fs::read(dir.path().join("set/1.bin")).unwrap(), b"one");
}
