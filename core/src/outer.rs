//! A hold against those who write to the kernel's files: `hold=parent`.
//!
//! A group is made with a parent of its own, which holds nothing else and is frozen and
//! thawed with it. A task stays frozen as long as any group around it is: so whoever
//! thaws the group by its own file changes nothing. Who writes to the parent's file,
//! too, or moves a task out, still wins.

use std::sync::Arc;

use crate::attribute;
use crate::backend::Node;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::group::{Group, RemoveOptions};
use crate::hierarchy::Hierarchy;
use crate::path::GroupPath;

/// What the group inside has.
const HELD_BY: &str = "hold";
const PARENT: &str = "parent";

/// Makes a group with a parent of its own.
///
/// EINVAL: the path has no room for one. EEXIST: the parent is there already.
pub(crate) fn create(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Group> {
    let Some(above) = path.parent().filter(|above| !above.is_root()) else {
        let why = format!("with hold=parent a group is made with a parent of its own: {path}/NAME");
        return Err(Error::new(libc::EINVAL, why));
    };
    let outer = Group::create(hierarchy, &above)?;
    let made =
        outer.create_child(path.name()).and_then(|group| match attribute::must_set(group.node(), HELD_BY, PARENT) {
            Ok(()) => Ok(group),
            Err(error) => group.remove().and(Err(error)),
        });
    made.inspect_err(|_| {
        // Somebody may have begun to use it already: then it stays.
        let _ = outer.remove();
    })
}

/// The parent that a group was made with.
pub(crate) fn of(group: &Group) -> Result<Option<Group>> {
    let above = group.path().parent().filter(|above| !above.is_root());
    match above {
        Some(above) if attribute::get(group.node(), HELD_BY)?.as_deref() == Some(PARENT) => {
            let dir = group.hierarchy().root_node().dir.open_dir(above.as_path());
            let dir = dir.map_err(|errno| group.node().failed(errno, "opening the parent"))?;
            Ok(Some(Group::from_node(group.hierarchy(), Arc::new(Node { dir, path: above }))))
        }
        _ => Ok(None),
    }
}

/// Freezes the parent of a group that was frozen just now.
pub(crate) fn freeze(group: &Group, deadline: Deadline) -> Result<()> {
    of(group)?.map_or(Ok(()), |outer| outer.freeze(deadline))
}

/// Thaws the parent of a group that was thawed just now.
pub(crate) fn thaw(group: &Group) -> Result<()> {
    of(group)?.map_or(Ok(()), |outer| outer.thaw())
}

/// Removes the parent of a group that has gone, if nobody has made another there.
pub(crate) fn remove(outer: &Group) -> Result<()> {
    match outer.remove_with(RemoveOptions::default()) {
        Err(error) if error.is(libc::EBUSY) || error.is(libc::ENODEV) => Ok(()),
        other => other,
    }
}
