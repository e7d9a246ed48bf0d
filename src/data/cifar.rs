//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images") from their
//! published files.
//!
//! Two layouts hold the same images: fixed binary records, and Python pickles. A [`Format`] says what the files of a
//! CIFAR set are called and how many images they hold; the readers know no more than that.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::{Images, Source};
use crate::error::{Error, Result};
use crate::pickle::numpy::{NumpyArray, NumpyDialect, NumpyDtype, NumpyObject};
use crate::pickle::{self, PickleValue};

const CHANNELS: usize = 3;
const SIDE: usize = 32;
/// Bytes of one image: 1024 red, 1024 green, 1024 blue, row by row.
const IMAGE: usize = CHANNELS * SIDE * SIDE;

/// The files of one CIFAR set.
#[derive(Debug, Clone)]
pub struct Format {
    pub title: &'static str,
    /// Files of training images, in order, without the extension of the binary layout.
    pub train: &'static [&'static str],
    pub test: &'static str,
    pub images_per_train_file: usize,
    pub images_per_test_file: usize,
    pub binary: Layout,
    pub python: Layout,
    /// Labels before each image of the binary layout; the last of them is the class.
    pub labels_per_record: usize,
    /// Where the python layout keeps the classes.
    pub label_key: &'static str,
    pub class_names: &'static [&'static str],
}

/// Where a layout is, and where it comes from.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The folder that the archive unpacks to.
    pub folder: &'static str,
    pub archive: &'static str,
    pub url: &'static str,
    /// What follows the name of a file.
    pub extension: &'static str,
}

pub const CIFAR10: Format = Format {
    title: "CIFAR-10",
    train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test: "test_batch",
    images_per_train_file: 10_000,
    images_per_test_file: 10_000,
    binary: Layout {
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        extension: ".bin",
    },
    python: Layout {
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        extension: "",
    },
    labels_per_record: 1,
    label_key: "labels",
    class_names: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

/// Of the two labels of each image, a coarse one (20 superclasses) and a fine one, the fine one is the class.
pub const CIFAR100: Format = Format {
    title: "CIFAR-100",
    train: &["train"],
    test: "test",
    images_per_train_file: 50_000,
    images_per_test_file: 10_000,
    binary: Layout {
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        extension: ".bin",
    },
    python: Layout {
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        extension: "",
    },
    labels_per_record: 2,
    label_key: "fine_labels",
    class_names: &[
        "apple",
        "aquarium_fish",
        "baby",
        "bear",
        "beaver",
        "bed",
        "bee",
        "beetle",
        "bicycle",
        "bottle",
        "bowl",
        "boy",
        "bridge",
        "bus",
        "butterfly",
        "camel",
        "can",
        "castle",
        "caterpillar",
        "cattle",
        "chair",
        "chimpanzee",
        "clock",
        "cloud",
        "cockroach",
        "couch",
        "crab",
        "crocodile",
        "cup",
        "dinosaur",
        "dolphin",
        "elephant",
        "flatfish",
        "forest",
        "fox",
        "girl",
        "hamster",
        "house",
        "kangaroo",
        "keyboard",
        "lamp",
        "lawn_mower",
        "leopard",
        "lion",
        "lizard",
        "lobster",
        "man",
        "maple_tree",
        "motorcycle",
        "mountain",
        "mouse",
        "mushroom",
        "oak_tree",
        "orange",
        "orchid",
        "otter",
        "palm_tree",
        "pear",
        "pickup_truck",
        "pine_tree",
        "plain",
        "plate",
        "poppy",
        "porcupine",
        "possum",
        "rabbit",
        "raccoon",
        "ray",
        "road",
        "rocket",
        "rose",
        "sea",
        "seal",
        "shark",
        "shrew",
        "skunk",
        "skyscraper",
        "snail",
        "snake",
        "spider",
        "squirrel",
        "streetcar",
        "sunflower",
        "sweet_pepper",
        "table",
        "tank",
        "telephone",
        "television",
        "tiger",
        "tractor",
        "train",
        "trout",
        "tulip",
        "turtle",
        "wardrobe",
        "whale",
        "willow_tree",
        "wolf",
        "woman",
        "worm",
    ],
};

/// Loads the set from below `data_dir`, or from `data_dir` itself where the files lie there. Where both layouts are
/// present the binary one is read.
///
/// Fails with `Missing` where a file is absent, of another size or structure, or has a label outside of the classes.
pub fn load(data_dir: &Path, format: &Format, download: bool) -> Result<Source> {
    let (read, layout, folder) = find(data_dir, format).ok_or_else(|| absent(data_dir, format, download))?;
    let mut train = empty(format.train.len() * format.images_per_train_file);
    for &stem in format.train {
        read(&file(&folder, layout, stem), format, format.images_per_train_file, &mut train)?;
    }
    let mut test = empty(format.images_per_test_file);
    read(&file(&folder, layout, format.test), format, format.images_per_test_file, &mut test)?;
    let class_names = format.class_names.iter().map(|name| name.to_string()).collect();
    Ok(Source { train, test, class_names, fingerprint: None })
}

fn empty(room: usize) -> Images {
    Images::with_capacity(room, CHANNELS, SIDE, SIDE)
}

/// Appends the images of one file.
type Read = fn(&Path, &Format, usize, &mut Images) -> Result<()>;

/// A folder below `data_dir` comes before `data_dir` itself, and the binary layout before the other.
fn find<'a>(data_dir: &Path, format: &'a Format) -> Option<(Read, &'a Layout, PathBuf)> {
    let layouts = [(read_binary as Read, &format.binary), (read_python as Read, &format.python)];
    let below = layouts.map(|(read, layout)| (read, layout, data_dir.join(layout.folder)));
    if let Some(found) = below.into_iter().find(|(_, _, folder)| folder.is_dir()) {
        return Some(found);
    }
    let stems = || format.train.iter().chain([&format.test]);
    let is_here = |layout: &Layout| stems().any(|stem| file(data_dir, layout, stem).is_file());
    let (read, layout) = layouts.into_iter().find(|(_, layout)| is_here(layout))?;
    Some((read, layout, data_dir.to_path_buf()))
}

