//! Holding tasks by ptrace: a helper process that seizes them, and with whose
//! end they run on.
//!
//! ptrace(2) binds tracees to the thread that traces them, so neither a library
//! nor a command can hold them for longer than its own thread lives. The helper
//! is no child of its host's. What it is to do it reads in the groups'
//! `freezer.state`, when it is told to look (SIGTERM) and once a second.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::file::TRACER;
use super::pass;
use super::records::{self, Key, Roll, key_of};
use super::request::{self, Request};
use super::still::{self, Stillness};
use super::{Embedded, Patience, lock};
use crate::backend::{Node, Outcome};
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::process::{self, Stat};
use crate::sys::{self, Errno, dir::Dir, helper, ptrace, ptrace::Event, spawn::wait_readable};

/// How often the helper looks without being told to.
const IDLE: Duration = Duration::from_secs(1);

/// How long the helper waits for the lock before it asks whom it is keeping
/// from giving it back, and how long it may take to begin whatever the deadline.
const BRIEF: Duration = Duration::from_millis(100);

/// How long a helper may take to begin.
const BIRTH: Duration = Duration::from_secs(5);

/// How long a thaw waits for a helper before it ends it, which lets everybody
/// go at once.
const FAREWELL: Duration = Duration::from_secs(1);

/// The helper that holds a group: its number, its start time, and the errno it
/// met when it was not permitted to hold anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tracer {
    key: Key,
    refused: i32,
}

impl Tracer {
    pub(super) fn is_alive(self) -> bool {
        Stat::of(self.key.0).is_ok_and(|stat| key_of(&stat) == self.key && stat.is_alive())
    }

    /// Tells the helper to look.
    pub(super) fn poke(self) {
        let _ = pass::signal(self.key, libc::SIGTERM);
    }
}

pub(super) fn read(dir: &Dir) -> sys::Result<Option<Tracer>> {
    let lines = records::lines(dir, TRACER)?;
    Ok(lines.iter().find_map(|fields| match **fields {
        [pid, start_time, refused] => {
            Some(Tracer { key: (pid.try_into().ok()?, start_time), refused: refused.try_into().ok()? })
        }
        _ => None,
    }))
}

fn write(dir: &Dir, Tracer { key: (pid, start_time), refused }: Tracer) -> sys::Result<()> {
    records::replace(dir, TRACER, &format!("{pid} {start_time} {refused}\n"))
}

