//! Trees of image files: the order of their images, and their packs, which are verified, reused, rebuilt and shared.

mod image_tree;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image_tree::{FILES, FIXTURES, put};
use regun::data::decode::decode;
use regun::data::listing::{ImageFile, ImageListing};
use regun::data::pack::{self, PackOptions};
use regun::data::raw_dataset::RawDataset;
use regun::data::{image_folder, tiny_imagenet};
use regun::error::{Error, ErrorKind};
use tempfile::TempDir;

fn settings(cache: &Path) -> PackOptions<'_> {
    PackOptions { name: "mine", image_size: None, skip_corrupt: false, cache_dir: cache, threads: 2 }
}

/// Folders `train` and `test` with the classes `ant`, `bee` and `cat`. Each has two training images and one test image.
fn make_image_folder(root: &Path) {
    for (class, pair) in ["cat", "ant", "bee"].iter().zip(FILES.chunks(2)) {
        for file in pair {
            put(file, &root.join("train").join(class).join(file));
        }
        put(pair[0], &root.join("test").join(class).join("only.jpg"));
    }
    fs::write(root.join("train/ant/.hidden"), "not seen").unwrap();
    fs::write(root.join("train/notes.txt"), "no class").unwrap();
}

/// Two classes in the layout of Tiny ImageNet.
fn make_tiny_imagenet(root: &Path) {
    for (wnid, pair) in ["n02", "n01"].iter().zip(FILES.chunks(2)) {
        for (i, file) in pair.iter().enumerate() {
            put(file, &root.join("train").join(wnid).join("images").join(format!("{wnid}_{i}.JPEG")));
        }
        fs::write(root.join("train").join(wnid).join(format!("{wnid}_boxes.txt")), "").unwrap();
    }
    for (i, file) in FILES[2..5].iter().enumerate() {
        put(file, &root.join("val/images").join(format!("val_{i}.JPEG")));
    }
    let boxes = "\t0\t0\t9\t9\n";
    fs::write(
        root.join("val/val_annotations.txt"),
        format!("val_2.JPEG\tn01{boxes}val_0.JPEG\tn02{boxes}val_1.JPEG\tn02{boxes}"),
    )
    .unwrap();
}

