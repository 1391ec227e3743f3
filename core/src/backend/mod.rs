//! What the kernel offers to carry groups: one trait, three implementations.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use crate::blocker::Blocker;
use crate::cpu_time::CpuTime;
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::holder::Holder;
use crate::path::GroupPath;
use crate::process::{self, Process};
use crate::state::State;
use crate::sys::{self, Errno, dir::Dir};

use stage::{Stage, Whom};

pub(crate) mod cgroup1;
pub(crate) mod cgroup2;
pub(crate) mod embedded;
pub(crate) mod guard;
pub(crate) mod lease;
mod mirrors;
pub(crate) mod moving;
pub(crate) mod passing;
mod probe;
pub(crate) mod stage;
mod suspects;
pub(crate) mod tree;

/// Which implementation carries a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Control groups version 2: `cgroup.freeze`, `cgroup.kill`.
    Cgroup2,
    /// Control groups version 1: the freezer controller.
    Cgroup1,
    /// No control groups: directories of our own and SIGSTOP or ptrace.
    Embedded,
}

impl BackendKind {
    /// In the order in which `backend=auto` tries them.
    pub const ALL: [BackendKind; 3] = [BackendKind::Cgroup2, BackendKind::Cgroup1, BackendKind::Embedded];

    /// The word in the options: `cgroup2`, `cgroup1`, `embedded`.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Cgroup2 => "cgroup2",
            BackendKind::Cgroup1 => "cgroup1",
            BackendKind::Embedded => "embedded",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    fn from_str(word: &str) -> Result<BackendKind> {
        BackendKind::ALL.into_iter().find(|kind| kind.name() == word).ok_or_else(|| {
            Error::new(libc::EINVAL, format!("backend={word}: not one of auto, cgroup2, cgroup1, embedded"))
        })
    }
}

/// A group's directory, held open, and its path within the hierarchy.
#[derive(Debug)]
pub(crate) struct Node {
    pub dir: Dir,
    pub path: GroupPath,
}

impl Node {
    /// A failed access to one of the group's core files, which are there for
    /// as long as the group is.
    pub(crate) fn failed(&self, errno: Errno, doing: &str) -> Error {
        match errno {
            Errno::NOENT | Errno::NODEV => self.vanished(),
            errno => Error::os(errno, format_args!("{doing} of group {}", self.path)),
        }
    }

    pub(crate) fn vanished(&self) -> Error {
        Error::new(libc::ENODEV, format!("group {} was removed", self.path))
    }

    /// The groups right below, those left out that are ours for a moment.
    pub(crate) fn children(&self) -> Result<impl Iterator<Item = Result<Node>>> {
        self.children_where(|is_passing| !is_passing)
    }

    /// Those that are.
    pub(crate) fn passing_children(&self) -> Result<impl Iterator<Item = Result<Node>>> {
        self.children_where(|is_passing| is_passing)
    }

    /// The groups right below, passing ones included: tasks may be in them.
    pub(crate) fn every_child(&self) -> Result<impl Iterator<Item = Result<Node>>> {
        self.children_where(|_| true)
    }

    /// Each is opened when its turn comes: there may be more than descriptors.
    fn children_where(&self, wanted: impl Fn(bool) -> bool) -> Result<impl Iterator<Item = Result<Node>>> {
        let names = self.dir.children().map_err(|errno| self.failed(errno, "listing the children"))?;
        let paths = names.into_iter().map(|name| self.path.child(&name));
        Ok(paths.filter(move |path| wanted(path.is_passing())).filter_map(|path| {
            match self.dir.open_dir(path.name()) {
                Ok(dir) => Some(Ok(Node { dir, path })),
                // Removed since it was listed.
                Err(Errno::NOENT | Errno::NODEV) => None,
                Err(errno) => Some(Err(self.failed(errno, "opening a child"))),
            }
        }))
    }

    /// Whether this is a group of the library's own, made for a moment.
    pub(crate) fn is_passing(&self) -> bool {
        self.path.is_passing()
    }

