//! Locks that say who holds them: the holder is in the offset of the locked byte.
//!
//! So they need no record that could be out of date, and end with their holder: the
//! lock that a forked child goes on keeping for a holder who was killed is known to
//! be void.

use std::ops::Range;
use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::process::{self, Stat};
use crate::sys::lock::{self, Mode};
use crate::sys::{self, Errno};

/// The bytes of a file for one purpose, one for each process that there can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(u64);

/// Not who locks, but whom he moves, for reading; on a file whose first bytes mean nothing
/// else ([`moving`](crate::backend::moving)).
pub(crate) const MOVED: Bytes = Bytes(0);
/// Whoever acts upon the group, for reading.
pub(crate) const WORKERS: Bytes = Bytes(1 << 60);
/// Whoever begins a lease on it, for writing.
pub(crate) const BEGINNERS: Bytes = Bytes(2 << 60);
/// Whoever kills or removes it, for reading.
pub(crate) const ENDERS: Bytes = Bytes(3 << 60);
/// Whoever has the lock of an embedded hierarchy, for writing.
pub(crate) const KEEPERS: Bytes = Bytes(5 << 60);
/// Whoever changes which processors and memory the groups of a hierarchy have, on its
/// root's, or which namespaces a group is bound to, for writing.
pub(crate) const SETTERS: Bytes = Bytes(6 << 60);
/// Whoever holds a reference on a group, for reading.
pub(crate) const REFERENCES: Bytes = Bytes(4 << 60);

/// Whoever changes shares of a hierarchy, on its root's, for writing.
pub(crate) const SHARERS: Bytes = Bytes(7 << 60);

/// A process: from the top of the offset's 60 bits, 14 of its namespaces, 22 of
/// its number (the kernel's limit), 24 of its start time. Two processes whose bits
/// are the same are of the same number and 46 hours apart (2^24 ticks), or multiples
/// of it, to a hundredth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    namespace: u64,
    pid: i32,
    start_time: u64,
}

const NAMESPACE: u64 = (1 << 14) - 1;
const PID: u64 = (1 << 22) - 1;
const START_TIME: u64 = (1 << 24) - 1;

impl Holder {
    /// The caller's process.
    pub(crate) fn this_process() -> Result<Holder> {
        let failed = |errno| Error::os(errno, "looking at our own process");
        let pid = process::this_process();
        let start_time = Stat::of(pid).map_err(failed)?.start_time & START_TIME;
        Ok(Holder { namespace: this_namespace().map_err(failed)?, pid, start_time })
    }

    /// This one, if it is the caller's process still and no child that was forked.
    pub(crate) fn or_this_process(self) -> Result<Holder> {
        if self.pid == process::this_process() { Ok(self) } else { Holder::this_process() }
    }

    /// Another process, by the number by which this one knows it.
    pub(crate) fn beside(self, pid: i32) -> Holder {
        Holder { pid, start_time: 0, ..self }
    }

    /// The number by which it is known, to whomever.
    pub(crate) fn number(self) -> i32 {
        self.pid
    }

    /// The number, for whom it is the same.
    pub(crate) fn as_seen_by(self, process: Holder) -> Option<i32> {
        (self.namespace == process.namespace).then_some(self.pid)
    }

    fn id(self) -> u64 {
        self.namespace << 46 | (self.pid as u64) << 24 | self.start_time
    }

