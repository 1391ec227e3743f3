//! References: holding a group alive (R1.7).
//!
//! A reference is a read lock on a byte of the group's freeze file, and which
//! byte says who holds it ([`holder`](crate::holder)).
//!
//! Whoever takes a reference shares a lock on `GOING` meanwhile, and whoever
//! removes a group has that lock alone: so a group that is going takes no
//! reference, and one that was taken in time is seen.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::backend::{Backend, Node};
use crate::deadline::Wait;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::holder::REFERENCES;
use crate::sys::fork::Origin;
use crate::sys::lock::{self, Mode};
use crate::sys::{Errno, dir};

const GOING: u64 = (1 << 40) + 4;

/// A group is held alive for as long as this is there.
///
/// It ends when it is dropped, and with the process that took it, also when
/// that is killed: a forked child has no share in it.
#[must_use = "dropping a reference releases it at once"]
#[derive(Debug)]
pub struct Reference {
    file: File,
    byte: u64,
    origin: Origin,
}

impl Group {
    /// Keeps the group from being removed through this library: EBUSY for whoever
    /// tries. (A bare rmdir(2) of the kernel's knows nothing of it.)
    ///
    /// # Errors
    ///
    /// ENODEV: it was removed, or is being. EACCES: not permitted. ETIMEDOUT:
    /// somebody is about to remove it and does not get on with it. ECHILD: in a
    /// forked child.
    pub fn reference(&self) -> Result<Reference> {
        let backend = self.backend()?;
        let node = self.node();
        let failed = |errno| node.failed(errno, "locking the freeze file");
        let file = node.dir.open_file(backend.freeze_file(), OFlags::RDONLY).map_err(failed)?;
        let mut wait = Wait::until(self.hierarchy().deadline());
        while !lock::try_lock(&file, GOING, Mode::Read).map_err(failed)? {
            if wait.pause(Duration::from_micros(200)).is_err() {
                return Err(Error::new(libc::ETIMEDOUT, format!("somebody is about to remove {self}")));
            }
        }
        if is_removed(node, &file)? {
            return Err(node.vanished());
        }
        let byte = REFERENCES.of(backend.this_process());
        lock::try_lock(&file, byte, Mode::Read).map_err(failed)?;
        lock::unlock(&file, GOING).map_err(failed)?;
        Ok(Reference { file, byte, origin: Origin::here() })
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // Unlocked and not just closed: a forked child has a copy of the
        // descriptor. In that child it is the parent's, and stays.
        if self.origin.is_here() {
            let _ = lock::unlock(&self.file, self.byte);
        }
    }
}

/// Does the removal of a group while nobody can take a reference on it.
///
/// EBUSY: somebody has one. ENODEV: it was removed already.
pub(crate) fn excluding<T>(
    backend: &dyn Backend,
    group: &Node,
    wait: &mut Wait<'_>,
    remove: impl FnOnce() -> T,
) -> Result<T> {
    let failed = |errno| group.failed(errno, "locking the freeze file");
    let file = match group.dir.open_file(backend.freeze_file(), OFlags::RDWR) {
        Ok(file) => file,
        // Somebody else's file in a directory of ours: nobody who may not open
        // it has a reference, and others cannot be asked.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(remove()),
        Err(errno) => return Err(failed(errno)),
    };
    while !lock::try_lock(&file, GOING, Mode::Write).map_err(failed)? {
        if wait.pause(Duration::from_micros(200)).is_err() {
            let why = format!(
                "somebody takes a reference on group {}, or removes it, and does not get on with it",
                group.path
            );
            return Err(Error::new(libc::EBUSY, why));
        }
    }
    refuse_if_locked(group, &file)?;
    Ok(remove())
}

/// EBUSY if somebody holds a reference on the group.
pub(crate) fn refuse_if_held(backend: &dyn Backend, group: &Node) -> Result<()> {
    match group.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
        Ok(file) => refuse_if_locked(group, &file),
        // Gone, or the kernel's own root; or nothing that we may look at.
        Err(Errno::NOENT | Errno::NODEV | Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(errno) => Err(group.failed(errno, "looking at the locks of the freeze file")),
    }
}

fn refuse_if_locked(group: &Node, file: &File) -> Result<()> {
    match REFERENCES.held(file, Mode::Write)? {
        Some((_, who)) => Err(Error::new(libc::EBUSY, format!("{who} holds a reference on group {}", group.path))),
        None => Ok(()),
    }
}

/// Whether the group went before our lock came. The kernel's files answer no
/// read then (ENODEV); ours have no name any more.
pub(crate) fn is_removed(group: &Node, file: &File) -> Result<bool> {
    let mut buffer = [0; 256];
    match dir::read_short(file, &mut buffer) {
        Err(Errno::NODEV) => Ok(true),
        Err(errno) => Err(group.failed(errno, "reading the freeze file")),
        Ok(_) => Ok(rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0)),
    }
}
