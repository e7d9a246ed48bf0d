//! CIFAR-10 and CIFAR-100 in both of their layouts, with damaged and missing files. `tests/fixtures/make_pickles.py`
//! makes the pickles.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use regun::config::schema::DataConfig;
use regun::data::cifar::{self, CIFAR10, CIFAR100, CifarFormat};
use regun::data::host_dataset::count_test_images_in_train;
use regun::data::raw_dataset::RawDataset;
use regun::data::{Dataset, LoadOptions, load_dataset};
use regun::error::{Error, ErrorKind};
use serde_json::json;
use tempfile::TempDir;

const IMAGE: usize = 3072;
const LABELS: [u8; 3] = [3, 0, 9];

/// CIFAR-10 with two training files and three images per file.
const SMALL: CifarFormat = CifarFormat {
    train: &["data_batch_1", "data_batch_2"],
    images_per_train_file: 3,
    images_per_test_file: 3,
    ..CIFAR10
};
const STEMS: [&str; 3] = ["data_batch_1", "data_batch_2", "test_batch"];

const PICKLES: [&[u8]; 4] = [
    include_bytes!("fixtures/pickle/batch_python2.pkl"),
    include_bytes!("fixtures/pickle/batch_2.pkl"),
    include_bytes!("fixtures/pickle/batch_4.pkl"),
    include_bytes!("fixtures/pickle/batch_5.pkl"),
];

/// The images of the pickles: pixel j of image i is (31 i + j) mod 256.
fn pixels(image: usize) -> Vec<u8> {
    (0..IMAGE).map(|j| (31 * image + j) as u8).collect()
}

fn records() -> Vec<u8> {
    LABELS.iter().enumerate().flat_map(|(i, &label)| [vec![label], pixels(i)].concat()).collect()
}

fn write_binary(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for stem in STEMS {
        fs::write(folder.join(format!("{stem}.bin")), records()).unwrap();
    }
}

fn write_python(folder: &Path, pickle: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    for stem in STEMS {
        fs::write(folder.join(stem), pickle).unwrap();
    }
}

fn with_binary() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("cifar-10-batches-bin");
    write_binary(&folder);
    (dir, folder)
}

fn with_python(pickle: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("cifar-10-batches-py");
    write_python(&folder, pickle);
    (dir, folder)
}

fn small(dir: &Path) -> Result<RawDataset, Error> {
    cifar::load(dir, &SMALL, false)
}

