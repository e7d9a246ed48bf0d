//! Rust closures that libtorch calls during forward and backward passes.
//!
//! An autograd graph may outlive the call that made it, and the backward pass of a GPU's tensors runs on a thread of
//! libtorch. So a closure owns its data, is `Send + Sync`, and is dropped with the last graph that could call it. The
//! forward or backward pass that called a closure returns the closure's error as it is.

use std::ffi::c_void;

use tch::Tensor;
use torch_sys::C_tensor;

use super::error::keep_callback_error;
use super::ffi::{BackwardCallback, Callback};
use super::pointers::raw;
use crate::error::Result;

/// Changes a tensor in place.
pub type InPlaceClosure = Box<dyn Fn(&mut Tensor) -> Result<()> + Send + Sync>;

/// Computes the gradients of all inputs, in their order, from the gradient of the output.
pub type BackwardClosure = Box<dyn Fn(&Tensor) -> Result<Vec<Tensor>> + Send + Sync>;

/// The closure as a callback of the shim. The shim becomes the owner of the closure.
pub fn in_place_callback(closure: InPlaceClosure) -> Callback {
    Callback { call: call_in_place, drop: drop_closure::<InPlaceClosure>, context: boxed(closure) }
}

/// The closure as a callback of the shim, which becomes its owner. The closure returns one gradient for each input.
pub fn backward_callback(closure: BackwardClosure) -> BackwardCallback {
    BackwardCallback { call: call_backward, drop: drop_closure::<BackwardClosure>, context: boxed(closure) }
}

/// Puts a fat `Box<dyn Fn>` into a box of its own, so that one thin pointer can be passed to C++.
fn boxed<T>(closure: T) -> *mut c_void {
    Box::into_raw(Box::new(closure)).cast()
}

// A panic in a closure ends the process in these functions, as in any function that C++ calls: no frame of C++ is
// unwound.

extern "C" fn call_in_place(context: *mut c_void, tensor: *mut C_tensor) -> bool {
    // SAFETY: `context` is the box of `in_place_callback`, which lives until `drop_closure`; other threads only share
    // it.
    let closure = unsafe { &*context.cast::<InPlaceClosure>() };
    // SAFETY: the shim lends a live tensor for the call; the copy of its handle counts as an owner of its own.
    let mut tensor = unsafe { Tensor::clone_from_ptr(tensor) };
    closure(&mut tensor).map_err(keep_callback_error).is_ok()
}

extern "C" fn call_backward(context: *mut c_void, grad: *mut C_tensor, grads: *mut *mut C_tensor) -> bool {
    // SAFETY: `context` is the box of `backward_callback`, which lives until `drop_closure`; other threads only share
    // it.
    let closure = unsafe { &*context.cast::<BackwardClosure>() };
    // SAFETY: the shim lends a live tensor for the call; the copy of its handle counts as an owner of its own.
    let grad = unsafe { Tensor::clone_from_ptr(grad) };
    let Ok(computed) = closure(&grad).map_err(keep_callback_error) else { return false };
    for (i, tensor) in computed.into_iter().enumerate() {
        // SAFETY: the shim has a slot for each input, and `with_backward` refuses any other number of gradients. The
        // shim becomes the owner: Rust forgets its handle.
        unsafe { *grads.add(i) = raw(&tensor) };
        std::mem::forget(tensor);
    }
    true
}

extern "C" fn drop_closure<T>(context: *mut c_void) {
    // SAFETY: the shim calls this once, at the end of the box that was made of a `T`.
    drop(unsafe { Box::from_raw(context.cast::<T>()) });
}
