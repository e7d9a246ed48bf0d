//! From files to batches on the rank's device.
//!
//! [`obtain`] fetches a data set that is not there ([`archives`] says from where), [`source`] reads it into host memory,
//! image files through their [`pack`], [`split`] cuts its indices into roles, [`device_dataset`] keeps the pixels
//! as uint8 tensors, [`augment`] turns a batch of them into network input, [`loader`] says which samples come when.

pub mod archives;
pub mod augment;
pub mod cifar;
pub mod decode;
pub mod device_dataset;
pub mod digits;
pub mod image_folder;
pub mod listing;
pub mod loader;
pub mod obtain;
pub mod pack;
mod pixel_placement;
pub mod pixels;
pub mod source;
pub mod split;
pub mod tiny_imagenet;

pub use augment::View;
pub use device_dataset::{DeviceDataset, Part};
pub use loader::{Batch, DataLoader, Pool, Sampler};
pub use obtain::obtain;
