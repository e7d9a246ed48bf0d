//! The ImageNet weights that torchvision publishes.
//!
//! Each model has the first published set, `IMAGENET1K_V1`, which torchvision loads for `pretrained=True`. (Among these
//! models only ResNet-50 has a second set.)

use std::path::{Path, PathBuf};

use crate::distributed::{World, process};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::fetch::{Checksum, Remote, RetryPolicy, fetch};

/// Model and URL. The eight hexadecimal digits in a file's name are the first digits of its SHA-256.
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
        return Err(Error::usage(format!("{model} has no published pretrained weights")).hint(format!(
            "give a file with model.model.pretrained_path, or use model.model.pretrained=false; {}",
            did_you_mean(model, known)
        )));
    };
    let digits = url.trim_end_matches(".pth").rsplit('-').next().unwrap_or_default();
    Ok(Remote { url, bytes: None, checksum: Checksum::Sha256(digits) })
}

/// The path of a model's published weights in `folder`. Rank 0 downloads and verifies the file if necessary. A
/// collective call.
///
/// `mirror` is `data.mirror`, a folder or an address to copy from; PyTorch's own cache,
/// `~/.cache/torch/hub/checkpoints`, is a good choice.
///
/// # Errors
/// Those of [`published`], and those of [`fetch_remote`].
pub fn fetch_weights(model: &str, folder: &Path, mirror: Option<&str>, world: &World) -> Result<PathBuf> {
    fetch_remote(&published(model)?, folder, mirror, world, &RetryPolicy::default())
}

/// The path in `folder` of a remote file. Rank 0 downloads and verifies the file if necessary. A collective call.
///
/// # Errors
/// `Missing` if the file cannot be downloaded, is damaged, or is not visible on the machine of this rank.
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
        (true, _) => fetch(remote, mirror, folder, retry).map_err(|error| with_network_hint(error, remote, folder)),
        (false, true) => Ok(path.clone()),
        (false, false) => Err(Error::missing(format!(
            "rank 0 has put {} in {}, but {} does not see it there",
            remote.name(),
            folder.display(),
            process::host()
        ))
        .hint("set paths.cache_dir to a folder that all machines share")),
    })
}

/// Adds a hint for machines without network to an error that has no hint.
fn with_network_hint(error: Error, remote: &Remote, folder: &Path) -> Error {
    if error.kind() != ErrorKind::Missing || error.hint_text().is_some() {
        return error;
    }
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    error.hint(format!(
        "if this machine has no network (a compute node, for example), do one of these first:\n  \
         put {} by hand into {}\n  \
         name a place with a copy: data.mirror=FOLDER (such as ~/.cache/torch/hub/checkpoints) or \
         data.mirror=http://HOST/PATH\n  \
         name the proxy: export HTTPS_PROXY=http://HOST:PORT",
        remote.url,
        folder.display()
    ))
}
