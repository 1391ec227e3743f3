//! Somebody coming into a group, as the callbacks of a subsystem see it.

use std::ptr::null_mut;

use cgf_core::Attach;
use libc::{c_char, c_int, pid_t, ssize_t};

use crate::arguments::{Buffer, object};
use crate::group::{absolute, cgf_group};
use crate::guard::guard;

/// Somebody coming into a group: what the attach callbacks of a subsystem are
/// told (cgf_subsystem_register). It is good while the callback runs, in any
/// thread; there is nothing to free.
pub struct cgf_attachment<'a> {
    attach: &'a Attach<'a>,
    group: cgf_group,
}

impl<'a> cgf_attachment<'a> {
    pub(crate) fn new(attach: &'a Attach<'a>) -> cgf_attachment<'a> {
        cgf_attachment { attach, group: cgf_group(attach.group().clone()) }
    }
}

/// The group that it comes into. Borrowed: good while the callback runs, and not
/// to be freed. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attachment_group(a: *const cgf_attachment<'_>) -> *mut cgf_group {
    // SAFETY: NULL, or an attachment whose callback runs (the header's rule).
    // Nobody writes through the pointer: a handle never changes.
    unsafe { a.as_ref() }.map_or(null_mut(), |attachment| (&raw const attachment.group).cast_mut())
}

/// The process; 0 if this is a program that is to be started and has none yet.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attachment_pid(a: *const cgf_attachment<'_>) -> pid_t {
    // SAFETY: NULL, or an attachment whose callback runs (the header's rule).
    unsafe { guard(null_mut(), || Ok(object(a, "a")?.attach.pid())) }
}

/// Copies the path of the group where it is, or after the move was, and returns
/// its whole length in bytes, as cgf_group_path does: "/" if it was never moved; 0
/// if it is not born yet, or outside of a hierarchy that was opened by root=.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attachment_from(a: *const cgf_attachment<'_>, buf: *mut c_char, cap: usize) -> ssize_t {
    // SAFETY: NULL, or an attachment whose callback runs, and room for `cap`
    // bytes (the header's rule).
    unsafe {
        guard(null_mut(), || {
            let (attachment, buffer) = (object(a, "a")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill_text(&attachment.attach.from().map(absolute).unwrap_or_default()))
        })
    }
}

/// Copies the numbers of the threads that come, the first "cap" of them, and
/// returns how many there are: all of the process, or the one of cgf_attach_task.
/// A program that is to be started counts as one, with the number 0. "buf" may
/// be NULL if "cap" is 0.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attachment_threads(a: *const cgf_attachment<'_>, buf: *mut pid_t, cap: usize) -> ssize_t {
    // SAFETY: NULL, or an attachment whose callback runs, and room for `cap`
    // numbers (the header's rule).
    unsafe {
        guard(null_mut(), || {
            let (attachment, buffer) = (object(a, "a")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill(attachment.attach.threads()))
        })
    }
}

/// 1 if this is a program that is to be started in the group, else 0. When it
/// has come (attach_task, attach), it is a process like any other: 0.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attachment_is_birth(a: *const cgf_attachment<'_>) -> c_int {
    // SAFETY: NULL, or an attachment whose callback runs (the header's rule).
    unsafe { guard(null_mut(), || Ok(object(a, "a")?.attach.is_birth().into())) }
}

/// 1 if it may come into a FROZEN group too, and freeze there
/// (CGF_ATTACH_FROZEN), else 0.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attachment_may_freeze(a: *const cgf_attachment<'_>) -> c_int {
    // SAFETY: NULL, or an attachment whose callback runs (the header's rule).
    unsafe { guard(null_mut(), || Ok(object(a, "a")?.attach.may_freeze().into())) }
}
