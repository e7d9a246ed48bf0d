//! Operations of our own in libtorch's autograd graph, computed by Rust closures.

use std::ptr;

use tch::Tensor;

use super::callback::{backward_callback, in_place_callback};
use super::error::check;
use super::ffi;
use super::pointers::raw;
use crate::error::{Error, ErrorKind, Result};

/// Applies a linear map to `input`; autograd differentiates the result any number of times. The map is given as a
/// closure that changes a dense copy of `input` in place.
///
/// The map must be equal to its transpose, as an all-reduce over ranks is. Gradients, and gradients of gradients, go
/// through the same map. Every backward pass through the result calls it, also if the gradient is zero.
pub fn symmetric_map(
    input: &Tensor,
    map: impl Fn(&mut Tensor) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: live tensor; the shim takes over the callback, and writes a new tensor to `result` if it succeeds.
    check(unsafe { ffi::regun_symmetric_map(&mut result, raw(input), in_place_callback(Box::new(map))) })?;
    // SAFETY: that new tensor, which has no other owner.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// Makes `output`, which is in no graph yet, a function of `inputs` in the autograd graph. `backward` computes the
/// gradients of all inputs, in their order, from the gradient of the output (zeros if there is none).
///
/// Each backward pass calls it at most once. A pass that does not retain the graph frees it. There is no second
/// derivative: asking for one is an error. If no input requires grad, nothing happens.
pub fn with_backward(
    output: &Tensor,
    inputs: &[&Tensor],
    backward: impl Fn(&Tensor) -> Result<Vec<Tensor>> + Send + Sync + 'static,
) -> Result<()> {
    let (pointers, count) = (inputs.iter().map(|input| raw(input)).collect::<Vec<_>>(), inputs.len());
    let checked = move |grad: &Tensor| {
        let grads = backward(grad)?;
        if grads.len() != count {
            let text = format!("a backward pass returned {} gradients for {count} inputs", grads.len());
            return Err(Error::new(ErrorKind::Bug, text));
        }
        Ok(grads)
    };
    let callback = backward_callback(Box::new(checked));
    // SAFETY: live tensors; the shim reads the pointers during the call, and takes over the callback, also if it fails.
    check(unsafe { ffi::regun_with_backward(raw(output), pointers.as_ptr(), count, callback) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use tch::Kind;

    use super::*;
    use crate::torch::AccumulationHook;

    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// The all-reduce of two processes with equal tensors: it doubles them.
    fn doubled(input: &Tensor, calls: &Arc<AtomicUsize>) -> Tensor {
        let (calls, home) = (Arc::clone(calls), thread::current().id());
        symmetric_map(input, move |tensor| {
            assert_eq!(thread::current().id(), home, "a CPU's backward pass stays on its thread");
            calls.fetch_add(1, Ordering::Relaxed);
            let _ = tensor.f_mul_scalar_(2.0)?;
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn gradients_of_every_order_go_through_the_map() {
        let calls = Arc::new(AtomicUsize::new(0));
        let x = leaf(&[1.0, -3.0]);
        let y = doubled(&x, &calls).pow_tensor_scalar(3).sum(Kind::Double); // 8 x^3
        let first = Tensor::run_backward(&[&y], &[&x], true, true).remove(0);
        assert_eq!(Vec::<f64>::try_from(&first).unwrap(), [24.0, 216.0]);
        let second = Tensor::run_backward(&[first.sum(Kind::Double)], &[&x], true, true).remove(0);
        assert_eq!(Vec::<f64>::try_from(&second).unwrap(), [48.0, -144.0]);
        let third = Tensor::run_backward(&[second.sum(Kind::Double)], &[&x], false, false).remove(0);
        assert_eq!(Vec::<f64>::try_from(&third).unwrap(), [48.0, 48.0]);
        assert!(x.double_value(&[0]) == 1.0 && calls.load(Ordering::Relaxed) > 3);
    }

    #[test]
    fn a_closure_lives_as_long_as_its_graph() {
        let calls = Arc::new(AtomicUsize::new(0));
        let x = leaf(&[1.0]);
        let y = doubled(&x, &calls);
        assert_eq!(Arc::strong_count(&calls), 2);
        drop(y);
        assert_eq!(Arc::strong_count(&calls), 1);
        // No input requires grad: no graph, nothing kept.
        let y = tch::no_grad(|| doubled(&x, &calls));
        assert_eq!((Arc::strong_count(&calls), y.requires_grad()), (1, false));
    }

    #[test]
    fn a_function_has_the_given_derivative_and_no_second_one() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (x, w) = (leaf(&[2.0, 3.0]), leaf(&[5.0, 7.0]));
        let product = |x: &Tensor, w: &Tensor| {
            let saved = Mutex::new((x.detach(), w.detach()));
            let output = tch::no_grad(|| x * w);
            let calls = Arc::clone(&calls);
            with_backward(&output, &[x, w], move |grad| {
                calls.fetch_add(1, Ordering::Relaxed);
                let (x, w) = &*saved.lock().unwrap();
                Ok(vec![grad * w, grad * x])
            })
            .unwrap();
            output
        };
        let y = product(&x, &w);
        (&y * &y).sum(Kind::Double).backward(); // 2 x w^2, 2 x^2 w
        assert_eq!(Vec::<f64>::try_from(x.grad()).unwrap(), [100.0, 294.0]);
        assert_eq!(Vec::<f64>::try_from(w.grad()).unwrap(), [40.0, 126.0]);
        // The end of the pass frees the saved tensors; the graph still exists.
        assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&calls)), (1, 1));
        let message = |result: std::result::Result<_, tch::TchError>| Error::from(result.unwrap_err()).to_string();
        assert!(message(y.sum(Kind::Double).f_backward()).contains("its graph is freed"));
        let again = product(&x, &w).sum(Kind::Double);
        let twice = Tensor::f_run_backward(&[&again], &[&x], true, true).map(|_| ());
        assert!(message(twice).contains("no second derivative"));
        // No input requires grad: nothing kept.
        let y = product(&x.detach(), &w.detach());
        drop(again);
        assert_eq!((Arc::strong_count(&calls), y.requires_grad()), (1, false));
    }

    // One test: the slot for the error belongs to the process, and tests run in parallel.
    #[test]
    fn forward_and_backward_return_the_errors_of_callbacks_unchanged() {
        let lost = || Error::new(ErrorKind::Peer, "rank 3 is lost").hint("look at its log");
        let is_lost = |error: Error| {
            assert_eq!(
                (error.kind(), error.message(), error.hint_text()),
                (ErrorKind::Peer, "rank 3 is lost", Some("look at its log"))
            )
        };
        let x = leaf(&[1.0]);
        is_lost(symmetric_map(&x, move |_| Err(lost())).unwrap_err());

        let calls = AtomicUsize::new(0);
        let second =
            move |_: &mut Tensor| if calls.fetch_add(1, Ordering::Relaxed) == 0 { Ok(()) } else { Err(lost()) };
        let y = symmetric_map(&x, second).unwrap();
        is_lost(y.f_backward().unwrap_err().into());

        let _hook = AccumulationHook::new(&x, move || Err(lost())).unwrap();
        is_lost((&x * 2.0).f_backward().unwrap_err().into());
    }
}