pub(super) fn clear(dir: &Dir) -> sys::Result<()> {
    match dir.unlink(TRACER) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

impl Embedded {
    /// Starts a helper, or takes the one that is there, and looks until
    /// everybody is still. Whether the group was asked already, and how that ended.
    pub(super) fn freeze_by_helper(&self, group: &Node, wait: &mut Wait<'_>) -> Result<(bool, Outcome)> {
        let failed = |errno| group.failed(errno, "writing freezer.state");
        let (was_asked, helper) = {
            let _held = self.lock_until(wait.deadline())?;
            // Whoever could not take it back, for want of descriptors, does not begin.
            Roll::read(&self.root)?;
            let was_asked = !Request::of(&group.dir).map_err(failed)?.is_none();
            let helper = read(&group.dir).map_err(failed)?.filter(|tracer| tracer.is_alive());
            if let Some(helper) = helper {
                // Even if it is about to go: it stays.
                let told = write(&group.dir, Tracer { refused: 0, ..helper });
                told.and_then(|()| request::ask(&group.dir, true)).map_err(failed)?;
                helper.poke();
            }
            (was_asked, helper)
        };
        if helper.is_none() {
            self.start_helper(group, wait)?;
        }
        let attempt = self.await_stillness(group, wait, was_asked);
        if attempt.is_err() && !was_asked {
            self.undo(group);
        }
        attempt
    }

    fn await_stillness(&self, group: &Node, wait: &mut Wait<'_>, was_asked: bool) -> Result<(bool, Outcome)> {
        let failed = |errno| group.failed(errno, "reading freezer.state");
        let mut scan = self.scan();
        let mut patience = Patience::new();
        let mut quiet = 0;
        loop {
            let held = self.lock_until(wait.deadline())?;
            let mut roll = Roll::read(&self.root)?;
            let pages = roll.subtree(group)?;
            let refused = match Request::of(&group.dir).map_err(failed)? {
                Request::None => return Ok((was_asked, Outcome::Cancelled)),
                Request::Trace(tracer) => tracer.refused,
                Request::Stop => 0,
            };
            let is_quiet = pass::look(&mut scan, &mut roll, &pages)?;
            if !is_quiet && refused != 0 {
                let why = "the helper may not trace the processes (kernel.yama.ptrace_scope, or another user's)";
                return Err(Error::new(refused, format!("freezing {} by ptrace: {why}", group.path)));
            }
            drop(held);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == super::freeze::QUIET {
                return Ok((was_asked, Outcome::Done));
            }
            if quiet == 0
                && let Err(ended) = patience.wait(wait)
            {
                return Ok((was_asked, Outcome::Ended(ended)));
            }
        }
    }

    /// Tells the helpers of a group and of those above it to look.
    pub(super) fn poke_helpers(&self, roll: &Roll, page: usize) -> Result<()> {
        for tracer in self.helpers(roll, |path| roll.pages[page].path.is_within(path))? {
            tracer.poke();
        }
        Ok(())
    }

    /// Waits until no helper holds a member of a group that nobody asks to
    /// freeze. One that does not react is ended.
    pub(super) fn await_helpers(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let farewell = Deadline::after(FAREWELL);
        let mut patience = Patience::new();
        loop {
            let holding = {
                let _held = self.lock_until(wait.deadline())?;
                let mut roll = Roll::read(&self.root)?;
                let top = roll.pages[roll.find(group)?].path.clone();
                let helpers = self.helpers(&roll, |path| top.is_within(path) || path.is_within(&top))?;
                if helpers.is_empty() {
                    return Ok(Outcome::Done);
                }
                self.still_holding(&mut roll, group, &helpers)?
            };
            if holding.is_empty() {
                return Ok(Outcome::Done);
            }
            holding.iter().for_each(|tracer| tracer.poke());
            let ended = patience.wait(wait).err();
            if farewell.passed() || ended == Some(Ended::Passed) {
                for tracer in &holding {
                    let _ = pass::signal(tracer.key, libc::SIGKILL);
                }
            } else if ended == Some(Ended::Interrupted) {
                return Ok(Outcome::Ended(Ended::Interrupted));
            }
            if ended.is_some() {
                return Ok(Outcome::Done);
            }
        }
    }

    fn helpers(&self, roll: &Roll, of: impl Fn(&crate::path::GroupPath) -> bool) -> Result<Vec<Tracer>> {
        let mut found = Vec::new();
        for (index, page) in roll.pages.iter().enumerate().filter(|(_, page)| of(&page.path)) {
            let tracer = read(&roll.dir(&self.root, index)?);
            let tracer = tracer.map_err(|errno| Error::os(errno, format_args!("reading {TRACER} of {}", page.path)))?;
            found.extend(tracer.filter(|tracer| tracer.is_alive()));
        }
        Ok(found)
    }

    /// Those of the helpers that hold somebody whom nobody asks to freeze.
    fn still_holding(&self, roll: &mut Roll, group: &Node, helpers: &[Tracer]) -> Result<Vec<Tracer>> {
        let mut free = Vec::new();
        for page in roll.subtree(group)? {
            if roll.request(&self.root, page)?.is_none() {
                free.push(page);
            }
        }
        let mut holding = Vec::new();
        self.scan().visit(roll, &free, &mut |_, members| {
            for member in members {
                if still::of(&member.stat) == Ok(Stillness::Traced)
                    && let Some(tracer) = helpers.iter().find(|tracer| is_traced_by(member.stat.pid, tracer.key.0))
                    && !holding.contains(tracer)
                {
                    holding.push(*tracer);
                }
            }
            Ok(())
        })?;
        Ok(holding)
    }

    /// Starts the helper of a group, and waits until it has taken the request.
    /// ETIMEDOUT, EINTR: it has not, and will not.
    pub(super) fn start_helper(&self, group: &Node, wait: &mut Wait<'_>) -> Result<()> {
        let failed = |errno| Error::os(errno, format_args!("starting a process to trace group {}", group.path));
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
        // A child that starts the helper and ends: the helper is then nobody's.
        let between = helper::start(|| match helper::start(|| self.serve(group, &theirs)) {
            Ok(_) => 0,
            Err(errno) => u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX),
        });
        let between = between.map_err(failed)?;
        drop(theirs);
        let birth = Deadline::after(BIRTH);
        if let Err(errno) = await_readable(between.pidfd(), birth, wait) {
            between.kill();
            return Err(failed(errno));
        }
        match between.result() {
            None | Some(0) => {}
            Some(errno) => return Err(failed(Errno::from_raw_os_error(errno.into()))),
        }
        if let Err(errno) = await_readable(ours.as_fd(), birth, wait) {
            // If it has yet to begin, it finds nobody at the pipe and ends; if it
            // has begun, it finds the request taken back.
            drop(ours);
            if let Ok(_held) = self.lock_until(wait.deadline()) {
                request::ask(&group.dir, false).map_err(failed)?;
            }
            return Err(failed(errno));
        }
        match rustix::io::read(&ours, &mut [0_u8; 1]) {
            Ok(1) => Ok(()),
            _ => Err(failed(Errno::SRCH)),
        }
    }

    /// The helper's life.
    fn serve(&self, group: &Node, ready: &OwnedFd) -> u8 {
        let keep = [self.root.dir.as_fd().as_raw_fd(), group.dir.as_fd().as_raw_fd(), ready.as_raw_fd()];
        ptrace::leave_host(c"cgf-freeze", &keep);
        match self.begin_tracing(group, ready) {
            Ok(us) if rustix::io::write(ready, b"!").is_ok() => {
                Helper { backend: self, group, us, tracees: HashMap::new() }.run()
            }
            // The pipe says it, by closing.
            _ => 1,
        }
    }

    fn begin_tracing(&self, group: &Node, ready: &OwnedFd) -> Result<Tracer> {
        let failed = |errno| group.failed(errno, "taking the request to freeze");
        let _held = self.lock()?;
        // All that there is to see at this end is that the other is closed.
        if wait_readable(ready.as_fd(), Deadline::after(Duration::ZERO)).map_err(failed)? {
            return Err(Error::new(libc::ECANCELED, "whoever started the helper has given it up"));
        }
        let us = Tracer { key: key_of(&Stat::of(process::this_process()).map_err(failed)?), refused: 0 };
        write(&group.dir, us).and_then(|()| request::ask(&group.dir, true)).map_err(failed)?;
        Ok(us)
    }
}

