//! Asking the kernel who blocks a freeze.
//!
//! A suspect is moved, alone, into a child group of the group it is in. The
//! child of a freezing group freezes too, so nothing runs that did not run
//! before; and the state the kernel gives for that child is the state of the
//! one suspect in it. Then the suspect is moved back and the child removed.
//! (Measured on Linux 6.18: on both versions the blocker leaves its probe group
//! unfrozen and every other task does not.)

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::Mode;

use super::suspects::suspects;
use super::{Backend, Effort, Node};
use crate::blocker::{Blocker, Evidence};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::process;
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
            // What runs or may not be interrupted is asked about first, should
            // the time not suffice for all.
            suspects.sort_by_key(|blocker| !matches!(blocker.state, 'R' | 'D'));
            suspects = proved(node, kind, suspects, deadline);
        }
        found.append(&mut suspects);
        Ok(())
    })?;
    found.sort_by_key(|blocker| (blocker.pid, blocker.tid));
    Ok(found)
}

/// A name for a group that lives for a moment; unique on this machine.
pub(super) fn passing_name(purpose: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("cgf.{purpose}.{}.{count}", process::this_process())
}

/// Those of the suspects that the kernel confirms, and those it could not be
/// asked about.
fn proved(node: &Node, kind: &Kind, suspects: Vec<Blocker>, deadline: Deadline) -> Vec<Blocker> {
    let Ok(probe) = Probe::create(node, kind) else { return suspects };
    let by_process = kind.file == "cgroup.procs";
    let mut acquitted: Option<i32> = None;
    let mut found = Vec::new();
    for mut suspect in suspects {
        if acquitted == Some(suspect.pid) {
            continue;
        }
        let moved = if by_process { suspect.pid } else { suspect.tid };
        match probe.ask(moved, deadline) {
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
    node: &'a Node,
    kind: &'a Kind,
    name: OsString,
    dir: Dir,
}

impl<'a> Probe<'a> {
    fn create(node: &'a Node, kind: &'a Kind) -> sys::Result<Probe<'a>> {
        let name = OsString::from(passing_name("probe"));
        node.dir.mkdir(&name, Mode::from_raw_mode(0o755))?;
        match node.dir.open_dir(&name) {
            Ok(dir) => Ok(Probe { node, kind, name, dir }),
            Err(errno) => {
                let _ = node.dir.rmdir(&name);
                Err(errno)
            }
        }
    }

    /// `None`: the kernel could not be asked.
    fn ask(&self, id: i32, deadline: Deadline) -> Option<Answer> {
        if deadline.passed() {
            return None;
        }
        match self.dir.write(self.kind.file, id.to_string().as_bytes()) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Some(Answer::Gone),
            Err(_) => return None,
        }
        let settled = Deadline::after(deadline.at_most(SETTLING));
        let answer = loop {
            match (self.kind.is_frozen)(&self.dir) {
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
        let Ok(inside) = self.dir.read(self.kind.file) else { return };
        for id in process::numbers(&inside) {
            // A failure means that it died.
            let _ = self.node.dir.write(self.kind.file, id.to_string().as_bytes());
        }
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.put_back();
        // If somebody is still in it, it is swept when the group is removed;
        // meanwhile listing, freezing and killing reach into it.
        let _ = self.node.dir.rmdir(&self.name);
    }
}
