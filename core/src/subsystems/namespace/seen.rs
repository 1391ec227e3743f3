//! The namespaces that threads are in, as `/proc` shows them.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

use super::kinds::Namespaces;
use crate::error::{Error, Result};
use crate::process::{self, Stat};
use crate::sys::{self, Errno};

/// One namespace: the kernel gives the number to another when it is gone and nobody has it
/// open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// Namespaces, one of each kind, in the order of the kinds' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen(Vec<(Namespaces, Identity)>);

/// The directory `ns` of a thread: as long as it is open it is of that thread and of none
/// that has its number later.
pub(super) struct Shown(OwnedFd);

impl Shown {
    pub(super) fn of_task(pid: i32, tid: i32) -> sys::Result<Shown> {
        Shown::open(&format!("/proc/{pid}/task/{tid}/ns"))
    }

    /// The calling thread's. It can be asked even where `/proc` is out of sight.
    pub(super) fn of_caller() -> Result<Shown> {
        let ours = Shown::open("/proc/thread-self/ns");
        ours.map_err(|errno| Error::os(errno, "looking at our own namespaces"))
    }

    fn open(path: &str) -> sys::Result<Shown> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Shown)
    }

    /// One of the links there.
    pub(super) fn identity(&self, name: &str) -> sys::Result<Identity> {
        let stat = statat(&self.0, name, AtFlags::empty())?;
        Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
    }

    /// The namespace itself, which stays while this is open.
    pub(super) fn descriptor(&self, name: &str) -> sys::Result<(OwnedFd, Identity)> {
        let fd = openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, Identity { device: stat.st_dev, inode: stat.st_ino }))
    }

    pub(super) fn all(&self, kinds: Namespaces) -> sys::Result<Seen> {
        let each = kinds.each().map(|kind| Ok((kind, self.identity(kind.name())?)));
        each.collect::<sys::Result<_>>().map(Seen)
    }
}

impl Seen {
    /// Those of a thread; `None`: it has ended. EPERM: we may not see them.
    pub(super) fn of_task(pid: i32, tid: i32, kinds: Namespaces) -> Result<Option<Seen>> {
        match Shown::of_task(pid, tid).and_then(|shown| shown.all(kinds)) {
            Ok(seen) => Ok(Some(seen)),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            // A thread that has ended is shown as one that is not for our eyes.
            Err(Errno::ACCESS) if Stat::of_task(pid, tid).map_or(true, |stat| stat.is_dead()) => Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                let why = format!("we may not see the namespaces of thread {tid} of process {pid}");
                Err(Error::new(libc::EPERM, why))
            }
            Err(errno) => Err(Error::os(errno, format_args!("looking at the namespaces of thread {tid}"))),
        }
    }

    /// Those that all of some threads of a process are in.
    ///
    /// EPERM: they are not all in the same. ESRCH: all have ended.
    pub(super) fn of_all(pid: i32, tids: &[i32], kinds: Namespaces) -> Result<Seen> {
        let mut first: Option<(i32, Seen)> = None;
        for &tid in tids {
            let Some(seen) = Seen::of_task(pid, tid, kinds)? else { continue };
            match &first {
                None => first = Some((tid, seen)),
                Some((one, of_one)) => {
                    if let Some((kind, ours, theirs)) = seen.difference(of_one) {
                        let why = format!(
                            "thread {tid} of process {pid} is in the {kind} namespace {}, and thread {one} in {}",
                            ours.inode, theirs.inode
                        );
                        return Err(Error::new(libc::EPERM, why));
                    }
                }
            }
        }
        first.map(|(_, seen)| seen).ok_or_else(|| process::no_such_process(pid))
    }

    pub(super) fn get(&self, kind: Namespaces) -> Option<Identity> {
        self.0.iter().find(|(one, _)| *one == kind).map(|(_, identity)| *identity)
    }

    /// Those of some kinds only.
    pub(super) fn only(&self, kinds: Namespaces) -> Seen {
        Seen(self.0.iter().filter(|(kind, _)| kinds.contains(*kind)).copied().collect())
    }

    pub(super) fn kinds(&self) -> Namespaces {
        self.0.iter().fold(Namespaces::NONE, |all, (kind, _)| all | *kind)
    }

    /// The first kind that is not the same in both: its name, ours, theirs. A kind that only
    /// one of them has is none of the other's business.
    pub(super) fn difference(&self, other: &Seen) -> Option<(&'static str, Identity, Identity)> {
        self.0.iter().find_map(|(kind, ours)| {
            let theirs = other.get(*kind)?;
            (*ours != theirs).then_some((kind.name(), *ours, theirs))
        })
    }

    /// As [`fmt::Display`] writes them; `None`: it is no such text.
    pub(super) fn parse(text: &str) -> Option<Seen> {
        let mut all: Vec<(Namespaces, Identity)> = Vec::new();
        for word in text.split_ascii_whitespace() {
            let (name, identity) = word.split_once('=')?;
            let (device, inode) = identity.split_once(':')?;
            let kind = Namespaces::named(name)?;
            if all.iter().any(|(known, _)| *known == kind) {
                return None;
            }
            all.push((kind, Identity { device: device.parse().ok()?, inode: inode.parse().ok()? }));
        }
        all.sort_by_key(|(kind, _)| kind.name());
        Some(Seen(all))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, Identity { device, inode })) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{}={device}:{inode}", kind.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// R10.1: what differs is told by kind, and kinds that only one has are not compared.
    #[test]
    fn what_differs_is_told() {
        let one = Seen::parse("net=4:10 uts=4:20").unwrap();
        let other = Seen::parse("net=4:10 uts=4:21 mnt=4:1").unwrap();
        let (kind, ours, theirs) = one.difference(&other).unwrap();
        assert_eq!((kind, ours.inode, theirs.inode), ("uts", 20, 21));
        assert_eq!(one.difference(&Seen::parse("mnt=4:2 net=4:10").unwrap()), None);
        assert!(one.difference(&Seen::parse("net=5:10").unwrap()).is_some(), "the device counts, too");
    }

    #[test]
    fn what_is_no_note_is_told() {
        for text in ["net", "net=", "net=4", "net=4:", "net=4:x", "net=-4:1", "mem=4:1", "net=4:1 net=4:1"] {
            assert_eq!(Seen::parse(text), None, "{text:?}");
        }
        assert_eq!(Seen::parse(""), Some(Seen(Vec::new())));
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC*") {
            if let Some(seen) = Seen::parse(&text) {
                prop_assert_eq!(Seen::parse(&seen.to_string()), Some(seen));
            }
        }

        #[test]
        fn what_is_printed_is_read(figures in prop::collection::vec(any::<(u64, u64)>(), 8), which: u8) {
            let kinds = Namespaces::all().zip(figures).enumerate();
            let some = kinds.filter(|(at, _)| which >> at & 1 == 1);
            let seen = Seen(some.map(|(_, (kind, (device, inode)))| (kind, Identity { device, inode })).collect());
            prop_assert_eq!(Seen::parse(&seen.to_string()), Some(seen));
        }
    }
}