struct Tracee {
    pid: i32,
    /// What it was about to take when we stopped it.
    signal: i32,
}

struct Helper<'a> {
    backend: &'a Embedded,
    group: &'a Node,
    us: Tracer,
    tracees: HashMap<i32, Tracee>,
}

impl Helper<'_> {
    fn run(mut self) -> u8 {
        let mut quiet = 0;
        let mut pause = Duration::from_micros(20);
        loop {
            self.take_events();
            match self.look() {
                Ok(Looked::Nothing) => quiet += 1,
                Ok(Looked::Something) => quiet = 0,
                // Ours to end; and if the group has gone, nobody's to hold.
                Ok(Looked::Over) => return 0,
                Err(error) if error.is(libc::ENODEV) => return 0,
                Err(error) if error.is(libc::ETIMEDOUT) => self.let_holder_finish(),
                // Out of descriptors, say: what is held stays held.
                Err(_) => quiet = super::freeze::QUIET,
            }
            self.take_events();
            if quiet >= super::freeze::QUIET {
                ptrace::wait_for_news(IDLE);
                pause = Duration::from_micros(20);
            } else {
                ptrace::wait_for_news(pause);
                pause = (2 * pause).min(Duration::from_millis(2));
            }
        }
    }

    /// Seizes whoever is to be held and is not, and lets go who need not be.
    fn look(&mut self) -> Result<Looked> {
        let backend = self.backend;
        let _held = backend.lock_until(Deadline::after(BRIEF))?;
        let mut roll = Roll::read(&backend.root)?;
        let mut asked = Vec::new();
        for page in roll.subtree(self.group)? {
            if !roll.request(&backend.root, page)?.is_none() {
                asked.push(page);
            }
        }
        let mut looked = Looked::Nothing;
        let mut refused = 0;
        let mut members = HashSet::new();
        backend.scan().visit(&mut roll, &asked, &mut |_, batch| {
            for member in batch.iter().filter(|member| member.stat.pid != self.us.key.0) {
                members.insert(member.stat.pid);
                for tid in process::threads(member.stat.pid).unwrap_or_default() {
                    if self.tracees.contains_key(&tid) {
                        continue;
                    }
                    match ptrace::seize(tid).and_then(|()| ptrace::interrupt(tid)) {
                        Ok(()) => {
                            looked = Looked::Something;
                            self.tracees.insert(tid, Tracee { pid: member.stat.pid, signal: 0 });
                        }
                        // Somebody else's tracee is refused too, and need not
                        // be ours while it is held.
                        Err(errno @ (Errno::PERM | Errno::ACCESS))
                            if Stat::of_task(member.stat.pid, tid).is_ok_and(|thread| thread.state != b't') =>
                        {
                            refused = errno.raw_os_error();
                        }
                        // It has ended.
                        Err(_) => {}
                    }
                }
            }
            Ok(())
        })?;
        // One who may not be held blocks the freeze like any other; only if
        // nobody may, there is no point in waiting.
        let refused = if self.tracees.is_empty() { refused } else { 0 };
        if refused != self.us.refused || refused != 0 {
            self.us.refused = refused;
            let _ = write(&self.group.dir, self.us);
        }
        self.tracees.retain(|&tid, tracee| {
            // A tracee that has not stopped yet cannot be let go: it reports.
            members.contains(&tracee.pid) || (ptrace::detach(tid, tracee.signal).is_err() && is_there(tracee.pid, tid))
        });
        let is_asked = match Request::of(&self.group.dir) {
            Ok(Request::Trace(tracer)) => tracer.key == self.us.key,
            Ok(_) => false,
            // Who does not know, holds.
            Err(_) => true,
        };
        if self.tracees.is_empty() && !is_asked {
            if read(&self.group.dir).is_ok_and(|tracer| tracer.is_some_and(|tracer| tracer.key == self.us.key)) {
                let _ = clear(&self.group.dir);
            }
            return Ok(Looked::Over);
        }
        Ok(looked)
    }

    /// Lets a tracee go that we stopped in the moment that it took the
    /// hierarchy's lock, until the next look.
    fn let_holder_finish(&mut self) {
        let root = &self.backend.root;
        self.tracees
            .retain(|&tid, tracee| !lock::holds(root, tracee.pid) || ptrace::detach(tid, tracee.signal).is_err());
    }

    fn take_events(&mut self) {
        while let Ok(Some((tid, event))) = ptrace::next_event() {
            match event {
                Event::Ended => {
                    self.tracees.remove(&tid);
                }
                Event::Stopped { signal } => match self.tracees.get_mut(&tid) {
                    Some(tracee) => tracee.signal = signal,
                    // Born to one of ours.
                    None => {
                        let pid = process::process_of(tid).unwrap_or(tid);
                        self.tracees.insert(tid, Tracee { pid, signal });
                    }
                },
            }
        }
    }
}

