//! Turns libtorch's errors into ours.

use std::ffi::{CStr, c_char};
use std::sync::{Mutex, PoisonError};

use tch::TchError;

use super::ffi;
use crate::error::{Error, ErrorKind, Result};

/// The shim throws this text in place of a callback's error: `REGUN_CALLBACK_FAILED` of `shim.h`.
const CALLBACK_FAILED: &str = "regun: a callback failed";

/// The error of the callback that failed last, until the forward or backward pass that called it returns.
static CALLBACK_ERROR: Mutex<Option<Error>> = Mutex::new(None);

impl From<TchError> for Error {
    fn from(source: TchError) -> Self {
        match source {
            TchError::Torch(text) => from_torch(&text),
            other => Error::new(ErrorKind::Other, format!("libtorch: {other}")),
        }
    }
}

/// The error behind the text of a C++ exception. If a callback of ours caused the exception, that is the callback's own
/// error. Otherwise it holds the first lines of the text, without the C++ back trace.
fn from_torch(text: &str) -> Error {
    if let Some(error) = take_callback_error(text) {
        return error;
    }
    let message = text.split("\nException raised from").next().unwrap_or(text).trim();
    let error = Error::new(ErrorKind::Other, format!("libtorch: {message}"));
    match message.to_ascii_lowercase() {
        text if text.contains("out of memory") || text.contains("not enough memory") => error.hint(
            "lower `data.batch_size` and `data.eval_batch_size`, or raise `trainer.accumulate_grad_batches`; on a GPU \
             `trainer.cuda_graph=false` takes less",
        ),
        _ => error,
    }
}

/// The `Result` of a shim call. Takes ownership of the text that the call returned.
pub fn check(text: *mut c_char) -> Result<()> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null return of the shim is a NUL-terminated string from strdup, and this is its only owner.
    let error = from_torch(&unsafe { CStr::from_ptr(text) }.to_string_lossy());
    // SAFETY: it is freed once, here, and not used afterwards.
    unsafe { ffi::regun_free_error(text) };
    Err(error)
}

/// Keeps a callback's error until the pass that called the callback returns.
pub fn keep_callback_error(error: Error) {
    *CALLBACK_ERROR.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
}

/// The error of a callback, if the text of the C++ exception stands for one.
fn take_callback_error(text: &str) -> Option<Error> {
    text.contains(CALLBACK_FAILED).then(|| {
        let kept = CALLBACK_ERROR.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| Error::new(ErrorKind::Bug, "a callback failed, and its error was already reported"))
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn errors_keep_the_message_and_drop_the_back_trace() {
        let zeros = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let error = Error::from(zeros.f_matmul(&zeros).unwrap_err());
        assert!(error.message().starts_with("libtorch: mat1 and mat2 shapes cannot be multiplied"), "{error}");
        assert!(!error.message().contains("Exception raised from"));
        let error = Error::from(TchError::Torch("CUDA out of memory. Tried to allocate 1 GiB".into()));
        assert!(error.hint_text().unwrap().contains("data.batch_size"));
    }
}