/// A temporary folder whose `data` is an image folder.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Tree(TempDir::new().unwrap());
        make_image_folder(&tree.path("data"));
        tree
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn listing(&self) -> ImageListing {
        image_folder::list(&self.path("data")).unwrap()
    }

    fn load(&self, change: impl FnOnce(&mut PackOptions<'_>)) -> Result<RawDataset, Error> {
        let cache = self.path("cache");
        let mut settings = settings(&cache);
        change(&mut settings);
        pack::load(&self.listing(), &settings)
    }

    fn packs(&self) -> Vec<PathBuf> {
        files(&self.path("data/.regun-packs"), "pack")
    }
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn pixels(fixture: &str) -> Vec<u8> {
    decode(&fs::read(Path::new(FIXTURES).join(fixture)).unwrap()).unwrap().pixels
}

#[track_caller]
fn says(error: Error, kind: ErrorKind, parts: &[&str]) {
    assert!(error.kind() == kind && error.hint_text().is_some(), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error}\nlacks {part}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Listings

fn order(entries: &[ImageFile]) -> Vec<(&str, i64)> {
    entries.iter().map(|entry| (entry.path.as_str(), entry.label)).collect()
}

#[test]
fn an_image_folder_is_listed_class_by_class_in_the_order_of_names() {
    let tree = Tree::new();
    let listing = tree.listing();
    assert_eq!(listing.class_names, ["ant", "bee", "cat"]);
    let train = [
        ("train/ant/grey.jpg", 0),
        ("train/ant/rgb8.png", 0),
        ("train/bee/grey16.png", 1),
        ("train/bee/palette4.png", 1),
        ("train/cat/420.jpg", 2),
        ("train/cat/444.jpg", 2),
    ];
    assert_eq!(order(&listing.train), train);
    assert_eq!(order(&listing.test), [("test/ant/only.jpg", 0), ("test/bee/only.jpg", 1), ("test/cat/only.jpg", 2)]);
    // The test part may lack a class. The other classes keep their numbers.
    fs::remove_dir_all(tree.path("data/test/ant")).unwrap();
    assert_eq!(order(&tree.listing().test), [("test/bee/only.jpg", 1), ("test/cat/only.jpg", 2)]);
}

#[test]
fn tiny_imagenet_numbers_its_classes_by_sorted_wnid() {
    let dir = TempDir::new().unwrap();
    for root in [dir.path().to_path_buf(), dir.path().join("tiny-imagenet-200")] {
        make_tiny_imagenet(&root);
        let listing = tiny_imagenet::list(dir.path()).unwrap();
        assert_eq!(listing.class_names, ["n01", "n02"]);
        let train = [
            ("train/n01/images/n01_0.JPEG", 0),
            ("train/n01/images/n01_1.JPEG", 0),
            ("train/n02/images/n02_0.JPEG", 1),
            ("train/n02/images/n02_1.JPEG", 1),
        ];
        assert_eq!(order(&listing.train), train);
        let test = [("val/images/val_0.JPEG", 1), ("val/images/val_1.JPEG", 1), ("val/images/val_2.JPEG", 0)];
        assert_eq!(order(&listing.test), test);
        for part in ["train", "val"] {
            fs::remove_dir_all(root.join(part)).unwrap();
        }
    }
}

#[test]
fn the_message_about_a_wrong_image_folder_gives_the_reason() {
    type Damage = fn(&Path);
    let damages: [(Damage, &[&str]); 6] = [
        (
            |root| fs::rename(root.join("train"), root.join("Training")).unwrap(),
            &["no folder train", "it has Training, test"],
        ),
        (|root| fs::create_dir(root.join("train/dog")).unwrap(), &["`dog` has no images", "train/dog", "is empty"]),
        (
            |root| {
                fs::create_dir(root.join("train/dog")).unwrap();
                fs::write(root.join("train/dog/Thumbs.db"), "").unwrap();
            },
            &["`dog` has no images", "1 file(s) that are no images, train/dog/Thumbs.db"],
        ),
        (
            |root| std::os::unix::fs::symlink("..", root.join("train/cat/up")).unwrap(),
            &["train/cat/up", "a link to a folder above itself"],
        ),
        (
            |root| {
                for class in ["ant", "bee", "cat"] {
                    fs::remove_dir_all(root.join("train").join(class)).unwrap();
                }
            },
            &["train in", "no class folders"],
        ),
        (
            |root| std::os::unix::fs::symlink("nowhere", root.join("train/cat/broken.jpg")).unwrap(),
            &["cannot read", "broken.jpg"],
        ),
    ];
    for (damage, parts) in damages {
        let tree = Tree::new();
        damage(&tree.path("data"));
        says(image_folder::list(&tree.path("data")).unwrap_err(), ErrorKind::Missing, parts);
    }
}

#[test]
fn a_wrong_test_part_leaves_the_training_images_and_the_reason() {
    type Damage = fn(&Path);
    let damages: [(Damage, &[&str]); 4] = [
        (|root| fs::remove_dir_all(root.join("test")).unwrap(), &["no folder test", "test/<class>/*"]),
        (|root| fs::rename(root.join("test/ant"), root.join("test/aunt")).unwrap(), &["`aunt`", "did you mean `ant`"]),
        (|root| fs::remove_file(root.join("test/ant/only.jpg")).unwrap(), &["`ant` has no images"]),
        (
            |root| {
                for class in ["ant", "bee", "cat"] {
                    fs::rename(root.join("test").join(class), root.join(class)).unwrap();
                }
                put("420.jpg", &root.join("test/unlabelled.jpg"));
            },
            &["has no class folders in its folder test"],
        ),
    ];
    for (damage, parts) in damages {
        let tree = Tree::new();
        damage(&tree.path("data"));
        let listing = tree.listing();
        assert_eq!((listing.train.len(), listing.test.len()), (6, 0));
        says(listing.no_test.unwrap(), ErrorKind::Missing, parts);
        assert_eq!(tree.load(|_| ()).unwrap().test.len(), 0);
    }
}

#[test]
fn a_validation_part_stands_in_for_the_test_part() {
    for name in ["val", "valid", "validation"] {
        let tree = Tree::new();
        fs::rename(tree.path("data/test"), tree.path("data").join(name)).unwrap();
        fs::create_dir(tree.path("data/test")).unwrap(); // of images without labels, or empty
        let listing = tree.listing();
        assert!(listing.no_test.is_none());
        assert_eq!(listing.test.iter().map(|entry| entry.label).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(listing.test[0].path.starts_with(name));
    }
    let tree = Tree::new();
    put("420.jpg", &tree.path("data/val/ant/0.jpg"));
    assert!(tree.listing().test[0].path.starts_with("test/"), "a folder test with classes counts");
}

/// The order of torchvision's `ImageFolder`: by folder as text, then by file name.
#[test]
fn sub_folders_are_walked_in_the_order_of_torchvision() {
    let tree = Tree::new();
    for name in ["b/1.jpg", "a.jpg", "b/x/0.jpg", "b-c/2.jpg", "Z.png", "ä/3.jpg", "b/.hidden/4.jpg"] {
        put("420.jpg", &tree.path("data/train/cat").join(name));
    }
    put("420.jpg", &tree.path("data/train/cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg"));
    put("420.jpg", &tree.path("data/elsewhere/9.jpg"));
    std::os::unix::fs::symlink("../../elsewhere", tree.path("data/train/cat/linked")).unwrap();
    fs::write(tree.path("data/train/cat/b/Thumbs.db"), "no image").unwrap();
    let cats: Vec<String> = tree.listing().train.into_iter().filter(|entry| entry.label == 2).map(|e| e.path).collect();
    let wanted =
        ["420.jpg", "444.jpg", "Z.png", "a.jpg", "b/1.jpg", "b-c/2.jpg", "b/x/0.jpg", "linked/9.jpg", "ä/3.jpg"];
    assert_eq!(cats, wanted.map(|name| format!("train/cat/{name}")));
}

/// Moves the validation images of [`make_tiny_imagenet`] to other places, without the annotations.
fn move_val(root: &Path, place: impl Fn(&str, &str) -> String) {
    for (name, wnid) in [("val_0.JPEG", "n02"), ("val_1.JPEG", "n02"), ("val_2.JPEG", "n01")] {
        let to = root.join(place(name, wnid));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(root.join("val/images").join(name), to).unwrap();
    }
    fs::remove_file(root.join("val/val_annotations.txt")).unwrap();
}

#[test]
fn every_layout_of_tiny_imagenet_is_the_same_data_set() {
    type Change = fn(&Path);
    let layouts: [(&str, Change); 12] = [
        ("the archive's", |_| ()),
        ("val/<wnid>/", |root| {
            move_val(root, |name, wnid| format!("val/{wnid}/{name}"));
            fs::remove_dir(root.join("val/images")).unwrap();
        }),
        ("val/<wnid>/images/", |root| move_val(root, |name, wnid| format!("val/{wnid}/images/{name}"))),
        ("val/images/<wnid>/", |root| move_val(root, |name, wnid| format!("val/images/{wnid}/{name}"))),
        ("sorted with the annotations left", |root| {
            let text = fs::read(root.join("val/val_annotations.txt")).unwrap();
            move_val(root, |name, wnid| format!("val/{wnid}/{name}"));
            fs::write(root.join("val/val_annotations.txt"), text).unwrap();
        }),
        ("half sorted", |root| {
            fs::create_dir_all(root.join("val/n02")).unwrap();
            fs::rename(root.join("val/images/val_1.JPEG"), root.join("val/n02/val_1.JPEG")).unwrap();
        }),
        ("copied into folders", |root| {
            for (name, wnid) in [("val_0.JPEG", "n02"), ("val_2.JPEG", "n01")] {
                fs::create_dir_all(root.join("val").join(wnid)).unwrap();
                fs::copy(root.join("val/images").join(name), root.join("val").join(wnid).join(name)).unwrap();
            }
        }),
        ("annotations as a table", |root| {
            fs::remove_file(root.join("val/val_annotations.txt")).unwrap();
            let table = "\u{feff}file,class\r\nval_2.JPEG,n01\r\nval_0.JPEG,n02\r\n\"val_1.JPEG\",\"n02\"\r\n";
            fs::write(root.join("val/val_annotations.csv"), table).unwrap();
        }),
        ("annotations beside the images", |root| {
            fs::rename(root.join("val/val_annotations.txt"), root.join("val/images/val_annotations.txt")).unwrap();
        }),
        ("annotations above val", |root| {
            fs::rename(root.join("val/val_annotations.txt"), root.join("val_annotations.txt")).unwrap();
        }),
        ("train/<wnid>/ without images/", |root| {
            for wnid in ["n01", "n02"] {
                for i in 0..2 {
                    let class = root.join("train").join(wnid);
                    let name = format!("{wnid}_{i}.JPEG");
                    fs::rename(class.join("images").join(&name), class.join(&name)).unwrap();
                }
            }
            fs::remove_dir(root.join("train/n01/images")).unwrap();
        }),
        ("with wnids.txt, words.txt and a test part", |root| {
            fs::write(root.join("wnids.txt"), "n02\nn01\n").unwrap();
            fs::write(root.join("words.txt"), "n01\tfish\n").unwrap();
            put("420.jpg", &root.join("test/images/test_0.JPEG"));
        }),
    ];
    let load = |change: Change| {
        let dir = TempDir::new().unwrap();
        make_tiny_imagenet(dir.path());
        change(dir.path());
        let listing = tiny_imagenet::list(dir.path()).unwrap();
        assert!(listing.no_test.is_none(), "{:?}", listing.no_test);
        pack::load(&listing, &settings(&dir.path().join("cache"))).unwrap()
    };
    let wanted = load(|_| ());
    assert_eq!(wanted.test.labels, [1, 1, 0]);
    for (name, change) in layouts {
        assert!(load(change) == wanted, "{name}");
    }
}

/// Copies of the set by class can have names of their own, which are equal in two classes.
#[test]
fn validation_images_in_class_folders_may_have_any_names() {
    let dir = TempDir::new().unwrap();
    make_tiny_imagenet(dir.path());
    move_val(dir.path(), |name, wnid| format!("val/{wnid}/{}", if name == "val_0.JPEG" { "1.JPEG" } else { "0.JPEG" }));
    let listing = tiny_imagenet::list(dir.path()).unwrap();
    assert_eq!(order(&listing.test), [("val/n01/0.JPEG", 0), ("val/n02/0.JPEG", 1), ("val/n02/1.JPEG", 1)]);
}

#[test]
fn the_message_about_a_wrong_tiny_imagenet_gives_the_reason() {
    type Damage = fn(&Path);
    let damages: [(Damage, &[&str]); 4] = [
        (|root| fs::remove_dir_all(root.join("train")).unwrap(), &["no folder train", "tiny-imagenet-200.zip"]),
        (|root| fs::remove_file(root.join("train/n01/images/n01_0.JPEG")).unwrap(), &[]),
        (|root| fs::create_dir_all(root.join("train/n03/images")).unwrap(), &["`n03` has no images"]),
        (
            |root| {
                let class = root.join("train/n01");
                fs::copy(class.join("images/n01_0.JPEG"), class.join("n01_0.JPEG")).map(drop).unwrap();
            },
            &["in two places: train/n01/n01_0.JPEG and train/n01/images/n01_0.JPEG"],
        ),
    ];
    for (damage, parts) in damages {
        let dir = TempDir::new().unwrap();
        make_tiny_imagenet(dir.path());
        damage(dir.path());
        match parts {
            [] => assert_eq!(tiny_imagenet::list(dir.path()).unwrap().train.len(), 3),
            parts => says(tiny_imagenet::list(dir.path()).unwrap_err(), ErrorKind::Missing, parts),
        }
    }
}

#[test]
fn a_wrong_validation_part_of_tiny_imagenet_leaves_the_training_images_and_the_reason() {
    type Damage = fn(&Path);
    let damages: [(Damage, &[&str]); 10] = [
        (|root| fs::remove_dir_all(root.join("val")).unwrap(), &["val is missing; it is the test set"]),
        (
            |root| fs::remove_file(root.join("val/val_annotations.txt")).unwrap(),
            &["val/val_annotations.txt is missing, and val/images/val_0.JPEG lies in no folder of a class"],
        ),
        (|root| fs::remove_dir_all(root.join("val/images")).unwrap(), &["val has no images"]),
        (|root| fs::remove_file(root.join("val/images/val_1.JPEG")).unwrap(), &["1 file(s)", "val_1.JPEG among them"]),
        (
            |root| fs::copy(root.join("val/images/val_1.JPEG"), root.join("val/images/val_9.JPEG")).map(drop).unwrap(),
            &["no class for val/images/val_9.JPEG"],
        ),
        (
            |root| fs::write(root.join("val/val_annotations.txt"), "val_0.JPEG\tn02\nval_1.JPEG\tn77\n").unwrap(),
            &["val_annotations.txt:2", "`n77`"],
        ),
        (
            |root| {
                fs::create_dir(root.join("val/n01")).unwrap();
                fs::rename(root.join("val/images/val_1.JPEG"), root.join("val/n01/val_1.JPEG")).unwrap();
            },
            &["val/n01/val_1.JPEG lies in the folder of n01", "another class"],
        ),
        (
            |root| move_val(root, |name, _| format!("val/n01/n02/{name}")),
            &["lies in the folders of two classes, n01 and n02"],
        ),
        (
            |root| {
                move_val(root, |name, wnid| format!("val/{wnid}/{name}"));
                put("420.jpg", &root.join("val/n02/images/val_1.JPEG"));
            },
            &["in two places: val/n02/images/val_1.JPEG and val/n02/val_1.JPEG"],
        ),
        (
            |root| move_val(root, |name, wnid| format!("val/{}/{name}", wnid.replace("n02", "n07"))),
            &["val/n07/val_0.JPEG lies in no folder of a class"],
        ),
    ];
    for (damage, parts) in damages {
        let dir = TempDir::new().unwrap();
        make_tiny_imagenet(dir.path());
        damage(dir.path());
        let listing = tiny_imagenet::list(dir.path()).unwrap();
        assert_eq!((listing.train.len(), listing.test.len()), (4, 0), "{parts:?}");
        says(listing.no_test.unwrap(), ErrorKind::Missing, parts);
    }
}

#[test]
fn the_real_tiny_imagenet_is_listed_in_full() {
    let Some(data) = std::env::var_os("REGUN_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: REGUN_TEST_DATA is not set");
        return;
    };
    let listing = tiny_imagenet::list(&data).unwrap();
    assert_eq!(listing.class_names.len(), 200);
    assert!(listing.class_names.is_sorted());
    assert!(listing.train.is_sorted_by_key(|entry| (entry.label, entry.path.clone())));
    let per_class = |label: i64| listing.train.iter().filter(|entry| entry.label == label).count();
    assert_eq!((0..200).map(per_class).sum::<usize>(), listing.train.len());
    for entry in listing.train.iter().step_by(97) {
        let wnid = entry.path.split('/').nth(1).unwrap();
        assert_eq!(listing.class_names[entry.label as usize], wnid);
    }
    // Each line of the annotations has its image in the listing.
    let text = fs::read_to_string(listing.root.join("val/val_annotations.txt")).unwrap();
    for line in text.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let path = format!("val/images/{}", columns[0]);
        let entry = listing.test.iter().find(|entry| entry.path == path).unwrap();
        assert_eq!(listing.class_names[entry.label as usize], columns[1]);
    }
    assert_eq!(text.lines().count(), listing.test.len());
}

// ---------------------------------------------------------------------------------------------------------------------
// Packs

#[test]
fn a_pack_holds_the_images_in_the_order_of_the_listing() {
    let tree = Tree::new();
    let images = tree.load(|_| ()).unwrap();
    let (train, test) = (&images.train, &images.test);
    assert_eq!((train.channels, train.height, train.width), (3, 19, 29));
    assert_eq!((&train.labels[..], &test.labels[..]), (&[0, 0, 1, 1, 2, 2][..], &[0, 1, 2][..]));
    let order = ["grey.jpg", "rgb8.png", "grey16.png", "palette4.png", "420.jpg", "444.jpg"];
    for (image, file) in train.iter().zip(order) {
        assert_eq!(image, pixels(file), "{file}");
    }
    for (image, file) in test.iter().zip(["grey.jpg", "palette4.png", "420.jpg"]) {
        assert_eq!(image, pixels(file), "{file}");
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_pack_is_used_again_until_an_image_changes() {
    let tree = Tree::new();
    let first = tree.load(|_| ()).unwrap();
    let [pack] = tree.packs().try_into().unwrap();
    let made = modified(&pack);
    assert!(tree.load(|settings| settings.threads = 1).unwrap() == first);
    assert_eq!(modified(&pack), made);
    // The new content has the same size, so only the time of change differs.
    let image = tree.path("data/train/cat/420.jpg");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().append(true).open(&image).unwrap().set_modified(time).unwrap();
    assert!(tree.load(|_| ()).unwrap() == first);
    assert_eq!(tree.packs().len(), 2);
    put("444.jpg", &image);
    let changed = tree.load(|_| ()).unwrap();
    assert_eq!(changed.train.iter().nth(4).unwrap(), pixels("444.jpg"));
    assert_ne!(changed.fingerprints, first.fingerprints);
}

#[test]
fn a_damaged_pack_is_renamed_and_built_again() {
    let whole = {
        let tree = Tree::new();
        tree.load(|_| ()).unwrap();
        fs::read(&tree.packs()[0]).unwrap()
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let end = whole.len();
    for (what, bytes) in [
        ("empty", vec![]),
        ("foreign", b"something else".to_vec()),
        ("torn", whole[..end - 1].to_vec()),
        ("half", whole[..end / 2].to_vec()),
        ("longer", [&whole[..], b"x"].concat()),
        ("a flipped bit of the header", flipped(9)),
        ("a flipped bit of a pixel", flipped(4096 + 5000)),
        ("a flipped bit of the metadata", flipped(end - 40)),
    ] {
        let tree = Tree::new();
        let first = tree.load(|_| ()).unwrap();
        let [pack] = tree.packs().try_into().unwrap();
        // A broken copy is renamed over the pack, because a mapped file must not change.
        fs::write(tree.path("copy"), &bytes).unwrap();
        fs::rename(tree.path("copy"), &pack).unwrap();
        assert!(tree.load(|_| ()).unwrap() == first, "{what}");
        let [aside] = files(&tree.path("data/.regun-packs"), "damaged").try_into().unwrap();
        assert_eq!(fs::read(aside).unwrap(), bytes, "{what}");
    }
}

#[test]
fn the_pack_of_a_read_only_image_folder_goes_to_the_cache() {
    let tree = Tree::new();
    // A file in place of the folder of packs stops even root.
    fs::write(tree.path("data/.regun-packs"), "").unwrap();
    let first = tree.load(|_| ()).unwrap();
    let [pack] = files(&tree.path("cache/packs"), "pack").try_into().unwrap();
    let made = modified(&pack);
    assert!(tree.load(|_| ()).unwrap() == first);
    assert_eq!(modified(&pack), made);
}

#[test]
fn files_that_cannot_be_decoded_are_named_counted_and_left_out_if_configured() {
    let tree = Tree::new();
    let bytes = fs::read(Path::new(FIXTURES).join("420.jpg")).unwrap();
    fs::write(tree.path("data/train/cat/420.jpg"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(tree.path("data/train/bee/list.png"), "grey16.png").unwrap();
    fs::write(tree.path("data/test/ant/only.jpg"), "").unwrap();
    let named = [
        "3 of 10 image files",
        "train/cat/420.jpg: it is truncated",
        "train/bee/list.png: it is no image",
        "test/ant/only.jpg: it is empty",
        "data.skip_corrupt=true",
    ];
    says(tree.load(|_| ()).unwrap_err(), ErrorKind::Missing, &named);
    assert!(tree.packs().is_empty());
    let images = tree.load(|settings| settings.skip_corrupt = true).unwrap();
    assert_eq!((&images.train.labels[..], &images.test.labels[..]), (&[0, 0, 1, 1, 2][..], &[1, 2][..]));
    assert_eq!(images.train.iter().last().unwrap(), pixels("444.jpg"));
    // The pack exists now, and loading it still reports the missing files.
    says(tree.load(|_| ()).unwrap_err(), ErrorKind::Missing, &named);
    assert_eq!(tree.packs().len(), 1);

    fs::write(tree.path("data/train/cat/444.jpg"), "").unwrap();
    let error = tree.load(|settings| settings.skip_corrupt = true).unwrap_err();
    says(error, ErrorKind::Missing, &["no training image of the class `cat`"]);
}

#[test]
fn a_message_names_five_bad_files_and_counts_the_others() {
    let tree = Tree::new();
    for i in 0..20 {
        fs::write(tree.path(&format!("data/train/cat/bad{i:02}.jpg")), "bad").unwrap();
    }
    says(tree.load(|_| ()).unwrap_err(), ErrorKind::Missing, &["20 of 29", "bad00.jpg", "bad04.jpg", "and 15 more"]);
}

#[test]
fn images_of_different_sizes_need_an_image_size() {
    let tree = Tree::new();
    let path = tree.path("data/train/cat/small.png");
    let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 8, 10);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[200; 240]).unwrap();
    let error = tree.load(|_| ()).unwrap_err();
    says(
        error,
        ErrorKind::Missing,
        &["train/ant/grey.jpg is 29x19", "train/cat/small.png is 8x10", "data.image_size=8"],
    );
    let images = tree.load(|settings| settings.image_size = Some(12)).unwrap();
    assert_eq!((images.train.height, images.train.width, images.train.len()), (12, 12, 7));
    assert!(images.train.iter().last().unwrap().iter().all(|&value| value == 200));
    // Each image size has its own pack.
    tree.load(|settings| settings.image_size = Some(8)).unwrap();
    assert_eq!(tree.packs().len(), 2);
}

#[test]
fn processes_that_start_together_share_one_pack() {
    const CHILD: &str = "REGUN_PACK_THIS_TREE";
    if let Some(data) = std::env::var_os(CHILD).map(PathBuf::from) {
        let images = pack::load(&image_folder::list(&data).unwrap(), &settings(&data.join("cache"))).unwrap();
        assert_eq!(images.train.len(), 6 + 300);
        return;
    }
    let tree = Tree::new();
    for i in 0..300 {
        put(FILES[i % 6], &tree.path(&format!("data/train/cat/more{i:03}")));
    }
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes_that_start_together_share_one_pack", "--nocapture"])
            .env(CHILD, tree.path("data"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let left: Vec<_> = fs::read_dir(tree.path("data/.regun-packs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}: the pack and its lock");
    assert!(tree.load(|_| ()).is_ok());
}

#[test]
fn half_a_pack_of_a_killed_process_is_ignored() {
    // A file with a temporary name is no pack, and does not stop the next packing.
    let tree = Tree::new();
    fs::create_dir_all(tree.path("data/.regun-packs")).unwrap();
    fs::write(tree.path("data/.regun-packs/.writing-abc"), "half a pack").unwrap();
    assert_eq!(tree.load(|_| ()).unwrap().train.len(), 6);
    assert_eq!(tree.packs().len(), 1);
}
