//! Which backend works here.

use std::fmt::Write;

use libc::{c_char, ssize_t};

use crate::arguments::Buffer;
use crate::error::cgf_error;
use crate::guard::guard;

/// Tries every backend, and says for each, one line and in the order in which
/// backend=auto takes them, whether it works and where its hierarchies lie, or
/// at which step the trial ended. Takes some milliseconds, makes a child process
/// for each, and leaves nothing.
///
/// Returns the length of the whole text in bytes; as much as "cap" allows is
/// copied, with a NUL after it if the length is below "cap". The text is for
/// people, its wording may change. Each call tries anew: offer 4096 bytes at
/// once rather than ask for the length first. "buf" may be NULL if "cap" is 0.
///
///     -EINVAL  NULL with room in it
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_doctor(buf: *mut c_char, cap: usize, err: *mut *mut cgf_error) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let buffer = Buffer::new(buf, cap)?;
            let mut text = String::new();
            for finding in cgf_core::doctor() {
                let _ = match (&finding.trial, &finding.place) {
                    (Ok(()), Ok(place)) => {
                        writeln!(text, "{}: works; hierarchies lie in {}", finding.backend, place.display())
                    }
                    (Err(error), _) | (Ok(()), Err(error)) => {
                        writeln!(text, "{}: does not work: {error}", finding.backend)
                    }
                };
            }
            Ok(buffer.fill_text(text.as_bytes()))
        })
    }
}
