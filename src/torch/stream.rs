//! A second stream of a GPU for communication, ordered against the current stream by events.
//!
//! The host never waits: `follow_current` and `join_current` make one stream wait for the other on the device. A CPU
//! has no streams: its work is done when the call returns, and ordering does nothing.

use std::ffi::{c_int, c_void};
use std::ptr;

use tch::Device;

use super::driver;
use super::error::check;
use super::ffi;
use crate::error::Result;

/// The shim's number of a device.
fn index_of(device: Device) -> c_int {
    match device {
        Device::Cuda(index) => index as c_int,
        _ => -1,
    }
}

/// Makes `device` the default device of this thread.
pub fn set_device(device: Device) -> Result<()> {
    // SAFETY: no pointers; libtorch checks the index.
    check(unsafe { ffi::regun_set_device(index_of(device)) })
}

/// A stream beside the current one, for collectives.
pub struct CommStream {
    device: Device,
    stream: *mut c_void,
    handle: *mut c_void,
}

// SAFETY: the shim only reads the stream object; CUDA's functions on streams may be called from any thread.
unsafe impl Send for CommStream {}
// SAFETY: the shim only reads the stream object; CUDA's functions on streams may be called from any thread.
unsafe impl Sync for CommStream {}

impl CommStream {
    /// A stream of high priority on `device`.
    pub fn new(device: Device) -> Result<Self> {
        let (mut stream, mut handle) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the shim writes a new stream and its handle if it succeeds.
        check(unsafe { ffi::regun_stream_new(&mut stream, &mut handle, index_of(device)) })?;
        Ok(CommStream { device, stream, handle })
    }

    /// The `cudaStream_t` of this stream; null on a CPU. libtorch owns it and never frees it.
    pub fn handle(&self) -> *mut c_void {
        self.handle
    }

    /// Later work on this stream waits for all work that this thread's current stream holds now.
    pub fn follow_current(&self) -> Result<()> {
        // SAFETY: a live stream of the shim.
        check(unsafe { ffi::regun_stream_follow_current(self.stream) })
    }

    /// Later work on this thread's current stream waits for all work that this stream holds now.
    pub fn join_current(&self) -> Result<()> {
        // SAFETY: a live stream of the shim.
        check(unsafe { ffi::regun_stream_join_current(self.stream) })
    }

    /// Whether the work of this stream goes into a CUDA graph instead of running.
    pub fn is_capturing(&self) -> bool {
        // SAFETY: libtorch never frees the stream of this handle.
        !self.handle.is_null() && unsafe { driver::is_capturing(self.handle) }
    }

    /// An event at the present end of this stream. Not allowed while it [is capturing](Self::is_capturing).
    pub fn event(&self) -> Result<Event> {
        Event::new(self.device, self.stream, false)
    }

    /// An event at the present end of this stream that [`Event::seconds_since`] accepts. Not allowed while the stream
    /// [is capturing](Self::is_capturing).
    pub fn timed_event(&self) -> Result<Event> {
        Event::new(self.device, self.stream, true)
    }
}

impl Drop for CommStream {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { ffi::regun_stream_free(self.stream) };
    }
}

/// A point in the work of a device (`cudaEvent_t`).
pub struct Event(*mut c_void);

// SAFETY: CUDA's functions on events may be called from any thread; an event has one owner.
unsafe impl Send for Event {}

impl Event {
    /// An event at the present end of this thread's current stream of `device`.
    pub fn now(device: Device) -> Result<Self> {
        Self::new(device, ptr::null_mut(), false)
    }

    /// An event at the present end of this thread's current stream of `device` that [`Event::seconds_since`] accepts.
    pub fn timed_now(device: Device) -> Result<Self> {
        Self::new(device, ptr::null_mut(), true)
    }

    fn new(device: Device, stream: *mut c_void, timed: bool) -> Result<Self> {
        let mut event = ptr::null_mut();
        // SAFETY: a live stream of the shim on this device, or null; the shim writes a new event if it succeeds.
        check(unsafe { ffi::regun_event_new(&mut event, index_of(device), stream, timed) })?;
        Ok(Event(event))
    }

    /// Whether the device has reached the event. Does not wait.
    pub fn reached(&self) -> Result<bool> {
        let mut reached = false;
        // SAFETY: a live event of the shim.
        check(unsafe { ffi::regun_event_reached(&mut reached, self.0) })?;
        Ok(reached)
    }

    /// Waits until the device has reached the event.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: a live event of the shim.
        check(unsafe { ffi::regun_event_wait(self.0) })
    }

    /// The time from `earlier` to this event on the device, in seconds. Both events are timed, of the same device, and
    /// [reached](Self::reached).
    pub fn seconds_since(&self, earlier: &Event) -> Result<f64> {
        let mut seconds = 0.0;
        // SAFETY: live events of the shim.
        check(unsafe { ffi::regun_event_seconds_since(&mut seconds, self.0, earlier.0) })?;
        Ok(seconds)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { ffi::regun_event_free(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_needs_no_order() {
        let stream = CommStream::new(Device::Cpu).unwrap();
        stream.follow_current().unwrap();
        stream.join_current().unwrap();
        assert!(stream.handle().is_null() && !stream.is_capturing());
        assert!(stream.event().unwrap().reached().unwrap());
        let [first, second] = [stream.timed_event(), Event::timed_now(Device::Cpu)].map(Result::unwrap);
        second.wait().unwrap();
        assert!(second.seconds_since(&first).unwrap() >= 0.0);
    }
}