fn refused(dir: &Path, said: &[&str]) {
    let error = small(dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(error.hint_text().is_some(), "{error}");
    for text in said {
        assert!(error.to_string().contains(text), "{error}\nlacks {text}");
    }
}

#[test]
fn both_layouts_give_the_same_images() {
    let (dir, _folder) = with_binary();
    let binary = small(dir.path()).unwrap();
    assert_eq!(binary.train.labels, [3, 0, 9, 3, 0, 9]);
    assert_eq!(binary.test.labels, [3, 0, 9]);
    assert_eq!(binary.test.pixels[..], (0..3).flat_map(pixels).collect::<Vec<_>>());
    assert_eq!((binary.train.len(), binary.train.channels, binary.train.height, binary.train.width), (6, 3, 32, 32));
    assert_eq!(binary.class_names[9], "truck");
    for pickle in PICKLES {
        let (dir, _folder) = with_python(pickle);
        assert!(small(dir.path()).unwrap() == binary);
    }
}

#[test]
fn training_files_are_read_in_order() {
    let (dir, folder) = with_binary();
    let mut second = records();
    second[0] = 7;
    fs::write(folder.join("data_batch_2.bin"), second).unwrap();
    assert_eq!(small(dir.path()).unwrap().train.labels, [3, 0, 9, 7, 0, 9]);
}

#[test]
fn the_binary_layout_is_preferred_and_data_dir_may_be_the_folder_itself() {
    let (dir, folder) = with_binary();
    write_python(&dir.path().join("cifar-10-batches-py"), b"not a pickle");
    let binary = small(dir.path()).unwrap();
    assert!(small(&folder).unwrap() == binary);
    let (_dir, folder) = with_python(PICKLES[0]);
    assert!(small(&folder).unwrap() == binary);
}

#[test]
fn damaged_binary_files_are_named() {
    let record = 1 + IMAGE;
    for (file, content, said) in [
        ("data_batch_2.bin", None, vec!["data_batch_2.bin", "wanted 9219 bytes"]),
        ("test_batch.bin", None, vec!["test_batch.bin"]),
        ("data_batch_1.bin", Some(vec![]), vec!["data_batch_1.bin", "got 0 bytes, wanted 9219"]),
        ("data_batch_1.bin", Some(vec![0; 2 * record]), vec!["got 6146 bytes, wanted 9219"]),
        ("data_batch_1.bin", Some(vec![0; 3 * record + 1]), vec!["got 9220 bytes, wanted 9219"]),
        ("test_batch.bin", Some(vec![10; 3 * record]), vec!["test_batch.bin", "image 0 has label 10, wanted 0 to 9"]),
    ] {
        let (dir, folder) = with_binary();
        let path = folder.join(file);
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        refused(dir.path(), &said);
        refused(dir.path(), &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"]);
    }
    let (dir, folder) = with_binary();
    fs::remove_file(folder.join("test_batch.bin")).unwrap();
    fs::create_dir(folder.join("test_batch.bin")).unwrap();
    refused(dir.path(), &["test_batch.bin", "not a file"]);
}

/// CIFAR-100 with three images per file.
const SMALL100: CifarFormat = CifarFormat { images_per_train_file: 3, images_per_test_file: 3, ..CIFAR100 };

/// The coarse label, which comes first, differs from every fine label.
fn fine_records() -> Vec<u8> {
    [99, 0, 42].iter().enumerate().flat_map(|(i, &fine)| [vec![17, fine], pixels(i)].concat()).collect()
}

#[test]
fn the_classes_of_cifar100_are_its_fine_labels_in_both_layouts() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("cifar-100-binary");
    fs::create_dir(&folder).unwrap();
    for stem in ["train", "test"] {
        fs::write(folder.join(format!("{stem}.bin")), fine_records()).unwrap();
    }
    let binary = cifar::load(dir.path(), &SMALL100, false).unwrap();
    assert_eq!((&binary.train.labels[..], &binary.test.labels[..]), (&[99, 0, 42][..], &[99, 0, 42][..]));
    assert_eq!(binary.train.pixels[..], (0..3).flat_map(pixels).collect::<Vec<_>>());
    let name = |class: usize| binary.class_names[class].as_str();
    assert_eq!((binary.class_names.len(), name(0), name(42), name(99)), (100, "apple", "leopard", "worm"));
    assert!(binary.class_names.is_sorted());

    // The batch of Python 2, with its key `labels` and its labels 3, 0 and 9 replaced by those of CIFAR-100.
    let python = TempDir::new().unwrap();
    let folder = python.path().join("cifar-100-python");
    fs::create_dir(&folder).unwrap();
    let named = replace(PICKLES[0], b"U\x06labels", b"U\x0bfine_labels");
    let batch = replace(&named, b"K\x03K\x00K\x09", b"K\x63K\x00K\x2a");
    for stem in ["train", "test"] {
        fs::write(folder.join(stem), &batch).unwrap();
    }
    assert!(cifar::load(python.path(), &SMALL100, false).unwrap() == binary);

    fs::write(folder.join("test"), replace(&named, b"K\x03K\x00", b"K\x64K\x00")).unwrap();
    let error = cifar::load(python.path(), &SMALL100, false).unwrap_err();
    assert!(error.message().contains("label 100, wanted 0 to 99"), "{error}");
    fs::write(folder.join("test"), PICKLES[0]).unwrap();
    let error = cifar::load(python.path(), &SMALL100, false).unwrap_err();
    assert!(error.message().contains("`fine_labels`"), "{error}");
    let nowhere = cifar::load(&dir.path().join("nowhere"), &SMALL100, false).unwrap_err().to_string();
    for part in ["CIFAR-100", "cifar-100-binary", "cifar-100-python", "kriz/cifar-100-binary.tar.gz"] {
        assert!(nowhere.contains(part), "{nowhere}");
    }
}

/// `bytes` with the only occurrence of `from` replaced.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it occurs");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn damaged_pickles_are_named() {
    let batch = PICKLES[0];
    let replaced = |from: &[u8], to: &[u8]| -> Vec<u8> {
        let at = batch.windows(from.len()).position(|window| window == from).unwrap();
        [&batch[..at], to, &batch[at + from.len()..]].concat()
    };
    // As long as a batch, so that the check of the size passes.
    let system = [
        b"\x80\x02X".as_slice(),
        &(4 * IMAGE as u32).to_le_bytes(),
        &[b' '; 4 * IMAGE],
        &include_bytes!("fixtures/pickle/system_2.pkl")[2..],
    ]
    .concat();
    for (content, said) in [
        (batch[..9].to_vec(), "got 9 bytes, wanted more than 9216"),
        (vec![b'N'; 4 << 20], "at most"),
        (batch[..batch.len() - 20].to_vec(), "ends too early"),
        ([batch, b"x"].concat(), "1 bytes follow"),
        (vec![b'x'; 10_000], "no opcode"),
        (system, "posix.system"),
        (replaced(b"K\x03K\x00K\x09", b"K\x03K\x00K\x0a"), "image 2 has label 10, wanted 0 to 9"),
        (replaced(b"K\x03K\x00K\x09", b"K\x03NK\x09"), "the label of image 1 is a None"),
        (replaced(b"K\x03K\x00K\x09", b"K\x03K\x00"), "got 2, wanted 3 classes"),
        (replaced(b"labels", b"tables"), "under `labels` got nothing"),
        (replaced(b"U\x04data", b"U\x04dota"), "no array `data`"),
        (replaced(b"U\x02u1", b"U\x02i1"), "type i1"),
        (replaced(b"K\x03M\x00\x0c\x86", b"M\x00\x0cK\x03\x86"), "shape [3072, 3], wanted u1 and [3, 3072]"),
        (replaced(b"K\x03M\x00\x0c\x86", b"K\x04M\x00\x0c\x86"), "9216 bytes, wanted 12288"),
    ] {
        let (dir, folder) = with_python(batch);
        fs::write(folder.join("data_batch_2"), content).unwrap();
        refused(dir.path(), &["data_batch_2", said]);
    }
    let (dir, folder) = with_python(batch);
    fs::remove_file(folder.join("data_batch_2")).unwrap();
    refused(dir.path(), &["data_batch_2", "wanted more than 9216 bytes", "cifar-10-python.tar.gz"]);
}

