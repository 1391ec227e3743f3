//! Changing shares by turns: whether some fit depends on those of other groups.

use rustix::fs::OFlags;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::hierarchy::Hierarchy;
use crate::holder::SHARERS;
use crate::turn::{self, Turn};

/// Being the only one who changes shares in a hierarchy. EBUSY: somebody else is until the
/// deadline. EACCES: we may not write to the root group.
pub(super) fn take(hierarchy: &Hierarchy, deadline: Deadline) -> Result<Turn> {
    let backend = hierarchy.backend()?;
    let root = hierarchy.root_node();
    let file = root.dir.open_file(turn::file(backend.kind(), backend.freeze_file()), OFlags::RDWR);
    let file = file.map_err(|errno| root.failed(errno, "opening the file to lock"))?;
    let doing = format_args!("changing the shares of hierarchy {hierarchy}");
    Turn::take(file, SHARERS, backend.this_process(), deadline, doing)
}
