//! References: holding a group alive (R1.7).
//!
//! A reference is a read lock on a byte of the group's freeze file, and which
//! byte says who holds it: process number, start time and pid namespace are in
//! its offset. So it ends with its holder, and the lock that a forked child goes
//! on keeping for a holder who has died is known to be void.
//!
//! Whoever takes a reference shares a lock on `GOING` meanwhile, and whoever
//! removes a group has that lock alone: so a group that is going takes no
//! reference, and one that was taken in time is seen.

use std::fs::File;
use std::ops::Range;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::backend::{Backend, Node, guard};
use crate::deadline::Wait;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process::{self, Stat};
use crate::sys::fork::Origin;
use crate::sys::lock::{self, Mode};
use crate::sys::{self, Errno, dir};

const GOING: u64 = (1 << 40) + 4;

/// The bytes that stand for references, to the last that a lock can be on.
const REFERENCES: Range<u64> = 1 << 62..i64::MAX as u64;

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
        let byte = byte_of_this_process().map_err(|errno| Error::os(errno, "looking at our own process"))?;
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
/// EBUSY: somebody has one, or a checkpoint holds the group. ENODEV: it was removed
/// already.
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
    guard::refuse_if_leased(group, &file)?;
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
    let failed = |errno| group.failed(errno, "looking at the locks of the freeze file");
    let namespace = pid_namespace().map_err(failed)?;
    let mut unseen = vec![REFERENCES];
    // The kernel tells of one lock in a range, any of them. More than these, all
    // void, are a thousand forked children of holders that were killed.
    for _ in 0..1000 {
        let Some(range) = unseen.pop() else { return Ok(()) };
        let Some(byte) = lock::any_locked(file, range.clone(), Mode::Write).map_err(failed)? else { continue };
        let holder = Holder::from(byte);
        if holder.namespace != namespace || holder.is_alive().map_err(|errno| holder.unseen(group, errno))? {
            let who =
                if holder.namespace == namespace { holder.pid.to_string() } else { "of another pid namespace".into() };
            return Err(Error::new(libc::EBUSY, format!("process {who} holds a reference on group {}", group.path)));
        }
        unseen.extend([range.start..byte, byte + 1..range.end].into_iter().filter(|part| !part.is_empty()));
    }
    Err(Error::new(libc::EBUSY, format!("group {} has more references than can be looked at", group.path)))
}

/// What the offset of a lock says, from the top: one bit that sets references
/// apart, 16 of the pid namespace, 22 of the pid (the kernel's limit), 24 of the
/// start time. Two processes whose bits are the same are of the same number and
/// 46 hours apart (2^24 ticks), or multiples of it, to a hundredth of a second.
#[derive(PartialEq, Eq)]
struct Holder {
    namespace: u64,
    pid: i32,
    start_time: u64,
}

impl Holder {
    fn byte(&self) -> u64 {
        REFERENCES.start | self.namespace << 46 | (self.pid as u64) << 24 | self.start_time
    }

    /// Only who is told to be gone is dead: whoever cannot be looked at, for want
    /// of a descriptor, may hold the group.
    fn is_alive(&self) -> sys::Result<bool> {
        match Stat::of(self.pid) {
            Ok(stat) => Ok(stat.start_time & 0xff_ffff == self.start_time && stat.is_alive()),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn unseen(&self, group: &Node, errno: Errno) -> Error {
        let who = self.pid;
        Error::os(errno, format_args!("looking at process {who}, which has a reference on group {}", group.path))
    }
}

impl From<u64> for Holder {
    fn from(byte: u64) -> Holder {
        Holder { namespace: byte >> 46 & 0xffff, pid: (byte >> 24 & 0x3f_ffff) as i32, start_time: byte & 0xff_ffff }
    }
}

fn byte_of_this_process() -> sys::Result<u64> {
    let pid = process::this_process();
    let start_time = Stat::of(pid)?.start_time & 0xff_ffff;
    Ok(Holder { namespace: pid_namespace()?, pid, start_time }.byte())
}

/// The low bits of the inode that stands for our pid namespace.
fn pid_namespace() -> sys::Result<u64> {
    rustix::fs::stat("/proc/self/ns/pid").map(|stat| stat.st_ino & 0xffff)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_says_who_holds_it() {
        let holder = Holder { namespace: 0xfffc, pid: (1 << 22) - 1, start_time: 0xff_ffff };
        assert!(REFERENCES.contains(&holder.byte()));
        assert!(Holder::from(holder.byte()) == holder);
        assert_eq!(Holder::from(byte_of_this_process().unwrap()).is_alive(), Ok(true));
    }
}
