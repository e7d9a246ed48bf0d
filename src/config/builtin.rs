//! The configuration files of `conf/`. They are compiled in, so the program needs no folder beside it.

use crate::hydra::BuiltinFiles;

/// Prefix of a built-in file's path in messages.
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

/// The files with their prefix.
pub const BUILTIN: BuiltinFiles = BuiltinFiles { prefix: PREFIX, files: FILES };
