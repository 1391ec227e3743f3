//! The guard of a checkpoint: who may act upon a group, and who must not now.
//!
//! A lease is a write lock on one byte of the freeze file of the group that it
//! is for, on a descriptor of its own, and `user.cgf.lease` on the group says
//! which byte and who holds it. It counts while the byte is locked and that
//! process lives: the lock that a forked child keeps up for a holder who was
//! killed is void, and the next lease takes the next byte.
//!
//! Nothing happens between a look at the leases and the act that follows:
//!
//! * Whoever acts upon a group shares the gate, a read lock on another byte, from
//!   before it looks at the leases of the group and of those above until it has
//!   acted ([`Passage`]). Whoever begins a lease has the gate alone meanwhile.
//! * What is done in many steps, or to groups below, announces itself by a lock
//!   before it looks: who enters, kills, removes, or has a passing group. Whoever
//!   begins a lease looks for them after it has it, in the group and below, and
//!   waits for those who came before. Of any two, one at least sees the other.
//!
//! Only write locks are heeded by those who act, and a mere reader of the file
//! can take none: it can keep a lease from beginning, and be named for it, but
//! nobody from thawing or killing.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::OFlags;

use super::stage::Whom;
use super::{Backend, KILLING, Node};
use crate::attribute;
use crate::deadline::{Deadline, Wait};
use crate::era::Era;
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process::{self, Stat};
use crate::reference;
use crate::sys::Errno;
use crate::sys::lock::{self, Mode};

const GATE: u64 = 0;
/// Locked by who waits for the gate to be alone in it. Newcomers let it go first,
/// or it would wait for ever where there is always somebody.
const INTENT: u64 = 1;
/// Lease n is byte 2 + n.
const LEASES: Range<u64> = 2..1 << 40;
/// Whoever kills or removes a group has this byte of its freeze file locked for
/// reading, for as long as it is at it.
const ENDING: u64 = (1 << 40) + 6;
/// With those of the other modules in between: everybody who is at work on a group,
/// or on the way into it, in several steps.
const AT_WORK: Range<u64> = KILLING..ENDING + 1;

/// What says who has which lease.
const LEASE: &str = "lease";

/// How long newcomers let somebody go first, who may have stopped for good.
const COURTESY: Duration = Duration::from_millis(100);

/// How long a lock that others have for microseconds is waited for, whatever the
/// caller's deadline.
const LEAST: Duration = Duration::from_millis(100);

const PAUSE: Duration = Duration::from_micros(200);

/// Leave to act upon a group, for as long as acting takes: it is never kept across
/// a wait. `F` is the group's freeze file, open for reading.
#[must_use = "it ends when it is dropped"]
#[derive(Debug)]
pub(crate) struct Passage<F: AsFd> {
    file: F,
}

impl<F: AsFd> Drop for Passage<F> {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread forks meanwhile has a
        // copy of the descriptor.
        let _ = lock::unlock(&self.file, GATE);
    }
}

/// Leave to act upon a group of the hierarchy.
///
/// EBUSY: a checkpoint holds it, or one above; or is about to begin, and does not
/// get on with it. It never waits for longer than `wait` and 100 ms.
pub(crate) fn enter<F: AsFd>(backend: &dyn Backend, group: &Node, file: F, wait: &mut Wait<'_>) -> Result<Passage<F>> {
    let group = Guarded { backend, node: group, whole: backend.whole_path(&group.path)? };
    group.enter(file, wait)
}

/// The same for whoever acts upon a group that it is in, and so might not come back
/// to give the passage up: only a look. It is for what does no harm to a group that
/// is frozen.
pub(crate) fn look(backend: &dyn Backend, group: &Node, file: impl AsFd) -> Result<()> {
    let group = Guarded { backend, node: group, whole: backend.whole_path(&group.path)? };
    group.refuse_if_leased(&file)
}

