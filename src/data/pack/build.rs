//! Builds a pack: decodes the image files on all threads and writes them in order.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::corrupt::corrupt;
use super::options::PackOptions;
use super::writer::PackWriter;
use crate::data::decode::{RgbImage, decode, to_square};
use crate::data::listing::{ImageFile, ImageListing};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::progress::{Progress, Unit};

/// Approximate bytes of decoded pixels that wait to be written.
const CHUNK_BYTES: usize = 32 << 20;
/// Limits of the number of images in a chunk: at least enough for all threads, and not too many results.
const CHUNK_IMAGES: RangeInclusive<usize> = 64..=4096;

/// Writes the pack of `listing` to `path`, whole or not at all.
pub(super) fn build(listing: &ImageListing, options: &PackOptions<'_>, path: &Path) -> Result<()> {
    let files = listing.train.len() + listing.test.len();
    let title = format!("packing {} ({files} images, {} threads)", options.name, options.threads);
    tracing::info!("{title} into {}", path.display());
    let mut progress = Progress::new(&title, Unit::Items("images"));
    let mut done = 0;
    files::write_atomic_with(path, |out| {
        let fail = |error| Error::storage("cannot write", path, &error);
        let mut writer = PackWriter::new(out).map_err(fail)?;
        let mut size = None;
        let mut skipped = Vec::new();
        let mut labels = [Vec::new(), Vec::new()];
        for (part, labels) in [&listing.train, &listing.test].into_iter().zip(&mut labels) {
            decode_all(&listing.root, part, options, |file, image| {
                done += 1;
                progress.update(done, Some(files as u64));
                match image {
                    Ok(image) => {
                        check_size(&mut size, file, &image)?;
                        writer.pixels(&image.pixels).map_err(fail)?;
                        labels.push(file.label);
                    }
                    Err(why) => skipped.push(format!("{}: {why}", file.path)),
                }
                Ok(())
            })?;
        }
        if !skipped.is_empty() && !options.skip_corrupt {
            return Err(corrupt(&skipped, files));
        }
        check_classes(listing, &labels)?;
        let (width, height) = size.map_or((0, 0), |(width, height, _)| (width, height));
        writer.finish((3, height, width), &listing.class_names, labels, skipped).map_err(fail)
    })
}

/// Decodes `files` on `options.threads` threads and calls `each` for every file, in order, with the image or with the
/// reason why it cannot be decoded.
pub fn decode_all(
    root: &Path,
    files: &[ImageFile],
    options: &PackOptions<'_>,
    mut each: impl FnMut(&ImageFile, Result<RgbImage, String>) -> Result<()>,
) -> Result<()> {
    let pool = pool(options.threads)?;
    let (mut rest, mut chunk) = (files, *CHUNK_IMAGES.start());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        let images: Vec<_> =
            pool.install(|| now.par_iter().map(|file| image(root, file, options.image_size)).collect());
        let bytes = images.iter().flatten().map(|image| image.pixels.len()).max().unwrap_or(0);
        chunk = (CHUNK_BYTES / bytes.max(1)).clamp(*CHUNK_IMAGES.start(), *CHUNK_IMAGES.end());
        for (file, image) in now.iter().zip(images) {
            each(file, image)?;
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

fn image(root: &Path, file: &ImageFile, side: Option<usize>) -> Result<RgbImage, String> {
    let bytes = fs::read(root.join(&file.path)).map_err(|error| error.to_string())?;
    let image = decode(&bytes)?;
    match side {
        Some(side) => to_square(image, side).map_err(|error| error.message().to_owned()),
        None => Ok(image),
    }
}

/// Fails unless `image` has the size of the first image. `first` keeps that size (width, height) and the name of its
/// file.
fn check_size(first: &mut Option<(usize, usize, String)>, file: &ImageFile, image: &RgbImage) -> Result<()> {
    let RgbImage { width, height, .. } = *image;
    match first {
        None => *first = Some((width, height, file.path.clone())),
        Some((w, h, path)) if (*w, *h) != (width, height) => {
            return Err(Error::missing(format!(
                "the images have different sizes: {path} is {w}x{h}, {} is {width}x{height}",
                file.path
            ))
            .hint(format!(
                "data.image_size=N makes all of them squares of N pixels (short side to N, then the middle); \
                 here data.image_size={} may fit",
                [*w, *h, width, height].into_iter().min().unwrap_or_default()
            )));
        }
        Some(_) => {}
    }
    Ok(())
}

/// Fails unless each class still has a training image and there is a test image, if any was listed.
fn check_classes(listing: &ImageListing, [train, test]: &[Vec<i64>; 2]) -> Result<()> {
    let mut found = vec![false; listing.class_names.len()];
    train.iter().for_each(|&label| found[label as usize] = true);
    let without = listing.class_names.iter().zip(found).find(|(_, found)| !found).map(|(name, _)| name);
    match without {
        Some(name) => Err(Error::missing(format!("no training image of the class `{name}` can be decoded"))
            .hint("mend its images, or remove the folders of the class")),
        None if test.is_empty() && listing.no_test.is_none() => {
            Err(Error::missing("no test image can be decoded").hint("mend the images of the test part"))
        }
        None => Ok(()),
    }
}
