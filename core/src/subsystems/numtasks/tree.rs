//! The shares of the groups of a hierarchy: where they are noted, how they are changed, and
//! what they come to.
//!
//! All shares of a group are one attribute, so that none is ever seen, or left by somebody
//! who was killed, without the others. What is unused of a group is not noted anywhere: it is
//! what the groups below that are there now leave. So a group that goes gives back what
//! it had, however it goes.
//!
//! ```text
//! the turn        nobody else changes shares
//! UNSETTLED       on the root: the kernel's limits may not be what the shares come to
//! the shares      from here on they are the new ones
//! the limits      of the group and those below, in the kernel
//! UNSETTLED       is taken away
//! ```
//!
//! Whoever is killed at it leaves the old shares or the new ones, and in the second case a note by
//! which the next who opens the hierarchy, or changes shares, settles all limits.

use std::time::Duration;

use super::rules::{self, Given, Neighbours};
use super::shares::{self, Change, Shares};
use super::{total, turn};
use crate::attribute;
use crate::backend::{Backend, Node};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::group::{Group, same_directory};
use crate::hierarchy::Hierarchy;
use crate::task_limit::{self, TaskLimit, Whose};

/// The attribute of a group's shares: as the file shows them. A clone must not have what
/// nobody gave it: without a dot.
const SHARES: &str = "numtasks-shares";

/// The attribute of a root whose hierarchy's limits may not be what the shares come to.
const UNSETTLED: &str = "numtasks-unsettled";

/// How far limits have to be settled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Where they change.
    Changes,
    /// Everywhere: what the kernel has may be anything.
    All,
}

/// The shares of a group. EUCLEAN: what is noted there are none.
pub(super) fn of(group: &Node) -> Result<Shares> {
    match attribute::get(group, SHARES)?.as_deref() {
        // A file that stands in for the attribute is empty for a moment.
        None | Some("") => Ok(Shares::default()),
        Some(text) => {
            let damaged = |_| Error::new(libc::EUCLEAN, format!("the shares of group {} are {text:?}", group.path));
            shares::parse(text).map_err(damaged).map(|noted| Shares::default().changed(noted))
        }
    }
}

/// Changes the shares of a group, if those that come of it fit.
pub(super) fn change(group: &Group, change: Change) -> Result<()> {
    let hierarchy = group.hierarchy();
    let _turn = turn::take(hierarchy, hierarchy.deadline())?;
    attribute::must_be_there(group.node())?;
    let levels = lineage(group)?;
    let old = of(group.node())?;
    let new = old.changed(change);
    let above = match levels.get(1) {
        Some(parent) => Some((of(parent.node())?.divisor, given(parent.node())?)),
        None => None,
    };
    rules::check(old, new, Neighbours { above, below: given(group.node())? })?;
    // What somebody left who was killed after he had noted the same is settled, too.
    if new == old && attribute::get(hierarchy.root_node(), UNSETTLED)?.is_none() {
        return Ok(());
    }
    // What the group above may have is not changed by this.
    let parent = match (levels.get(1), counts(&levels)?.get(1)) {
        (Some(parent), Some(&count)) => Some((count, of(parent.node())?.divisor)),
        _ => None,
    };
    let note = |shares: Shares| attribute::must_set(group.node(), SHARES, &shares.to_string());
    let settle = |shares: Shares, extent: Extent| {
        let backend = group.backend()?;
        let count = match parent {
            Some((above, divisor)) => {
                let count = rules::count(shares.max, above, divisor);
                limit(backend, group.node(), count, extent)?;
                count
            }
            None => Some(total::of(group.node())?),
        };
        settle_below(backend, group.node(), count, shares.divisor, extent)
    };
    apply(hierarchy, || note(new), |extent| settle(new, extent)).inspect_err(|_| {
        // As it was: a refusal leaves nothing half-done.
        let _ = apply(hierarchy, || note(old), |extent| settle(old, extent));
    })
}

/// Changes how many tasks there may be in the whole hierarchy.
pub(super) fn change_total(hierarchy: &Hierarchy, number: u32) -> Result<()> {
    let _turn = turn::take(hierarchy, hierarchy.deadline())?;
    let root = hierarchy.root_node();
    attribute::must_be_there(root)?;
    total::must_hold(&hierarchy.root(), number)?;
    let old = total::noted(root)?;
    if old.is_none() && task_limit::wish(root, Whose::NumTasks)?.is_some() {
        let why = format!("the root of hierarchy {hierarchy} is a group of another one, which limits it");
        return Err(Error::new(libc::EBUSY, why));
    }
    if old == Some(number) && attribute::get(root, UNSETTLED)?.is_none() {
        return Ok(());
    }
    let settle = |extent| {
        // Ours, as was seen, and to be taken back if this is refused.
        limit(hierarchy.backend()?, root, total::wish(root)?, extent)?;
        settle_all(hierarchy, extent)
    };
    let put_back = || {
        if old.is_none() {
            // First: a limit without a number would be taken for another hierarchy's.
            limit(hierarchy.backend()?, root, None, Extent::Changes)?;
        }
        total::note(root, old)
    };
    apply(hierarchy, || total::note(root, Some(number)), settle).inspect_err(|_| {
        let _ = apply(hierarchy, put_back, settle);
    })
}

/// Gives a group that was just made the divisor of another.
pub(super) fn copy_divisor(from: &Group, to: &Group) -> Result<()> {
    let Shares { divisor, .. } = of(from.node())?;
    if divisor == Shares::default().divisor {
        return Ok(());
    }
    change(to, Change { divisor: Some(divisor), ..Change::default() })
}

