//! Decoding of image files on all cores, compared with Pillow in one process per core.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use regun::data::pack::{PackOptions, decode_all};
use regun::data::tiny_imagenet;

use crate::baseline::BaselineProcess;
use crate::report::{Row, median};

pub const NAME: &str = "decode_tiny_imagenet";

/// Decodes the Tiny ImageNet in `folder` in alternating rounds.
pub fn compare(folder: &Path, python: &Path, rounds: usize) -> Result<Row, Box<dyn Error>> {
    let listing = tiny_imagenet::list(folder)?;
    let cores = std::thread::available_parallelism()?.get();
    let settings =
        PackOptions { name: "bench", image_size: None, skip_corrupt: false, cache_dir: folder, threads: cores };
    let mut pixels: Vec<u8> = Vec::new();
    let mut ours = || -> Result<f64, Box<dyn Error>> {
        pixels.clear();
        let clock = Instant::now();
        for part in [&listing.train, &listing.test] {
            decode_all(&listing.root, part, &settings, |_, image| {
                pixels.extend_from_slice(&image.map_err(regun::error::Error::missing)?.pixels);
                Ok(())
            })?;
        }
        Ok(clock.elapsed().as_secs_f64())
    };
    let arguments = [listing.root.display().to_string(), format!("--processes={cores}")];
    let mut pillow = BaselineProcess::start(python, "benches/decode.py", "decode", &arguments)?;
    ours()?;
    let (mut our_seconds, mut their_seconds) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            our_seconds.push(ours()?);
            their_seconds.push(pillow.seconds()?);
        } else {
            their_seconds.push(pillow.seconds()?);
            our_seconds.push(ours()?);
        }
        eprintln!("decode: round {} of {rounds}", round + 1);
    }
    let files = (listing.train.len() + listing.test.len()) as f64;
    let [ours, theirs] = [our_seconds, their_seconds].map(|seconds| files / median(seconds));
    Ok(Row::faster(NAME, ours, theirs, &format!("Pillow, {cores} processes"), "images/s"))
}
