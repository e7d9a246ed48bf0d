//! Reads the data set that `data.name` chooses into host memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use super::cifar::{self, CIFAR10, CIFAR100};
use super::host_dataset::Dataset;
use super::images::{Fingerprints, Images};
use super::listing::ImageListing;
use super::pack::{self, PackOptions};
use super::raw_dataset::RawDataset;
use super::{digits, image_folder, tiny_imagenet};
use crate::config::schema::{DataConfig, DatasetName};
use crate::error::{Error, Result};

/// Resources that loading may use.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Folder for packs of images that cannot lie beside the images.
    pub cache_dir: &'a Path,
    /// Number of threads that decode images.
    pub threads: usize,
}

/// Loads `data.name`, cut to `data.debug_subset_size`. If there is no pack of the image files yet, all of them are
/// packed first.
///
/// # Errors
/// `Missing` if files are absent or damaged, `Usage` if `data.num_classes` does not fit.
pub fn load_dataset(data: &DataConfig, options: LoadOptions<'_>) -> Result<Dataset> {
    let name = data.name.name();
    if data.image_size.is_some() && !is_made_of_files(data.name) {
        return Err(Error::usage(format!("data.image_size: the images of {name} have one size"))
            .hint("use data.image_size=null"));
    }
    let began = Instant::now();
    let (raw, no_test) = match data.name {
        DatasetName::Digits => (digits::load(), None),
        DatasetName::Cifar10 => (cifar::load(&data.data_dir, &CIFAR10, data.download)?, None),
        DatasetName::Cifar100 => (cifar::load(&data.data_dir, &CIFAR100, data.download)?, None),
        DatasetName::TinyImagenet => packed(tiny_imagenet::list(&data.data_dir)?, data, options)?,
        DatasetName::ImageFolder => packed(image_folder::list(&data.data_dir)?, data, options)?,
    };
    let RawDataset { mut train, mut test, class_names, fingerprints: known } = raw;
    let whole = (train.len(), test.len());
    let images = whole.0 + whole.1;
    tracing::debug!("data read: {name}, {images} images, {:.3} s", began.elapsed().as_secs_f64());
    if let Some(n) = data.debug_subset_size {
        if n == 0 {
            return Err(Error::usage("data.debug_subset_size is 0, wanted at least 1 image")
                .hint("data.debug_subset_size=null uses all images"));
        }
        let classes = distinct(&train.labels);
        train.truncate(n);
        test.truncate(n);
        warn_about_lost_classes(n, classes, distinct(&train.labels));
    }
    let num_classes = check_classes(data.num_classes, name, &train, &test)?;
    let known = known.filter(|_| (train.len(), test.len()) == whole);
    let fingerprints = fingerprints_of(name, known, &train, &test);
    Ok(Dataset { name: name.to_string(), train, test, num_classes, fingerprints, class_names, no_test })
}

/// The number of classes that have images.
fn distinct(labels: &[i64]) -> usize {
    labels.iter().collect::<BTreeSet<_>>().len()
}

/// Warns if the first images of a data set that is sorted by class leave classes out.
fn warn_about_lost_classes(subset: usize, before: usize, after: usize) {
    if after < before {
        tracing::warn!(
            "data.debug_subset_size={subset} keeps the first {subset} training images, and with them {after} of \
             {before} classes: raise it for images that come class by class"
        );
    }
}

/// The fingerprints that reading has computed, or new ones. A debug line in the log tells the two apart.
fn fingerprints_of(name: &str, known: Option<Fingerprints>, train: &Images, test: &Images) -> Fingerprints {
    if let Some(known) = known {
        tracing::debug!("data hashed: {name}, fingerprint {}, known since its pack was verified", known.all);
        return known;
    }
    let began = Instant::now();
    let new = Fingerprints::of(train, test);
    tracing::debug!("data hashed: {name}, fingerprint {}, {:.3} s", new.all, began.elapsed().as_secs_f64());
    new
}

fn is_made_of_files(dataset: DatasetName) -> bool {
    matches!(dataset, DatasetName::TinyImagenet | DatasetName::ImageFolder)
}

/// The images of a tree of files, through their pack, and the reason if there are no test images. Their classes must be
/// as many as `data.num_classes`.
fn packed(listing: ImageListing, data: &DataConfig, options: LoadOptions<'_>) -> Result<(RawDataset, Option<Error>)> {
    let classes = listing.class_names.len();
    if data.num_classes != classes as i64 {
        return Err(Error::usage(format!(
            "data.num_classes is {}, but there are {classes} class folders in {}",
            data.num_classes,
            listing.root.join("train").display()
        ))
        .hint(format!("set data.num_classes={classes}")));
    }
    let options = PackOptions {
        name: data.name.name(),
        image_size: data.image_size,
        skip_corrupt: data.skip_corrupt,
        cache_dir: options.cache_dir,
        threads: options.threads,
    };
    Ok((pack::load(&listing, &options)?, listing.no_test))
}

fn check_classes(num_classes: i64, name: &str, train: &Images, test: &Images) -> Result<usize> {
    let largest = train.labels.iter().chain(&test.labels).copied().max().unwrap_or(0);
    match usize::try_from(num_classes) {
        Ok(count) if num_classes > largest => Ok(count),
        _ => Err(Error::usage(format!(
            "data.num_classes is {num_classes}, but the labels of {name} go up to {largest}: wanted at least {}",
            largest + 1
        ))
        // A file of the model may hold a number of its own, so both are set.
        .hint(format!("set data.num_classes={0} model.model.num_classes={0}", largest + 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::tests::images;

    #[test]
    fn num_classes_must_exceed_every_label() {
        assert_eq!(check_classes(3, "x", &images(&[0, 1]), &images(&[2])).unwrap(), 3);
        assert_eq!(check_classes(7, "x", &images(&[0, 1]), &images(&[2])).unwrap(), 7);
        for too_few in [2, 0, -1] {
            let error = check_classes(too_few, "x", &images(&[0, 1]), &images(&[2])).unwrap_err();
            assert!(error.message().contains("at least 3"), "{error}");
        }
    }
}