/// Leave to take a process or a thread away from wherever in the tree it is. Of
/// groups whose freeze file we may not open nobody is asked.
pub(crate) fn leave(backend: &dyn Backend, whom: Whom<'_>, wait: &mut Wait<'_>) -> Result<Vec<Passage<File>>> {
    let id = whom.id();
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
            passages.push(home.enter(file, wait).map_err(|error| error.context(format_args!("taking {id} away")))?);
        }
        // Somebody may have moved it before we had the passage.
        let is_there = |node: &Node| homes.iter().any(|home| home.path == node.path);
        if backend.homes(whom)?.iter().all(is_there) {
            return Ok(passages);
        }
        wait.pause(PAUSE)
            .map_err(|_| Error::new(libc::EBUSY, format!("{id} is moved from group to group by somebody")))?;
    }
}

/// Whether a checkpoint holds this very group.
pub(crate) fn is_leased(backend: &dyn Backend, group: &Node) -> Result<bool> {
    match group.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
        Ok(file) => Ok(lease_of(group, &file)?.is_some()),
        // The kernel's root has no such file. Who may not open it is not told.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => Ok(false),
        Err(errno) => Err(group.failed(errno, "looking at the locks of the freeze file")),
    }
}

/// EBUSY if a checkpoint holds the group. `file` is its freeze file.
pub(crate) fn refuse_if_leased(group: &Node, file: impl AsFd) -> Result<()> {
    match lease_of(group, file)? {
        Some(lease) if !lease.allows_us() => Err(lease.refusal(&group.path)),
        _ => Ok(()),
    }
}

/// Somebody kills or removes a group and those below, until this is dropped.
#[derive(Debug)]
pub(crate) struct Ending {
    file: Option<File>,
}

impl Ending {
    /// EBUSY: a checkpoint holds the group, or one above it or below.
    pub(crate) fn of(backend: &dyn Backend, group: &Node) -> Result<Ending> {
        let failed = |errno| group.failed(errno, "locking the freeze file");
        let file = match group.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT) => return attribute::must_be_there(group).map(|()| Ending { file: None }),
            // Nobody but its owner is asked to keep out.
            Err(Errno::ACCESS | Errno::PERM) => return Ok(Ending { file: None }),
            Err(errno) => return Err(failed(errno)),
        };
        // Nobody has it for writing.
        lock::try_lock(&file, ENDING, Mode::Read).map_err(failed)?;
        let whole = backend.whole_path(&group.path)?;
        let ending = Ending { file: Some(file) };
        if let Some(file) = &ending.file {
            Guarded { backend, node: group, whole }.refuse_if_leased(file)?;
        }
        for child in group.every_child()? {
            child?.walk(&mut |node| match node.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
                Ok(file) => refuse_if_leased(node, &file),
                Err(Errno::ACCESS | Errno::PERM) => Ok(()),
                Err(errno) => Err(node.failed(errno, "looking at the locks of the freeze file")),
            })?;
        }
        Ok(ending)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = lock::unlock(file, ENDING);
        }
    }
}

/// A group that is held by us. It is until [`give_up`](Held::give_up), or until we
/// end; dropping this closes the descriptor, with which it ends if no forked child
/// has a copy.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    lease: Lease,
}

impl Held {
    /// Begins a lease, if `ready` agrees when nobody else acts upon the group any
    /// more, and returns when nobody is at work on it.
    ///
    /// EBUSY: a checkpoint holds the group or one above it; somebody acts upon it,
    /// and does not get on with it. EACCES: it may not be noted on the group.
    pub(crate) fn begin(
        backend: &dyn Backend,
        group: &Node,
        external: bool,
        wait: &mut Wait<'_>,
        ready: &dyn Fn() -> Result<()>,
    ) -> Result<Held> {
        let whole = backend.whole_path(&group.path)?;
        let group = Guarded { backend, node: group, whole };
        let failed = |errno| group.node.failed(errno, "locking the freeze file");
        let file = group.open()?;
        let held = {
            let gate = Gate::shut(group.node, group.open()?, wait)?;
            if reference::is_removed(group.node, &file)? {
                return Err(group.node.vanished());
            }
            group.refuse_if_leased(&gate.file)?;
            ready()?;
            let mut lease = Lease::next(group.node, external)?;
            loop {
                attribute::must_set(group.node, LEASE, &lease.to_text())?;
                if lock::try_lock(&file, LEASES.start + lease.number, Mode::Write).map_err(failed)? {
                    break Held { file, lease };
                }
                // A forked child of a killed holder has it; or a reader, who may
                // have locked as many as it likes.
                lease.number += 1;
                if lease.number >= LEASES.end - LEASES.start || wait.slice(Duration::ZERO).is_err() {
                    attribute::remove(group.node, LEASE)?;
                    return Err(held_up(group.node, &gate.file, "has all bytes for leases locked"));
                }
            }
        };
        match group.await_others(wait).and_then(|()| ready()) {
            Ok(()) => Ok(held),
            Err(error) => {
                held.give_up(group.node)?;
                Err(error)
            }
        }
    }

