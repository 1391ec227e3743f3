//! Waiting for `cgroup.events` to change.

use std::fs::File;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::deadline::{Ended, Wait};
use crate::sys::{self, Errno};

/// A small group stops in the time that it takes to fall asleep and be woken: it
/// is looked at a few times in a row. The kernel limits how often it notifies, so
/// that a change soon after another may be told up to 16 ms late: the next looks
/// come on a short timer.
pub(super) struct Patience {
    looks: u32,
    next: Duration,
}

impl Patience {
    const EAGER_LOOKS: u32 = 16;
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(64);

    pub(super) fn new() -> Patience {
        Patience { looks: 0, next: Patience::SHORTEST }
    }

    /// Starts again with the short waits.
    pub(super) fn hurry(&mut self) {
        self.next = Patience::SHORTEST;
    }

    /// Whether what usually takes a moment has not come for a while.
    pub(super) fn is_long(&self) -> bool {
        self.next == Patience::LONGEST
    }

    /// Returns when the file may have changed since it was last read.
    pub(super) fn wait(&mut self, events: &File, wait: &mut Wait<'_>) -> sys::Result<Result<(), Ended>> {
        self.looks = self.looks.saturating_add(1);
        let is_eager = self.looks <= Patience::EAGER_LOOKS;
        let slice = match wait.slice(if is_eager { Duration::ZERO } else { self.next }) {
            Ok(slice) => slice,
            Err(ended) => return Ok(Err(ended)),
        };
        if is_eager {
            // Let a task that shares our CPU reach its stop.
            std::thread::yield_now();
            return Ok(Ok(()));
        }
        self.next = (2 * self.next).min(Patience::LONGEST);
        let timeout = Timespec { tv_sec: slice.as_secs() as i64, tv_nsec: slice.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&timeout)) {
            // A signal: its handler has run, the caller's deadline still holds.
            Ok(_) | Err(Errno::INTR) => Ok(Ok(())),
            Err(errno) => Err(errno),
        }
    }
}