fn file(folder: &Path, layout: &Layout, stem: &str) -> PathBuf {
    folder.join(format!("{stem}{}", layout.extension))
}

fn absent(data_dir: &Path, format: &Format, download: bool) -> Error {
    let Format { title, binary, python, .. } = format;
    let place = data_dir.display();
    let error = Error::missing(format!(
        "{title} is not in {place}: neither {} nor {} is there{}",
        binary.folder,
        python.folder,
        if download { "" } else { ", and data.download is false" }
    ));
    for archive in [binary.archive, python.archive] {
        let path = data_dir.join(archive);
        if path.is_file() {
            return error.hint(format!("the archive is there, unpack it: tar -xzf {} -C {place}", path.display()));
        }
    }
    error.hint(format!(
        "set data.data_dir to the folder that has it, or data.download=true, or fetch {} and unpack it: tar -xzf {} -C {place}",
        binary.url, binary.archive
    ))
}

/// Records of labels and pixels, nothing else.
fn read_binary(path: &Path, format: &Format, images: usize, into: &mut Images) -> Result<()> {
    let record = format.labels_per_record + IMAGE;
    let wanted = images * record;
    let unusable = |what: String| unusable(path, &format.binary, what);
    let size = size(path, &format.binary, &format!("{wanted} bytes"))?;
    if size != wanted as u64 {
        return Err(unusable(format!("got {size} bytes, wanted {wanted} ({images} records of {record})")));
    }
    let bytes = fs::read(path).map_err(|e| unusable(e.to_string()))?;
    if bytes.len() != wanted {
        return Err(unusable(format!("got {} bytes, wanted {wanted}: it changed while it was read", bytes.len())));
    }
    for (i, record) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = record.split_at(format.labels_per_record);
        let label = labels.last().map_or(0, |&label| i64::from(label));
        check_label(label.into(), i, format).map_err(unusable)?;
        into.push(label, pixels);
    }
    Ok(())
}

/// A pickled dict with `data`, a uint8 array of shape (images, 3072), and a list of classes.
fn read_python(path: &Path, format: &Format, images: usize, into: &mut Images) -> Result<()> {
    let wanted = images * IMAGE;
    let unusable = |what: String| unusable(path, &format.python, what);
    let size = size(path, &format.python, &format!("more than {wanted} bytes"))?;
    // Text that stands for bytes takes up to twice their room; file names and labels take little.
    let most = 3 * wanted as u64 + (1 << 20);
    if size <= wanted as u64 || size > most {
        return Err(unusable(format!("got {size} bytes, wanted more than {wanted} and at most {most}")));
    }
    let bytes = fs::read(path).map_err(|e| unusable(e.to_string()))?;
    let batch =
        pickle::load(&bytes, &mut NumpyDialect).map_err(|e| e.context(format!("cannot use {}", path.display())))?;
    if batch.length != bytes.len() {
        return Err(unusable(format!("{} bytes follow the end of the pickle", bytes.len() - batch.length)));
    }
    let heap = &batch.heap;

    let data = heap.entry(batch.root, "data").map(|id| heap.get(id));
    let Some(PickleValue::Object(NumpyObject::Array(data))) = data else {
        return Err(unusable("it has no array `data`, which should hold the pixels".into()));
    };
    check_shape(data, images).map_err(unusable)?;

    let labels = heap.entry(batch.root, format.label_key).and_then(|id| heap.items(id));
    let Some(labels) = labels.filter(|labels| labels.len() == images) else {
        let got = labels.map_or("nothing".into(), |labels| labels.len().to_string());
        return Err(unusable(format!("under `{}` got {got}, wanted {images} classes", format.label_key)));
    };
    for (i, (&label, pixels)) in labels.iter().zip(data.row_major().chunks_exact(IMAGE)).enumerate() {
        let Some(label) = heap.int(label) else {
            return Err(unusable(format!("the label of image {i} is a {}, wanted int", heap.get(label).type_name())));
        };
        check_label(label, i, format).map_err(unusable)?;
        into.push(label as i64, pixels);
    }
    Ok(())
}

fn check_shape(data: &NumpyArray, images: usize) -> Result<(), String> {
    if data.dtype != NumpyDtype::U8 || data.shape != [images, IMAGE] {
        return Err(format!(
            "got pixels of type {} and shape {:?}, wanted u1 and [{images}, {IMAGE}]",
            data.dtype, data.shape
        ));
    }
    Ok(())
}

fn check_label(label: i128, image: usize, format: &Format) -> Result<(), String> {
    let classes = format.class_names.len() as i128;
    if !(0..classes).contains(&label) {
        return Err(format!("image {image} has label {label}, wanted 0 to {}", classes - 1));
    }
    Ok(())
}

fn size(path: &Path, layout: &Layout, wanted: &str) -> Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(unusable(path, layout, format!("it is not a file, wanted one of {wanted}"))),
        Err(error) => Err(unusable(path, layout, format!("{error}, wanted {wanted}"))),
    }
}

fn unusable(path: &Path, layout: &Layout, what: String) -> Error {
    Error::missing(format!("cannot use {}: {what}", path.display()))
        .hint(format!("unpack {} again; it comes from {}", layout.archive, layout.url))
}
