//! Changing shares by turns: whether some fit depends on those of other groups.

use rustix::fs::OFlags;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::hierarchy::Hierarchy;
use crate::holder::SHARERS;
use crate::sys::Errno;
use crate::turn::Turn;

/// Being the only one who changes shares in a hierarchy. EBUSY: somebody else is until the
/// deadline. EACCES: we may not write to the root group.
pub(super) fn take(hierarchy: &Hierarchy, deadline: Deadline) -> Result<Turn> {
    let backend = hierarchy.backend()?;
    let root = hierarchy.root_node();
    let file = match root.dir.open_file(backend.freeze_file(), OFlags::RDWR) {
        // The kernel's own root has none.
        Err(Errno::NOENT) => root.dir.open_file("cgroup.procs", OFlags::RDWR),
        other => other,
    };
    let file = file.map_err(|errno| root.failed(errno, "opening the freeze file"))?;
    let doing = format_args!("changing the shares of hierarchy {hierarchy}");
    Turn::take(file, SHARERS, backend.this_process(), deadline, doing)
}
