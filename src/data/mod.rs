//! From files to batches on the rank's device.
//!
//! [`obtain`] fetches a data set that is not there ([`archives`] says from where), [`source`] reads it into host memory,
//! image files through their [`pack`], [`split`] cuts its indices into roles, [`resident`] keeps the pixels
//! as uint8 tensors, [`augment`] turns a batch of them into network input, [`feed`] says which samples come when.

pub mod archives;
pub mod augment;
pub mod cifar;
pub mod decode;
pub mod digits;
pub mod feed;
pub mod image_folder;
pub mod listing;
pub mod obtain;
pub mod pack;
pub mod pixels;
mod placement;
pub mod resident;
pub mod source;
pub mod split;
pub mod tiny_imagenet;

pub use augment::View;
pub use feed::{Batch, Feed, Feeder, Pool};
pub use obtain::obtain;
pub use resident::{Corpus, Role};
