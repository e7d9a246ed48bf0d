//! Downloads of published files. A file is fetched once and verified; it is there whole or not at all.
//!
//! | file | content |
//! | --- | --- |
//! | [`fetch_file`] | [`fetch`]: a file from its address or a mirror to a folder |
//! | [`remote`] | [`Remote`]: address, size and checksum of a published file |
//! | [`download_source`] | the address or folder to take it from |
//! | [`download`] | HTTP with retries and resumption, by a [`RetryPolicy`] |
//! | [`client`], [`proxy`] | the HTTP client: time limits, certificates, proxies |
//! | [`checksum`] | [`Checksum`]: MD5 or SHA-256 of a file |
//! | [`lock`] | [`FileLock`]: keeps processes and machines that share the folder apart |
//! | [`unpack`] | opens archives |
//!
//! A file grows as `<name>.partial` and gets its name when its checksum is right, so a file with that name can be used.
//! A download that ends early continues at that byte, in this process or the next.

mod checksum;
mod client;
mod download;
mod download_source;
mod fetch_file;
mod lock;
mod proxy;
mod remote;
mod retry_policy;
pub mod unpack;

pub use checksum::Checksum;
pub use fetch_file::{fetch, fetch_locked};
pub use lock::FileLock;
pub use remote::Remote;
pub use retry_policy::RetryPolicy;
