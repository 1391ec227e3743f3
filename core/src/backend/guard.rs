//! The guard of a checkpoint, for those who act upon groups: they may not upon one
//! that a [`lease`] holds.
//!
//! Nothing happens between a look at the leases and the act that follows:
//!
//! Whoever acts upon a group announces itself first, by a read lock on the group's
//! freeze file that says who it is ([`holder`](crate::holder)), then looks at the
//! leases of the group and of those above, and acts. Whoever begins a lease has it
//! first and looks for announcements then, in the group and below, and waits for
//! those who came before. Of any two, one at least sees the other. What somebody
//! announced who was killed since is void, whoever has copies of its descriptors.
//!
//! Only write locks are heeded by those who act, and a mere reader of the file can
//! take none: it can keep a lease from beginning, and be named for it, but nobody
//! from thawing or killing.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::OFlags;

use super::lease;
use super::moving::Moving;
use super::stage::Whom;
use super::{Backend, Node};
use crate::attribute;
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::holder::{BEGINNERS, Bytes, ENDERS, WORKERS};
use crate::path::GroupPath;
use crate::sys::Errno;
use crate::sys::lock::{self, Mode};

/// How long newcomers let somebody go first who is about to begin a lease, and would
/// wait for ever where there is always somebody.
const COURTESY: Duration = Duration::from_millis(100);

/// Between two looks at a lock that others have for microseconds.
pub(super) const PAUSE: Duration = Duration::from_micros(200);

/// Leave to act upon a group, for as long as acting takes. Only a kill or a removal
/// keeps it across a wait. `F` is the group's freeze file, open for reading.
#[must_use = "it ends when it is dropped"]
#[derive(Debug)]
pub(crate) struct Passage<F: AsFd> {
    file: F,
    byte: u64,
}

impl<F: AsFd> Passage<F> {
    /// Announces somebody, after at most 100 ms. [`look`](Passage::look) comes next.
    pub(crate) fn announce(backend: &dyn Backend, group: &Node, file: F, bytes: Bytes) -> Result<Passage<F>> {
        let courtesy = Deadline::after(COURTESY);
        while !courtesy.passed() && BEGINNERS.held(&file, Mode::Read)?.is_some() {
            std::thread::sleep(PAUSE);
        }
        let byte = bytes.of(backend.this_process());
        match lock::try_lock(&file, byte, Mode::Read) {
            Ok(true) => Ok(Passage { file, byte }),
            Ok(false) => {
                let why = format!("somebody has the freeze file of group {} locked, and is not of us", group.path);
                Err(Error::new(libc::EBUSY, why))
            }
            Err(errno) => Err(group.failed(errno, "locking the freeze file")),
        }
    }

    /// EBUSY: a checkpoint holds the group, or one above.
    pub(crate) fn look(&self, backend: &dyn Backend, group: &Node) -> Result<()> {
        look(backend, group, &self.file)
    }

    /// Whoever was refused takes the announcement back first, and then steps back.
    fn unless_refused(self, looked: Result<()>) -> Result<Passage<F>> {
        match looked {
            Ok(()) => Ok(self),
            Err(error) => {
                drop(self);
                step_back();
                Err(error)
            }
        }
    }

    pub(crate) fn file(&self) -> &F {
        &self.file
    }
}

impl<F: AsFd> Drop for Passage<F> {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread forks meanwhile has a
        // copy of the descriptor.
        let _ = lock::unlock(&self.file, self.byte);
    }
}

/// Leave to act upon a group of the hierarchy, after at most 100 ms.
///
/// EBUSY: a checkpoint holds it, or one above.
pub(crate) fn enter<F: AsFd>(backend: &dyn Backend, group: &Node, file: F) -> Result<Passage<F>> {
    let failed = |errno| group.failed(errno, "locking the freeze file");
    let byte = WORKERS.of(backend.this_process());
    if lock::try_lock(&file, byte, Mode::Read).map_err(failed)? {
        // Mostly nobody has any byte for writing from the first lease to the last of
        // those who begin one, and one look tells so.
        if lock::any_locked(&file, lease::FIRST..ENDERS.first(), Mode::Read).map_err(failed)?.is_none() {
            let looked = Guarded::new(backend, group).and_then(|group| group.refuse_if_leased_above());
            return Passage { file, byte }.unless_refused(looked);
        }
        lock::unlock(&file, byte).map_err(failed)?;
    }
    announce_and_look(backend, group, file, WORKERS)
}

