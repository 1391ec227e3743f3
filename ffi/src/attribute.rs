//! What subsystems note on a group.

use libc::{c_char, c_int, ssize_t};

use crate::arguments::{Buffer, object, utf8};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Failure, guard};

/// Copies what a subsystem has noted on a group under "name", "SUBSYSTEM.key",
/// and returns its whole length in bytes. As much as "cap" allows is copied; a
/// NUL follows if there is room, that is if the length is below "cap". "buf" may
/// be NULL if "cap" is 0.
///
///     -ENODATA  nothing is noted
///     -EINVAL   NULL, or not of a subsystem that the hierarchy is bound to
///     -ENODEV   the group was removed
///     -ECHILD   in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attribute_get(
    g: *const cgf_group,
    name: *const c_char,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, name, buffer) = (object(g, "g")?, utf8(name, "name")?, Buffer::new(buf, cap)?);
            match group.0.attribute(name)? {
                Some(value) => Ok(buffer.fill_text(value.as_bytes())),
                None => Err(Failure::new(libc::ENODATA, format!("nothing is noted as {name} on {}", group.0))),
            }
        })
    }
}

/// Notes something on a group, under "SUBSYSTEM.key", where every process sees it
/// and with which it goes. NULL for "value" takes the note away, whether there is
/// one or not. A copy of the group (cgf_group_clone) has the same notes.
///
/// Returns 0, or
///
///     -EINVAL  not of a subsystem that the hierarchy is bound to; not UTF-8
///     -E2BIG   a value of more than 1024 bytes
///     -ENOSPC  the kernel keeps no more: 128 notes and 128 KiB a group
///     -EACCES  nothing may be noted on this group
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attribute_set(
    g: *mut cgf_group,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, name) = (object(g, "g")?, utf8(name, "name")?);
            if value.is_null() {
                group.0.remove_attribute(name)?;
            } else {
                group.0.set_attribute(name, utf8(value, "value")?)?;
            }
            Ok(0)
        })
    }
}
