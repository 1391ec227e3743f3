//! How many tasks there are in a group and below.

use crate::error::{Error, Result};
use crate::group::Group;
use crate::sys::{Errno, dir::Dir};
use crate::task_limit;

/// The kernel's figure where it has one, else the tasks are counted.
pub(super) fn of(group: &Group) -> Result<u64> {
    let Some(dir) = pids(group)? else { return counted(group) };
    match dir.read("pids.current") {
        Ok(text) => number(&text).ok_or_else(|| Error::os(Errno::IO, format_args!("reading pids.current of {group}"))),
        // The kernel's own root.
        Err(Errno::NOENT) => counted(group),
        Err(errno) => Err(group.node().failed(errno, "reading pids.current")),
    }
}

/// How many forks the kernel has refused since the group was made: from Linux 6.12 for the
/// group's own limit, to it and those below; before, to its own tasks for any limit.
pub(super) fn refused_by_kernel(group: &Group) -> Result<u64> {
    Ok(pids(group)?.map_or(0, |dir| refused(&dir)))
}

fn refused(dir: &Dir) -> u64 {
    let text = dir.read_first(task_limit::EVENTS).unwrap_or_default();
    let count = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"max "));
    count.and_then(number).unwrap_or(0)
}

/// The group's directory in the tree that counts tasks, if it has one.
fn pids(group: &Group) -> Result<Option<Dir>> {
    match group.backend()?.controller_directory(group.node(), "pids") {
        // The group was made by other means, in one tree alone.
        Err(error) if error.is(libc::ENODEV) => Ok(None),
        other => other,
    }
}

fn counted(group: &Group) -> Result<u64> {
    let backend = group.backend()?;
    let mut count = 0;
    group.node().walk(&mut |node| {
        count += backend.tasks(node)?.len() as u64;
        Ok(())
    })?;
    Ok(count)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7.3: from Linux 6.12 on version 2, whose file this machine may not have, `pids.events` of
    /// a group has the failures of all groups below.
    #[test]
    fn failures_are_of_the_group_itself() {
        let directory = std::env::temp_dir().join(format!("cgf-usage-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let counted = |file: &str, text: &str| {
            std::fs::write(directory.join(file), text).unwrap();
            refused(&Dir::open(&directory).unwrap())
        };
        let counted =
            [counted("pids.peak", "5"), counted("pids.events", "max 12\n"), counted("pids.events.local", "max 3\n")];
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(counted, [0, 12, 3]);
    }
}
