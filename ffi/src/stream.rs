//! A stream of events, in the hands of one thread at a time.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, TryLockError};

use cgf_core::{Event, Hierarchy, Watch, WatchOptions};
use libc::c_int;

use crate::arguments::{Out, check_flags};
use crate::error::shown;
use crate::event::cgf_event;
use crate::guard::{Failure, Result};
use crate::watch::{CGF_WATCH_LISTING, CGF_WATCH_TASKS};

/// What a C program asks a watch or a monitor for.
pub(crate) fn options(flags: u64) -> Result<WatchOptions> {
    check_flags(flags, CGF_WATCH_TASKS | CGF_WATCH_LISTING)?;
    Ok(WatchOptions::default().tasks(flags & CGF_WATCH_TASKS != 0).listing(flags & CGF_WATCH_LISTING != 0))
}

/// A watch or a monitor behind a handle that several threads may have.
pub(crate) struct Stream<T> {
    source: Mutex<T>,
    hierarchy: Hierarchy,
    boot_id: Arc<CStr>,
    lists_tasks: bool,
    descriptor: c_int,
}

impl<T: AsFd> Stream<T> {
    pub(crate) fn new(source: T, watch: impl FnOnce(&T) -> &Watch) -> Stream<T> {
        let beneath = watch(&source);
        Stream {
            hierarchy: beneath.hierarchy().clone(),
            boot_id: shown(beneath.boot_id()).into(),
            // The connector is had from the beginning, or never.
            lists_tasks: beneath.lists_tasks(),
            descriptor: source.as_fd().as_raw_fd(),
            source: Mutex::new(source),
        }
    }

    pub(crate) fn descriptor(&self) -> c_int {
        self.descriptor
    }

    pub(crate) fn lists_tasks(&self) -> bool {
        self.lists_tasks
    }

    /// Gives the next event out: 1, or 0 if there is none.
    ///
    /// Who finds another thread at it is not made to wait: that one may have no
    /// deadline, or be this one, in a callback.
    pub(crate) fn next(
        &self,
        out: Out<*mut cgf_event>,
        next: impl FnOnce(&mut T) -> cgf_core::Result<Option<Event>>,
    ) -> Result<c_int> {
        let mut source = match self.source.try_lock() {
            Ok(source) => source,
            Err(TryLockError::WouldBlock) => {
                // In a forked child it was left locked for good: ECHILD, then.
                self.hierarchy.open_group("/")?;
                return Err(Failure::new(libc::EBUSY, "another thread, or a callback's caller, waits for events here"));
            }
            Err(TryLockError::Poisoned(_)) => {
                return Err(Failure::new(libc::ENOTRECOVERABLE, "a defect in libcgf ended this stream before"));
            }
        };
        match next(&mut source)? {
            Some(event) => {
                out.put_new(cgf_event::new(event, Arc::clone(&self.boot_id)));
                Ok(1)
            }
            None => Ok(0),
        }
    }
}
