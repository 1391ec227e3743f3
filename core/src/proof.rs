//! The proof that no task of a group could run between two moments (R4.4).
//!
//! Taken for granted is that the group was FROZEN by its own request at the first.
//!
//! On cgroup version 2 the kernel tells: an open `cgroup.events` polls as changed
//! after every thaw, and after anybody who ran came in. Signals to frozen tasks,
//! which wake them for a moment, do not show there. It costs no look at the tasks.
//!
//! Elsewhere every thread's run counter, the third field of `/proc/TID/schedstat`,
//! is read before and after: a thread that was given a CPU has another one. There a
//! thaw that let nobody run, since all slept on, is not seen, and is no harm.
//!
//! Everywhere the members are compared, and on control groups it is known whether
//! somebody was moved in ([`newcomers`](crate::newcomers)). Somebody else may still change the memory
//! of a frozen task: a tracer, another process that shares it, or the kernel, which
//! completes what was asked of it before (asynchronous reads, io_uring).

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::backend::{Backend, BackendKind, Node};
use crate::blocker::{Blocker, Evidence};
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::newcomers::Newcomers;
use crate::process;
use crate::sys::{self, Errno, dir::read_short};

/// The kernel notifies of `cgroup.events` at once, but not within 10 ms of the last
/// time (kernel/cgroup/cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV): then when they are over,
/// up to 20 ms later as measured, since the timer is a coarse one. After so much
/// silence nothing from before is told any more, and what is new is told at once.
const SILENCE: Duration = Duration::from_millis(25);

/// What was found out about the stillness of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stillness {
    woken: Vec<i32>,
}

impl Stillness {
    /// The threads that were woken for a moment, by a signal for one, and could
    /// execute nothing of their own: on cgroup version 2, where it was asked for
    /// ([`CheckpointOptions::wakeups`](crate::CheckpointOptions::wakeups)).
    pub fn woken(&self) -> &[i32] {
        &self.woken
    }
}

/// What was there when the group was last known to be still.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Where the kernel tells.
    notice: Option<File>,
    /// On embedded, nobody comes but by this library.
    newcomers: Option<Newcomers>,
    /// Whether a write to a list came since: it is told once.
    came: AtomicBool,
    members: Vec<Member>,
}

/// A thread, and the inode of the group that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    tid: i32,
    group: u64,
    /// 0 where it is not counted.
    runs: u64,
}

impl Proof {
    /// Begins a proof. With `wakeups`, tasks are counted also where the kernel tells.
    ///
    /// EBUSY: the tasks do not come to rest, or are not those that were there a
    /// moment ago. EOPNOTSUPP: they cannot be counted.
    pub(crate) fn begin(backend: &dyn Backend, group: &Node, wakeups: bool, wait: &mut Wait<'_>) -> Result<Proof> {
        let notice = backend.thaw_notice(group)?;
        let newcomers = match backend.kind() {
            BackendKind::Embedded => None,
            _ => Newcomers::watch(group)?,
        };
        if let Some(notice) = &notice {
            await_silence(group, notice, wait)?;
        }
        let is_told = notice.is_some();
        let proof = |members| Proof { notice, newcomers, came: AtomicBool::new(false), members };
        if is_told && !wakeups {
            return Ok(proof(members(backend, group)?));
        }
        check_counters()?;
        let mut members = counted(backend, group)?;
        loop {
            let again = counted(backend, group)?;
            if again == members {
                return Ok(proof(members));
            }
            members = again;
            match wait.pause(Duration::from_millis(1)) {
                Ok(()) => {}
                Err(Ended::Passed) => {
                    let why = format!("the tasks of group {} do not come to rest", group.path);
                    return Err(Error::new(libc::EBUSY, why));
                }
                Err(Ended::Interrupted) => {
                    let why = format!("the wait for group {} to come to rest was interrupted", group.path);
                    return Err(Error::new(libc::EINTR, why));
                }
            }
        }
    }

    /// Whether the group has been still since. ESTALE: it was not, and which task
    /// shows it.
    pub(crate) fn verify(&self, backend: &dyn Backend, group: &Node) -> Result<Stillness> {
        let is_counted = self.members.iter().any(|member| member.runs > 0);
        // What would show that a task ran is looked at last.
        let told = match &self.notice {
            Some(notice) => {
                is_noticed(notice, Duration::ZERO).map_err(|errno| group.failed(errno, "looking at cgroup.events"))?
            }
            None => false,
        };
        let came = match &self.newcomers {
            Some(newcomers) => newcomers.are_there()? || self.came.load(Ordering::Relaxed),
            None => false,
        };
        self.came.store(came, Ordering::Relaxed);
        let now = members(backend, group)?;
        if let Some(error) = self.other_members(group, &now) {
            return Err(error);
        }
        let mut moved = Vec::new();
        if is_counted {
            for member in &self.members {
                if runs(group, member.tid)? != Some(member.runs) {
                    moved.push(member.tid);
                }
            }
        }
        if let (Some(&tid), None) = (moved.first(), &self.notice) {
            return Err(torn(group, tid, Evidence::Ran));
        }
        if told || came || !backend.is_asked(group)? {
            let first = moved.first().or(self.members.first().map(|member| &member.tid));
            return Err(thawed(group, first.copied()));
        }
        Ok(Stillness { woken: moved })
    }

