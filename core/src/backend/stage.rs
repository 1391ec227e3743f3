//! A move that can be taken back, and that spans several kernel trees.
//!
//! The process goes first into a passing group of the group that it is to be in,
//! in the first tree. It counts as a member from then on; and whatever it forks
//! is born in that passing group and nowhere else, so that it is known who came
//! with it. The other trees follow, for each of those who are in there. Then
//! each goes on into the group itself, or all go back to where the first one
//! came from.
//!
//! If we are killed at it, whoever sweeps the passing group moves those who are
//! in it on into the group, in all trees: it is in one or the other everywhere.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use rustix::fs::OFlags;

use super::mirrors::Mirrors;
use super::moving::Moving;
use super::passing::Passing;
use super::tree::{Home, Tree};
use super::{Backend, BackendKind, Node};
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::process::{self, Process};
use crate::sys::{self, Errno};

/// Who is moved.
#[derive(Clone, Copy)]
pub(crate) enum Whom<'a> {
    Process(&'a Process),
    Task(i32),
}

impl Whom<'_> {
    pub(crate) fn id(self) -> i32 {
        match self {
            Whom::Process(process) => process.pid(),
            Whom::Task(tid) => tid,
        }
    }
}

/// Somebody who has come into a group, and may still be taken back.
pub(crate) trait Stage {
    /// Makes it stay. After an error it may still be taken back.
    fn settle(&mut self, deadline: Deadline) -> Result<()>;

    /// Puts everything back where it was, children born meanwhile included.
    fn take_back(&mut self, deadline: Deadline) -> Result<()>;
}

/// How often those who fork faster than they are moved are tried before they
/// are frozen for it.
const PASSES: u32 = 32;

/// The same for both of the kernel's versions.
pub(super) struct KernelStage<'a> {
    backend: &'a dyn Backend,
    tree: &'a Tree,
    mirrors: &'a Mirrors,
    group: &'a Node,
    passing: Passing,
    /// `cgroup.procs` for a process; the version's own file for a thread.
    file: &'static str,
    home: Home,
    homes: Vec<Home>,
    /// Opened before anybody is moved: who has no descriptor left must be able to go back.
    moving: RefCell<Moving>,
    /// Whoever has gone on into the group.
    arrived: HashSet<i32>,
}

impl<'a> KernelStage<'a> {
    pub(super) fn enter(
        backend: &'a dyn Backend,
        tree: &'a Tree,
        mirrors: &'a Mirrors,
        group: &'a Node,
        whom: Whom<'_>,
        deadline: Deadline,
    ) -> Result<Box<dyn Stage + 'a>> {
        let id = whom.id();
        let unknown = |errno| match errno {
            Errno::SRCH => process::no_such_process(id),
            errno => Error::os(errno, format_args!("looking where {id} is, to be able to put it back")),
        };
        let of = |tree: &Tree| match whom {
            Whom::Process(_) => tree.home_of(id),
            Whom::Task(tid) => tree.home_of_task(tid),
        };
        let (home, homes) = (of(tree).map_err(unknown)?, mirrors.homes(of).map_err(unknown)?);
        let file = match (whom, backend.kind()) {
            (Whom::Process(_), _) => "cgroup.procs",
            (Whom::Task(_), BackendKind::Cgroup2) => "cgroup.threads",
            (Whom::Task(_), _) => "tasks",
        };
        // Some may take a process from where it is, and not put it back there.
        tree.can_send_home(&home, file)
            .map_err(|errno| Error::os(errno, format_args!("looking whether {id} could be put back to where it is")))?;
        let passing = Passing::create(&group.dir, backend.freeze_file(), "moving")
            .map_err(|errno| group.failed(errno, "making a passing group in the directory"))?;
        if file == "cgroup.threads" {
            let typed = passing.dir.write("cgroup.type", b"threaded");
            typed.map_err(|errno| backend.refusal(group, id, errno))?;
        }
        let (moving, arrived) = (RefCell::new(Moving::begin(backend)?), HashSet::new());
        let mut stage =
            Box::new(KernelStage { backend, tree, mirrors, group, passing, file, home, homes, moving, arrived });
        stage.passing.dir.write(file, id.to_string().as_bytes()).map_err(|errno| backend.refusal(group, id, errno))?;
        match stage.follow_in_mirrors(deadline) {
            Ok(()) => Ok(stage as Box<dyn Stage + 'a>),
            Err(error) => match stage.take_back(deadline) {
                Ok(()) => Err(error),
                Err(failed) => Err(error.context(format_args!("{failed}, and it had to go back"))),
            },
        }
    }

    /// Moves whoever is in the passing group in the other trees, too. Whoever is
    /// forked by one that was moved needs no move; by one that was not, is found
    /// by the next look.
    fn follow_in_mirrors(&self, deadline: Deadline) -> Result<()> {
        if self.mirrors.is_empty() {
            return Ok(());
        }
        let mut moved = HashSet::new();
        let mut patience = Patience::new(self, deadline);
        loop {
            let new: Vec<i32> = self.members()?.into_iter().filter(|&id| moved.insert(id)).collect();
            if new.is_empty() {
                return Ok(());
            }
            patience.pass()?;
            for id in new {
                gone_is_fine(self.mirrors.put(self.group, self.mirror_file(), id))?;
            }
        }
    }

