//! ImageNet weights, as torchvision publishes them.
//!
//! Of each model the first published set, `IMAGENET1K_V1`: that is what `pretrained=True` has always meant there. (Only
//! ResNet-50 has a second one among these models.)

use std::path::{Path, PathBuf};

use crate::distributed::{World, process};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::fetch::{Checksum, Remote, RetryPolicy, fetch};

/// Model and address. The eight digits in a file's name are the first ones of its SHA-256.
const WEIGHTS: &[(&str, &str)] = &[
    ("resnet18", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ("resnet34", "https://download.pytorch.org/models/resnet34-b627a593.pth"),
    ("resnet50", "https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    ("swin_t", "https://download.pytorch.org/models/swin_t-704ceda3.pth"),
    ("swin_s", "https://download.pytorch.org/models/swin_s-5e29d889.pth"),
    ("swin_b", "https://download.pytorch.org/models/swin_b-68c6b09e.pth"),
    ("vit_b_16", "https://download.pytorch.org/models/vit_b_16-c867db91.pth"),
    ("vit_b_32", "https://download.pytorch.org/models/vit_b_32-d86f8d99.pth"),
    ("vit_l_16", "https://download.pytorch.org/models/vit_l_16-852ce7e3.pth"),
    ("vit_l_32", "https://download.pytorch.org/models/vit_l_32-c7638314.pth"),
];

/// The file of a model's published weights.
///
/// # Errors
/// `Usage` for a model without published weights.
pub fn published(model: &str) -> Result<Remote<'static>> {
    let Some((_, url)) = WEIGHTS.iter().find(|(name, _)| *name == model) else {
        let known = WEIGHTS.iter().map(|(name, _)| *name);
        return Err(Error::usage(format!("there are no pretrained weights of {model}")).hint(format!(
            "give a file with model.model.pretrained_path, or use model.model.pretrained=false; {}",
            did_you_mean(model, known)
        )));
    };
    let digits = url.trim_end_matches(".pth").rsplit('-').next().unwrap_or_default();
    Ok(Remote { url, bytes: None, checksum: Checksum::Sha256(digits) })
}

/// The path of a model's published weights in `folder`; rank 0 downloads and verifies them first. A collective call.
///
/// `mirror` as `data.mirror`; PyTorch's own cache, `~/.cache/torch/hub/checkpoints`, is a good one.
///
/// # Errors
/// As [`published`]; `Missing` where the weights cannot be had, are damaged, or are not seen by this rank's machine.
pub fn fetch_weights(model: &str, folder: &Path, mirror: Option<&str>, world: &World) -> Result<PathBuf> {
    fetch_remote(&published(model)?, folder, mirror, world, &RetryPolicy::default())
}

/// The same for any file of weights.
pub fn fetch_remote(
    remote: &Remote,
    folder: &Path,
    mirror: Option<&str>,
    world: &World,
    retry: &RetryPolicy,
) -> Result<PathBuf> {
    let path = folder.join(remote.name());
    let downloads = world.is_root();
    world.root_first(|| match (downloads, path.exists()) {
        (true, _) => fetch(remote, mirror, folder, retry).map_err(|error| say_what_to_do(error, remote, folder)),
        (false, true) => Ok(path.clone()),
        (false, false) => Err(Error::missing(format!(
            "rank 0 has put {} in {}, but {} does not see it there",
            remote.name(),
            folder.display(),
            process::host()
        ))
        .hint("paths.cache_dir must be a folder that all machines share")),
    })
}

fn say_what_to_do(error: Error, remote: &Remote, folder: &Path) -> Error {
    if error.kind() != ErrorKind::Missing || error.hint_text().is_some() {
        return error;
    }
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    error.hint(format!(
        "where this machine has no network (a compute node), do one of these first:\n  \
         put {} by hand into {}\n  \
         say where a copy is: data.mirror=FOLDER (~/.cache/torch/hub/checkpoints, say), or data.mirror=http://HOST/PATH\n  \
         name the proxy: export HTTPS_PROXY=http://HOST:PORT",
        remote.url,
        folder.display()
    ))
}
