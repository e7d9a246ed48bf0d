//! Downloads from a server that breaks, stalls, and sends wrong answers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use regun::error::{Error, ErrorKind};
use regun::fetch::{Checksum, FileLock, Remote, RetryPolicy, fetch};
use tempfile::TempDir;

use crate::server::{Answer, Asked, Server, md5, noise};

/// Bytes of the file on the server.
const BYTES: usize = 300_000;

const RETRY: RetryPolicy = RetryPolicy {
    connect: Duration::from_secs(20),
    stall: Duration::from_millis(300),
    attempts: 3,
    pause: Duration::from_millis(1),
};

/// A published file, a server that has it, and a folder for it.
struct Case {
    file: Vec<u8>,
    server: Server,
    url: String,
    folder: TempDir,
}

impl Case {
    /// `answer` gets the number of the request, the request and the file.
    fn new(answer: impl Fn(usize, &Asked, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let file = noise(BYTES);
        let served = file.clone();
        let server = Server::start(move |number, asked| answer(number, asked, &served));
        Case { file, url: server.url("file.bin"), server, folder: TempDir::new().unwrap() }
    }

    /// With `partial` left by an earlier run.
    fn with_partial(self, partial: &[u8]) -> Self {
        fs::write(self.folder.path().join("file.bin.partial"), partial).unwrap();
        self
    }

    fn fetch_sized(&self, bytes: Option<u64>) -> Result<(), Error> {
        let sum = md5(&self.file);
        let remote = Remote { url: &self.url, bytes, checksum: Checksum::Md5(&sum) };
        let path = fetch(&remote, None, self.folder.path(), &RETRY)?;
        assert_eq!(path, self.folder.path().join("file.bin"));
        Ok(())
    }

    #[track_caller]
    fn succeeds(&self) -> &Self {
        self.fetch_sized(Some(BYTES as u64)).unwrap_or_else(|error| panic!("{error}\n{:?}", self.server.asked()));
        self.is_there()
    }

    #[track_caller]
    fn is_there(&self) -> &Self {
        assert!(fs::read(self.folder.path().join("file.bin")).unwrap() == self.file, "not the file");
        assert_eq!(names(self.folder.path()), [".file.bin.lock", "file.bin"]);
        self
    }

    /// Checks that it fails after these requests, with all of `parts` in the message.
    #[track_caller]
    fn fails(&self, parts: &[&str], ranges: &[Option<usize>]) -> &Self {
        let error = self.fetch_sized(Some(BYTES as u64)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
        }
        assert_eq!(self.server.ranges(), ranges, "{error}");
        assert!(!self.folder.path().join("file.bin").exists());
        self
    }

    fn partial(&self) -> Option<usize> {
        fs::metadata(self.folder.path().join("file.bin.partial")).ok().map(|metadata| metadata.len() as usize)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn flipped(file: &[u8]) -> Vec<u8> {
    let mut wrong = file.to_vec();
    wrong[BYTES / 2] ^= 1;
    wrong
}

#[test]
fn a_file_is_fetched_once() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked));
    case.succeeds().succeeds();
    assert_eq!(case.server.ranges(), [None]);
    assert_eq!(case.server.asked()[0].line, "GET /file.bin HTTP/1.1");
}

#[test]
fn a_connection_that_breaks_again_and_again_is_resumed() {
    // More breaks than attempts, but each attempt has brought new bytes.
    let case = Case::new(|_, asked, file| Answer::file(file, asked).breaking_after(50_000));
    case.succeeds();
    let ranges: Vec<_> = (0..BYTES).step_by(50_000).map(|from| (from > 0).then_some(from)).collect();
    assert_eq!(case.server.ranges(), ranges);
}

#[test]
fn a_later_run_resumes_an_earlier_one() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked)).with_partial(&noise(BYTES)[..123_456]);
    case.succeeds();
    assert_eq!(case.server.ranges(), [Some(123_456)]);

    let whole = Case::new(|_, asked, file| Answer::file(file, asked)).with_partial(&noise(BYTES));
    whole.succeeds();
    assert!(whole.server.asked().is_empty());
}

#[test]
fn the_partial_file_of_another_file_is_discarded() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked)).with_partial(&flipped(&noise(BYTES))[..200_000]);
    case.succeeds();
    assert_eq!(case.server.ranges(), [Some(200_000), None]);
}

#[test]
fn a_wrong_byte_is_found_and_the_file_is_fetched_once_more() {
    let once = Case::new(|number, asked, file| match number {
        0 => Answer::file(&flipped(file), asked),
        _ => Answer::file(file, asked),
    });
    once.succeeds();
    assert_eq!(once.server.ranges(), [None, None]);

    let always = Case::new(|_, asked, file| Answer::file(&flipped(file), asked));
    let sums = [md5(&always.file), md5(&flipped(&always.file))];
    always.fails(&[&always.url, &format!("got md5 {}, wanted {}", sums[1], sums[0])], &[None, None]);
    assert_eq!(names(always.folder.path()), [".file.bin.lock"]);
}

