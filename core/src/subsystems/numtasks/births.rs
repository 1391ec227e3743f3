//! Who may be born into a group: programs that are started there through the library (R7.4).
//!
//! The kernel refuses forks and no moves, and a program that is started may be moved into
//! its group. So each is counted by us, before it is made, and again when it is there and
//! has run nothing yet: of two who come at once for the last place both may be refused, and
//! never is there one too many of them. What processes fork by themselves is
//! the kernel's to refuse; where it has no controller for that, they are counted and nobody
//! refuses them.

use super::{rate, tally, tree, usage};
use crate::attach::Attach;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::task_limit::{self, TaskLimit};

/// A program is to be started. ENOSPC: there is no room for it.
pub(super) fn ask(attach: &Attach<'_>) -> Result<()> {
    if !attach.is_newborn() {
        return Ok(());
    }
    let group = attach.group();
    let rate = rate::of(group)?;
    if !tally::read(group.node())?.has_room(rate, tally::now()) {
        return Err(too_many(group, rate));
    }
    match full(group, &limits(group)?, 1)? {
        Some(full) => Err(refused(group, full)),
        None => Ok(()),
    }
}

/// Somebody has come. ENOSPC: it was born, and others took its place.
pub(super) fn tell(attach: &Attach<'_>) -> Result<()> {
    let group = attach.group();
    if !attach.is_newborn() {
        // A move is not refused, whatever is the matter with the limits.
        let _ = limits(group).and_then(|limits| let_kernel_know(&limits));
        return Ok(());
    }
    let limits = limits(group)?;
    let_kernel_know(&limits)?;
    if let Some(full) = full(group, &limits, 0)? {
        return Err(refused(group, full));
    }
    let rate = rate::of(group)?;
    if tally::update(group, |tally| tally.count_birth(rate, tally::now()))? {
        Ok(())
    } else {
        Err(too_many(group, rate))
    }
}

/// What it means that the kernel has made no process (EAGAIN): that others took the last place since
/// we looked (ENOSPC, as if we had seen it), or that something else is in the way. The kernel
/// counts its refusals itself.
pub(super) fn meaning(group: &Group, refusal: Error) -> Error {
    match limits(group).and_then(|limits| full(group, &limits, 1)) {
        Ok(Some(full)) => Error::new(libc::ENOSPC, full),
        // The room may be there again: one more try will tell.
        _ => refusal,
    }
}

/// Of a group that somebody made in one tree alone, the one that limits has heard only now.
fn let_kernel_know(limits: &[(Group, u64)]) -> Result<()> {
    limits.iter().try_for_each(|(level, _)| match task_limit::directory(level.backend()?, level.node())? {
        Some(dir) => TaskLimit::new(level.node(), &dir).enforce_if_none(),
        None => Ok(()),
    })
}

/// The group and those above that have a limit of their own.
fn limits(group: &Group) -> Result<Vec<(Group, u64)>> {
    let levels = tree::lineage(group)?;
    let limits = tree::limits(&levels)?;
    Ok(levels.into_iter().zip(limits).filter_map(|(level, limit)| Some((level, limit?))).collect())
}

/// The first that has no room for so many more, in words.
fn full(group: &Group, limits: &[(Group, u64)], more: u64) -> Result<Option<String>> {
    for (level, limit) in limits {
        let used = usage::of(level)?;
        if used + more > *limit {
            // With the newcomer, who is not to be there.
            let others = used - (1 - more).min(used);
            return Ok(Some(format!("{level} has {others} tasks of {limit}, and {group} takes no more")));
        }
    }
    Ok(None)
}

/// A count that cannot be noted is lost; the refusal stands.
fn refused(group: &Group, why: String) -> Error {
    let _ = tally::update(group, |tally| tally.failures = tally.failures.saturating_add(1));
    Error::new(libc::ENOSPC, why)
}

fn too_many(group: &Group, rate: rate::Rate) -> Error {
    let _ = tally::update(group, |tally| tally.rate_failures = tally.rate_failures.saturating_add(1));
    let rate::Rate { births, seconds } = rate;
    Error::new(
        libc::ENOSPC,
        format!("{births} programs were started in {group} within {seconds} s, and no more may be"),
    )
}
