//! Changing shares by turns: whether some fit depends on those of other groups.

use std::fs::File;

use rustix::fs::OFlags;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::hierarchy::Hierarchy;
use crate::holder::SHARERS;
use crate::sys::lock::Mode;
use crate::turn::{self, Turn};

/// Being the only one who changes shares in a hierarchy. EBUSY: somebody else is until the
/// deadline. EACCES: we may not write to the root group.
pub(super) fn take(hierarchy: &Hierarchy, deadline: Deadline) -> Result<Turn> {
    let doing = format_args!("changing the shares of hierarchy {hierarchy}");
    Turn::take(open(hierarchy, OFlags::RDWR)?, SHARERS, hierarchy.backend()?.this_process(), deadline, doing)
}

/// Whether somebody changes shares now.
pub(super) fn is_taken(hierarchy: &Hierarchy) -> Result<bool> {
    Ok(SHARERS.held(open(hierarchy, OFlags::RDONLY)?, Mode::Read)?.is_some())
}

fn open(hierarchy: &Hierarchy, how: OFlags) -> Result<File> {
    let (backend, root) = (hierarchy.backend()?, hierarchy.root_node());
    let file = root.dir.open_file(turn::file(backend.kind(), backend.freeze_file()), how);
    file.map_err(|errno| root.failed(errno, "opening the file to lock"))
}