#[test]
fn the_message_about_an_absent_data_set_gives_its_source() {
    let dir = TempDir::new().unwrap();
    let unpack = format!("-C {}", dir.path().display());
    refused(dir.path(), &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "tar -xzf", &unpack]);
    refused(&dir.path().join("nowhere"), &["cifar-10-batches-bin", "cifar-10-batches-py"]);
    refused(dir.path(), &["data.download is false", "or data.download=true"]);
    fs::write(dir.path().join("cifar-10-python.tar.gz"), "").unwrap();
    refused(dir.path(), &["the archive is there", "cifar-10-python.tar.gz"]);
}

fn settings(name: &str, dir: &Path, num_classes: i64, debug_subset_size: Option<usize>) -> DataConfig {
    serde_json::from_value(json!({
        "name": name,
        "data_dir": dir,
        "download": false,
        "num_classes": num_classes,
        "batch_size": 128,
        "batch_scope": "global",
        "eval_batch_size": 128,
        "debug_subset_size": debug_subset_size,
        "transforms": {
            "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            "random_crop": {"enabled": false, "size": 32, "padding": 4},
            "horizontal_flip": {"enabled": false, "p": 0.5},
            "imagenet_resize": {
                "enabled": false, "train_size": 224, "eval_resize": 256, "eval_crop": 224,
                "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            },
        },
    }))
    .unwrap()
}

fn with_image_size(data: DataConfig) -> DataConfig {
    DataConfig { image_size: Some(8), ..data }
}

fn load(data: &DataConfig) -> Result<Dataset, Error> {
    load_dataset(data, LoadOptions { cache_dir: Path::new("nowhere"), threads: 1 })
}

#[test]
fn the_settings_cut_and_check_every_data_set() {
    let nowhere = Path::new("nowhere");
    let digits = load(&settings("digits", nowhere, 10, None)).unwrap();
    assert_eq!((digits.train.len(), digits.test.len(), digits.num_classes), (1438, 359, 10));
    assert_eq!((digits.name.as_str(), digits.fingerprints.all.len()), ("digits", 64));
    assert_eq!(count_test_images_in_train(&digits), 0);

    let cut = load(&settings("digits", nowhere, 10, Some(400))).unwrap();
    assert_eq!((cut.train.len(), cut.test.len()), (400, 359));
    assert_eq!(cut.train.pixels[..], digits.train.pixels[..400 * 192]);
    assert_ne!(cut.fingerprints, digits.fingerprints);
    assert_eq!(load(&settings("digits", nowhere, 10, Some(9999))).unwrap().fingerprints, digits.fingerprints);

    let mut leaky = digits.clone();
    let leaked = [&digits.train.pixels[192..384], &digits.test.pixels[192..]].concat();
    leaky.test.pixels = leaked.into();
    assert_eq!(count_test_images_in_train(&leaky), 1);

    for (data, kind) in [
        (settings("digits", nowhere, 9, None), ErrorKind::Usage),
        (settings("digits", nowhere, 10, Some(0)), ErrorKind::Usage),
        (with_image_size(settings("digits", nowhere, 10, None)), ErrorKind::Usage),
        (settings("tiny_imagenet", nowhere, 200, None), ErrorKind::Missing),
        (settings("cifar10", nowhere, 10, None), ErrorKind::Missing),
    ] {
        assert_eq!(load(&data).unwrap_err().kind(), kind);
    }
}

/// The files have the published sizes and hold zeros, so each image is black and has the label 0.
#[test]
fn files_must_have_the_published_sizes() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&folder).unwrap();
    for stem in CIFAR10.train.iter().chain([&CIFAR10.test]) {
        File::create(folder.join(format!("{stem}.bin"))).unwrap().set_len(30_730_000).unwrap();
    }
    let fine = dir.path().join("cifar-100-binary");
    fs::create_dir(&fine).unwrap();
    for (file, bytes) in [("train.bin", 153_700_000), ("test.bin", 30_740_000)] {
        File::create(fine.join(file)).unwrap().set_len(bytes).unwrap();
    }
    let apples = load(&settings("cifar100", dir.path(), 100, Some(7))).unwrap();
    assert_eq!((apples.train.labels, apples.num_classes), (vec![0; 7], 100));
    let dataset = load(&settings("cifar10", dir.path(), 10, Some(7))).unwrap();
    assert_eq!((dataset.train.labels, dataset.test.len()), (vec![0; 7], 7));
    let whole = cifar::load(dir.path(), &CIFAR10, false).unwrap();
    assert_eq!((whole.train.len(), whole.test.len()), (50_000, 10_000));
}
