//! Leases: what makes a group CHECKPOINTING.
//!
//! A lease is a write lock on one byte of the group's freeze file, on a descriptor of
//! its own, and `user.cgf.lease` on the group says which byte and who holds it. It
//! counts while the byte is locked and that process lives: the lock that a forked
//! child keeps up for a holder who was killed is void, and the next lease takes the
//! next byte.
//!
//! Whoever begins one is the only one meanwhile, and waits afterwards for those who
//! act upon the group already ([`guard`](super::guard)).

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::OFlags;

use super::guard::{Guarded, PAUSE};
use super::moving;
use super::passing::MAKER;
use super::{Backend, Node};
use crate::attribute;
use crate::deadline::{Deadline, Ended, Wait};
use crate::era::Era;
use crate::error::{Error, Result};
use crate::holder::{self, BEGINNERS, Bytes, ENDERS, WORKERS};
use crate::path::GroupPath;
use crate::process::{self, Stat};
use crate::reference;
use crate::sys::Errno;
use crate::sys::lock::{self, Mode};

/// Lease n is byte 2 + n.
const LEASES: Range<u64> = FIRST..1 << 40;
pub(super) const FIRST: u64 = 2;
const COUNT: u64 = LEASES.end - LEASES.start;

/// How many bytes may be locked by forked children of killed holders, or by a reader.
const TRIES: usize = 1000;

/// How long a lock that others have for microseconds is waited for, whatever the
/// caller's deadline.
const LEAST: Duration = Duration::from_millis(100);

/// What says who has which lease.
const NOTE: &str = "lease";

/// Whether a checkpoint holds this very group.
pub(crate) fn is_on(backend: &dyn Backend, group: &Node) -> Result<bool> {
    match group.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
        Ok(file) => Ok(of(group, &file)?.is_some()),
        // The kernel's root has no such file. Who may not open it is not told.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => Ok(false),
        Err(errno) => Err(group.failed(errno, "looking at the locks of the freeze file")),
    }
}

/// EBUSY if a checkpoint holds the group, and we are not who may thaw it for that.
/// `file` is its freeze file.
pub(crate) fn refuse(group: &Node, file: impl AsFd) -> Result<()> {
    match of(group, file)? {
        Some(lease) if !lease.allows_us() => Err(lease.refusal(&group.path)),
        _ => Ok(()),
    }
}

/// Ends whoever's lease it is, and says on which terms it was. ENOENT: no checkpoint
/// holds the group.
pub(crate) fn end_by_force(backend: &dyn Backend, group: &Node, wait: &mut Wait<'_>) -> Result<Terms> {
    let beginning = Beginning::alone(backend, group, wait)?;
    match of(group, &beginning.file)? {
        Some(lease) => {
            attribute::remove(group, NOTE)?;
            // A directory that we may not mark lets it pass.
            match Lease::read(group)? {
                Some(_) => Err(Error::new(libc::EACCES, format!("we may not take a note off group {}", group.path))),
                None => Ok(lease.terms),
            }
        }
        None => Err(Error::new(libc::ENOENT, format!("no checkpoint holds group {}", group.path))),
    }
}

/// What the holder of a lease has to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// It may act upon the group, which others must not.
    pub external: bool,
    /// The group was asked to freeze itself for the time of the lease only.
    pub asked: bool,
}

