//! Small trees of image files, made of the fixtures.

use std::fs;
use std::path::Path;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images");

/// Files of 29x19 pixels, all different.
pub const FILES: [&str; 6] = ["420.jpg", "444.jpg", "grey.jpg", "rgb8.png", "palette4.png", "grey16.png"];

/// Copies a fixture, making the folders above it.
pub fn put(fixture: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(Path::new(FIXTURES).join(fixture), to).unwrap();
}

/// `train` and `test` with the classes `ant`, `bee` and `cat`: two images of each to train on, one to test.
pub fn image_folder(root: &Path) {
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
pub fn tiny_imagenet(root: &Path) {
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