    fn mirror_file(&self) -> &'static str {
        if self.file == "cgroup.procs" { "cgroup.procs" } else { "tasks" }
    }

    /// Processes, or threads if one thread is moved.
    fn members(&self) -> Result<Vec<i32>> {
        let listed = |file: &str| {
            let listed = self.passing.dir.read(file);
            let listed = listed.map_err(|errno| self.group.failed(errno, "listing who is being moved"))?;
            // 0: born in a pid namespace beside ours, where nobody can be moved from.
            Ok(process::numbers(&listed).into_iter().filter(|&id| id > 0).collect::<Vec<i32>>())
        };
        let members = listed(self.file)?;
        if members.is_empty() && self.backend.kind() == BackendKind::Cgroup2 {
            // Version 2 lists no process whose first thread has ended. Any of the
            // others stands for it.
            return listed("cgroup.threads");
        }
        Ok(members)
    }

    /// Whether nobody has moved it on out of the group. Who cannot be looked at is there.
    fn is_here(&self, id: i32) -> bool {
        let home = if self.file == "cgroup.procs" { self.tree.home_of(id) } else { self.tree.home_of_task(id) };
        match home {
            Ok(home) => home.is_at(&self.tree.below_mount(&self.group.path)),
            Err(errno) => errno != Errno::SRCH,
        }
    }

    /// Empties the passing group, all whom it holds and who are born to it.
    fn empty(&self, deadline: Deadline, place: &dyn Fn(i32) -> Result<()>) -> Result<()> {
        let mut patience = Patience::new(self, deadline);
        loop {
            if self.members()?.is_empty() {
                return Ok(());
            }
            patience.pass()?;
            self.moving.borrow_mut().each(&|| self.members(), |id| gone_is_fine(place(id)))?;
        }
    }
}

impl Drop for KernelStage<'_> {
    fn drop(&mut self) {
        // Whoever could be moved neither on nor back runs where he is. Nobody is
        // left to tell if that fails, too.
        let _ = thaw(&self.passing);
    }
}

impl Stage for KernelStage<'_> {
    fn settle(&mut self, deadline: Deadline) -> Result<()> {
        let KernelStage { backend, mirrors, group, file, .. } = *self;
        let arrived = RefCell::new(HashSet::new());
        let settled = self.empty(deadline, &|id| {
            mirrors.put(group, self.mirror_file(), id)?;
            let moved = group.dir.write(file, id.to_string().as_bytes());
            moved.map_err(|errno| backend.refusal(group, id, errno))?;
            arrived.borrow_mut().insert(id);
            Ok(())
        });
        self.arrived = arrived.into_inner();
        settled?;
        self.passing.remove();
        // On version 2 the passing group that has gone may have left the group
        // with a flag that is not its own. That is no reason to move anybody back.
        if matches!(backend.is_asked(group), Ok(true)) {
            let _ = backend.recount(group);
        }
        Ok(())
    }

    fn take_back(&mut self, deadline: Deadline) -> Result<()> {
        let send_home = |id: i32| {
            let back = self
                .mirrors
                .send_home(&self.homes, self.mirror_file(), id)
                .and_then(|()| self.tree.send_home(&self.home, self.file, id));
            back.map_err(|errno| match errno {
                Errno::SRCH => process::no_such_process(id),
                errno => Error::os(errno, format_args!("putting process {id} back where it was")),
            })
        };
        let here = || Ok(self.arrived.iter().copied().filter(|&id| self.is_here(id)).collect());
        self.moving.borrow_mut().each(&here, |id| gone_is_fine(send_home(id)))?;
        self.empty(deadline, &send_home)
    }
}

/// Those who have ended need no move.
fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// Going round again for those born meanwhile.
struct Patience<'a> {
    stage: &'a KernelStage<'a>,
    wait: Wait<'a>,
    passes: u32,
}

impl<'a> Patience<'a> {
    fn new(stage: &'a KernelStage<'a>, deadline: Deadline) -> Patience<'a> {
        Patience { stage, wait: Wait::until(deadline), passes: 0 }
    }

    /// Before anybody is moved: the first time at once, whatever the time.
    fn pass(&mut self) -> Result<()> {
        self.passes += 1;
        if self.passes == 1 {
            return Ok(());
        }
        if self.passes == PASSES {
            // They outrun us. Frozen ones do not, and run on as soon as they are
            // out of the passing group.
            let _ = freeze(&self.stage.passing);
        }
        // The members that are on their way out leave the list by themselves.
        let pause = if self.passes < PASSES { Duration::ZERO } else { Duration::from_micros(200) };
        self.wait.pause(pause).map_err(|_| {
            let path = &self.stage.group.path;
            Error::new(libc::ETIMEDOUT, format!("those who are moved with {path} did not come to an end in time"))
        })
    }
}

fn freeze(passing: &Passing) -> sys::Result<()> {
    ask(passing, b"1", b"FROZEN")
}

fn thaw(passing: &Passing) -> sys::Result<()> {
    ask(passing, b"0", b"THAWED")
}

fn ask(passing: &Passing, version_2: &[u8], version_1: &[u8]) -> sys::Result<()> {
    match passing.dir.open_file("cgroup.freeze", OFlags::WRONLY) {
        Ok(file) => sys::dir::write_once(&file, version_2),
        Err(Errno::NOENT) => passing.dir.write("freezer.state", version_1),
        Err(errno) => Err(errno),
    }
}
