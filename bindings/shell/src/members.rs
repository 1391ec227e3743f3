//! Who is in a group, the groups below it included.

use cgf::{Group, GroupPath};

use crate::failure::Failure;

/// Calls `visit` on the group and then on every group below it, in the order
/// of their paths.
pub fn each_group(group: &Group, mut visit: impl FnMut(&Group) -> Result<(), Failure>) -> Result<(), Failure> {
    visit(group)?;
    let mut paths: Vec<GroupPath> = group.groups()?;
    paths.sort();
    for path in paths {
        match group.hierarchy().open_group(slashed(&path)) {
            Ok(below) => match visit(&below) {
                Err(failure) if failure.is(libc::ENODEV) => {}
                other => other?,
            },
            // Removed since it was listed.
            Err(error) if error.errno() == libc::ENOENT => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Every process of the group and below.
pub fn processes(group: &Group) -> Result<Vec<i32>, Failure> {
    let mut all = Vec::new();
    each_group(group, |group| {
        all.extend(group.procs()?);
        Ok(())
    })?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn slashed(path: &GroupPath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}
