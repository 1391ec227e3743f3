//! Holding threads to their group's processors, where the kernel has no controller for it.
//!
//! A thread passes on what it may run on to the threads and processes that it makes. So
//! whoever is put in place is in place with all that come after. Those made by one that was
//! not yet are found by the next pass over all, until one finds nothing to do.

use std::time::Duration;

use super::Kind;
use super::sets::{Keeper, Sets};
use crate::backend::{BackendKind, Node, embedded};
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process;
use crate::sys::{Errno, affinity, affinity::Mask};

/// After so many passes in a row that moved nobody, those who had ended before they were
/// looked at have left nobody behind: somebody who gives his life on to a child faster than
/// he can be looked at would have been met by one of them.
const QUIET: u32 = 64;

/// So many passes in a row that met everybody on his processors are enough, as for a freeze: a
/// list that is put together from the processes themselves may miss one who is born meanwhile.
const CLEAN: u32 = 3;

/// How long all may be kept waiting for the one who does not stand still.
const STILL: Duration = Duration::from_millis(250);

/// How long somebody may be in the middle of fork(2) who has to wait for a CPU there.
const FORKING: Duration = Duration::from_millis(50);

/// Puts every thread of the group on its processors.
///
/// ETIMEDOUT: some were not there by the hierarchy's deadline. EPERM: another user's. EINVAL:
/// one may run on none of them.
pub(super) fn everybody(group: &Group) -> Result<()> {
    let forks = embedded::numbers::forks();
    let deadline = group.hierarchy().deadline();
    let moved = hold(group, &|| group.tasks(), deadline)?;
    // Whoever was moved in the middle of fork(2) bears a child that is where it was before, and
    // that nobody has seen yet.
    if group.backend()?.kind() == BackendKind::Embedded {
        // Nor has anybody seen for certain who was born on this machine meanwhile.
        if moved == Moved::Some || embedded::numbers::forks() != forks {
            hold_while_still(group)?;
        }
    } else if moved == Moved::Some {
        hold_for_a_while(group, deadline)?;
    }
    // Those that have what this group has.
    for child in group.node().children()? {
        let below =
            child.and_then(|child| if follows(group, &child)? { everybody(&open(group, &child)?) } else { Ok(()) });
        match below {
            // It was removed meanwhile.
            Err(error) if error.is(libc::ENODEV) || error.is(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Looks at them while they stand still, which is never within a fork. Where they may not be
/// stopped (the caller is among them), or one cannot be in that time, it is as good as can be.
fn hold_while_still(group: &Group) -> Result<()> {
    let soon = || Deadline::after(group.hierarchy().deadline().at_most(STILL));
    let Ok(still) = group.hold(soon()) else { return Ok(()) };
    // A time of its own: whom it finds is moved by the first pass, and looked at by the next.
    let held = hold(group, &|| group.tasks(), soon());
    still.give_back()?;
    held.map(drop)
}

/// Looks at them until nobody had to be moved for as long as a fork may take that was interrupted
/// by others: to stop all for it would be no more than a moment, but others who freeze and thaw
/// the group would notice.
fn hold_for_a_while(group: &Group, deadline: Deadline) -> Result<()> {
    let mut end = Deadline::after(deadline.at_most(FORKING));
    while !end.passed() {
        std::thread::sleep(end.at_most(FORKING / 10));
        if hold(group, &|| group.tasks(), deadline)? == Moved::Some {
            end = Deadline::after(deadline.at_most(FORKING));
        }
    }
    Ok(())
}

fn open(group: &Group, child: &Node) -> Result<Group> {
    Group::open(group.hierarchy(), &child.path)
}

/// Whether a group has what the one above it has.
fn follows(group: &Group, child: &Node) -> Result<bool> {
    let sets = Sets::of(group.hierarchy())?;
    let is_told = !matches!(sets.keeper(child)?, Keeper::Library) || !sets.own(child)?.cpus.is_empty();
    Ok(!is_told && !sets.in_effect(child)?.cpus.is_empty())
}

/// The same for what has come of one process, and for the descendants it brought.
pub(super) fn process(group: &Group, pid: i32) -> Result<()> {
    hold(group, &|| family(group, pid), group.hierarchy().deadline()).map(drop)
}

/// Takes a process that was to come to `group`, and is back in its own, off the processors that
/// it and its descendants were put on meanwhile. Who runs elsewhere was not put there.
pub(super) fn give_back(group: &Group, home: &Group, pid: i32) -> Result<()> {
    if home.path() == group.path() {
        return Ok(());
    }
    let mask = Mask::of(Sets::of(group.hierarchy())?.in_effect(group.node())?.cpus.ranges());
    let is_put = |tid: &i32| affinity::get(*tid).is_ok_and(|now| now == mask);
    let of_ours = || Ok(family(home, pid)?.into_iter().filter(is_put).collect());
    hold(home, &of_ours, home.hierarchy().deadline()).map(drop)
}

/// Whether it took anything to hold them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Nobody,
    Some,
}

fn hold(group: &Group, tasks: &dyn Fn() -> Result<Vec<i32>>, deadline: Deadline) -> Result<Moved> {
    let sets = Sets::of(group.hierarchy())?;
    let mut wait = Wait::until(deadline);
    let (mut quiet, mut clean) = (0, 0);
    let mut moved = Moved::Nobody;
    loop {
        // What was written last holds, whoever wrote it: asked for each pass.
        let cpus = sets.in_effect(group.node())?.list(Kind::Cpus).clone();
        if cpus.is_empty() {
            // Whoever emptied it found nobody in it; a newcomer is refused.
            return Err(Error::new(libc::ENOSPC, format!("{group} has no CPUs for its tasks")));
        }
        let mask = Mask::of(cpus.ranges());
        let mut passed = Passed::Clean;
        for tid in tasks()? {
            let found = put(tid, &mask).map_err(|errno| match errno {
                Errno::PERM => Error::new(libc::EPERM, format!("thread {tid} in {group} belongs to another user")),
                Errno::INVAL => {
                    let why = format!("thread {tid} in {group} may run on none of CPUs {cpus}");
                    Error::new(libc::EINVAL, format!("{why}: they are offline, or a cpuset of the kernel's forbids it"))
                }
                errno => Error::os(errno, format_args!("setting where thread {tid} runs")),
            })?;
            passed = passed.max(found);
        }
        if passed == Passed::Moved {
            moved = Moved::Some;
        }
        quiet = if passed == Passed::Moved { 0 } else { quiet + 1 };
        clean = if passed == Passed::Clean { clean + 1 } else { 0 };
        let is_done = clean >= CLEAN || quiet >= QUIET;
        if is_done && sets.in_effect(group.node())?.cpus == cpus {
            return Ok(moved);
        }
        if wait.pause(Duration::ZERO).is_err() {
            // The time is up: one such pass has to do.
            if clean > 0 {
                return Ok(moved);
            }
            let waited = deadline.elapsed().as_millis();
            let why = format!("after {waited} ms there were still threads in {group} that were not on CPUs {cpus}");
            return Err(Error::new(libc::ETIMEDOUT, why));
        }
    }
}

/// What a pass has found, the worst of all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Passed {
    Clean,
    /// Somebody had ended who may have left others.
    Missed,
    Moved,
}

/// By number: the kernel has no other way. The number was a member's a moment ago.
fn put(tid: i32, mask: &Mask) -> std::result::Result<Passed, Errno> {
    let set = || {
        let before = affinity::get(tid)?;
        if before == *mask {
            return Ok(Passed::Clean);
        }
        affinity::set(tid, mask)?;
        // The kernel takes away what is offline or forbidden: then it is as it was.
        Ok(if affinity::get(tid)? == before { Passed::Clean } else { Passed::Moved })
    };
    match set() {
        Err(Errno::SRCH) => Ok(Passed::Missed),
        other => other,
    }
}

/// The threads of a process and of its descendants that are in the group.
fn family(group: &Group, pid: i32) -> Result<Vec<i32>> {
    let backend = group.backend()?;
    let is_here = |id: i32| backend.locate(id).is_ok_and(|path| path.as_ref() == Some(group.path()));
    let mut found = descendants(pid, &is_here);
    if backend.kind() != BackendKind::Embedded {
        // Others may have single threads elsewhere.
        found.retain(|&tid| is_here(tid));
    }
    Ok(found)
}

/// The threads of a process, and of those of its descendants that are wanted.
fn descendants(pid: i32, wanted: &dyn Fn(i32) -> bool) -> Vec<i32> {
    let (mut found, mut processes) = (Vec::new(), vec![pid]);
    while let Some(pid) = processes.pop() {
        // None: it has ended, and its children are somebody else's.
        found.extend(process::threads(pid).unwrap_or_default());
        processes.extend(process::children(pid).unwrap_or_default().into_iter().filter(|&child| wanted(child)));
    }
    found
}
