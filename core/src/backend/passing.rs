//! Groups of the library's own that exist for a moment, in other groups.
//!
//! They are called `cgf.PURPOSE.NUMBER`, which nobody else may call a group; they
//! are not listed, and who is in one counts as being in the group around it. The
//! maker holds a lock on the freeze file of its passing group. Whoever finds one
//! that nobody locks knows that its maker was killed, and clears it away.

use std::ffi::OsString;
use std::fs::File;

use rustix::fs::{Mode, OFlags};

use super::moving::Moving;
use super::{Backend, Node};
use crate::process;
use crate::sys::lock::{self, Mode as Lock};
use crate::sys::{self, Errno, dir::Dir};

/// The byte of its freeze file that the maker of a passing group has locked.
pub(super) const MAKER: u64 = (1 << 40) + 3;

/// How often a passing group is made again that a sweeper took for a dead maker's.
const TRIES: usize = 100;

/// A passing group, and its maker's lock. It goes when this is dropped, unless
/// somebody is still in it.
pub(super) struct Passing {
    parent: Dir,
    name: OsString,
    pub dir: Dir,
    _lock: File,
}

impl Passing {
    pub(super) fn create(parent: &Dir, freeze_file: &str, purpose: &str) -> sys::Result<Passing> {
        for _ in 0..TRIES {
            match Passing::try_create(parent.open_dir(".")?, freeze_file, purpose) {
                // Swept away before it was locked; or the parent has gone, which
                // the opening says next time.
                Err(Errno::BUSY | Errno::NOENT | Errno::NODEV) => {}
                other => return other,
            }
        }
        Err(Errno::BUSY)
    }

    fn try_create(parent: Dir, freeze_file: &str, purpose: &str) -> sys::Result<Passing> {
        // By chance and not by pid, which another pid namespace on the same tree
        // has too.
        let mut number = [0_u8; 8];
        rustix::rand::getrandom(&mut number[..], rustix::rand::GetRandomFlags::empty())?;
        let name = OsString::from(format!("cgf.{purpose}.{:016x}", u64::from_ne_bytes(number)));
        parent.mkdir(&name, Mode::from_raw_mode(0o755))?;
        let opened = parent.open_dir(&name).and_then(|dir| {
            let file = dir.open_file(freeze_file, OFlags::RDWR)?;
            // Between the making and this, a sweeper may take it for a dead
            // maker's and remove it: then the lock is of no use, nor the group.
            match lock::try_lock(&file, MAKER, Lock::Write)? {
                true => Ok((dir, file)),
                false => Err(Errno::BUSY),
            }
        });
        match opened {
            Ok((dir, file)) => Ok(Passing { parent, name, dir, _lock: file }),
            Err(errno) => {
                let _ = parent.rmdir(&name);
                Err(errno)
            }
        }
    }
}

impl Passing {
    /// Removes it if nobody is in it.
    pub(super) fn remove(&self) {
        let _ = self.parent.rmdir(&self.name);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Moves whoever is in one group to another, by `tasks` or `cgroup.procs`.
pub(super) fn move_all(from: &Dir, to: &Dir, file: &str) {
    for id in members(from, file) {
        // A failure means that it died.
        let _ = to.write(file, id.to_string().as_bytes());
    }
}

/// Who can be moved out of a passing group by this file.
pub(super) fn members(dir: &Dir, file: &str) -> Vec<i32> {
    let inside = dir.read(file).unwrap_or_default();
    // 0 is a process that our pid namespace does not show; written back it would
    // mean ourselves.
    process::numbers(&inside).into_iter().filter(|&id| id > 0).collect()
}

/// Clears away what killed makers left in a group: whoever is in there is the
/// group's. What fails is left for the next one who comes by.
pub(crate) fn sweep(backend: &dyn Backend, group: &Node) {
    let Ok(children) = group.passing_children() else { return };
    for child in children.flatten() {
        let Ok(file) = child.dir.open_file(backend.freeze_file(), OFlags::RDWR) else { continue };
        if !matches!(lock::try_lock(&file, MAKER, Lock::Write), Ok(true)) {
            continue;
        }
        let Ok(mut moving) = Moving::begin(backend) else { continue };
        let tasks = || Ok(backend.tasks(&child)?.into_iter().filter(|&id| id > 0).collect());
        let _ = moving.each(&tasks, |id| {
            // A failure means that it died, or, by its number, that it came along
            // with another thread of its process.
            let _ = backend.take_over(group, id);
            Ok(())
        });
        let _ = group.dir.rmdir(child.path.name());
    }
}
