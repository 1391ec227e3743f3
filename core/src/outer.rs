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
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::frozen_time;
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
    outer: Option<Group>,
    was_asked: bool,
}

impl Asked {
    /// Of a group that may have no parent of its own.
    pub(crate) fn of(group: &Group) -> Result<Asked> {
        let outer = of(group)?;
        let was_asked = outer.as_ref().map_or(Ok(true), ask)?;
        Ok(Asked { outer, was_asked })
    }

    /// Once the group is frozen: somebody may have thawed both meanwhile, this one last.
    pub(crate) fn renew(&self) -> Result<()> {
        self.outer.as_ref().map_or(Ok(()), |outer| ask(outer).map(drop))
    }

    /// As if it had not been asked.
    pub(crate) fn take_back(self) -> Result<()> {
        self.outer.filter(|_| !self.was_asked).map_or(Ok(()), |outer| outer.thaw())
    }
}

/// Asks it to freeze, and says whether it was asked before. There is nothing to wait
/// for: it holds nothing else, and is frozen when the group is.
fn ask(outer: &Group) -> Result<bool> {
    let backend = outer.backend()?;
    let began = frozen_time::now();
    match backend.freeze(outer.node(), &mut Wait::until(Deadline::after(Duration::ZERO)), false) {
        Ok(attempt) if attempt.was_asked => Ok(true),
        Ok(_) => {
            // A figure for people: no reason to fail a freeze.
            let _ = frozen_time::begin(backend, outer.node(), began);
            Ok(false)
        }
        // A checkpoint holds it, and the group, which is refused for that.
        Err(error) if error.is(libc::EBUSY) => Ok(true),
        Err(error) => Err(error),
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
