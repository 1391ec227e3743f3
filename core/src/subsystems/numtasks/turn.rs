//! Changing shares by turns: whether some fit depends on those of other groups.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::holder::{self, SHARERS};
use crate::sys::{Errno, lock};

/// Being the only one who changes shares in a hierarchy, until this is dropped. A holder who
/// was killed has given it back, whatever he had forked.
#[must_use = "the turn is over when this is dropped"]
pub(super) struct Turn {
    file: File,
    byte: u64,
}

/// EBUSY: somebody else has the turn until the deadline, for one who is stopped. EACCES: we
/// may not write to the root group.
pub(super) fn take(hierarchy: &Hierarchy, deadline: Deadline) -> Result<Turn> {
    let backend = hierarchy.backend()?;
    let root = hierarchy.root_node();
    let file = match root.dir.open_file(backend.freeze_file(), OFlags::RDWR) {
        // The kernel's own root has none.
        Err(Errno::NOENT) => root.dir.open_file("cgroup.procs", OFlags::RDWR),
        other => other,
    };
    let file = file.map_err(|errno| root.failed(errno, "opening the freeze file"))?;
    let holder = backend.this_process();
    let mut wait = Wait::until(deadline);
    let mut pause = Duration::from_micros(50);
    while !holder::take_turn(&file, SHARERS, holder)? {
        if wait.pause(pause).is_err() {
            let who = SHARERS.held(&file, lock::Mode::Write)?.map_or("somebody".to_owned(), |(_, who)| who);
            let why = format!("{who} is changing the shares of hierarchy {hierarchy} and does not get on with it");
            return Err(Error::new(libc::EBUSY, why));
        }
        pause = (2 * pause).min(Duration::from_millis(1));
    }
    Ok(Turn { file, byte: SHARERS.of(holder) })
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Unlocked and not just closed: a child that another thread forks has a copy.
        let _ = lock::unlock(&self.file, self.byte);
    }
}
