//! Operations of our own in libtorch's autograd graph: closures in Rust that forward and backward passes call.
//!
//! A graph may outlive the call that made it, and a backward pass of a GPU's tensors runs on a thread of libtorch. So a
//! closure owns what it uses, is `Send + Sync`, and is dropped with the last graph that could call it. An error that it
//! returns comes out of the forward or backward pass that called it, see [`error_behind`].

use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use tch::Tensor;
use torch_sys::C_tensor;

use super::{check, ffi, raw};
use crate::error::{Error, ErrorKind, Result};

/// What the shim throws in place of a callback's error: `REGUN_CALLBACK_FAILED` of `shim.h`.
const CALLBACK_FAILED: &str = "regun: a callback failed";

/// The error of the callback that failed last, until the pass that called it returns.
static CALLBACK_ERROR: Mutex<Option<Error>> = Mutex::new(None);

type Closure = Box<dyn Fn(&mut Tensor) -> Result<()> + Send + Sync>;

/// A closure as the shim keeps it: `RegunCallback` of `shim.h`.
#[repr(C)]
pub struct Callback {
    call: extern "C" fn(*mut c_void, *mut C_tensor) -> bool,
    drop: extern "C" fn(*mut c_void),
    context: *mut c_void,
}

impl Callback {
    /// The shim becomes the owner of the closure.
    fn new(closure: Closure) -> Self {
        Callback { call, drop: drop::<Closure>, context: Box::into_raw(Box::new(closure)).cast() }
    }
}

// A panic in the closure ends the process here, as in any function that C++ calls: no frame of C++ is unwound.
extern "C" fn call(context: *mut c_void, tensor: *mut C_tensor) -> bool {
    // SAFETY: `context` is the box of `Callback::new`, which lives until `drop`; other threads only share it, too.
    let closure = unsafe { &*context.cast::<Closure>() };
    // SAFETY: the shim lends a live tensor for the call; the copy of its handle counts as an owner of its own.
    let mut tensor = unsafe { Tensor::clone_from_ptr(tensor) };
    match closure(&mut tensor) {
        Ok(()) => true,
        Err(error) => keep(error),
    }
}

extern "C" fn drop<T>(context: *mut c_void) {
    // SAFETY: the shim calls this once, at the end of the box that was made of a `T`.
    std::mem::drop(unsafe { Box::from_raw(context.cast::<T>()) });
}

type Backward = Box<dyn Fn(&Tensor) -> Result<Vec<Tensor>> + Send + Sync>;

/// A backward pass as the shim keeps it: `RegunBackward` of `shim.h`.
#[repr(C)]
pub struct BackwardCallback {
    call: extern "C" fn(*mut c_void, *mut C_tensor, *mut *mut C_tensor) -> bool,
    drop: extern "C" fn(*mut c_void),
    context: *mut c_void,
}

impl BackwardCallback {
    /// The shim becomes the owner of the closure, which returns one gradient for each input.
    fn new(closure: Backward) -> Self {
        BackwardCallback {
            call: call_backward,
            drop: drop::<Backward>,
            context: Box::into_raw(Box::new(closure)).cast(),
        }
    }
}

// As `call`.
extern "C" fn call_backward(context: *mut c_void, grad: *mut C_tensor, grads: *mut *mut C_tensor) -> bool {
    // SAFETY: `context` is the box of `BackwardCallback::new`, which lives until `drop`; other threads only share it.
    let closure = unsafe { &*context.cast::<Backward>() };
    // SAFETY: the shim lends a live tensor for the call; the copy of its handle counts as an owner of its own.
    let grad = unsafe { Tensor::clone_from_ptr(grad) };
    match closure(&grad) {
        Ok(made) => {
            for (i, tensor) in made.into_iter().enumerate() {
                // SAFETY: the shim has a place for each input, and `with_backward` has seen to it that there are no
                // more. It becomes the owner: Rust forgets its handle.
                unsafe { *grads.add(i) = raw(&tensor) };
                std::mem::forget(tensor);
            }
            true
        }
        Err(error) => keep(error),
    }
}

/// Keeps an error until the pass that called the closure returns; false, for the shim.
fn keep(error: Error) -> bool {
    *CALLBACK_ERROR.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    false
}

/// The error of a callback, where the text of a C++ exception stands for one.
pub(super) fn error_behind(text: &str) -> Option<Error> {
    text.contains(CALLBACK_FAILED).then(|| {
        let kept = CALLBACK_ERROR.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| Error::new(ErrorKind::Bug, "a callback failed and its error was told elsewhere"))
    })
}

