//! Events of a device as the monitor and the timeline use them; unit tests use events without a device.

use crate::error::Result;
use crate::torch::Event;

/// A point in the work of a device.
pub trait DeviceEvent {
    /// Whether the device has reached the event. Does not wait.
    fn reached(&self) -> Result<bool>;
    /// Seconds from `earlier` to this event; negative if this one came first. The device has reached both.
    fn seconds_since(&self, earlier: &Self) -> Result<f64>;
}

impl DeviceEvent for Event {
    fn reached(&self) -> Result<bool> {
        Event::reached(self)
    }

    fn seconds_since(&self, earlier: &Self) -> Result<f64> {
        Event::seconds_since(self, earlier)
    }
}
