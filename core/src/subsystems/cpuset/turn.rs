//! Changing the sets of a hierarchy by turns: what was found allowed stays allowed until it
//! is written.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::backend::{BackendKind, embedded};
use crate::deadline::Wait;
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::holder::{self, Holder, SETTERS};
use crate::sys::{Errno, dir::Dir, lock};

/// The turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<(File, u64)>);

impl Turn {
    /// EBUSY: somebody else is at it all the time.
    pub(super) fn take(hierarchy: &Hierarchy) -> Result<Turn> {
        let backend = hierarchy.backend()?;
        let root = hierarchy.root_node();
        let opened = match backend.kind() {
            // A hierarchy may be opened at any of its groups.
            BackendKind::Embedded => top(&root.dir)?.open_file(backend.freeze_file(), OFlags::RDWR),
            _ => root.dir.open_file(backend.freeze_file(), OFlags::RDWR),
        };
        let file = match opened {
            Ok(file) => file,
            // The kernel's own root, or a directory whose freezer is not ours: there the
            // kernel's own checks have to do.
            Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::ROFS) if !root.dir.is_removed() => {
                return Ok(Turn(None));
            }
            Err(errno) => return Err(root.failed(errno, "opening the freeze file")),
        };
        let holder = Holder::this_process()?;
        let mut wait = Wait::until(hierarchy.deadline());
        let mut pause = Duration::from_micros(20);
        while !holder::take_turn(&file, SETTERS, holder)? {
            if wait.pause(pause).is_err() {
                let why = format!("others went on changing the sets of hierarchy {hierarchy} until the time was up");
                return Err(Error::new(libc::EBUSY, why));
            }
            pause = (2 * pause).min(Duration::from_millis(1));
        }
        Ok(Turn(Some((file, SETTERS.of(holder)))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((file, byte)) = &self.0 {
            // Closing would not do: a child that another thread forks meanwhile has a copy
            // of the descriptor, and would keep the lock.
            let _ = lock::unlock(file, *byte);
        }
    }
}

fn top(group: &Dir) -> Result<Dir> {
    let mut top = group.open_dir(".").map_err(|errno| Error::os(errno, "opening the hierarchy's root directory"))?;
    while let Some(above) = embedded::above(&top)? {
        top = above;
    }
    Ok(top)
}
