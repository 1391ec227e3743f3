//! A note on a directory that a child makes, just before its program begins.

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::sys::dir::Dir;
use crate::sys::{Errno, Result, last_errno};

/// An attribute of a directory, set to `1`.
pub(crate) struct Mark {
    pub dir: Dir,
    pub attribute: CString,
    /// Made there instead where the file system has no attributes.
    pub file: CString,
}

impl Mark {
    /// By `dir`, a copy of the directory's descriptor.
    pub(super) fn set(&self, dir: RawFd) -> Result<()> {
        // SAFETY: the name ends in NUL, and one byte is read from a place that
        // has one.
        if unsafe { libc::fsetxattr(dir, self.attribute.as_ptr(), b"1".as_ptr().cast(), 1, 0) } == 0 {
            return Ok(());
        }
        match last_errno() {
            Errno::OPNOTSUPP => {}
            errno => return Err(errno),
        }
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: the name ends in NUL.
        let file = unsafe { libc::openat(dir, self.file.as_ptr(), flags, 0o600) };
        if file == -1 {
            return Err(last_errno());
        }
        // SAFETY: one byte is read from a place that has one.
        let written = unsafe { libc::write(file, b"1".as_ptr().cast(), 1) };
        if written == 1 { Ok(()) } else { Err(last_errno()) }
    }
}
