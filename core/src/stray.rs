//! Those of a process's family who are not where they should be (R4.2).

use std::collections::HashSet;

use crate::blocker::{Blocker, Evidence, in_short};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process::{self, Stat};
use crate::sys::Errno;

/// EXDEV if a process, one of its threads or descendants is not in a group or below;
/// [`Error::blockers`] names them all. ESRCH: no such process. EINVAL: no number of one.
///
/// The dead, whom nobody has waited for yet, are in no group. Those of the family who
/// are members stand still; a stray may have more children by the time that it is
/// named.
pub(crate) fn refuse_strays(group: &Group, root: i32) -> Result<()> {
    if root <= 0 {
        return Err(Error::new(libc::EINVAL, format!("{root} is no process number")));
    }
    if process::process_of(root) != Ok(root) {
        return Err(process::no_such_process(root));
    }
    let failed = |pid: i32, errno| Error::os(errno, format_args!("looking at process {pid} and its children"));
    let backend = group.backend()?;
    let mut members = HashSet::new();
    group.node().walk(&mut |node| {
        members.extend(backend.tasks(node)?);
        Ok(())
    })?;
    let mut strays = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut family = vec![root];
    while let Some(pid) = family.pop() {
        let threads = match process::threads(pid) {
            Ok(threads) => threads,
            Err(Errno::SRCH) => continue,
            Err(errno) => return Err(failed(pid, errno)),
        };
        for tid in threads.into_iter().filter(|tid| !members.contains(tid)) {
            match Stat::of_task(pid, tid) {
                Ok(stat) if !stat.is_dead() => strays.push(Blocker::of(tid, Evidence::Outside)),
                Ok(_) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(failed(pid, errno)),
            }
        }
        match process::children(pid) {
            Ok(children) => family.extend(children.into_iter().filter(|&child| seen.insert(child))),
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(failed(pid, errno)),
        }
    }
    if strays.is_empty() {
        return Ok(());
    }
    let why = format!("of process {root} and its descendants, these are outside of {group}: {}", in_short(&strays));
    Err(Error::new(libc::EXDEV, why).with_blockers(strays))
}
