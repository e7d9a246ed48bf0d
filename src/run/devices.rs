//! The device of this rank, from the configuration.

use tch::Device;

use crate::config::schema::{Accelerator, Config, DevicesConfig};
use crate::distributed::World;
use crate::distributed::device_placement::{self, AcceleratorRequest, DeviceBound, DeviceRequest};
use crate::error::Result;

/// Chooses the device of this rank, see [`device_placement::choose_device`]. A collective call.
pub fn choose_device(world: &World, config: &Config) -> Result<Device> {
    device_placement::choose_device(world, &device_request(config))
}

/// The devices that the configuration asks for.
fn device_request(config: &Config) -> DeviceRequest {
    DeviceRequest {
        accelerator: match config.trainer.accelerator {
            Accelerator::Auto => AcceleratorRequest::Auto,
            Accelerator::Cpu => AcceleratorRequest::Cpu,
            Accelerator::Gpu => AcceleratorRequest::Gpu,
        },
        devices: device_bound(&config.trainer.devices),
        share_gpus: config.launch.share_gpus,
    }
}

/// `auto`, -1 or 1 allow all GPUs. 1 is the default of the configuration, so it is no choice of the user: then the
/// number of ranks decides.
fn device_bound(devices: &DevicesConfig) -> DeviceBound {
    match devices {
        DevicesConfig::Auto | DevicesConfig::Count(..=1) => DeviceBound::All,
        DevicesConfig::Count(count) => DeviceBound::First(*count as usize),
        DevicesConfig::These(indices) => DeviceBound::These(indices.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    #[test]
    fn trainer_devices_become_a_bound() {
        let bound = |devices: &str| {
            let overrides = ["data=digits", "model=resnet20", &format!("trainer.devices={devices}")].map(String::from);
            device_request(&load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config).devices
        };
        for all in ["1", "-1", "auto"] {
            assert_eq!(bound(all), DeviceBound::All, "{all}");
        }
        assert_eq!(bound("4"), DeviceBound::First(4));
        assert_eq!(bound("[2,0]"), DeviceBound::These(vec![2, 0]));
    }
}
