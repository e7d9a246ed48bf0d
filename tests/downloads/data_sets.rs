//! Archives of data sets are downloaded and unpacked, by one process and by two ranks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use regun::data::archives::{Archive, CIFAR10, CIFAR100, TINY_IMAGENET};
use regun::distributed::{World, launch, process};
use regun::error::ErrorKind;
use regun::fetch::unpack::{ArchiveContents, ArchiveFormat};
use regun::fetch::{Checksum, Remote, RetryPolicy};
use regun::pretrained::published;
use tempfile::TempDir;

use crate::as_ranks::{rank_folder, run_as_ranks};
use crate::mpirun::said;
use crate::server::{Answer, Asked, Server, md5, noise};

/// A data set of one file, packed.
fn packed() -> Vec<u8> {
    let content = noise(2000);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append_data(&mut header, "some-images/1.bin", &content[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

fn archive<'a>(url: &'a str, sum: &'a str) -> Archive<'a> {
    Archive {
        name: "some",
        remote: Remote { url, bytes: None, checksum: Checksum::Md5(sum) },
        contents: ArchiveContents {
            format: ArchiveFormat::TarGz,
            top: "some-images",
            wanted: |_| true,
            max_bytes: 10_000,
        },
        alternatives: &["1.bin"],
    }
}

fn good(_: usize, asked: &Asked) -> Answer {
    Answer::file(&packed(), asked)
}

fn visible(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[test]
fn an_absent_set_is_downloaded_and_unpacked_once() {
    let server = Server::start(good);
    let (url, sum) = (server.url("some.tar.gz"), md5(&packed()));
    let archive = archive(&url, &sum);
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("deep/down");
    for _ in 0..2 {
        archive.provide(&data_dir, None, true, &RetryPolicy::default()).unwrap();
        assert_eq!(visible(&data_dir), ["some-images"]);
        assert!(fs::read(data_dir.join("some-images/1.bin")).unwrap() == noise(2000));
    }
    assert_eq!(server.ranges(), [None]);
    // A rank that does not download finds it there. If not, its message names the machine.
    archive.provide(&data_dir, None, false, &RetryPolicy::default()).unwrap();
    let error = archive.provide(dir.path(), None, false, &RetryPolicy::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.message().contains(&format!("{} does not see it", process::host())), "{error}");
}

#[test]
fn existing_files_are_left_alone() {
    let server = Server::start(good);
    let (url, sum) = (server.url("some.tar.gz"), md5(&packed()));
    let archive = archive(&url, &sum);
    let provide = |data_dir: &Path| archive.provide(data_dir, None, true, &RetryPolicy::default());

    // The files without their folder.
    let loose = TempDir::new().unwrap();
    fs::write(loose.path().join("1.bin"), "x").unwrap();
    provide(loose.path()).unwrap();
    assert_eq!(visible(loose.path()), ["1.bin"]);
    // An archive that a user put there by hand stays.
    let by_hand = TempDir::new().unwrap();
    fs::write(by_hand.path().join("some.tar.gz"), packed()).unwrap();
    provide(by_hand.path()).unwrap();
    assert_eq!(visible(by_hand.path()), ["some-images", "some.tar.gz"]);
    assert!(server.asked().is_empty());
    // An empty folder of that name is not a data set. `data_dir` may be that folder.
    let empty = TempDir::new().unwrap();
    fs::create_dir(empty.path().join("some-images")).unwrap();
    provide(&empty.path().join("some-images")).unwrap();
    assert_eq!(visible(empty.path()), ["some-images"]);
    assert_eq!(visible(&empty.path().join("some-images")), ["1.bin"]);
}

#[test]
fn the_message_about_a_failed_download_says_how_to_fix_it() {
    let server = Server::start(|_, _| Answer::status("404 Not Found"));
    let url = server.url("some.tar.gz");
    let archive = archive(&url, "0");
    let dir = TempDir::new().unwrap();
    let error = archive.provide(dir.path(), None, true, &RetryPolicy::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    let folder = dir.path().display();
    for part in [
        format!("some is not in {folder}: cannot download {url}: the server answers 404 Not Found"),
        format!("regun splits data=some data.data_dir={folder}"),
        format!("put {url} by hand into {folder}"),
        "data.mirror=".into(),
        "HTTPS_PROXY".into(),
    ] {
        assert!(error.to_string().contains(&part), "{part:?} is not in: {error}");
    }
    assert_eq!(visible(dir.path()), [""; 0]);
}

/// The readers know each name, and each checksum is well-formed.
#[test]
fn the_table_of_archives_is_consistent() {
    for archive in [CIFAR10, CIFAR100, TINY_IMAGENET] {
        let Checksum::Md5(sum) = archive.remote.checksum else { panic!("{archive:?}") };
        assert!(sum.len() == 32 && sum.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{archive:?}");
        let name = archive.remote.name();
        let format = if name.ends_with(".zip") { ArchiveFormat::Zip } else { ArchiveFormat::TarGz };
        assert!(
            archive.contents.format == format && (format == ArchiveFormat::Zip || name.ends_with(".tar.gz")),
            "{name}"
        );
        assert!(archive.remote.url.starts_with("https://") && archive.remote.bytes.is_some(), "{name}");
    }
}

#[test]
fn weights_are_verified_by_the_digits_in_their_names() {
    let Remote { url, checksum: Checksum::Sha256(digits), .. } = published::published("vit_b_16").unwrap() else {
        panic!("another checksum")
    };
    assert_eq!((url, digits), ("https://download.pytorch.org/models/vit_b_16-c867db91.pth", "c867db91"));
    let error = published::published("resnet20").unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("resnet18, resnet34, resnet50"), "{error}");

    // A mirror has another file with the right name: it is refused, and the folder stays empty.
    let [mirror, folder] = [(); 2].map(|()| TempDir::new().unwrap());
    fs::write(mirror.path().join("resnet18-f37072fd.pth"), "no weights").unwrap();
    let mirror = mirror.path().to_str();
    let error = published::fetch_weights("resnet18", folder.path(), mirror, &World::solo()).unwrap_err();
    assert!(error.kind() == ErrorKind::Missing && error.message().contains("wanted f37072fd..."), "{error}");
    assert!(!folder.path().join("resnet18-f37072fd.pth").exists());
}

/// The time that a rank waits for another, and a download that takes longer.
const LIMIT: Duration = Duration::from_secs(3);
const SLOW: Duration = Duration::from_secs(5);

#[test]
#[ignore = "one rank of another test"]
fn rank_downloading() {
    let folder = rank_folder();
    let world = launch::start().unwrap();
    world.configure(LIMIT, true);
    let url = fs::read_to_string(folder.join("url")).unwrap();
    let sum = md5(&packed());
    let remote = Remote { url: &url, bytes: None, checksum: Checksum::Md5(&sum) };
    let path =
        published::fetch_remote(&remote, &folder.join("weights"), None, &world, &RetryPolicy::default()).unwrap();
    assert!(fs::read(path).unwrap() == packed());

    // If only rank 0 sees the downloaded files, the others report that, and all ranks end.
    regun::log::init(0, world.is_root());
    let (own, root) = (folder.join(format!("of_rank_{}", world.rank())), world.is_root());
    if let Err(error) = world.root_first(|| archive(&url, &sum).provide(&own, None, root, &RetryPolicy::default())) {
        process::fail(&error);
    }
    world.barrier().unwrap();
}

#[test]
fn one_rank_downloads_and_the_others_wait_without_a_time_limit() {
    let server = Server::start(|number, asked| {
        if number == 0 {
            std::thread::sleep(SLOW);
        }
        good(number, asked)
    });
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("url"), server.url("some.tar.gz")).unwrap();
    let output = run_as_ranks("data_sets::rank_downloading", 2, folder.path());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let unseen = format!("but {} does not see it there", process::host());
    assert!(text.contains("rank 1 of 2 on ") && text.contains(&unseen), "{text}");
    assert_eq!(server.ranges(), [None, None], "one for the weights, one for the archive\n{text}");
    assert!(folder.path().join("of_rank_0/some-images/1.bin").exists() && !folder.path().join("of_rank_1").exists());
}