#[test]
fn a_stalled_connection_is_closed_and_resumed() {
    let once = Case::new(|number, asked, file| match number {
        0 => Answer::file(file, asked).stalling_after(70_000),
        _ => Answer::file(file, asked),
    });
    once.succeeds();
    assert_eq!(once.server.ranges(), [None, Some(70_000)]);

    // The second and third attempts bring no new bytes.
    let for_ever = Case::new(|_, asked, file| {
        Answer::file(file, asked).stalling_after(70_000usize.saturating_sub(asked.from.unwrap_or(0)))
    });
    for_ever.fails(&["no byte for 0.3 s", "3 attempts"], &[None, Some(70_000), Some(70_000)]);
    assert_eq!(for_ever.partial(), Some(70_000), "it is kept for another day");
}

#[test]
fn a_server_error_is_retried_and_a_refusal_is_not() {
    let passing = Case::new(|number, asked, file| match number {
        0 => Answer::status("503 Service Unavailable"),
        1 => Answer::status("429 Too Many Requests"),
        _ => Answer::file(file, asked),
    });
    passing.succeeds();

    let broken = Case::new(|_, _, _| Answer::status("500 Internal Server Error"));
    broken.fails(&["500 Internal Server Error", "3 attempts"], &[None, None, None]);
    for refusal in ["404 Not Found", "403 Forbidden", "401 Unauthorized"] {
        Case::new(move |_, _, _| Answer::status(refusal)).fails(&["/file.bin: the server answers", refusal], &[None]);
    }
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let case = Case::new(|number, _, file| match number {
        0 => Answer::whole(file).breaking_after(100_000),
        _ => Answer::whole(file),
    });
    case.succeeds();
    assert_eq!(case.server.ranges(), [None, Some(100_000)]);

    // It never gets further than this: no attempt brings new bytes.
    let never = Case::new(|_, _, file| Answer::whole(file).breaking_after(100_000));
    never.fails(&["3 attempts"], &[None, Some(100_000), Some(100_000)]);
}

#[test]
fn a_wrong_range_is_not_mistaken_for_the_right_one() {
    let case = Case::new(|number, asked, file| match number {
        0 => Answer::whole(&file[1000..]).headed("206 Partial Content\r\nContent-Range: bytes 1000-299999/300000"),
        _ => Answer::file(file, asked),
    });
    let case = case.with_partial(&noise(BYTES)[..2000]);
    case.succeeds();
    assert_eq!(case.server.ranges(), [Some(2000), None]);
}

#[test]
fn redirects_are_followed_with_the_range() {
    let case = Case::new(|_, asked, file| match asked.line.contains("file.bin") {
        true => Answer::status("302 Found\r\nLocation: /elsewhere"),
        false => Answer::file(file, asked),
    });
    let case = case.with_partial(&noise(BYTES)[..1000]);
    case.succeeds();
    assert_eq!(case.server.ranges(), [Some(1000), Some(1000)]);
    Case::new(|_, _, _| Answer::status("302 Found\r\nLocation: /file.bin")).fails(&["redirect"], &[None; 11]);
}

#[test]
fn a_wrong_length_is_refused() {
    // A web page in place of the file is refused before it is read, and the partial file is kept.
    let page = Case::new(|_, _, _| Answer::whole(b"<html>please log in</html>")).with_partial(&noise(BYTES)[..1000]);
    page.fails(&["got 26 bytes, wanted 300000", "login page"], &[Some(1000)]);
    assert_eq!(page.partial(), Some(1000));

    // File of unknown size, length too large: the requested rest does not exist.
    let large = Case::new(|_, asked, file| match asked.from {
        None => Answer::whole(file).claiming(Some(BYTES + 10)),
        Some(_) => Answer::file(file, asked),
    });
    large.fetch_sized(None).unwrap();
    large.is_there();
    assert_eq!(large.server.ranges(), [None, Some(BYTES)]);

    // File of unknown size, length too small: the checksum differs.
    let small = Case::new(|_, _, file| Answer::whole(file).claiming(Some(1000)));
    let error = small.fetch_sized(None).unwrap_err();
    assert!(error.message().contains("is not the published file"), "{error}");
}

#[test]
fn without_a_length_the_file_ends_with_the_connection() {
    let case = Case::new(|_, _, file| Answer::whole(file).claiming(None));
    case.succeeds();
    // The connection ends early without an error: the published size shows it.
    let cut = Case::new(|number, asked, file| match number {
        0 => Answer::whole(file).claiming(None).breaking_after(4000),
        _ => Answer::file(file, asked),
    });
    cut.succeeds();
    assert_eq!(cut.server.ranges(), [None, Some(4000)]);
    // An endless answer is refused as soon as it is too long.
    let more = [noise(BYTES), noise(5_000_000)].concat();
    let endless = Case::new(move |_, _, _| Answer::whole(&more).claiming(None));
    endless.fails(&["wanted 300000"], &[None]);
    assert_eq!(endless.partial(), None);
}