    /// Ends the lease. ESTALE: somebody has ended it by force before.
    pub(crate) fn give_up(&self, group: &Node) -> Result<()> {
        let ours = self.is_ours(group);
        if let Ok(true) = ours {
            // The note goes first: it may be the next one's once the byte is free.
            attribute::remove(group, LEASE)?;
        }
        // Unlocked and not just closed: a forked child has a copy of the
        // descriptor. In that child nobody comes here.
        let unlocked = lock::unlock(&self.file, LEASES.start + self.lease.number);
        unlocked.map_err(|errno| group.failed(errno, "unlocking the freeze file"))?;
        if ours? { Ok(()) } else { Err(broken(group)) }
    }

    /// Whether nobody has ended the lease by force.
    pub(crate) fn is_ours(&self, group: &Node) -> Result<bool> {
        Ok(Lease::read(group)?.as_ref() == Some(&self.lease))
    }
}

pub(crate) fn broken(group: &Node) -> Error {
    Error::new(libc::ESTALE, format!("the checkpoint of group {} was ended by force", group.path))
}

/// Ends whoever's lease it is. ENOENT: no checkpoint holds the group.
pub(crate) fn break_lease(backend: &dyn Backend, group: &Node, wait: &mut Wait<'_>) -> Result<()> {
    let whole = backend.whole_path(&group.path)?;
    let file = Guarded { backend, node: group, whole }.open()?;
    let gate = Gate::shut(group, file, wait)?;
    if lease_of(group, &gate.file)?.is_none() {
        return Err(Error::new(libc::ENOENT, format!("no checkpoint holds group {}", group.path)));
    }
    attribute::remove(group, LEASE)
}

/// A group, and where it lies in all that its backend can see.
struct Guarded<'a> {
    backend: &'a dyn Backend,
    node: &'a Node,
    whole: GroupPath,
}

