//! A hold against those who write to the kernel's files: `hold=parent`.
//!
//! A group is made with a parent of its own, which holds nothing else and is frozen and
//! thawed with it. A task stays frozen as long as any group around it is: so whoever
//! thaws the group by its own file changes nothing. Who writes to the parent's file,
//! too, or moves a task out, still wins.

use std::sync::Arc;
use std::time::Duration;

use crate::attribute;
use crate::backend::Node;
use crate::error::{Error, Result};
use crate::group::{Group, RemoveOptions};
use crate::hierarchy::Hierarchy;
use crate::path::GroupPath;
use crate::sys::Errno;

/// What the parent has: the name of the group that it is for. It is set before that
/// group is made, so that no group of this kind is ever without its parent.
const HOLDS: &str = "holds";

/// Makes a group with a parent of its own, or takes one that a killed maker left.
///
/// EINVAL: the path has no room for one. EEXIST: the parent is there already.
pub(crate) fn create(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Group> {
    let Some(above) = path.parent().filter(|above| !above.is_root()) else {
        let why = format!("with hold=parent a group is made with a parent of its own: {path}/NAME");
        return Err(Error::new(libc::EINVAL, why));
    };
    let name = path.name().to_string_lossy();
    let outer = match Group::create(hierarchy, &above) {
        Err(error) if error.is(libc::EEXIST) => {
            let left = Group::open(hierarchy, &above)?;
            let is_ours = attribute::get(left.node(), HOLDS)?.as_deref() == Some(&*name);
            if is_ours { Ok(left) } else { Err(error) }
        }
        other => other,
    }?;
    let made = attribute::must_set(outer.node(), HOLDS, &name).and_then(|()| outer.create_child(path.name()));
    made.inspect_err(|error| {
        // Somebody may have begun to use it already: then it stays.
        if !error.is(libc::EEXIST) {
            let _ = outer.remove();
        }
    })
}

/// The parent that a group was made with.
pub(crate) fn of(group: &Group) -> Result<Option<Group>> {
    let Some(above) = group.path().parent().filter(|above| !above.is_root()) else { return Ok(None) };
    let dir = match group.hierarchy().root_node().dir.open_dir(above.as_path()) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NODEV) => return Err(group.node().vanished()),
        // Not ours to look at: not made by us, either.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
        Err(errno) => return Err(group.node().failed(errno, "opening the parent")),
    };
    let outer = Node { dir, path: above };
    let is_ours = attribute::get(&outer, HOLDS)?.is_some_and(|name| group.path().name().to_string_lossy() == name);
    Ok(is_ours.then(|| Group::from_node(group.hierarchy(), Arc::new(outer))))
}

/// The parent of a group, asked to freeze before the group is.
#[must_use = "it stays asked"]
pub(crate) struct Asked {
    /// If it was not asked before.
    outer: Option<Group>,
}

impl Asked {
    /// Does not wait: it holds nothing else, and is frozen when the group is.
    pub(crate) fn of(group: &Group) -> Result<Asked> {
        let Some(outer) = of(group)?.filter(|outer| !matches!(outer.is_self_freezing(), Ok(true))) else {
            return Ok(Asked { outer: None });
        };
        match outer.freeze(Duration::ZERO) {
            // Not frozen yet, or held by a checkpoint, which the group is, too.
            Err(error) if !error.is(libc::EBUSY) => Err(error),
            _ => Ok(Asked { outer: Some(outer) }),
        }
    }

    /// As if it had not been asked.
    pub(crate) fn take_back(self) -> Result<()> {
        self.outer.map_or(Ok(()), |outer| outer.thaw())
    }
}

/// Whether a group is held by its parent now.
pub(crate) fn is_asked(group: &Group) -> Result<bool> {
    of(group)?.map_or(Ok(false), |outer| outer.is_self_freezing())
}

/// Removes the parent of a group that has gone, if nobody has put something else
/// there; that runs on then.
pub(crate) fn remove(outer: &Group) -> Result<()> {
    let removed = match outer.is_self_freezing() {
        Ok(true) => outer.thaw(),
        other => other.map(drop),
    };
    match removed.and_then(|()| outer.remove_with(RemoveOptions::default())) {
        Err(error) if error.is(libc::EBUSY) || error.is(libc::ENODEV) => Ok(()),
        other => other,
    }
}
