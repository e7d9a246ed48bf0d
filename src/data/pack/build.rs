//! Image files to a pack: decoded on all threads, written in order.

use std::fs;
use std::path::Path;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::file::Writer;
use super::{Settings, corrupt};
use crate::data::decode::{Image, decode, to_square};
use crate::data::listing::{Entry, Listing};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::progress::{Progress, Unit};

/// Decoded pixels that wait to be written, roughly.
const CHUNK_BYTES: usize = 32 << 20;
/// Images of a chunk, whatever their size: enough for all threads, and not too many results.
const CHUNK_IMAGES: std::ops::RangeInclusive<usize> = 64..=4096;

/// Writes the pack of `listing` to `path`, whole or not at all.
pub fn build(listing: &Listing, settings: &Settings<'_>, path: &Path) -> Result<()> {
    let files = listing.train.len() + listing.test.len();
    let title = format!("packing {} ({files} images, {} threads)", settings.name, settings.threads);
    tracing::info!("{title} into {}", path.display());
    let mut progress = Progress::new(&title, Unit::Items("images"));
    let mut done = 0;
    files::write_atomic_with(path, |out| {
        let fail = |error| Error::storage("cannot write", path, &error);
        let mut writer = Writer::new(out).map_err(fail)?;
        let mut size = None;
        let mut skipped = Vec::new();
        let mut labels = [Vec::new(), Vec::new()];
        for (part, labels) in [&listing.train, &listing.test].into_iter().zip(&mut labels) {
            decode_all(&listing.root, part, settings, |entry, image| {
                done += 1;
                progress.at(done, Some(files as u64));
                match image {
                    Ok(image) => {
                        check_size(&mut size, entry, &image)?;
                        writer.pixels(&image.pixels).map_err(fail)?;
                        labels.push(entry.label);
                    }
                    Err(why) => skipped.push(format!("{}: {why}", entry.path)),
                }
                Ok(())
            })?;
        }
        if !skipped.is_empty() && !settings.skip_corrupt {
            return Err(corrupt(&skipped, files));
        }
        check_classes(listing, &labels)?;
        let (width, height) = size.map_or((0, 0), |(width, height, _)| (width, height));
        writer.finish((3, height, width), &listing.class_names, labels, skipped).map_err(fail)
    })
}

/// Decodes `entries` on the threads of `settings`, and hands the images on in order: RGB, or why there is none.
pub fn decode_all(
    root: &Path,
    entries: &[Entry],
    settings: &Settings<'_>,
    mut each: impl FnMut(&Entry, Result<Image, String>) -> Result<()>,
) -> Result<()> {
    let pool = pool(settings.threads)?;
    let (mut rest, mut chunk) = (entries, *CHUNK_IMAGES.start());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        let images: Vec<_> =
            pool.install(|| now.par_iter().map(|entry| image(root, entry, settings.image_size)).collect());
        let bytes = images.iter().flatten().map(|image| image.pixels.len()).max().unwrap_or(0);
        chunk = (CHUNK_BYTES / bytes.max(1)).clamp(*CHUNK_IMAGES.start(), *CHUNK_IMAGES.end());
        for (entry, image) in now.iter().zip(images) {
            each(entry, image)?;
        }
        rest = later;
    }
    Ok(())
}

fn pool(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
        Error::new(ErrorKind::Other, format!("cannot start {threads} threads: {error}")).hint("lower trainer.threads")
    })
}

fn image(root: &Path, entry: &Entry, side: Option<usize>) -> Result<Image, String> {
    let bytes = fs::read(root.join(&entry.path)).map_err(|error| error.to_string())?;
    let image = decode(&bytes)?;
    match side {
        Some(side) => to_square(image, side).map_err(|error| error.message().to_owned()),
        None => Ok(image),
    }
}

/// All images have the size of the first, which is kept with its file's name.
fn check_size(first: &mut Option<(usize, usize, String)>, entry: &Entry, image: &Image) -> Result<()> {
    let Image { width, height, .. } = *image;
    match first {
        None => *first = Some((width, height, entry.path.clone())),
        Some((w, h, path)) if (*w, *h) != (width, height) => {
            return Err(Error::missing(format!(
                "the images have different sizes: {path} is {w}x{h}, {} is {width}x{height}",
                entry.path
            ))
            .hint(format!(
                "data.image_size=N makes all of them squares of N pixels (short side to N, then the middle); \
                 here perhaps data.image_size={}",
                [*w, *h, width, height].into_iter().min().unwrap_or_default()
            )));
        }
        Some(_) => {}
    }
    Ok(())
}

/// Every class still has a training image, and there is something to test on.
fn check_classes(listing: &Listing, [train, test]: &[Vec<i64>; 2]) -> Result<()> {
    let mut found = vec![false; listing.class_names.len()];
    train.iter().for_each(|&label| found[label as usize] = true);
    let without = listing.class_names.iter().zip(found).find(|(_, found)| !found).map(|(name, _)| name);
    match without {
        Some(name) => Err(Error::missing(format!("no training image of the class `{name}` can be decoded"))
            .hint("mend its images, or take the class's folders away")),
        None if test.is_empty() => {
            Err(Error::missing("no test image can be decoded").hint("mend the images of the test part"))
        }
        None => Ok(()),
    }
}
