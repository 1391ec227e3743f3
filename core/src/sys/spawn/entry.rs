//! Namespaces of a child's own: what it does about them before its program starts.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys::{Errno, last_errno};

/// How a child comes into its namespaces.
pub(crate) enum Entry {
    /// It makes new ones of these kinds (unshare(2)).
    New(u64),
    /// It joins these, in this order (setns(2)); whether a user namespace is among them.
    Join { fds: Vec<OwnedFd>, user: bool },
}

impl Entry {
    /// In the child. Who comes into a user namespace can be looked into by its root as soon
    /// as it is there, and the child has the memory of a caller who may know secrets: not before
    /// it executes its program. (A caller without privileges could not see it either then,
    /// and has none that the namespace's root, who is its own user, could not get.)
    ///
    /// The number of the step that failed, and its errno.
    pub(super) fn take(&self) -> Result<(), (u8, Errno)> {
        let failed = |step| (step, last_errno());
        let kinds = match self {
            Entry::Join { fds, user } => {
                // SAFETY: no arguments; five integers.
                if *user && unsafe { libc::geteuid() == 0 && libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == -1 } {
                    return Err(failed(6));
                }
                return fds.iter().try_for_each(|fd| {
                    // SAFETY: two integers; this child has one thread and nobody's memory.
                    if unsafe { libc::setns(fd.as_raw_fd(), 0) } == 0 { Ok(()) } else { Err(failed(6)) }
                });
            }
            Entry::New(kinds) => *kinds as libc::c_int,
        };
        // SAFETY: an integer; as above.
        if unsafe { libc::unshare(kinds) } == -1 {
            return Err(failed(6));
        }
        if kinds & libc::CLONE_NEWNS == 0 {
            return Ok(());
        }
        // What is mounted from now on must not come back to where it came from, as it
        // would below a mount that is shared.
        let (root, nothing) = (c"/".as_ptr(), std::ptr::null());
        // SAFETY: the path ends in NUL; the kernel looks at nothing else for a change of
        // propagation.
        match unsafe { libc::mount(nothing, root, nothing, libc::MS_REC | libc::MS_PRIVATE, nothing.cast()) } {
            0 => Ok(()),
            _ => Err(failed(7)),
        }
    }
}
