//! Groups that go: not while something is held there, and what becomes of those that
//! went behind our back.

use std::collections::HashSet;

use super::accounts::number;
use super::ledger::Books;
use super::resource::Resource;
use crate::backend::Node;
use crate::counters::Figures;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hierarchy::Hierarchy;

/// EBUSY: something is charged to the group, or to one below it.
pub(crate) fn refuse_if_held(group: &Group) -> Result<()> {
    refuse(group, |figures| figures.held, true)
}

/// EBUSY: something is charged to the root, with which all counters go.
pub(crate) fn refuse_end_if_held(root: &Group) -> Result<()> {
    if let Ok(Some(books)) = root.hierarchy().books_in_use() {
        // Its own accounts are removed last, and none is below them then.
        let _ = sweep(root.hierarchy(), &books);
    }
    refuse_if_held(root)
}

/// EBUSY: the group, or one below it, keeps something, which the end of no process gives
/// back.
pub(crate) fn refuse_if_kept(group: &Group) -> Result<()> {
    refuse(group, |figures| figures.kept, false)
}

fn refuse(group: &Group, what: fn(&Figures) -> u64, counts_above: bool) -> Result<()> {
    let hierarchy = group.hierarchy();
    if hierarchy.needs(super::NAME).is_err() {
        return Ok(());
    }
    // Whoever may not use the counters, or finds them damaged, removes all the same, as by
    // rmdir(2).
    let Ok(Some(books)) = hierarchy.books_in_use() else { return Ok(()) };
    let look = || first(group, &books, what, counts_above && !books.is_flat).unwrap_or(None);
    let mut found = look();
    // It may be what groups kept that went behind our back.
    if found.is_some() && sweep(hierarchy, &books).unwrap_or(false) {
        found = look();
    }
    found.map_or(Ok(()), Err)
}

/// One of the group and those below it that has some, as EBUSY. The group itself is all
/// that has to be looked at if what those below have counts there, too.
fn first(group: &Group, books: &Books, what: fn(&Figures) -> u64, only_itself: bool) -> Result<Option<Error>> {
    let resources = books.region.resource_count()?;
    let mut found = None;
    let mut look = |node: &Node| {
        let Some(number) = number(node, &books.region)? else { return Ok(()) };
        for resource in 0..resources {
            let Some(account) = books.region.find(number, resource)? else { continue };
            let some = books.region.read(&[account])?.first().map_or(0, what);
            if some > 0 {
                let name = group.hierarchy().name_of(Resource::from_number(resource));
                found = Some(Error::new(libc::EBUSY, format!("group {} holds {some} of {name}", node.path)));
            }
        }
        Ok(())
    };
    if only_itself {
        look(group.node())?;
    } else {
        group.node().walk(&mut look)?;
    }
    Ok(found)
}

/// The group was removed. What cannot be forgotten now, as it was charged since it was
/// looked at, is swept later.
pub(super) fn forget(group: &Group) {
    if let Ok(Some(books)) = group.hierarchy().books_in_use()
        && let Ok(Some(number)) = number(group.node(), &books.region)
    {
        let _ = books.region.remove_group(number);
    }
}

/// Gives the accounts back of groups that are no more, and what those groups had kept.
/// What processes hold there that live is theirs, until they give it back or die.
/// Whether there was any.
pub(super) fn sweep(hierarchy: &Hierarchy, books: &Books) -> Result<bool> {
    // Those first: a group has its number before it has an account.
    let mut lost: HashSet<u64> = books.region.groups()?.into_iter().collect();
    // A rename may hide a group from one walk.
    for _ in 0..2 {
        if lost.is_empty() {
            return Ok(false);
        }
        hierarchy.root_node().walk(&mut |node| {
            if let Some(number) = number(node, &books.region)? {
                lost.remove(&number);
            }
            Ok(())
        })?;
    }
    let resources = books.region.resource_count()?;
    let mut any = false;
    // Those below before those above: a group goes when none is below it.
    loop {
        let before = lost.len();
        lost.retain(|&number| give_back(books, number, resources).is_err());
        any |= lost.len() < before;
        if lost.len() == before || lost.is_empty() {
            return Ok(any);
        }
    }
}

fn give_back(books: &Books, group: u64, resources: u32) -> Result<()> {
    for resource in 0..resources {
        if let Some(account) = books.region.find(group, resource)? {
            books.region.give_up_kept(account)?;
        }
    }
    books.region.remove_group(group)
}