/// Waits for a helper's sign of life: until the caller's deadline, but not less
/// than a helper needs, and no longer than `birth`. TIMEDOUT, INTR.
fn await_readable(fd: BorrowedFd<'_>, birth: Deadline, wait: &mut Wait<'_>) -> sys::Result<()> {
    loop {
        let slice = match wait.slice(BRIEF) {
            Ok(slice) => slice,
            Err(Ended::Interrupted) => return Err(Errno::INTR),
            Err(Ended::Passed) => BRIEF.saturating_sub(birth.elapsed()),
        };
        if wait_readable(fd, Deadline::after(birth.at_most(slice)))? {
            return Ok(());
        }
        if birth.passed() || (wait.deadline().passed() && birth.elapsed() >= BRIEF) {
            return Err(Errno::TIMEDOUT);
        }
    }
}

enum Looked {
    Nothing,
    Something,
    Over,
}

/// Whether a thread has not ended. One that executed a program may have got
/// another number by it, and the number that we know reports no more.
fn is_there(pid: i32, tid: i32) -> bool {
    Stat::of_task(pid, tid).is_ok_and(|stat| !stat.is_dead())
}

fn is_traced_by(pid: i32, tracer: i32) -> bool {
    let traced = |tid: i32| {
        let status = process::read(&format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
        let wanted = format!("TracerPid:\t{tracer}");
        status.split(|&byte| byte == b'\n').any(|line| line == wanted.as_bytes())
    };
    process::threads(pid).unwrap_or_default().into_iter().any(traced)
}
