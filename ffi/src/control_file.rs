//! The text interface.

use libc::{c_char, c_int, ssize_t};

use crate::arguments::{Buffer, bytes, object};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Failure, Result, guard};

/// Reads a control file, such as "freezer.state", and returns the whole length
/// of its text in bytes (R1.8). As much as "cap" allows is copied; a NUL follows
/// if there is room, that is if the length is below "cap". "buf" may be NULL if
/// "cap" is 0. Each call is one consistent answer; two calls may differ.
///
///     -EINVAL  NULL
///     -ENOENT  no such file, or its subsystem is not bound
///     -EACCES  it can only be written
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
///     others as the function that does the same
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_read(
    g: *const cgf_group,
    file: *const c_char,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, file, buffer) = (object(g, "g")?, bytes(file, "file")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill_text(group.0.read(file_name(file)?)?.as_bytes()))
        })
    }
}

/// Writes a control file, with or without a newline at the end (R1.8). Writing
/// FROZEN to "freezer.state" asks and does not wait.
///
/// Returns 0, or
///
///     -ENOENT  no such file, or its subsystem is not bound
///     -EACCES  it can only be read
///     -EINVAL  not what the file takes
///     -E2BIG   more than 4096 bytes
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
///     others as the function that does the same; nothing is half-done
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_write(
    g: *mut cgf_group,
    file: *const c_char,
    text: *const c_char,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, file) = (object(g, "g")?, bytes(file, "file")?);
            let (file, text) = (file_name(file)?, text(content, "text")?);
            group.0.write(file, text)?;
            Ok(0)
        })
    }
}

/// The names of control files are ASCII, so anything else names none.
fn file_name(name: &[u8]) -> Result<&str> {
    let none = || Failure::new(libc::ENOENT, format!("no control file {:?}", String::from_utf8_lossy(name)));
    std::str::from_utf8(name).map_err(|_| none())
}