/// A group that we hold: until [`give_up`](Held::give_up), or until this process ends.
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
        terms: Terms,
        wait: &mut Wait<'_>,
        ready: &dyn Fn() -> Result<()>,
    ) -> Result<Held> {
        loop {
            match Held::try_begin(backend, group, terms, wait, ready)? {
                Ok(held) => return Ok(held),
                // Others may act for a moment.
                Err(somebody) => wait.pause(10 * PAUSE).map_err(|ended| unless_interrupted(ended, somebody))?,
            }
        }
    }

    /// The inner error: somebody is at work on the group, and does not get on with it.
    /// He is not waited for with the lease in our hands, which keeps others out.
    fn try_begin(
        backend: &dyn Backend,
        group: &Node,
        terms: Terms,
        wait: &mut Wait<'_>,
        ready: &dyn Fn() -> Result<()>,
    ) -> Result<Result<Held>> {
        let file = open(backend, group)?;
        let guarded = Guarded::new(backend, group)?;
        let beginning = Beginning::alone(backend, group, wait)?;
        if reference::is_removed(group, &file)? {
            return Err(group.vanished());
        }
        let refuse = |node: &Node, file: &File| match of(node, file)? {
            Some(lease) => Err(lease.refusal(&node.path)),
            None => Ok(()),
        };
        refuse(group, &beginning.file)?;
        backend.each_above(&guarded.whole, &mut |node, file| refuse(node, file))?;
        ready()?;
        if let Err(somebody) = guarded.await_others() {
            return Ok(Err(somebody));
        }
        let held = Held::lock(group, file, terms)?;
        drop(beginning);
        let failed = match guarded.await_others().and_then(|()| guarded.await_movers()) {
            Ok(()) => match ready() {
                Ok(()) => return Ok(Ok(held)),
                Err(error) => Err(error),
            },
            Err(somebody) => Ok(Err(somebody)),
        };
        held.give_up(backend, group, wait)?;
        failed
    }

    fn lock(group: &Node, file: File, terms: Terms) -> Result<Held> {
        let failed = |errno| group.failed(errno, "locking the freeze file");
        let next = Lease::read(group)?.map_or(0, |last| last.number + 1);
        for number in (next..).take(TRIES).map(|number| number % COUNT) {
            if lock::try_lock(&file, LEASES.start + number, Mode::Write).map_err(failed)? {
                let held = Held { file, lease: Lease::of_this_process(number, terms)? };
                attribute::must_set(group, NOTE, &held.lease.to_text())
                    .or_else(|error| held.unlock(group).and(Err(error)))?;
                return Ok(held);
            }
        }
        Err(held_up(&group.path, &file, &ALL, "somebody has too many bytes locked"))
    }

    /// Ends the lease. ESTALE: somebody has ended it by force before.
    pub(crate) fn give_up(&self, backend: &dyn Backend, group: &Node, wait: &mut Wait<'_>) -> Result<()> {
        let ours = self.take_note_away(backend, group, wait);
        self.unlock(group)?;
        if ours? { Ok(()) } else { Err(broken(group)) }
    }

    /// From now on this process may act upon the group; whether nobody has ended the
    /// lease by force before.
    pub(crate) fn let_us_act(&mut self, backend: &dyn Backend, group: &Node, wait: &mut Wait<'_>) -> Result<bool> {
        let _beginning = Beginning::alone(backend, group, wait)?;
        if !self.is_ours(group)? {
            return Ok(false);
        }
        self.lease.terms.external = true;
        attribute::must_set(group, NOTE, &self.lease.to_text()).map(|()| true)
    }

    /// Whether nobody has ended the lease by force.
    pub(crate) fn is_ours(&self, group: &Node) -> Result<bool> {
        Ok(Lease::read(group)?.as_ref() == Some(&self.lease))
    }

    /// Whether the note was ours. Nobody writes another while nobody begins a lease. If
    /// somebody does and does not get on with it, ours is left there, and void.
    fn take_note_away(&self, backend: &dyn Backend, group: &Node, wait: &mut Wait<'_>) -> Result<bool> {
        let Ok(_beginning) = Beginning::alone(backend, group, wait) else { return self.is_ours(group) };
        let ours = self.is_ours(group)?;
        if ours { attribute::remove(group, NOTE).map(|()| true) } else { Ok(false) }
    }

    fn unlock(&self, group: &Node) -> Result<()> {
        // Not just closed: a forked child has a copy of the descriptor. In that child
        // nobody comes here.
        let unlocked = lock::unlock(&self.file, LEASES.start + self.lease.number);
        unlocked.map_err(|errno| group.failed(errno, "unlocking the freeze file"))
    }
}

pub(crate) fn broken(group: &Node) -> Error {
    Error::new(libc::ESTALE, format!("the checkpoint of group {} was ended by force", group.path))
}

/// The lease that holds a group now. `file` is its freeze file.
fn of(group: &Node, file: impl AsFd) -> Result<Option<Lease>> {
    let failed = |errno| group.failed(errno, "looking at the locks of the freeze file");
    if lock::any_locked(&file, LEASES, Mode::Read).map_err(failed)?.is_none() {
        return Ok(None);
    }
    let Some(lease) = Lease::read(group)? else { return Ok(None) };
    let counts =
        lock::is_locked(&file, LEASES.start + lease.number, Mode::Read).map_err(failed)? && lease.is_alive()?;
    Ok(counts.then_some(lease))
}

