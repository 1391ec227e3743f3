//! The boundary: what may go wrong inside, and how C hears of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{c_int, ssize_t};

use crate::error::cgf_error;

/// Why a function fails: the core's error, or what is wrong with an argument.
pub(crate) struct Failure {
    pub errno: c_int,
    pub message: String,
    pub blockers: Vec<cgf_core::Blocker>,
}

impl Failure {
    pub(crate) fn new(errno: c_int, message: impl Into<String>) -> Failure {
        Failure { errno, message: message.into(), blockers: Vec::new() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(libc::EINVAL, message)
    }
}

impl From<cgf_core::Error> for Failure {
    fn from(error: cgf_core::Error) -> Failure {
        Failure { errno: error.errno(), message: error.message().to_owned(), blockers: error.blockers().to_vec() }
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What a function can return: a number that is negative for a failure.
pub(crate) trait Answer {
    fn failed(errno: c_int) -> Self;
}

impl Answer for c_int {
    fn failed(errno: c_int) -> c_int {
        -errno
    }
}

impl Answer for i64 {
    fn failed(errno: c_int) -> i64 {
        -i64::from(errno)
    }
}

impl Answer for ssize_t {
    fn failed(errno: c_int) -> ssize_t {
        // Lossless: both of C's platforms that Linux has are at least 32 bits wide.
        -errno as ssize_t
    }
}

/// Runs the body of a function: a failure becomes `-errno` and, where `err` is
/// not NULL, an error object there. A panic becomes ENOTRECOVERABLE: unwinding
/// into a C caller would end its process.
///
/// # Safety
///
/// `err` is NULL, or a place where a pointer can be written.
pub(crate) unsafe fn guard<T: Answer>(err: *mut *mut cgf_error, body: impl FnOnce() -> Result<T>) -> T {
    // The handles hold no state that a panic could leave half-changed: they
    // are descriptors and numbers that never change. What does change is behind
    // a lock, which a panic poisons (`stream`).
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(answer)) => return answer,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::new(libc::ENOTRECOVERABLE, format!("a defect in libcgf: {}", said(&*panic))),
    };
    let errno = failure.errno;
    if !err.is_null() {
        // SAFETY: not NULL, so it can be written to, as the caller promises.
        unsafe { err.write(cgf_error::boxed(failure)) };
    }
    T::failed(errno)
}

/// Drops a value that came from [`Box::into_raw`]. A panic on the way is kept
/// in: whoever frees has nobody to tell.
///
/// # Safety
///
/// `pointer` is NULL, or was made by `Box::into_raw` and not freed yet.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: from Box::into_raw and not freed yet, as the caller promises.
    let value = unsafe { Box::from_raw(pointer) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

fn said(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{cgf_error_errno, cgf_error_free, cgf_error_message};
    use std::ffi::CStr;

    fn failing(body: impl FnOnce() -> Result<c_int>) -> (c_int, c_int, String) {
        let mut err: *mut cgf_error = std::ptr::null_mut();
        // SAFETY: `err` can be written; the object is freed once, at the end.
        unsafe {
            let answer = guard(&raw mut err, body);
            let told = (answer, cgf_error_errno(err), CStr::from_ptr(cgf_error_message(err)).to_owned());
            cgf_error_free(err);
            (told.0, told.1, told.2.into_string().unwrap())
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let (answer, errno, message) = failing(|| panic!("at the disco"));
        assert_eq!((answer, errno), (-libc::ENOTRECOVERABLE, libc::ENOTRECOVERABLE));
        assert!(message.ends_with("at the disco"), "{message}");
        // SAFETY: NULL is allowed.
        let answer: ssize_t = unsafe { guard(std::ptr::null_mut(), || panic!("again")) };
        assert_eq!(answer, -(libc::ENOTRECOVERABLE as ssize_t));
    }

    #[test]
    fn a_nul_in_a_message_is_shown() {
        let (answer, _, message) = failing(|| Err(Failure::invalid("a\0b")));
        assert_eq!((answer, message.as_str()), (-libc::EINVAL, "a\\0b"));
    }

    #[test]
    fn success_leaves_the_error_alone() {
        let untouched = std::ptr::dangling_mut::<cgf_error>();
        let mut err = untouched;
        // SAFETY: `err` can be written.
        assert_eq!(unsafe { guard(&raw mut err, || Ok(7)) }, 7);
        assert_eq!(err, untouched);
    }
}
