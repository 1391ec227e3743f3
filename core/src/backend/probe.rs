//! Asking the kernel who blocks a freeze.
//!
//! A suspect is moved, alone, into a child group of the group it is in. The
//! child of a freezing group freezes too, so nothing runs that did not run
//! before; and the state the kernel gives for that child is the state of the
//! one suspect in it. Then the suspect is moved back and the child removed.
//! (Measured on Linux 6.18: on both versions the blocker leaves its probe group
//! unfrozen and every other task does not.)

use std::cell::RefCell;
use std::time::Duration;

use rustix::fs::OFlags;

use super::moving::Moving;
use super::passing::{self, Passing};
use super::suspects::suspects;
use super::{Backend, Effort, Node, guard};
use crate::blocker::{Blocker, Evidence};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::process::Process;
use crate::sys::{self, Errno, dir::Dir};

/// What differs between the kernel's two versions.
pub(super) struct Kind {
    /// The file that moves a suspect: `tasks` moves a thread, `cgroup.procs` a
    /// process.
    pub file: &'static str,
    /// Kernel functions that only a task sleeps in which counts as frozen.
    pub quiet_in: &'static [&'static str],
    pub is_frozen: fn(&Dir) -> sys::Result<bool>,
}

/// How long a suspect may take, alone, to be seen frozen.
const SETTLING: Duration = Duration::from_millis(5);

/// The tasks of the group and below that are not frozen, proved if there is
/// the time and the right to.
pub(super) fn blockers(backend: &dyn Backend, group: &Node, kind: &Kind, effort: Effort) -> Result<Vec<Blocker>> {
    let mut found = Vec::new();
    group.walk(&mut |node| {
        let mut suspects = suspects(backend, node, kind.quiet_in)?;
        if let Effort::Prove(deadline) = effort
            && !node.is_passing()
            && !suspects.is_empty()
        {
            passing::sweep(backend, node);
            // What runs or may not be interrupted is asked about first, should
            // the time not suffice for all.
            suspects.sort_by_key(|blocker| !matches!(blocker.state, 'R' | 'D'));
            suspects = proved(backend, node, kind, suspects, deadline);
        }
        found.append(&mut suspects);
        Ok(())
    })?;
    found.sort_by_key(|blocker| (blocker.pid, blocker.tid));
    Ok(found)
}

/// Those of the suspects that the kernel confirms, and those it could not be
/// asked about.
fn proved(backend: &dyn Backend, node: &Node, kind: &Kind, suspects: Vec<Blocker>, deadline: Deadline) -> Vec<Blocker> {
    let Ok(probe) = Probe::create(backend, node, kind) else { return suspects };
    let by_process = kind.file == "cgroup.procs";
    let mut acquitted: Option<i32> = None;
    let mut found = Vec::new();
    for mut suspect in suspects {
        if acquitted == Some(suspect.pid) {
            continue;
        }
        let moved = if by_process { suspect.pid } else { suspect.tid };
        match probe.ask(suspect.pid, moved, deadline) {
            Some(Answer::Frozen) => {
                if by_process {
                    acquitted = Some(suspect.pid);
                }
            }
            Some(Answer::Gone) => {}
            Some(Answer::Blocks) => {
                suspect.evidence = Evidence::Proved;
                found.push(suspect);
            }
            None => found.push(suspect),
        }
    }
    found
}

enum Answer {
    Blocks,
    Frozen,
    Gone,
}

/// A child group that holds one suspect at a time.
struct Probe<'a> {
    backend: &'a dyn Backend,
    node: &'a Node,
    kind: &'a Kind,
    group: Passing,
    moving: RefCell<Moving>,
}

impl<'a> Probe<'a> {
    fn create(backend: &'a dyn Backend, node: &'a Node, kind: &'a Kind) -> sys::Result<Probe<'a>> {
        let moving = Moving::begin(backend).map_err(|_| Errno::BUSY)?;
        let group = Passing::create(&node.dir, backend.freeze_file(), "probe")?;
        // It may have been frozen after all, and a checkpoint have begun that did not
        // see the probe yet: one that begins from now on does.
        match node.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
            Ok(file) if guard::look(backend, node, &file).is_err() => Err(Errno::BUSY),
            _ => Ok(Probe { backend, node, kind, group, moving: RefCell::new(moving) }),
        }
    }

    /// `None`: the kernel could not be asked.
    ///
    /// A suspect that left the group since it was listed is no blocker any more
    /// and must not be fetched back, and its number may be another's. So it is
    /// held by a pidfd and its membership asked again right before it is moved.
    /// Between that and the move somebody may still take it elsewhere, as with
    /// any two who move one process at the same time; not into a checkpoint, which
    /// waits for us.
    fn ask(&self, pid: i32, id: i32, deadline: Deadline) -> Option<Answer> {
        if deadline.passed() {
            return None;
        }
        let Ok(process) = Process::open(pid) else { return Some(Answer::Gone) };
        self.moving.borrow_mut().add(id).ok()?;
        let answer = self.ask_in_here(&process, id, deadline);
        self.moving.borrow_mut().done();
        answer
    }

    fn ask_in_here(&self, process: &Process, id: i32, deadline: Deadline) -> Option<Answer> {
        if !matches!(self.backend.locate(id), Ok(Some(path)) if path == self.node.path) || !process.is_there() {
            return Some(Answer::Gone);
        }
        match self.group.dir.write(self.kind.file, id.to_string().as_bytes()) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Some(Answer::Gone),
            Err(_) => return None,
        }
        if !process.is_there() {
            // Another process may have the number and have been moved instead.
            let _ = self.backend.return_to_parent(id);
            return Some(Answer::Gone);
        }
        let settled = Deadline::after(deadline.at_most(SETTLING));
        let answer = loop {
            match (self.kind.is_frozen)(&self.group.dir) {
                Ok(true) => break Some(Answer::Frozen),
                Ok(false) if settled.passed() => break Some(Answer::Blocks),
                Ok(false) => std::thread::sleep(Duration::from_micros(100)),
                Err(_) => break None,
            }
        };
        self.put_back();
        answer
    }

    /// Moves everything back: the suspect, and what it forked meanwhile.
    fn put_back(&self) {
        let inside = || Ok(passing::members(&self.group.dir, self.kind.file));
        let _ = self.moving.borrow_mut().each(&inside, |id| {
            // A failure means that it died.
            let _ = self.node.dir.write(self.kind.file, id.to_string().as_bytes());
            Ok(())
        });
        // Who was born since; and if it could not be said whom we move, he must come back all
        // the same.
        passing::move_all(&self.group.dir, &self.node.dir, self.kind.file);
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}
