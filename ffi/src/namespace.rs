//! Coming into a group's namespaces.

use cgf_core::Namespaces;
use libc::c_int;

use crate::arguments::object;
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::guard;

/// Brings the calling thread into the group's namespaces of some kinds, and into no
/// others (R10.2): CLONE_NEWNET and the like, of sched.h. What group the thread is
/// in stays as it is. A group is bound to kinds by its control file "ns.types".
///
/// CLONE_NEWNS takes the root and working directory along: the thread is at the root of
/// what the member sees, and relative paths mean what they mean there; what is open
/// stays open. It and CLONE_NEWUSER want a process of one thread. CLONE_NEWPID and CLONE_NEWTIME hold for children that
/// the thread makes afterwards.
///
/// Returns 0, or, with the thread where it was unless the message says otherwise,
///
///     -EINVAL  the group is not bound to one of the kinds, or none is given, or
///              another bit is; CLONE_NEWNS or CLONE_NEWUSER, and the process has
///              several threads
///     -ESRCH   nobody is in the group, or nobody any longer in those namespaces
///     -EPERM   the members' namespaces may not be seen; or the kernel wants
///              CAP_SYS_ADMIN in the user namespace that a namespace belongs to, and
///              in the caller's own
///     -EUSERS  CLONE_NEWTIME, and the process has several threads
///     -EOPNOTSUPP  the hierarchy is not bound to "namespace"
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_enter(g: *mut cgf_group, namespaces: u64, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.enter(Namespaces::from_bits(namespaces)?)?;
            Ok(0)
        })
    }
}
