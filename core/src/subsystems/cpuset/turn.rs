//! Changing the sets of a hierarchy by turns: what was found allowed stays allowed until it
//! is written.

use rustix::fs::OFlags;

use crate::backend::{BackendKind, embedded};
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::holder::{Holder, SETTERS};
use crate::sys::{Errno, dir::Dir};
use crate::turn::{self, Turn};

/// Being the only one who changes sets. `None`: there is nothing to lock. EBUSY: somebody
/// else is at it until the deadline.
pub(super) fn take(hierarchy: &Hierarchy) -> Result<Option<Turn>> {
    let backend = hierarchy.backend()?;
    let root = hierarchy.root_node();
    let opened = match backend.kind() {
        // A hierarchy may be opened at any of its groups.
        BackendKind::Embedded => top(&root.dir)?,
        _ => root.dir.open_dir(".").map_err(|errno| root.failed(errno, "opening the root directory"))?,
    };
    let opened = opened.open_file(turn::file(backend.kind(), backend.freeze_file()), OFlags::RDWR);
    let file = match opened {
        Ok(file) => file,
        // A directory that is not ours: there the kernel's own checks have to do.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::ROFS) if !root.dir.is_removed() => return Ok(None),
        Err(errno) => return Err(root.failed(errno, "opening the file to lock")),
    };
    let doing = format_args!("changing the sets of hierarchy {hierarchy}");
    Turn::take(file, SETTERS, Holder::this_process()?, hierarchy.deadline(), doing).map(Some)
}

fn top(group: &Dir) -> Result<Dir> {
    let mut top = group.open_dir(".").map_err(|errno| Error::os(errno, "opening the hierarchy's root directory"))?;
    while let Some(above) = embedded::above(&top)? {
        top = above;
    }
    Ok(top)
}