/// A map, given as a change in place, of a dense copy of `input`.
///
/// It must be linear and equal to its transpose, as the sum over processes is: gradients, and gradients of gradients,
/// go through the same map. It is called in every backward pass through the result, also where the gradient is zero.
pub fn symmetric_map(
    input: &Tensor,
    map: impl Fn(&mut Tensor) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: live tensor; the shim takes over the callback, and writes a new tensor to `result` where it succeeds.
    check(unsafe { ffi::regun_symmetric_map(&mut result, raw(input), Callback::new(Box::new(map))) })?;
    // SAFETY: that new tensor, which nobody else owns.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// Makes `output`, which no graph knows yet, a function of `inputs` in the autograd graph. `backward` computes from the
/// gradient of the output (zeros where there is none) the gradients of all inputs, in their order.
///
/// It is called at most once for each backward pass, and freed after one that does not retain the graph. There is no
/// second derivative: asking for it is an error. Where no input requires grad, nothing happens.
pub fn with_backward(
    output: &Tensor,
    inputs: &[&Tensor],
    backward: impl Fn(&Tensor) -> Result<Vec<Tensor>> + Send + Sync + 'static,
) -> Result<()> {
    let (pointers, count) = (inputs.iter().map(|input| raw(input)).collect::<Vec<_>>(), inputs.len());
    let checked = move |grad: &Tensor| {
        let made = backward(grad)?;
        if made.len() != count {
            let text = format!("a backward pass made {} gradients for {count} inputs", made.len());
            return Err(Error::new(ErrorKind::Bug, text));
        }
        Ok(made)
    };
    let callback = BackwardCallback::new(Box::new(checked));
    // SAFETY: live tensors; the shim reads the pointers during the call, and takes over the callback, also where it
    // fails.
    check(unsafe { ffi::regun_with_backward(raw(output), pointers.as_ptr(), count, callback) })
}

/// Derivatives of batch normalisation with the constant statistics `mean` and `var` [C]: by input, weight and bias,
/// given the gradient of its output.
pub fn batch_norm_backward(
    grad: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    (mean, var): (&Tensor, &Tensor),
    eps: f64,
) -> Result<[Tensor; 3]> {
    let mut made = [ptr::null_mut(); 3];
    let [by_input, by_weight, by_bias] = &mut made;
    let [grad, input, weight, mean, var] = [grad, input, weight, mean, var].map(raw);
    // SAFETY: live tensors; the shim writes three new ones where it succeeds.
    check(unsafe {
        ffi::regun_batch_norm_backward(by_input, by_weight, by_bias, grad, input, weight, mean, var, eps)
    })?;
    // SAFETY: those new tensors, which nobody else owns.
    Ok(made.map(|tensor| unsafe { Tensor::from_ptr(tensor) }))
}

/// Moments of `input` (N, C, ...) for each channel, float64 [1 + 2 C]: the number n of values per channel, the C means,
/// and the C sums of squared distances from the mean (M2). N may be 0: all are 0 then.
///
/// Can be differentiated any number of times; n is a constant. On a CPU the sums are those of float64 whatever the
/// dtype.
pub fn channel_moments(input: &Tensor) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: live tensor; the shim writes a new tensor to `result` where it succeeds.
    check(unsafe { ffi::regun_channel_moments(&mut result, raw(input)) })?;
    // SAFETY: that new tensor, which nobody else owns.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// Calls a closure after each backward pass that has accumulated the gradient of a leaf: once for each pass, however
/// often the leaf was used. Ends when dropped.
#[derive(Debug)]
pub struct AccumulationHook {
    leaf: Tensor,
}

impl AccumulationHook {
    /// `leaf` requires grad. It has one hook at most: a second one replaces the first.
    pub fn new(leaf: &Tensor, hook: impl Fn() -> Result<()> + Send + Sync + 'static) -> Result<Self> {
        let callback = Callback::new(Box::new(move |_| hook()));
        // SAFETY: live tensor; the shim takes over the callback, also where it fails.
        check(unsafe { ffi::regun_set_accumulation_hook(raw(leaf), callback) })?;
        Ok(AccumulationHook { leaf: leaf.shallow_clone() })
    }
}

impl Drop for AccumulationHook {
    fn drop(&mut self) {
        // SAFETY: live tensor. Clearing a hook throws nothing; there would be nobody to tell.
        let _ = check(unsafe { ffi::regun_clear_accumulation_hook(raw(&self.leaf)) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use tch::{Device, Kind as Dtype};

    use super::*;

    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// Two processes that hold the same: the sum doubles.
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
        let y = doubled(&x, &calls).pow_tensor_scalar(3).sum(Dtype::Double); // 8 x^3
        let first = Tensor::run_backward(&[&y], &[&x], true, true).remove(0);
        assert_eq!(Vec::<f64>::try_from(&first).unwrap(), [24.0, 216.0]);
        let second = Tensor::run_backward(&[first.sum(Dtype::Double)], &[&x], true, true).remove(0);
        assert_eq!(Vec::<f64>::try_from(&second).unwrap(), [48.0, -144.0]);
        let third = Tensor::run_backward(&[second.sum(Dtype::Double)], &[&x], false, false).remove(0);
        assert_eq!(Vec::<f64>::try_from(&third).unwrap(), [48.0, 48.0]);
        assert!(x.double_value(&[0]) == 1.0 && calls.load(Ordering::Relaxed) > 3);
    }

    #[test]
    fn a_closure_lives_as_long_as_its_graph() {
        let calls = Arc::new(AtomicUsize::new(0));
        let x = leaf(&[1.0]);
        let y = doubled(&x, &calls);
        assert_eq!(Arc::strong_count(&calls), 2);
        std::mem::drop(y);
        assert_eq!(Arc::strong_count(&calls), 1);
        // No gradient asked for: no graph, nothing kept.
        let y = tch::no_grad(|| doubled(&x, &calls));
        assert_eq!((Arc::strong_count(&calls), y.requires_grad()), (1, false));
    }

    #[test]
    fn a_function_has_the_derivative_that_it_was_given_and_no_second_one() {
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
        (&y * &y).sum(Dtype::Double).backward(); // 2 x w^2, 2 x^2 w
        assert_eq!(Vec::<f64>::try_from(x.grad()).unwrap(), [100.0, 294.0]);
        assert_eq!(Vec::<f64>::try_from(w.grad()).unwrap(), [40.0, 126.0]);
        // What it kept is gone with the pass, not with the graph.
        assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&calls)), (1, 1));
        let message = |result: std::result::Result<_, tch::TchError>| Error::from(result.unwrap_err()).to_string();
        assert!(message(y.sum(Dtype::Double).f_backward()).contains("its graph is freed"));
        let again = product(&x, &w).sum(Dtype::Double);
        let twice = Tensor::f_run_backward(&[&again], &[&x], true, true).map(|_| ());
        assert!(message(twice).contains("no second derivative"));
        // No gradient asked for: nothing kept.
        let y = product(&x.detach(), &w.detach());
        std::mem::drop(again);
        assert_eq!((Arc::strong_count(&calls), y.requires_grad()), (1, false));
    }

    // One test: the error in flight is one for the process, and tests share it.
    #[test]
    fn errors_of_callbacks_come_out_of_forward_and_backward_as_they_are() {
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

    #[test]
    fn a_hook_is_called_once_a_pass_with_the_whole_gradient() {
        let x = leaf(&[1.0]);
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
        std::mem::drop(hook);
        loss().backward();
        assert_eq!((seen.lock().unwrap().len(), Arc::strong_count(&seen)), (2, 1));
        assert!(AccumulationHook::new(&Tensor::from_slice(&[1.0]), || Ok(())).unwrap_err().message().contains("leaf"));
    }

    #[test]
    fn moments_of_float32_are_those_of_float64() {
        tch::manual_seed(1);
        // More values than one part holds, far from zero.
        let x = Tensor::randn([40, 3, 50, 30], (Dtype::Float, Device::Cpu)) + 1000.0;
        let moments = channel_moments(&x).unwrap();
        let wide = x.to_kind(Dtype::Double);
        let mean = wide.mean_dim([0i64, 2, 3].as_slice(), true, None::<Dtype>);
        let m2 = (&wide - &mean).square().sum_dim_intlist([0i64, 2, 3].as_slice(), false, None::<Dtype>);
        let distance = |a: Tensor, b: Tensor| (a / b - 1.0).abs().max().double_value(&[]);
        assert_eq!(moments.double_value(&[0]), 40.0 * 50.0 * 30.0);
        assert!(distance(moments.narrow(0, 1, 3), mean.view(-1)) < 1e-14);
        assert!(distance(moments.narrow(0, 4, 3), m2) < 1e-11);
        assert_eq!(channel_moments(&x.narrow(0, 0, 0)).unwrap(), Tensor::zeros([7], (Dtype::Double, Device::Cpu)));
    }

    #[test]
    fn moments_have_their_first_and_second_derivatives() {
        tch::manual_seed(2);
        let x = Tensor::randn([5, 2, 3, 4], (Dtype::Double, Device::Cpu)).set_requires_grad(true);
        let weights = Tensor::randn([5], (Dtype::Double, Device::Cpu));
        let direction = x.randn_like();
        let by_hand = || {
            let dims = [0i64, 2, 3];
            let mean = x.mean_dim(dims.as_slice(), true, None::<Dtype>);
            let m2 = (&x - &mean).square().sum_dim_intlist(dims.as_slice(), false, None::<Dtype>);
            Tensor::cat(&[Tensor::from_slice(&[60.0]), mean.view(-1), m2], 0)
        };
        let derivatives = |moments: Tensor| {
            let loss = (moments.square() * &weights).sum(Dtype::Double);
            let first = Tensor::run_backward(&[&loss], &[&x], true, true).remove(0);
            let along = (&first * &direction).sum(Dtype::Double);
            let second = Tensor::run_backward(&[along], &[&x], false, false).remove(0);
            [first.detach(), second]
        };
        for (ours, theirs) in derivatives(channel_moments(&x).unwrap()).iter().zip(derivatives(by_hand())) {
            assert!((ours - theirs).abs().max().double_value(&[]) < 1e-11);
        }
    }
}
