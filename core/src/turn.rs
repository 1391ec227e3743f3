//! Being the only one who changes something, when whether it may be changed depends on
//! what else there is: one after the other, of all processes and threads.

use std::fmt;
use std::fs::File;
use std::time::Duration;

use crate::backend::BackendKind;
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::holder::{self, Bytes, Holder};
use crate::sys::lock::{self, Mode};

/// The turn, until it is dropped. Who was killed has given it back, whatever he had forked:
/// the byte says whose it is.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub(crate) struct Turn {
    file: File,
    byte: u64,
}

/// Which file of a hierarchy's root is locked: of the kernel's, one that whoever was given the
/// directory may write, who may not always freeze it.
pub(crate) fn file(backend: BackendKind, freeze_file: &'static str) -> &'static str {
    match backend {
        BackendKind::Embedded => freeze_file,
        BackendKind::Cgroup2 | BackendKind::Cgroup1 => "cgroup.procs",
    }
}

impl Turn {
    /// Waits for it. `doing` is what others do who have it.
    ///
    /// EBUSY: somebody has it until the deadline, for one who is stopped.
    pub(crate) fn take(
        file: File,
        bytes: Bytes,
        holder: Holder,
        deadline: Deadline,
        doing: fmt::Arguments<'_>,
    ) -> Result<Turn> {
        let mut wait = Wait::until(deadline);
        let mut pause = Duration::from_micros(20);
        while !holder::take_turn(&file, bytes, holder)? {
            if wait.pause(pause).is_err() {
                let who = bytes.held(&file, Mode::Write)?.map_or("somebody".to_owned(), |(_, who)| who);
                return Err(Error::new(libc::EBUSY, format!("{who} is {doing} and does not get on with it")));
            }
            pause = (2 * pause).min(Duration::from_millis(1));
        }
        Ok(Turn { file, byte: bytes.of(holder) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Unlocked and not just closed: a child that another thread forks meanwhile has a copy
        // of the descriptor, and would keep the lock.
        let _ = lock::unlock(&self.file, self.byte);
    }
}
