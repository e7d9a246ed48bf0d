//! Data: from files to batches on the rank's device.
//!
//! | file | content |
//! | --- | --- |
//! | [`archives`] | downloads a data set that is absent |
//! | [`digits`], [`cifar`], [`tiny_imagenet`], [`image_folder`] | the readers, one for each kind of data set |
//! | [`listing`], `image_names` | image files: their order, and files that are none |
//! | [`decode`], [`pack`] | their pixels, and a pack of all decoded images |
//! | [`pixels`], [`images`], [`raw_dataset`], [`host_dataset`] | a data set in host memory |
//! | [`load`], [`obtain`] | reads the configured data set, on one process or on every rank |
//! | [`split`] | cuts the training indices into retain, forget, held-out and validation |
//! | [`device_dataset`], [`device_images`] | uint8 pixels as tensors, and the samples of each [`Part`] |
//! | [`augment`] | transforms a batch of pixels into network input |
//! | [`sampler`] | the samples of a pass and their order |
//! | [`loader`], [`batch`] | walks a sampler and makes the batches |

pub mod archives;
pub mod augment;
pub mod batch;
pub mod cifar;
pub mod decode;
pub mod device_dataset;
pub mod device_images;
pub mod digits;
pub mod host_dataset;
pub mod image_folder;
mod image_names;
pub mod images;
pub mod listing;
pub mod load;
pub mod loader;
pub mod obtain;
pub mod pack;
pub mod part;
mod pixel_placement;
pub mod pixels;
pub mod raw_dataset;
pub mod sampler;
pub mod split;
pub mod tiny_imagenet;

pub use augment::View;
pub use batch::Batch;
pub use device_dataset::DeviceDataset;
pub use device_images::DeviceImages;
pub use host_dataset::Dataset;
pub use images::{Fingerprints, Images};
pub use load::{LoadOptions, load_dataset};
pub use loader::DataLoader;
pub use obtain::obtain;
pub use part::Part;
pub use sampler::{Pool, Sampler};