/// Settles what somebody left who was killed. Not waiting for anybody: who has the turn
/// settles it himself.
pub(super) fn settle_what_is_left(hierarchy: &Hierarchy) -> Result<()> {
    let root = hierarchy.root_node();
    if attribute::get(root, UNSETTLED)?.is_none() {
        return Ok(());
    }
    let _turn = turn::take(hierarchy, Deadline::after(Duration::ZERO))?;
    if attribute::get(root, UNSETTLED)?.is_some() {
        settle_all(hierarchy, Extent::All)?;
        attribute::remove(root, UNSETTLED)?;
    }
    Ok(())
}

/// The group and those above it, the root last.
///
/// ENODEV: it was removed, or has another name by now.
pub(super) fn lineage(group: &Group) -> Result<Vec<Group>> {
    let mut levels = vec![group.clone()];
    let mut below = group.clone();
    for path in group.path().ancestors() {
        let gone = |error: Error| if error.is(libc::ENOENT) { group.node().vanished() } else { error };
        let above = Group::open(group.hierarchy(), &path).map_err(gone)?;
        same_directory(above.node(), below.node())?;
        levels.push(above.clone());
        below = above;
    }
    Ok(levels)
}

/// How many tasks each of a lineage may have; `None`: don't care (R7.2).
pub(super) fn counts(levels: &[Group]) -> Result<Vec<Option<u64>>> {
    let mut counts = Vec::with_capacity(levels.len());
    let mut above: Option<(Option<u64>, u32)> = None;
    for group in levels.iter().rev() {
        let shares = of(group.node())?;
        let count = match above {
            None => Some(total::of(group.node())?),
            Some((count, divisor)) => rules::count(shares.max, count, divisor),
        };
        counts.push(count);
        above = Some((count, shares.divisor));
    }
    counts.reverse();
    Ok(counts)
}

/// The same as limits of their own: the machine sees to the root's where nothing was set.
pub(super) fn limits(levels: &[Group]) -> Result<Vec<Option<u64>>> {
    let mut limits = counts(levels)?;
    if let (Some(limit), Some(root)) = (limits.last_mut(), levels.last()) {
        *limit = total::wish(root.node())?;
    }
    Ok(limits)
}

/// What the groups right below one have.
fn given(group: &Node) -> Result<Given> {
    group.children()?.try_fold(Given::default(), |given, child| match child.and_then(|child| of(&child)) {
        Ok(shares) => Ok(given.and(shares)),
        // It went, and has given back what it had.
        Err(error) if error.is(libc::ENODEV) => Ok(given),
        Err(error) => Err(error),
    })
}

/// Changes a note and settles the limits that come of it, in such a way that it can be done
/// at any time by somebody else.
fn apply(
    hierarchy: &Hierarchy,
    note: impl FnOnce() -> Result<()>,
    settle: impl FnOnce(Extent) -> Result<()>,
) -> Result<()> {
    let root = hierarchy.root_node();
    if !has_pids(hierarchy)? {
        return note();
    }
    let extent = if attribute::set_new(root, UNSETTLED, "1")? { Extent::Changes } else { Extent::All };
    note()?;
    settle(extent)?;
    if extent == Extent::All {
        // Whoever left the note may have been anywhere.
        settle_all(hierarchy, extent)?;
    }
    attribute::remove(root, UNSETTLED)
}

/// Whether a tree of the hierarchy has the controller. The kernel's own root has it without
/// a limit.
fn has_pids(hierarchy: &Hierarchy) -> Result<bool> {
    match hierarchy.backend()?.controller_directory(hierarchy.root_node(), "pids") {
        Ok(found) => Ok(found.is_some()),
        Err(error) if error.is(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

fn settle_all(hierarchy: &Hierarchy, extent: Extent) -> Result<()> {
    let (backend, root) = (hierarchy.backend()?, hierarchy.root_node());
    if let Some(total) = total::wish(root)? {
        // The limit of a root that has no number is another hierarchy's, or nobody's.
        limit(backend, root, Some(total), extent)?;
    }
    settle_below(backend, root, Some(total::of(root)?), of(root)?.divisor, extent)
}

/// The limits of the groups below one that may have so many. Where a limit stays, those further
/// down do, too.
fn settle_below(backend: &dyn Backend, group: &Node, count: Option<u64>, divisor: u32, extent: Extent) -> Result<()> {
    for child in group.children()? {
        let settled = child.and_then(|child| {
            let shares = of(&child)?;
            let count = rules::count(shares.max, count, divisor);
            // No limit to the kernel, which says nothing of those further down.
            let is_beyond_limits = count.is_none_or(|count| count >= task_limit::NONE_FROM);
            if limit(backend, &child, count, extent)? || is_beyond_limits || extent == Extent::All {
                settle_below(backend, &child, count, shares.divisor, extent)?;
            }
            Ok(())
        });
        match settled {
            Err(error) if error.is(libc::ENODEV) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes this the limit that is wished for one group; whether it was another one.
fn limit(backend: &dyn Backend, group: &Node, count: Option<u64>, extent: Extent) -> Result<bool> {
    let is_new = task_limit::wish(group, Whose::NumTasks)? != count.filter(|count| *count < task_limit::NONE_FROM);
    if !is_new && extent == Extent::Changes {
        return Ok(false);
    }
    task_limit::note(group, Whose::NumTasks, count)?;
    if let Some(dir) = task_limit::directory(backend, group)? {
        match TaskLimit::new(group, &dir).enforce() {
            // Somebody else's directory in which nobody has shares.
            Err(error) if !is_new && count.is_none() && error.is(libc::EACCES) => {}
            other => other?,
        }
    }
    Ok(is_new)
}
