//! The task that stands in the way, named so that somebody can go and look.

use std::fmt;

use crate::process::{self, Stat};

/// A task that an error is about: that kept a group from being frozen, emptied or
/// removed (R3.7), that is outside of a group that is to be checkpointed (R4.2), or
/// that was not still during a checkpoint (R4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocker {
    /// The process.
    pub pid: i32,
    /// The thread; the process's own number for its first thread.
    pub tid: i32,
    /// The thread's name as the kernel has it, at most 15 bytes.
    pub command: String,
    /// The kernel's letter for what the task does: `R` runs, `S` sleeps, `D`
    /// sleeps and heeds no signal, … (proc_pid_stat(5)). `?` when it has gone.
    pub state: char,
    /// The kernel function that the task waits in, `request_wait_answer`;
    /// empty where it runs, or where we may not read it.
    pub waits_in: String,
    /// What is said of it, and how we know.
    pub evidence: Evidence,
}

/// What makes us say that a task blocks, or did what it should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The kernel said so: alone in a probe group, the task stayed unfrozen.
    Proved,
    /// The task's own state shows that it is not stopped (embedded), or is all
    /// that could be read in the time or with the rights at hand.
    State,
    /// It is not in the group, nor below.
    Outside,
    /// Its run counter moved: it was given a CPU.
    Ran,
    /// It could run: the group was thawed, or something was moved into it.
    Thawed,
    /// It has left the group, or ended.
    Left,
    /// It has come into the group.
    Came,
}

impl Evidence {
    /// One word for it: `proved`, `state`, `outside`, `ran`, `thawed`, `left`, `came`.
    pub fn name(self) -> &'static str {
        match self {
            Evidence::Proved => "proved",
            Evidence::State => "state",
            Evidence::Outside => "outside",
            Evidence::Ran => "ran",
            Evidence::Thawed => "thawed",
            Evidence::Left => "left",
            Evidence::Came => "came",
        }
    }
}

impl Blocker {
    /// A thread as `/proc` shows it now; of one that has ended, its number.
    pub(crate) fn of(tid: i32, evidence: Evidence) -> Blocker {
        let pid = process::process_of(tid).unwrap_or(tid);
        let stat = Stat::of_task(pid, tid).ok();
        Blocker {
            pid,
            tid,
            state: stat.as_ref().map_or('?', |stat| char::from(stat.state)),
            command: stat.map(|stat| stat.command).unwrap_or_default(),
            waits_in: process::waits_in(pid, tid),
            evidence,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Proved => "proved by the kernel in a probe group",
            Evidence::State => "by its state",
            Evidence::Outside => "is outside of the group",
            Evidence::Ran => "was given a CPU",
            Evidence::Thawed => "could run, for the group was thawed, or something moved into it",
            Evidence::Left => "left the group, or ended",
            Evidence::Came => "came into the group",
        })
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        if self.tid != self.pid {
            write!(f, "/{}", self.tid)?;
        }
        write!(f, " ({}) {}", self.command, self.state)?;
        if !self.waits_in.is_empty() {
            write!(f, " in {}", self.waits_in)?;
        }
        Ok(())
    }
}

/// At most this many blockers stand in a message; all are in the error.
const SHOWN: usize = 3;

/// The blockers for the end of a message: `4242 (cat) D in request_wait_answer`.
pub(crate) fn in_short(blockers: &[Blocker]) -> String {
    let mut text = blockers.iter().take(SHOWN).map(Blocker::to_string).collect::<Vec<_>>().join(", ");
    if blockers.len() > SHOWN {
        text.push_str(&format!(" and {} more", blockers.len() - SHOWN));
    }
    text
}
