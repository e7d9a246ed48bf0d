//! Copies between host and GPU that make neither of them wait. On a CPU the same calls cost nothing.

use std::ptr;

use tch::{Device, Tensor};

use super::error::check;
use super::ffi;
use super::pointers::raw;
use super::stream::Event;
use crate::error::Result;

/// `tensor` on `device`; a tensor that is already there is returned as it is.
///
/// The host does not wait for a copy to a GPU: it starts from page-locked memory, and is in the current stream before
/// all later work.
pub fn upload(tensor: &Tensor, device: Device) -> Result<Tensor> {
    let (Device::Cpu, Device::Cuda(index)) = (tensor.device(), device) else { return Ok(tensor.f_to_device(device)?) };
    let mut result = ptr::null_mut();
    // SAFETY: live tensor; the shim writes a new tensor to `result` if it succeeds.
    check(unsafe { ffi::regun_upload(&mut result, raw(tensor), index as i32) })?;
    // SAFETY: that new tensor, which has no other owner.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// A copy of a small tensor on its way to the host.
pub struct HostCopy {
    values: Tensor,
    /// None for a tensor of the host.
    arrival: Option<Event>,
}

impl HostCopy {
    /// Copies the present values of `tensor`. Later changes of it do not matter.
    pub fn start(tensor: &Tensor) -> Result<Self> {
        let kind = tensor.f_kind()?;
        let values = tensor.f_detach()?.f_to_device_(Device::Cpu, kind, true, true)?;
        let arrival = if tensor.device().is_cuda() { Some(Event::now(tensor.device())?) } else { None };
        Ok(HostCopy { values, arrival })
    }

    /// The values, once they have arrived. Waits for the work that was in the stream before [`HostCopy::start`], and
    /// not for later work.
    pub fn wait(self) -> Result<Tensor> {
        if let Some(arrival) = &self.arrival {
            arrival.wait()?;
        }
        Ok(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_copy_holds_the_values_of_its_start() {
        let mut x = Tensor::from_slice(&[1.0, 2.0]);
        let copy = HostCopy::start(&x).unwrap();
        let _ = x.fill_(7.0);
        assert_eq!(Vec::<f64>::try_from(copy.wait().unwrap()).unwrap(), [1.0, 2.0]);
        assert_eq!(upload(&x, Device::Cpu).unwrap(), x);
    }
}