impl Guarded<'_> {
    fn open(&self) -> Result<File> {
        let file = self.node.dir.open_file(self.backend.freeze_file(), OFlags::RDWR);
        file.map_err(|errno| self.node.failed(errno, "opening the freeze file"))
    }

    fn enter<F: AsFd>(&self, file: F, wait: &mut Wait<'_>) -> Result<Passage<F>> {
        let failed = |errno| self.node.failed(errno, "locking the freeze file");
        let (least, courtesy) = (Deadline::after(LEAST), Deadline::after(COURTESY));
        loop {
            if lock::try_lock(&file, GATE, Mode::Read).map_err(failed)? {
                let ahead = lock::any_locked(&file, INTENT..LEASES.end, Mode::Read).map_err(failed)?;
                if ahead != Some(INTENT) || courtesy.passed() {
                    let passage = Passage { file };
                    if ahead.is_some() {
                        refuse_if_leased(self.node, &passage.file)?;
                    }
                    self.refuse_if_leased_above()?;
                    return Ok(passage);
                }
                lock::unlock(&file, GATE).map_err(failed)?;
            }
            if wait.pause(PAUSE).is_err() {
                if least.passed() {
                    let why = format!("a checkpoint of group {} is about to begin, and does not", self.node.path);
                    return Err(Error::new(libc::EBUSY, why));
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// EBUSY if a checkpoint holds the group or one above.
    fn refuse_if_leased(&self, file: impl AsFd) -> Result<()> {
        refuse_if_leased(self.node, file)?;
        self.refuse_if_leased_above()
    }

    fn refuse_if_leased_above(&self) -> Result<()> {
        self.backend.each_above(&self.whole, &mut |node, file| refuse_if_leased(node, file))
    }

    /// Waits until nobody is at work who began before there was a lease to see.
    fn await_others(&self, wait: &mut Wait<'_>) -> Result<()> {
        let least = Deadline::after(LEAST);
        while let Some((path, file)) = self.find_others()? {
            if wait.pause(PAUSE).is_err() {
                if least.passed() {
                    let node = Node {
                        dir: self
                            .node
                            .dir
                            .open_dir(".")
                            .map_err(|errno| self.node.failed(errno, "opening the directory"))?,
                        path,
                    };
                    return Err(held_up(
                        &node,
                        &file,
                        "moves, kills or removes something in it, and does not get on with it",
                    ));
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// A group that somebody is at work on, and its freeze file.
    fn find_others(&self) -> Result<Option<(GroupPath, File)>> {
        let mut found = None;
        let failed = |node: &Node, errno| node.failed(errno, "looking at the locks of the freeze file");
        self.node.walk(&mut |node| {
            if found.is_some() {
                return Ok(());
            }
            let file = match node.dir.open_file(self.backend.freeze_file(), OFlags::RDONLY) {
                Ok(file) => file,
                Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
                Err(errno) => return Err(failed(node, errno)),
            };
            let is_locked = |range| lock::any_locked(&file, range, Mode::Write).map_err(|errno| failed(node, errno));
            if is_locked(AT_WORK)?.is_some() || is_locked(GATE..INTENT)?.is_some() {
                found = Some((node.path.clone(), file));
            }
            Ok(())
        })?;
        if found.is_some() {
            return Ok(found);
        }
        self.backend.each_above(&self.whole, &mut |node, file| {
            for byte in [KILLING, ENDING] {
                if lock::is_locked(file, byte, Mode::Write).map_err(|errno| failed(node, errno))? {
                    let file = file.try_clone().map_err(|error| Error::os(&error, "duplicating a descriptor"))?;
                    found = Some((node.path.clone(), file));
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Being alone in the gate of a group, so that nobody acts upon it.
struct Gate {
    file: File,
}

impl Gate {
    /// EBUSY: somebody stays in it.
    fn shut(group: &Node, file: File, wait: &mut Wait<'_>) -> Result<Gate> {
        let failed = |errno| group.failed(errno, "locking the freeze file");
        let least = Deadline::after(LEAST);
        let gate = Gate { file };
        loop {
            if lock::try_lock(&gate.file, GATE, Mode::Write).map_err(failed)? {
                return Ok(gate);
            }
            // Without it we may have to wait longer, and that is all.
            let _ = lock::try_lock(&gate.file, INTENT, Mode::Write);
            if wait.pause(PAUSE).is_err() {
                if least.passed() {
                    return Err(held_up(group, &gate.file, "has it locked, and does not get on with it"));
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = lock::unlock(&self.file, INTENT);
        let _ = lock::unlock(&self.file, GATE);
    }
}

/// What `user.cgf.lease` says: `number pid start-time namespace boot`, and a last
/// word if the holder may do what others must not.
#[derive(Debug, PartialEq, Eq)]
struct Lease {
    number: u64,
    pid: i32,
    start_time: u64,
    era: Era,
    external: bool,
}

const EXTERNAL: &str = "external";

impl Lease {
    /// One of ours, with the number after that of the last.
    fn next(group: &Node, external: bool) -> Result<Lease> {
        let number = Lease::read(group)?.map_or(0, |last| last.number.saturating_add(1));
        let pid = process::this_process();
        let stat = Stat::of(pid).map_err(|errno| Error::os(errno, "looking at our own process"))?;
        Ok(Lease { number, pid, start_time: stat.start_time, era: Era::now()?, external })
    }

    /// `None` also for what somebody else has written there.
    fn read(group: &Node) -> Result<Option<Lease>> {
        Ok(attribute::get(group, LEASE)?.and_then(|text| Lease::from_text(&text)))
    }

    fn from_text(text: &str) -> Option<Lease> {
        let mut words = text.split(' ');
        let lease = Lease {
            number: words.next()?.parse().ok().filter(|number| *number < LEASES.end - LEASES.start)?,
            pid: words.next()?.parse().ok()?,
            start_time: words.next()?.parse().ok()?,
            era: Era { namespace: words.next()?.to_owned(), boot: words.next()?.to_owned() },
            external: words.next() == Some(EXTERNAL),
        };
        Some(lease)
    }

    fn to_text(&self) -> String {
        let Lease { number, pid, start_time, era, external } = self;
        let last = if *external { format!(" {EXTERNAL}") } else { String::new() };
        format!("{number} {pid} {start_time} {} {}{last}", era.namespace, era.boot)
    }

    /// Of a holder in another pid namespace nothing is known but its lock.
    fn is_alive(&self) -> Result<bool> {
        let now = Era::now()?;
        if self.era.boot != now.boot {
            return Ok(false);
        }
        if self.era.namespace != now.namespace {
            return Ok(true);
        }
        match Stat::of(self.pid) {
            Ok(stat) => Ok(stat.start_time == self.start_time && stat.is_alive()),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => {
                Err(Error::os(errno, format_args!("looking at process {}, which has a checkpoint", self.pid)))
            }
        }
    }

    /// A tool that has to thaw what it dumps may do so.
    fn allows_us(&self) -> bool {
        self.external
            && self.pid == process::this_process()
            && Stat::of(self.pid).is_ok_and(|stat| stat.start_time == self.start_time)
            && Era::now().is_ok_and(|now| now == self.era)
    }

    fn refusal(&self, path: &GroupPath) -> Error {
        let who = self.pid;
        let why = format!("a checkpoint of process {who} holds group {path}; checkpoint_break ends it by force");
        Error::new(libc::EBUSY, why)
    }
}

/// The lease that holds a group now. `file` is its freeze file.
fn lease_of(group: &Node, file: impl AsFd) -> Result<Option<Lease>> {
    let failed = |errno| group.failed(errno, "looking at the locks of the freeze file");
    if lock::any_locked(&file, LEASES, Mode::Read).map_err(failed)?.is_none() {
        return Ok(None);
    }
    let Some(lease) = Lease::read(group)? else { return Ok(None) };
    let counts =
        lock::is_locked(&file, LEASES.start + lease.number, Mode::Read).map_err(failed)? && lease.is_alive()?;
    Ok(counts.then_some(lease))
}

/// EBUSY: the lease cannot begin, and who is to blame for it, as far as we may see.
fn held_up(group: &Node, file: &File, does: &str) -> Error {
    let who = match lockers(file).as_slice() {
        [] => "somebody".to_owned(),
        pids => {
            let pids: Vec<String> = pids.iter().take(5).map(i32::to_string).collect();
            format!("process {}", pids.join(", "))
        }
    };
    Error::new(
        libc::EBUSY,
        format!("a checkpoint of group {} cannot begin: {who} {does} (its freeze file)", group.path),
    )
}

/// The processes but ours that have locked something of a file, as far as we may see.
fn lockers(file: &File) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| pid != process::this_process() && process::has_locked(pid, file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let era = Era { boot: "b".into(), namespace: "pid:[4026531836]".into() };
        for external in [false, true] {
            let lease = Lease { number: 7, pid: 42, start_time: 99, era: era.clone(), external };
            assert_eq!(Lease::from_text(&lease.to_text()), Some(lease));
        }
        for text in ["", "7", "7 42 99 n", "x 42 99 n b", "1099511627776 42 99 n b", "-1 42 99 n b"] {
            assert_eq!(Lease::from_text(text), None, "{text:?}");
        }
    }
}
