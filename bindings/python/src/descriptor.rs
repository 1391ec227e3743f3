//! Descriptors by their numbers, and what directories are by theirs.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::error::os_error;

/// A descriptor of our own for one that Python code named by its number, which
/// other Python code may close at any time.
pub fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyOSError::new_err((libc::EBADF, format!("{fd} is no descriptor"))));
    }
    // SAFETY: borrowed for the one system call that copies it. Should the number
    // be closed, the kernel says so (EBADF); nothing is read or written.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().map_err(|error| os_error(&error))
}

/// The directory's device and inode. No other directory has them for as long as
/// the handle keeps this one open.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(u64, u64);

impl Identity {
    pub fn of(directory: OwnedFd) -> PyResult<Identity> {
        let found = File::from(directory).metadata().map_err(|error| os_error(&error))?;
        Ok(Identity(found.dev(), found.ino()))
    }
}