fn open(backend: &dyn Backend, group: &Node) -> Result<File> {
    let file = group.dir.open_file(backend.freeze_file(), OFlags::RDWR);
    file.map_err(|errno| group.failed(errno, "opening the freeze file"))
}

/// Being the only one who begins or ends a lease on a group.
struct Beginning {
    file: File,
    byte: u64,
}

impl Beginning {
    /// EBUSY: somebody else does not get on with it.
    fn alone(backend: &dyn Backend, group: &Node, wait: &mut Wait<'_>) -> Result<Beginning> {
        let file = open(backend, group)?;
        let least = Deadline::after(LEAST);
        while !holder::take_turn(&file, BEGINNERS, backend.this_process())? {
            match wait.pause(PAUSE) {
                Ok(()) => {}
                Err(Ended::Passed) if !least.passed() => std::thread::sleep(PAUSE),
                Err(ended) => {
                    let somebody = held_up(&group.path, &file, &ALL, "somebody else is about to begin one");
                    return Err(unless_interrupted(ended, somebody));
                }
            }
        }
        Ok(Beginning { file, byte: BEGINNERS.of(backend.this_process()) })
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        // Not just closed, as above.
        let _ = lock::unlock(&self.file, self.byte);
    }
}

/// Those of one kind who may be at work on the group with this inode.
type Place = (u64, u64);