fn announce_and_look<F: AsFd>(backend: &dyn Backend, group: &Node, file: F, bytes: Bytes) -> Result<Passage<F>> {
    let passage = Passage::announce(backend, group, file, bytes)?;
    let looked = passage.look(backend, group);
    passage.unless_refused(looked)
}

/// The same for whoever acts upon a group that it is in, and so might not come back
/// to give the passage up: only a look. It is for what does no harm to a group that
/// is frozen.
pub(crate) fn look(backend: &dyn Backend, group: &Node, file: impl AsFd) -> Result<()> {
    Guarded::new(backend, group)?.refuse_if_leased(&file)
}

/// The same for a group that is known by its path in the whole tree ([`Backend::homes`]).
pub(crate) fn look_at_home(backend: &dyn Backend, home: &Node, file: impl AsFd) -> Result<()> {
    Guarded { backend, node: home, whole: home.path.clone() }.refuse_if_leased(&file)
}

/// Leave to take somebody away, for as long as that takes.
#[must_use = "it ends when it is dropped"]
pub(crate) struct Leave {
    _passages: Vec<Passage<File>>,
    _moving: Moving,
}

/// Leave to take a process or a thread away from wherever in the tree it is. Of
/// groups whose freeze file we may not open nobody is asked.
pub(crate) fn leave(backend: &dyn Backend, whom: Whom<'_>, wait: &mut Wait<'_>) -> Result<Leave> {
    let id = whom.id();
    let moving = Moving::of(backend, whom)?;
    loop {
        let homes = backend.homes(whom)?;
        let mut passages = Vec::new();
        for node in &homes {
            let file = match node.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::NODEV | Errno::ACCESS | Errno::PERM) => continue,
                Err(errno) => return Err(node.failed(errno, "opening the freeze file")),
            };
            let home = Guarded { backend, node, whole: node.path.clone() };
            let passage = Passage::announce(backend, node, file, WORKERS)?;
            if let Err(error) = home.refuse_if_leased(&passage.file) {
                drop((passage, passages, moving));
                step_back();
                return Err(error.context(format_args!("taking {id} away")));
            }
            passages.push(passage);
        }
        // Somebody may have moved it before we had the passage.
        let is_there = |node: &Node| homes.iter().any(|home| home.path == node.path);
        if backend.homes(whom)?.iter().all(is_there) {
            return Ok(Leave { _passages: passages, _moving: moving });
        }
        wait.pause(PAUSE)
            .map_err(|_| Error::new(libc::EBUSY, format!("{id} is moved from group to group by somebody")))?;
    }
}

/// Keeps whoever was refused from announcing itself again at once: whoever begins the
/// lease needs a moment in which nobody does.
pub(crate) fn step_back() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Leave to kill or remove a group and those below; for as long as that takes. Without
/// the group's freeze file, which only its owner may open, nobody is asked.
///
/// EBUSY: a checkpoint holds the group, or one above it or below.
pub(crate) fn end_all(backend: &dyn Backend, group: &Node) -> Result<Option<Passage<File>>> {
    let passage = match group.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
        Ok(file) => announce_and_look(backend, group, file, ENDERS)?,
        Err(Errno::NOENT) => return attribute::must_be_there(group).map(|()| None),
        Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
        Err(errno) => return Err(group.failed(errno, "opening the freeze file")),
    };
    let below = group.every_child()?.try_for_each(|child| {
        child?.walk(&mut |node| match node.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
            Ok(file) => lease::refuse(node, &file),
            Err(Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(errno) => Err(node.failed(errno, "looking at the locks of the freeze file")),
        })
    });
    passage.unless_refused(below).map(Some)
}

/// A group, and where it lies in all that its backend can see.
pub(super) struct Guarded<'a> {
    pub backend: &'a dyn Backend,
    pub node: &'a Node,
    pub whole: GroupPath,
}

impl<'a> Guarded<'a> {
    pub(super) fn new(backend: &'a dyn Backend, node: &'a Node) -> Result<Guarded<'a>> {
        Ok(Guarded { backend, node, whole: backend.whole_path(&node.path)? })
    }

    /// EBUSY if a checkpoint holds the group or one above, that is not ours to thaw.
    fn refuse_if_leased(&self, file: impl AsFd) -> Result<()> {
        lease::refuse(self.node, file)?;
        self.refuse_if_leased_above()
    }

    fn refuse_if_leased_above(&self) -> Result<()> {
        self.backend.each_above(&self.whole, &mut |node, file| lease::refuse(node, file))
    }
}