#[test]
fn a_mirror_stands_for_the_publisher() {
    let case = Case::new(|_, asked, file| match asked.line.starts_with("GET /copies/file.bin ") {
        true => Answer::file(file, asked),
        false => Answer::status("404 Not Found"),
    });
    let sum = md5(&case.file);
    let remote = Remote { url: "https://publisher.invalid/a/file.bin", bytes: None, checksum: Checksum::Md5(&sum) };
    for mirror in [case.server.url("copies"), case.server.url("copies/")] {
        let folder = TempDir::new().unwrap();
        let path = fetch(&remote, Some(&mirror), folder.path(), &RETRY).unwrap();
        assert!(fs::read(path).unwrap() == case.file);
    }

    let copies = TempDir::new().unwrap();
    let copy = copies.path().join("file.bin");
    let mirror = copies.path().display().to_string();
    let folder = TempDir::new().unwrap();
    let fetch_from = |mirror: &str| fetch(&remote, Some(mirror), folder.path(), &RETRY);
    for (content, said) in [(None, "No such file"), (Some(flipped(&case.file)), "is not the published file: got md5")] {
        if let Some(content) = content {
            fs::write(&copy, content).unwrap();
        }
        let error = fetch_from(&mirror).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        let copy = copy.display().to_string();
        assert!(error.message().contains(&copy) && error.message().contains(said), "{error}");
    }
    fs::write(&copy, &case.file).unwrap();
    for mirror in [mirror.clone(), format!("file://{mirror}")] {
        let path = fetch_from(&mirror).unwrap();
        assert!(fs::read(&path).unwrap() == case.file && copy.exists());
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_file_put_there_by_hand_is_used_if_its_checksum_is_right() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked));
    let path = case.folder.path().join("file.bin");
    fs::write(&path, flipped(&case.file)).unwrap();
    let error = case.fetch_sized(None).unwrap_err();
    assert!(error.message().contains("file.bin is not the published file: got md5"), "{error}");
    assert!(path.exists(), "it is not ours to remove");
    fs::write(&path, &case.file).unwrap();
    case.fetch_sized(None).unwrap();
    assert!(case.server.asked().is_empty());
}

#[test]
fn the_first_digits_of_a_sha256_are_enough() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked));
    let sum = regun::digest::sha256(&case.file);
    for (digits, good) in [(&sum[..8], true), (&sum[1..9], false)] {
        let folder = TempDir::new().unwrap();
        let remote = Remote { url: &case.url, bytes: None, checksum: Checksum::Sha256(digits) };
        let done = fetch(&remote, None, folder.path(), &RETRY);
        assert_eq!(done.is_ok(), good);
        if let Err(error) = done {
            assert!(error.message().contains(&format!("got sha256 {sum}, wanted {digits}...")), "{error}");
        }
    }
}

#[test]
fn no_request_is_sent_if_the_disk_is_full() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked));
    let error = case.fetch_sized(Some(u64::MAX)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(case.server.asked().is_empty());
}

#[test]
fn an_unreachable_server_is_reported() {
    let sum = md5(b"");
    let folder = TempDir::new().unwrap();
    let remote = Remote { url: "http://127.0.0.1:1/file.bin", bytes: None, checksum: Checksum::Md5(&sum) };
    let error = fetch(&remote, None, folder.path(), &RETRY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(
        error.message().contains(remote.url)
            && error.message().contains("Connection refused (os error 111) (3 attempts)"),
        "{error}"
    );
}

/// Set for a process that only fetches: address and checksum of the file, and the folder.
const CHILD: &str = "REGUN_TEST_FETCH";

#[test]
fn child_fetching() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let [url, sum, folder] = what.split(' ').collect::<Vec<_>>()[..] else { panic!("{what}") };
    regun::log::init(0, true);
    let remote = Remote { url, bytes: None, checksum: Checksum::Md5(sum) };
    let retry = RetryPolicy { stall: Duration::from_secs(60), ..RETRY };
    fetch(&remote, None, Path::new(folder), &retry).unwrap();
}

#[test]
fn one_of_several_processes_downloads() {
    let case = Case::new(|_, asked, file| Answer::file(file, asked));
    let what = format!("{} {} {}", case.url, md5(&case.file), case.folder.path().display());
    // All of them wait before the first one may continue.
    let lock = FileLock::take(&case.folder.path().join("file.bin")).unwrap();
    let mut children: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command
                .args(["--exact", "one_file::child_fetching"])
                .env(CHILD, &what)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let waiting: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
            assert!(said.any(|line| line.contains("waiting: another process makes") && line.contains("file.bin")));
            said
        })
        .collect();
    assert!(case.server.asked().is_empty());
    drop(lock);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    drop(waiting);
    case.is_there();
    assert_eq!(case.server.ranges(), [None]);
}
