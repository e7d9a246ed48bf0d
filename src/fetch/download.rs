//! Downloads one file over HTTP, with retries and resumption.
//!
//! The bytes received so far are kept between attempts and between runs; the next request asks for the rest with a
//! Range header. The server is not asked if the pieces belong to one file (with an ETag, for example): the checksum of
//! the whole file decides. If it is wrong, the whole file is downloaded again, once.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::client;
use super::remote::Remote;
use super::retry_policy::RetryPolicy;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};

/// Downloads `remote` from `url` to the file `partial` and verifies its checksum.
pub(super) fn download(remote: &Remote, url: &str, partial: &Path, retry: &RetryPolicy) -> Result<()> {
    let agent = client::agent(url, retry)?;
    let resumed = file_length(partial);
    match resumed {
        0 => tracing::info!("downloading {url}"),
        bytes => tracing::info!("downloading {url}, from byte {bytes} on"),
    }
    let progress = Progress::new(remote.name(), Unit::Bytes);
    let mut download = Download { agent, remote, url, partial, retry, progress };
    download.receive()?;
    let Some(difference) = remote.checksum.difference(partial)? else { return Ok(()) };
    download.progress.warn(&format!("{url} arrived damaged ({difference}): downloading all of it once more"));
    download.discard()?;
    download.receive()?;
    let Some(difference) = remote.checksum.difference(partial)? else { return Ok(()) };
    download.discard()?;
    Err(Error::missing(format!("{url}, downloaded twice, is not the published file: {difference}"))
        .hint("the server has another file, or something on the way changes it: take it from elsewhere (data.mirror)"))
}

/// Bytes of a file; 0 if it does not exist.
pub(super) fn file_length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

struct Download<'a> {
    agent: Agent,
    remote: &'a Remote<'a>,
    url: &'a str,
    partial: &'a Path,
    retry: &'a RetryPolicy,
    progress: Progress,
}

/// The reason why an attempt failed.
enum DownloadFailure {
    /// Another attempt may succeed.
    Transient(String),
    /// Another attempt would fail too.
    Permanent(Error),
}

impl From<Error> for DownloadFailure {
    fn from(error: Error) -> Self {
        DownloadFailure::Permanent(error)
    }
}

impl Download<'_> {
    /// Tries until the file is complete. Fails when `retry.attempts` attempts in a row have brought no new byte.
    fn receive(&mut self) -> Result<()> {
        let mut best = file_length(self.partial);
        let mut failures = 0;
        loop {
            let reason = match self.attempt() {
                Ok(()) => return Ok(()),
                Err(DownloadFailure::Permanent(error)) => return Err(error),
                Err(DownloadFailure::Transient(reason)) => reason,
            };
            let have = file_length(self.partial);
            failures = if have > best { 1 } else { failures + 1 };
            best = best.max(have);
            if failures >= self.retry.attempts {
                return Err(Error::missing(format!("cannot download {}: {reason} ({failures} attempts)", self.url)));
            }
            let pause = self.retry.pause * (1 << (failures - 1));
            self.progress.warn(&format!("{}: {reason}; trying again in {} s", self.url, pause.as_secs_f64()));
            std::thread::sleep(pause);
        }
    }

    /// Sends one request for all bytes that are still missing.
    fn attempt(&mut self) -> Result<(), DownloadFailure> {
        let have = file_length(self.partial);
        if self.remote.bytes.is_some_and(|bytes| have >= bytes) {
            return Ok(()); // the checksum decides
        }
        let mut request = self.agent.get(self.url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| self.failure(error))?;
        match response.status() {
            StatusCode::OK => self.write_body(response, 0),
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => self.write_body(response, have),
            StatusCode::PARTIAL_CONTENT => {
                self.discard()?;
                Err(DownloadFailure::Transient("the server sent another range than asked for".into()))
            }
            // All bytes are here already, or more than the server has: the checksum decides.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => Ok(()),
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                Err(DownloadFailure::Transient(format!("the server answers {status}")))
            }
            status => Err(Error::missing(format!("cannot download {}: the server answers {status}", self.url)).into()),
        }
    }

    /// Writes the body of a response that begins at byte `start` of the file.
    fn write_body(&mut self, response: Response<Body>, start: u64) -> Result<(), DownloadFailure> {
        let unwritable = |source| Error::storage("cannot write", self.partial, &source);
        let rest = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let total = rest.map(|rest: u64| start + rest);
        if let (Some(total), Some(wanted)) = (total, self.remote.bytes)
            && total != wanted
        {
            return Err(self.wrong_size(total, wanted));
        }
        let mut options = File::options();
        let mut file = match start {
            0 => options.create(true).write(true).truncate(true).open(self.partial),
            _ => options.append(true).open(self.partial),
        }
        .map_err(unwritable)?;

        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        let mut have = start;
        loop {
            self.progress.update(have, total.or(self.remote.bytes));
            let got = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => return Err(self.failure(error.into())),
            };
            file.write_all(&buffer[..got]).map_err(unwritable)?;
            have += got as u64;
            if let Some(wanted) = self.remote.bytes.filter(|&wanted| have > wanted) {
                self.discard()?;
                return Err(self.wrong_size(have, wanted));
            }
        }
        match total.or(self.remote.bytes) {
            Some(total) if have < total => {
                Err(DownloadFailure::Transient(format!("it ended after {have} of {total} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn wrong_size(&self, got: u64, wanted: u64) -> DownloadFailure {
        Error::missing(format!("{} is not the published file: got {got} bytes, wanted {wanted}", self.url))
            .hint("the server has another file, or something on the way answers in its place, such as a login page")
            .into()
    }

    fn failure(&self, error: ureq::Error) -> DownloadFailure {
        match client::explain(&error, self.retry) {
            (reason, true) => DownloadFailure::Transient(reason),
            (reason, false) => Error::missing(format!("cannot download {}: {reason}", self.url)).into(),
        }
    }

    fn discard(&self) -> Result<()> {
        fs::remove_file(self.partial).map_err(|source| Error::storage("cannot remove", self.partial, &source))
    }
}

/// First byte of a 206 response, from its header `Content-Range: bytes START-END/TOTAL`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