impl Guarded<'_> {
    /// Waits until nobody is at work any more who began before there was a lease to
    /// see. Who was seen to be gone once is not waited for again: whoever comes after
    /// that is refused.
    /// EBUSY: somebody does not get on with it.
    fn await_others(&self) -> Result<()> {
        let patience = Deadline::after(LEAST);
        let mut free = HashSet::new();
        while let Some((path, file, who)) = self.find_others(&mut free)? {
            if patience.passed() {
                let does = format!("{who} acts upon the group, and does not get on with it");
                return Err(held_up(&path, &file, &ALL, &does));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// A group that somebody is at work on, its freeze file, and who it is.
    fn find_others(&self, free: &mut HashSet<Place>) -> Result<Option<(GroupPath, File, String)>> {
        let mut found = None;
        self.node.walk(&mut |node| {
            let failed = |errno| node.failed(errno, "looking at the locks of the freeze file");
            let file = match node.dir.open_file(self.backend.freeze_file(), OFlags::RDONLY) {
                Ok(file) => file,
                Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
                Err(errno) => return Err(failed(errno)),
            };
            let mut who = at_work(node, &file, &[WORKERS, ENDERS], free)?;
            if node.is_passing() && lock::is_locked(&file, MAKER, Mode::Write).map_err(failed)? {
                who = Some("somebody who moves something".to_owned());
            }
            if let Some(who) = who {
                found = Some((node.path.clone(), file, who));
            }
            Ok(())
        })?;
        self.backend.each_above(&self.whole, &mut |node, file| {
            if let Some(who) = at_work(node, file, &[ENDERS], free)? {
                let file = file.try_clone().map_err(|error| Error::os(&error, "duplicating a descriptor"))?;
                found = Some((node.path.clone(), file, who));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Waits for those who are about to take somebody away and looked where he was before the
    /// lease could be seen. Only then: who is polite to a beginner has said already whom he moves.
    /// Nobody comes any more, so whom somebody may still take away is in the group by now.
    /// EBUSY: somebody does not get on with it.
    fn await_movers(&self) -> Result<()> {
        let patience = Deadline::after(LEAST);
        while let Some((file, bytes, who)) = moving::find(self)? {
            if patience.passed() {
                let does = format!("{who} does not get on with it");
                return Err(held_up(&self.node.path, &file, &bytes, &does));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn at_work(node: &Node, file: &File, kinds: &[Bytes], free: &mut HashSet<Place>) -> Result<Option<String>> {
    let identity = node.dir.identity().map_err(|errno| node.failed(errno, "looking at the directory"))?;
    let mut found = None;
    for kind in kinds {
        let place = (identity.1, kind.first());
        if !free.contains(&place) {
            match kind.held(file, Mode::Write)? {
                Some((_, who)) => found = Some(who),
                None => _ = free.insert(place),
            }
        }
    }
    Ok(found)
}

/// What `user.cgf.lease` says: `number pid start-time namespace boot`, and a word for
/// each of its terms.
#[derive(Debug, PartialEq, Eq)]
struct Lease {
    number: u64,
    pid: i32,
    start_time: u64,
    era: Era,
    terms: Terms,
}

const EXTERNAL: &str = "external";
const ASKED: &str = "asked";

impl Lease {
    fn of_this_process(number: u64, terms: Terms) -> Result<Lease> {
        let pid = process::this_process();
        let stat = Stat::of(pid).map_err(|errno| Error::os(errno, "looking at our own process"))?;
        Ok(Lease { number, pid, start_time: stat.start_time, era: Era::now()?, terms })
    }

    /// `None` also for what somebody else has written there.
    fn read(group: &Node) -> Result<Option<Lease>> {
        Ok(attribute::get(group, NOTE)?.and_then(|text| Lease::from_text(&text)))
    }

    fn from_text(text: &str) -> Option<Lease> {
        let mut words = text.split(' ');
        Some(Lease {
            number: words.next()?.parse().ok().filter(|number| *number < COUNT)?,
            pid: words.next()?.parse().ok()?,
            start_time: words.next()?.parse().ok()?,
            era: Era { namespace: words.next()?.to_owned(), boot: words.next()?.to_owned() },
            terms: words.fold(Terms::default(), |terms, word| Terms {
                external: terms.external || word == EXTERNAL,
                asked: terms.asked || word == ASKED,
            }),
        })
    }

    fn to_text(&self) -> String {
        let Lease { number, pid, start_time, era, terms } = self;
        let mut text = format!("{number} {pid} {start_time} {} {}", era.namespace, era.boot);
        for (word, is_said) in [(EXTERNAL, terms.external), (ASKED, terms.asked)] {
            if is_said {
                text.push(' ');
                text.push_str(word);
            }
        }
        text
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
        self.terms.external
            && self.pid == process::this_process()
            && Stat::of(self.pid).is_ok_and(|stat| stat.start_time == self.start_time)
            && Era::now().is_ok_and(|now| now == self.era)
    }

    fn refusal(&self, path: &GroupPath) -> Error {
        let who = self.pid;
        let why = format!("a checkpoint of process {who} holds group {path}; break_checkpoint ends it by force");
        Error::new(libc::EBUSY, why)
    }
}

fn unless_interrupted(ended: Ended, passed: Error) -> Error {
    match ended {
        Ended::Passed => passed,
        Ended::Interrupted => Error::new(libc::EINTR, "the wait to begin a checkpoint was interrupted"),
    }
}

/// Of a freeze file.
const ALL: Range<u64> = 0..u64::MAX;

/// EBUSY: the lease cannot begin, and who has something of the file locked, as far as
/// we may see.
fn held_up(path: &GroupPath, file: &File, bytes: &Range<u64>, why: &str) -> Error {
    let who: Vec<String> = lockers(file, bytes).iter().take(5).map(i32::to_string).collect();
    let who = if who.is_empty() { "nobody that we may see".to_owned() } else { format!("process {}", who.join(", ")) };
    let why = format!("no checkpoint of group {path} can begin: {why}; the lock is held by {who}");
    Error::new(libc::EBUSY, why)
}

/// The processes but ours that have locked something of a file, as far as we may see.
fn lockers(file: &File, bytes: &Range<u64>) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| pid != process::this_process() && process::has_locked(pid, file, bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let era = Era { boot: "b".into(), namespace: "pid:[4026531836]".into() };
        for (external, asked) in [(false, false), (true, false), (false, true), (true, true)] {
            let terms = Terms { external, asked };
            let lease = Lease { number: 7, pid: 42, start_time: 99, era: era.clone(), terms };
            assert_eq!(Lease::from_text(&lease.to_text()), Some(lease));
        }
        for text in ["", "7", "7 42 99 n", "x 42 99 n b", "1099511627776 42 99 n b", "-1 42 99 n b"] {
            assert_eq!(Lease::from_text(text), None, "{text:?}");
        }
    }
}
