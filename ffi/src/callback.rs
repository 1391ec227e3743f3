//! What a program's callbacks return, checked.

use cgf_core::{Error, Result};
use libc::{c_int, ssize_t};

/// Calls a callback that is there, and reads its answer: 0, or `-errno`.
pub(crate) fn call<F>(callback: Option<F>, with: impl FnOnce(F) -> c_int) -> Result<()> {
    callback.map_or(Ok(()), |callback| answer(with(callback)))
}

/// 0, or `-errno`. What is neither is EINVAL: a positive number may be an errno
/// whose sign was forgotten, and must not pass for consent.
pub(crate) fn answer(returned: c_int) -> Result<()> {
    match length(returned as ssize_t)? {
        0 => Ok(()),
        _ => Err(neither(returned as ssize_t, "0")),
    }
}

/// A length, or `-errno`.
pub(crate) fn length(returned: ssize_t) -> Result<usize> {
    match usize::try_from(returned) {
        Ok(length) => Ok(length),
        Err(_) if returned < -4095 => Err(neither(returned, "a result")),
        // In the range of errnos, so in that of c_int.
        Err(_) => Err(refusal(-returned as c_int)),
    }
}

fn neither(returned: ssize_t, result: &str) -> Error {
    Error::new(libc::EINVAL, format!("the callback returned {returned}, which is neither {result} nor -errno"))
}

/// The kernel's sentence is all there is to say about a number.
fn refusal(errno: c_int) -> Error {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    Error::new(errno, text.split(" (os error").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno<T>(result: Result<T>) -> c_int {
        result.map_or_else(|error| error.errno(), |_| 0)
    }

    #[test]
    fn only_zero_is_consent() {
        assert_eq!(errno(answer(0)), 0);
        assert_eq!(errno(answer(-libc::ENOSPC)), libc::ENOSPC);
        assert_eq!(errno(answer(-4095)), 4095);
        for wrong in [libc::ENOSPC, 1, c_int::MAX, -4096, c_int::MIN] {
            let error = answer(wrong).err();
            let told = error.map(|error| (error.errno(), error.message().contains(&wrong.to_string())));
            assert_eq!(told, Some((libc::EINVAL, true)), "{wrong}");
        }
        assert_eq!(errno(call(None::<()>, |()| -libc::EPERM)), 0);
        assert_eq!(errno(call(Some(()), |()| -libc::EPERM)), libc::EPERM);
    }

    #[test]
    fn a_length_is_any_that_is_not_negative() {
        assert_eq!(length(7).ok(), Some(7));
        assert_eq!(length(ssize_t::MAX).ok(), Some(ssize_t::MAX as usize));
        assert_eq!(errno(length(-5)), 5);
        assert_eq!(errno(length(ssize_t::MIN)), libc::EINVAL);
    }

    #[test]
    fn a_refusal_is_told_in_words() {
        let error = answer(-libc::ENOSPC).err();
        assert_eq!(error.as_ref().map(Error::message), Some("No space left on device"));
    }
}
