//! Signals to a whole group.

use libc::c_int;

use crate::arguments::object;
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::guard;

/// Sends a signal to every process of the group and below, to each once (R5.1);
/// 0 only checks that it could be sent.
///
/// SIGKILL ends them all, those born meanwhile and those in frozen groups
/// included. The call returns when they are dead (though perhaps not yet waited
/// for), and leaves the freezer's state as it was (R5.2). Any other signal goes
/// to the processes that are there when the call begins. The caller, if it is in
/// the group, comes last.
///
/// Returns 0, or
///
///     -EINVAL  no such signal, or the kernel's own root group
///     -EBUSY   some were not dead by the hierarchy's deadline:
///              cgf_error_blockers names them; or a checkpoint holds the group, one
///              above it or below (R4.1), and no signal was sent
///     -EPERM   not permitted to signal one of them; the others were signalled
///     -EACCES  not permitted to kill in this group
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_kill(g: *mut cgf_group, signal: c_int, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.kill(signal)?;
            Ok(0)
        })
    }
}
