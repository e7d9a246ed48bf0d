//! A hook on a parameter that runs after each backward pass.

use tch::Tensor;

use super::callback::in_place_callback;
use super::error::check;
use super::ffi;
use super::pointers::raw;
use crate::error::Result;

/// Calls a closure after each backward pass that has accumulated the gradient of a leaf: once for each pass, no matter
/// how often the graph uses the leaf. Ends when dropped.
#[derive(Debug)]
pub struct AccumulationHook {
    leaf: Tensor,
}

impl AccumulationHook {
    /// `leaf` requires grad. It has at most one hook: a second one replaces the first.
    pub fn new(leaf: &Tensor, hook: impl Fn() -> Result<()> + Send + Sync + 'static) -> Result<Self> {
        let callback = in_place_callback(Box::new(move |_| hook()));
        // SAFETY: live tensor; the shim takes over the callback, also if it fails.
        check(unsafe { ffi::regun_set_accumulation_hook(raw(leaf), callback) })?;
        Ok(AccumulationHook { leaf: leaf.shallow_clone() })
    }
}

impl Drop for AccumulationHook {
    fn drop(&mut self) {
        // SAFETY: live tensor. Clearing a hook throws nothing, and a destructor cannot return an error.
        let _ = check(unsafe { ffi::regun_clear_accumulation_hook(raw(&self.leaf)) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_hook_is_called_once_a_pass_with_the_whole_gradient() {
        let x = Tensor::from_slice(&[1.0]).set_requires_grad(true);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, handle) = (Arc::clone(&seen), Mutex::new(x.shallow_clone()));
        let hook = AccumulationHook::new(&x, move || {
            log.lock().unwrap().push(handle.lock().unwrap().grad().double_value(&[0]));
            Ok(())
        });
        let hook = hook.unwrap();
        let loss = || &x * 2.0 + (&x * 3.0) * &x;
        loss().backward();
        assert_eq!(*seen.lock().unwrap(), [8.0]);
        loss().backward();
        assert_eq!(*seen.lock().unwrap(), [8.0, 16.0]);
        drop(hook);
        loss().backward();
        assert_eq!((seen.lock().unwrap().len(), Arc::strong_count(&seen)), (2, 1));
        assert!(AccumulationHook::new(&Tensor::from_slice(&[1.0]), || Ok(())).unwrap_err().message().contains("leaf"));
    }
}