    /// Only who is told to be gone is dead: whoever cannot be looked at, for want
    /// of a descriptor, may be there. So may be whoever is in another pid or time namespace.
    fn is_alive(self) -> sys::Result<bool> {
        if self.namespace != this_namespace()? {
            return Ok(true);
        }
        match Stat::of(self.pid) {
            Ok(stat) => Ok(stat.start_time & START_TIME == self.start_time && stat.is_alive()),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn name(self) -> String {
        match this_namespace() {
            Ok(namespace) if namespace == self.namespace => format!("process {}", self.pid),
            _ => format!("process {} of another pid namespace", self.pid),
        }
    }
}

impl From<u64> for Holder {
    fn from(byte: u64) -> Holder {
        Holder { namespace: byte >> 46 & NAMESPACE, pid: (byte >> 24 & PID) as i32, start_time: byte & START_TIME }
    }
}

impl Bytes {
    /// The first of them all.
    pub(crate) fn first(self) -> u64 {
        self.0
    }

    /// The byte of one process.
    pub(crate) fn of(self, holder: Holder) -> u64 {
        self.0 | holder.id()
    }

    /// Somebody alive who has such a lock that one of ours would not be had; which
    /// byte, and who it is, for a message.
    pub(crate) fn held(self, file: impl AsFd, mode: Mode) -> Result<Option<(u64, String)>> {
        for (count, found) in self.locked(&file, mode).enumerate() {
            let found = found?;
            // As many, all void, are a thousand forked children of holders that were killed.
            if count == 1000 {
                return Ok(Some((self.0, "somebody among more than can be looked at".to_owned())));
            }
            if found.end - found.start > 1 {
                return Ok(Some((found.start, "somebody who has many bytes locked".to_owned())));
            }
            let holder = Holder::from(found.start);
            let unknown = |errno| Error::os(errno, format_args!("looking at {}, which has a lock", holder.name()));
            if holder.is_alive().map_err(unknown)? {
                return Ok(Some((found.start, holder.name())));
            }
        }
        Ok(None)
    }

    /// The bytes that others have locked so that such a lock of ours would not be had; of
    /// each only what it was when it was asked for.
    pub(crate) fn locked<'a>(self, file: &'a impl AsFd, mode: Mode) -> impl Iterator<Item = Result<Range<u64>>> + 'a {
        // The kernel tells of one lock in a range, any of them.
        let all = self.0..self.0 + (1 << 60);
        let mut unseen = vec![all];
        std::iter::from_fn(move || {
            while let Some(range) = unseen.pop() {
                match lock::any_locked(file, range.clone(), mode) {
                    Ok(Some(found)) => {
                        let rest = [range.start..found.start, found.end..range.end];
                        unseen.extend(rest.into_iter().filter(|part| !part.is_empty()));
                        return Some(Ok(found));
                    }
                    Ok(None) => {}
                    Err(errno) => return Some(Err(Error::os(errno, "looking at the locks of a file"))),
                }
            }
            None
        })
    }
}

/// Tries to be the only one who has a write lock on one of these bytes: ours, which
/// is unlocked when one is done. `false`: somebody else has one, or another thread.
pub(crate) fn take_turn(file: impl AsFd, bytes: Bytes, holder: Holder) -> Result<bool> {
    let failed = |errno| Error::os(errno, "locking a file of the hierarchy");
    let is_taken = || bytes.held(&file, Mode::Read).map(|other| other.is_some());
    let byte = bytes.of(holder);
    // Looked first, so that those who wait do not keep each other out.
    if is_taken()? || !lock::try_lock(&file, byte, Mode::Write).map_err(failed)? {
        return Ok(false);
    }
    // Two who meet both go back, and come again at different times.
    match is_taken() {
        Ok(false) => Ok(true),
        other => {
            lock::unlock(&file, byte).map_err(failed)?;
            other.map(|_| false)
        }
    }
}

/// The low bits of the inodes that stand for our pid namespace and our time namespace:
/// start times are shown in the reader's. (Before Linux 5.6 there is one time.)
fn this_namespace() -> sys::Result<u64> {
    let inode = |path: &str| rustix::fs::stat(path).map(|stat| stat.st_ino);
    let time = inode("/proc/self/ns/time").unwrap_or(0);
    Ok((inode("/proc/self/ns/pid")? ^ time.rotate_left(7)) & NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_says_who_holds_it() {
        let holder = Holder { namespace: 0x3ffc, pid: (1 << 22) - 1, start_time: 0xff_ffff };
        for bytes in [MOVED, WORKERS, BEGINNERS, ENDERS, REFERENCES, KEEPERS, SETTERS, SHARERS] {
            assert!((bytes.0..bytes.0 + (1 << 60)).contains(&bytes.of(holder)));
            assert_eq!(Holder::from(bytes.of(holder)), holder);
        }
        assert_eq!(Holder::this_process().unwrap().is_alive(), Ok(true));
    }
}