    fn other_members(&self, group: &Node, now: &[Member]) -> Option<Error> {
        let place = |member: &Member| (member.tid, member.group);
        let missing = |these: &[Member], those: &[Member]| {
            let missing = these.iter().find(|member| those.binary_search_by_key(&place(member), place).is_err());
            missing.map(|member| member.tid)
        };
        missing(&self.members, now)
            .map(|tid| torn(group, tid, Evidence::Left))
            .or_else(|| missing(now, &self.members).map(|tid| torn(group, tid, Evidence::Came)))
    }
}

fn torn(group: &Node, tid: i32, evidence: Evidence) -> Error {
    let task = Blocker::of(tid, evidence);
    let why = format!("group {} was not still during the checkpoint: {task} {evidence}", group.path);
    Error::new(libc::ESTALE, why).with_blockers(vec![task])
}

fn thawed(group: &Node, first: Option<i32>) -> Error {
    match first {
        Some(tid) => torn(group, tid, Evidence::Thawed),
        None => Error::new(libc::ESTALE, format!("group {} was thawed during the checkpoint", group.path)),
    }
}

/// The threads of a group and of those below, sorted. Who is in a passing group is
/// in the one around it.
fn members(backend: &dyn Backend, group: &Node) -> Result<Vec<Member>> {
    let mut found = Vec::new();
    let mut around = Vec::new();
    group.walk(&mut |node| {
        let (_, inode) = node.dir.identity().map_err(|errno| node.failed(errno, "looking at the directory"))?;
        around.retain(|(path, _)| node.path.is_within(path));
        let group = match around.last() {
            Some((_, inode)) if node.is_passing() => *inode,
            _ => inode,
        };
        around.push((node.path.clone(), group));
        found.extend(backend.tasks(node)?.into_iter().map(|tid| Member { tid, group, runs: 0 }));
        Ok(())
    })?;
    found.sort_unstable();
    // A list of threads may name one twice while it changes.
    found.dedup();
    Ok(found)
}

/// The same with their run counters.
fn counted(backend: &dyn Backend, group: &Node) -> Result<Vec<Member>> {
    let mut found = members(backend, group)?;
    for member in &mut found {
        // One that has ended since counts as never having run: the next look misses it.
        member.runs = runs(group, member.tid)?.unwrap_or(0);
    }
    Ok(found)
}

/// `None`: the thread has ended.
fn runs(group: &Node, tid: i32) -> Result<Option<u64>> {
    if tid == 0 {
        let why = format!("group {} has tasks of another pid namespace, which cannot be counted", group.path);
        return Err(Error::new(libc::EOPNOTSUPP, why));
    }
    match process::runs(tid) {
        Ok(runs) => Ok(Some(runs)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(Error::os(errno, format_args!("reading the run counter of {tid}"))),
    }
}

/// EOPNOTSUPP: the kernel counts nothing. We ourselves have been given a CPU.
fn check_counters() -> Result<()> {
    let this_thread = rustix::thread::gettid().as_raw_nonzero().get();
    match process::runs(this_thread) {
        Ok(1..) => Ok(()),
        _ => Err(Error::new(libc::EOPNOTSUPP, "the kernel does not count how often a thread runs (CONFIG_SCHED_INFO)")),
    }
}

/// Reads the file, so that it polls as unchanged, until it stays so.
fn await_silence(group: &Node, notice: &File, wait: &mut Wait<'_>) -> Result<()> {
    let failed = |errno| group.failed(errno, "waiting for cgroup.events");
    let least = Deadline::after(4 * SILENCE);
    loop {
        read_short(notice, &mut [0; 256]).map_err(failed)?;
        if !is_noticed(notice, SILENCE).map_err(failed)? {
            return Ok(());
        }
        if wait.slice(SILENCE).is_err() && least.passed() {
            let why = format!("somebody freezes and thaws group {} all the time", group.path);
            return Err(Error::new(libc::EBUSY, why));
        }
    }
}

fn is_noticed(notice: &File, within: Duration) -> sys::Result<bool> {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(notice, PollFlags::PRI)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
