//! The freezer: freeze, thaw, and what a group does now.

use cgf_core::{Deadline, FreezeOptions, State};
use libc::c_int;

use crate::arguments::{check_flags, object};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Result, guard};

/// cgf_state: the group's tasks run.
pub const CGF_THAWED: c_int = 0;
/// cgf_state: they were asked to stop, and at least one has not.
pub const CGF_FREEZING: c_int = 1;
/// cgf_state: none of them runs.
pub const CGF_FROZEN: c_int = 2;
/// cgf_state: a checkpoint holds the group (cgf_checkpoint_begin): frozen, unless
/// its tool thaws it.
pub const CGF_CHECKPOINTING: c_int = 3;

const _: () = assert!(
    State::Thawed as c_int == CGF_THAWED
        && State::Freezing as c_int == CGF_FREEZING
        && State::Frozen as c_int == CGF_FROZEN
        && State::Checkpointing as c_int == CGF_CHECKPOINTING
);

/// cgf_freeze, cgf_hold: after a failure give the group back the state that it
/// had before.
pub const CGF_FREEZE_ROLLBACK: u64 = 1;
/// cgf_freeze, cgf_hold: allow a group that the caller is in. The caller stops
/// with the others; the call returns when somebody else has thawed the group.
pub const CGF_FREEZE_WITH_CALLER: u64 = 2;

/// Freezes every task of the group and of the groups below, and returns when
/// the last one has stopped (R3.2). A group that is frozen already stays so.
///
/// "timeout_ms" bounds the wait in milliseconds: 0 asks and looks once, a
/// negative number waits without limit. "flags": CGF_FREEZE_ROLLBACK,
/// CGF_FREEZE_WITH_CALLER.
///
/// Returns 0, or
///
///     -EBUSY   not all had stopped by the deadline: cgf_error_blockers names
///              them, which may take 100 ms more. The group stays FREEZING until
///              it is thawed, frozen again, or they go; with
///              CGF_FREEZE_ROLLBACK it is as before
///     -EBUSY   a checkpoint holds it, or a group above (R4.1); nothing was done
///     -ECANCELED  somebody thawed it meanwhile
///     -EDEADLK the caller is in the group; nothing was frozen (R3.5)
///     -EINVAL  unknown flags, or the kernel's own root group
///     -ENODEV  the group was removed
///     -EACCES  not permitted
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_freeze(
    g: *mut cgf_group,
    timeout_ms: c_int,
    flags: u64,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let group = object(g, "g")?;
            group.0.freeze_with(options(Deadline::from_millis(timeout_ms), flags)?)?;
            Ok(0)
        })
    }
}

/// Lets every task of the group go that is not held by a group above or, in a
/// group below, by that group itself (R3.6). When it returns, no task is stopped
/// by the group any more (R3.8). Thawing a thawed group succeeds; so does thawing
/// one whose parent is frozen, and takes effect when the parent is thawed.
///
/// Returns 0, or
///
///     -ETIMEDOUT  the kernel did not let go within the hierarchy's deadline
///     -EBUSY   a checkpoint holds it, or a group above (R4.1)
///     -EINVAL  the kernel's own root group
///     -ENODEV  the group was removed
///     -EACCES  not permitted
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_thaw(g: *mut cgf_group, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.thaw()?;
            Ok(0)
        })
    }
}

/// What the group's tasks really do at this moment (R3.1).
///
/// Returns CGF_THAWED, CGF_FREEZING, CGF_FROZEN or CGF_CHECKPOINTING, or
///
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_state(g: *const cgf_group, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe { guard(err, || Ok(object(g, "g")?.0.state()? as c_int)) }
}

pub(crate) fn options<'a>(deadline: Deadline, flags: u64) -> Result<FreezeOptions<'a>> {
    check_flags(flags, CGF_FREEZE_ROLLBACK | CGF_FREEZE_WITH_CALLER)?;
    Ok(FreezeOptions::within(deadline)
        .rollback(flags & CGF_FREEZE_ROLLBACK != 0)
        .with_caller(flags & CGF_FREEZE_WITH_CALLER != 0))
}
