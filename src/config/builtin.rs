//! The configuration files of `conf/`, compiled in so that the program needs no folder beside it.

/// Before the path of a built-in file, wherever one is named.
pub const PREFIX: &str = "regun:conf/";

macro_rules! conf {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../conf/", $path)))),*] };
}

/// Path below `conf/` and text of each file, sorted by path.
pub const FILES: &[(&str, &str)] = conf![
    "additions.yaml",
    "config.yaml",
    "data/cifar10.yaml",
    "data/cifar100.yaml",
    "data/digits.yaml",
    "data/image_folder.yaml",
    "data/tiny_imagenet.yaml",
    "experiment/demo.yaml",
    "model/resnet.yaml",
    "model/resnet20.yaml",
    "model/swin.yaml",
    "model/vit.yaml",
    "unlearn/amun.yaml",
    "unlearn/finetune.yaml",
    "unlearn/l1sparse.yaml",
    "unlearn/lur.yaml",
    "unlearn/neggrad.yaml",
    "unlearn/neggradp.yaml",
    "unlearn/regun.yaml",
    "unlearn/salun.yaml",
    "unlearn/scrub.yaml",
    "unlearn/ssd.yaml",
];

/// The text of a file, by its path below `conf/`.
pub fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}