    /// Calls `visit` on this group and every one below, parents first.
    ///
    /// One descriptor is open for each level, not for each group.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(&Node) -> Result<()>) -> Result<()> {
        visit(self)?;
        for child in self.every_child()? {
            match child?.walk(visit) {
                // Somebody removed it while we were at it: nothing to visit.
                Err(error) if error.is(libc::ENODEV) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Whoever kills a group of version 1 has this byte of its freeze file locked (on
/// embedded shared, for reading). While it is, on version 1 FROZEN may be the killer's own word and says nothing about what
/// was before.
pub(crate) const KILLING: u64 = (1 << 40) + 2;

/// The controller of version 1 that counts CPU time. Groups of version 2 have a count without
/// one; the embedded backend keeps books if it is asked for this.
pub(crate) const CPU_ACCOUNTING: &str = "cpuacct";

/// How a wait for the kernel's word ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Somebody else asked for the opposite meanwhile.
    Cancelled,
    /// The caller's time or patience did.
    Ended(Ended),
}

/// A freeze as far as it got.
pub(crate) struct Attempt {
    /// Whether the group had been asked to freeze already.
    pub was_asked: bool,
    /// Whether the caller was in it, and so stopped with the others.
    pub held_caller: bool,
    pub outcome: Outcome,
}

/// How much may be done to find out who blocks.
#[derive(Clone, Copy)]
pub(crate) enum Effort {
    /// Only look.
    Glance,
    /// Move suspects into a probe group and back, until the deadline.
    Prove(Deadline),
}

/// How a process comes into a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It exists, and comes with whatever children it has where they are.
    Attached,
    /// It was made for this group and has run nothing of its own yet.
    Spawned,
}

/// One way to carry groups.
///
/// Every method is about one group and leaves policy (who may, in which state,
/// in what order) to the callers. Methods may be called from several threads
/// and several processes at once; none waits without a deadline, and none
/// holds a lock of ours while it waits.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    fn kind(&self) -> BackendKind;

    /// Whether this is the root of all control groups, which holds everything
    /// that runs, and which the kernel neither freezes nor kills.
    fn is_kernel_root(&self, group: &Node) -> bool;

    /// The process that opened the hierarchy, as its locks name it.
    fn this_process(&self) -> Holder;

    /// Where a group of the hierarchy lies in the whole tree that this backend
    /// sees, beyond the hierarchy's root.
    fn whole_path(&self, path: &GroupPath) -> Result<GroupPath>;

    /// Every group above one in the whole tree, and its freeze file, open for
    /// reading; nearest first. Left out are those whose file we may not open.
    fn each_above(&self, whole: &GroupPath, visit: &mut dyn FnMut(&Node, &File) -> Result<()>) -> Result<()>;

    /// The groups that somebody is in, by their paths in the whole tree: one, or
    /// several if threads were moved singly. None: outside of that tree. ESRCH.
    fn homes(&self, whom: Whom<'_>) -> Result<Vec<Node>>;

    /// The file on which movers say whom they move ([`moving`]). None: every move is under
    /// a lock of the backend's, or it is not ours to open.
    fn movers_file(&self) -> Result<Option<File>> {
        Ok(None)
    }

    /// Makes a group, and opens its directory. EEXIST.
    fn create(&self, parent: &Node, name: &OsStr) -> sys::Result<Dir>;

    /// Removes a group without tasks and children. EBUSY, at once.
    fn remove(&self, parent: &Node, group: &Node) -> sys::Result<()>;

    /// Gives a group another name in its parent. EEXIST; EOPNOTSUPP where the
    /// kernel cannot.
    fn rename(&self, parent: &Node, group: &Node, to: &OsStr) -> sys::Result<()>;

    /// The processes of this very group, in any order.
    fn procs(&self, group: &Node) -> Result<Vec<i32>>;

    /// The threads of this very group, in any order.
    fn tasks(&self, group: &Node) -> Result<Vec<i32>>;

    /// Whether this group or one below holds a task that is not dead.
    fn is_populated(&self, group: &Node) -> Result<bool>;

    /// The group that a process is in, `None` if it is outside of the
    /// hierarchy's root directory. ESRCH.
    fn locate(&self, pid: i32) -> Result<Option<GroupPath>>;

    /// Whether freezing this group would stop the calling thread.
    fn holds_caller(&self, group: &Node) -> Result<bool>;

    /// A descriptor for clone3 to put a child into from birth, where there is
    /// such a thing.
    fn birth_group(&self, group: &Node) -> Option<OwnedFd>;

    /// Makes the hierarchy span the kernel trees that have these controllers, as
    /// far as there are any; unless it may `make` its root there, those that have it.
    fn span(&mut self, _controllers: &[&str], _make: bool) -> Result<()> {
        Ok(())
    }

    /// Whether it spans other trees than the one that freezes.
    fn is_spanning(&self) -> bool {
        false
    }

    /// The hierarchy has ended: nothing is left of it in other trees.
    fn ended(&self) {}

    /// The group's directory in the tree that has the controller; `None` if no
    /// tree of the hierarchy has.
    fn controller_directory(&self, _group: &Node, _controller: &str) -> Result<Option<Dir>> {
        Ok(None)
    }

    /// Makes what is missing of a group in other trees: somebody made it by the kernel's
    /// own means, in the first one alone.
    fn complete(&self, _group: &Node) -> sys::Result<()> {
        Ok(())
    }

    /// Moves somebody into the group in such a way that it can be taken back, in
    /// all trees.
    fn stage<'a>(&'a self, group: &'a Node, whom: Whom<'_>, deadline: Deadline) -> Result<Box<dyn Stage + 'a>>;

    /// What the kernel's refusal to move somebody into the group means.
    fn refusal(&self, group: &Node, id: i32, errno: Errno) -> Error;

    /// Moves somebody on who is in a passing group of this one, in all trees.
    fn take_over(&self, group: &Node, id: i32) -> Result<()>;

    /// Puts right what passing groups may have done to what the kernel says about
    /// an asked group.
    fn recount(&self, _group: &Node) -> Result<()> {
        Ok(())
    }

    /// Moves a process with all its threads into the group. One that may fork
    /// meanwhile, only where there is one tree.
    fn admit(&self, group: &Node, process: &Process, how: Admission) -> Result<()>;

    /// Takes a process that was moved here by mistake to where its parent is.
    fn return_to_parent(&self, pid: i32) -> Result<()>;

    /// Moves one thread. EOPNOTSUPP where the kernel moves processes only.
    fn admit_task(&self, group: &Node, tid: i32) -> Result<()>;

    /// What the group's tasks really do now.
    fn state(&self, group: &Node) -> Result<State>;

    /// Whether this very group was asked to freeze.
    fn is_asked(&self, group: &Node) -> Result<bool>;

    /// Whether one above it was.
    fn is_asked_above(&self, group: &Node) -> Result<bool>;

    /// The file that holds the request, for locks on it.
    fn freeze_file(&self) -> &'static str;

    /// Asks the group to freeze, and waits until it has. EDEADLK: the caller is
    /// in it and may not stop with it; nothing was frozen.
    fn freeze(&self, group: &Node, wait: &mut Wait<'_>, with_caller: bool) -> Result<Attempt>;

    /// Takes the request back, and waits until no task is held by it.
    fn thaw(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome>;

    /// A file that polls as changed (POLLPRI) from when a frozen group is thawed, or
    /// somebody comes into it who runs; where the kernel tells.
    fn thaw_notice(&self, _group: &Node) -> Result<Option<File>> {
        Ok(None)
    }

    /// The tasks that keep a freezing group from being frozen.
    fn blockers(&self, group: &Node, effort: Effort) -> Result<Vec<Blocker>>;

    /// Microseconds spent frozen, where the kernel counts them.
    fn frozen_usec(&self, group: &Node) -> Result<Option<u64>>;

    /// What the group and those below have used: by tasks that are there, that have
    /// ended, and that have left. ENODEV: nobody counts it here.
    fn cpu_time(&self, group: &Node) -> Result<CpuTime>;

    /// Some of this very group's processes are going to be waited for: what they have used
    /// is noted where the kernel does not count it.
    fn note_cpu_time(&self, _group: &Node) -> Result<()> {
        Ok(())
    }

    /// The processes of this very group that stand still by a signal of ours, and
    /// run after the thaw.
    fn stopped(&self, _group: &Node) -> Result<Vec<i32>> {
        Ok(Vec::new())
    }

    /// Sends a signal other than SIGKILL to a member of this group or of one below.
    fn signal(&self, group: &Node, process: &Process, signal: i32) -> Result<()>;

    /// Ends every process of the group and below, newborn ones included, and
    /// waits until they are gone. The freezer's state stays as it was.
    fn kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome>;
}

/// Whether a freeze of this group is going to stop the caller. EDEADLK: it is,
/// and must not.
pub(crate) fn will_stop_caller(backend: &dyn Backend, group: &Node, with_caller: bool) -> Result<bool> {
    let inside = backend.holds_caller(group)?;
    if inside && !with_caller { Err(would_stop_caller(group)) } else { Ok(inside) }
}

pub(crate) fn would_stop_caller(group: &Node) -> Error {
    Error::new(libc::EDEADLK, format!("freezing group {} would stop the caller, which is in it", group.path))
}

/// Sends one signal through a pidfd. EPERM; ESRCH: it has gone.
pub(crate) fn send(process: &Process, signal: i32) -> Result<()> {
    process
        .signal(signal)
        .map_err(|errno| Error::os(errno, format_args!("sending signal {signal} to process {}", process.pid())))
}

/// Sends SIGKILL to every process of the group and below that is listed now,
/// but the caller, whose turn comes last: says whether it is among them.
///
/// EPERM if one could not be sent it; the others were.
pub(crate) fn kill_listed(backend: &dyn Backend, group: &Node) -> Result<bool> {
    let caller = process::this_process();
    let mut caller_is_in = false;
    let mut refused = None;
    group.walk(&mut |node| {
        // By thread: a process whose first one has ended is not listed.
        let mut pids: Vec<i32> =
            backend.tasks(node)?.into_iter().filter_map(|tid| process::process_of(tid).ok()).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            if pid == caller {
                caller_is_in = true;
            } else if let Some(process) = member(backend, node, pid)? {
                match send(&process, libc::SIGKILL) {
                    Err(error) if !error.is(libc::ESRCH) => refused = Some(error),
                    _ => {}
                }
            }
        }
        Ok(())
    })?;
    refused.map_or(Ok(caller_is_in), Err)
}

/// Whether somebody else than the caller is in the group or below.
pub(crate) fn holds_others(backend: &dyn Backend, group: &Node) -> Result<bool> {
    let caller = process::this_process();
    let mut found = false;
    group.walk(&mut |node| {
        found = found
            || backend.tasks(node)?.into_iter().any(|tid| process::process_of(tid).is_ok_and(|pid| pid != caller));
        Ok(())
    })?;
    Ok(found)
}

/// The end of a caller who kills the group that it is in.
pub(crate) fn kill_caller() -> Result<()> {
    send(&Process::open(0)?, libc::SIGKILL)
}

/// A listed process, held so that it stays the one that was listed.
///
/// A number read from a list may be another process's by the time a descriptor
/// for it is open; so the descriptor comes first and the membership is asked
/// again after. `None`: it is no member any more.
pub(crate) fn member(backend: &dyn Backend, group: &Node, pid: i32) -> Result<Option<Process>> {
    let gone = |error: Error| if error.is(libc::ESRCH) { Ok(None) } else { Err(error) };
    let process = match Process::open(pid) {
        Ok(process) => process,
        Err(error) => return gone(error),
    };
    match is_member(backend, group, pid) {
        Ok(true) => Ok(Some(process)),
        Ok(false) => Ok(None),
        Err(error) => gone(error),
    }
}

/// Whether a process is in the group or below.
///
/// A first thread that has ended, others still running, is in no group that
/// could be told: then the others are asked. On version 1 one thread in the
/// group makes its process a member.
pub(crate) fn is_member(backend: &dyn Backend, group: &Node, pid: i32) -> Result<bool> {
    let within = |path: Option<GroupPath>| path.is_some_and(|path| path.is_within(&group.path));
    if within(backend.locate(pid)?) {
        return Ok(true);
    }
    for tid in process::threads(pid).unwrap_or_default() {
        if tid != pid && backend.locate(tid).is_ok_and(within) {
            return Ok(true);
        }
    }
    Ok(false)
}
