//! Coming into namespaces that are there.

use std::os::fd::{AsFd, AsRawFd};

use super::{Errno, Result, last_errno};

/// Brings the calling thread into the namespace that `fd` stands for, or into all those of
/// `kinds` that a pidfd's process is in (Linux 5.8): all of them or none.
pub(crate) fn join(fd: impl AsFd, kinds: u64) -> Result<()> {
    let kinds = libc::c_int::try_from(kinds).map_err(|_| Errno::INVAL)?;
    // SAFETY: two integers in. What a thread's namespaces are is nothing that memory safety
    // rests upon.
    match unsafe { libc::setns(fd.as_fd().as_raw_fd(), kinds) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}
