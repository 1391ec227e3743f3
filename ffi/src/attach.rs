//! Moving into a group what runs already.

use std::os::fd::BorrowedFd;

use cgf_core::AttachOptions;
use libc::{c_int, pid_t};

use crate::arguments::{check_flags, object};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Failure, Result, guard};

/// cgf_attach_with, cgf_attach_pidfd: also into a FROZEN group, where the
/// newcomer freezes.
pub const CGF_ATTACH_FROZEN: u64 = 1;

/// Moves a process with all its threads into a group; 0 is the caller (R2.1).
/// Its children stay where they are; those it makes later are born in the group.
///
/// Returns 0, or
///
///     -ESRCH   no such process, or it ended meanwhile, or a thread's number
///     -EBUSY   the group is FROZEN (R2.4); a checkpoint holds it, or the group that
///              the process is in, or one above either (R4.1); on cgroup v2, it
///              hands controllers down and so cannot hold processes
///     -EACCES  the process is another user's (R1.13), or the caller may not
///              write to the group
///     -EINVAL  a negative number, or a kernel thread
///     -ECANCELED  somebody moved it on at once
///     -ENODEV  the group was removed
///     -ENOENT  the hierarchy is bound to a subsystem that is not registered
///              here
///     -EPERM   the group is bound to namespaces, and the process is not in them; or
///              it would be the first, and is not in the group above
///     -ECHILD  in a forked child
///     others   a subsystem refused, or could not follow (cgf_subsystem); the
///              process is where it was
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attach(g: *mut cgf_group, pid: pid_t, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.attach(pid)?;
            Ok(0)
        })
    }
}

/// Moves one thread; 0 is the calling one. On cgroup v1, and within a threaded
/// subtree of v2.
///
/// Returns 0, or
///
///     -EOPNOTSUPP  the group cannot hold single threads; the message says why
///     -ESRCH       no such thread
///     others as cgf_attach
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attach_task(g: *mut cgf_group, tid: pid_t, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.attach_task(tid)?;
            Ok(0)
        })
    }
}

/// Moves a process as cgf_attach does, with "flags": CGF_ATTACH_FROZEN.
///
///     -EINVAL  unknown flags
///     others as cgf_attach
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attach_with(g: *mut cgf_group, pid: pid_t, flags: u64, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.attach_with(pid, options(flags)?)?;
            Ok(0)
        })
    }
}

/// Moves the process that a pidfd stands for: it cannot be mistaken for another
/// that has its number by now. The descriptor stays the caller's. "flags":
/// CGF_ATTACH_FROZEN.
///
///     -EBADF   no pidfd
///     -ESRCH   its process has gone
///     -EINVAL  unknown flags
///     others as cgf_attach
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_attach_pidfd(
    g: *mut cgf_group,
    pidfd: c_int,
    flags: u64,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, options) = (object(g, "g")?, options(flags)?);
            if pidfd < 0 {
                return Err(Failure::new(libc::EBADF, format!("{pidfd} is no descriptor")));
            }
            // -1 is excluded above; the caller lends it for the call (the header's rule).
            group.0.attach_pidfd(BorrowedFd::borrow_raw(pidfd), options)?;
            Ok(0)
        })
    }
}

fn options(flags: u64) -> Result<AttachOptions> {
    check_flags(flags, CGF_ATTACH_FROZEN)?;
    Ok(AttachOptions { frozen: flags & CGF_ATTACH_FROZEN != 0 })
}
