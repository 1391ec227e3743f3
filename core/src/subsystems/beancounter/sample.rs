//! What the processes of a group use of a resource, as `/proc` shows it: samples, taken from
//! one process after the other, and neither charged nor limited.

use super::resource::Resource;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process;
use crate::sys::Errno;

/// Whether `/proc` tells of a resource.
pub(super) fn is_sampled(resource: Resource) -> bool {
    [Resource::PRIVVMPAGES, Resource::PHYSPAGES, Resource::NUMTASKS, Resource::NUMFILES].contains(&resource)
}

/// The sum over the processes of the group and below, as far as charges count there. A
/// page or a file that two share is counted twice. Processes that end
/// meanwhile, or that we may not look at, count for nothing.
pub(super) fn of(group: &Group, resource: Resource) -> Result<u64> {
    let backend = group.backend()?;
    let is_flat = group.hierarchy().is_flat()?;
    let mut sum: u64 = 0;
    group.node().walk(&mut |node| {
        if is_flat && node.path != *group.path() {
            return Ok(());
        }
        let members = if resource == Resource::NUMTASKS { backend.tasks(node)? } else { backend.procs(node)? };
        for id in members {
            let used = if resource == Resource::NUMTASKS { Ok(1) } else { used(id, resource) };
            match used {
                Ok(used) => sum = sum.saturating_add(used),
                Err(Errno::SRCH | Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => return Err(Error::os(errno, format_args!("looking at process {id}"))),
            }
        }
        Ok(())
    })?;
    Ok(sum)
}

fn used(pid: i32, resource: Resource) -> Result<u64, Errno> {
    if resource == Resource::NUMFILES {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let files = files.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        return Ok(files.count() as u64);
    }
    // All memory, what is resident, …, and sixth, data and stack (proc_pid_statm(5)).
    let text = process::read(&format!("/proc/{pid}/statm"))?;
    let field = if resource == Resource::PHYSPAGES { 1 } else { 5 };
    let number = text.split(u8::is_ascii_whitespace).nth(field).and_then(|word| std::str::from_utf8(word).ok());
    number.and_then(|number| number.parse().ok()).ok_or(Errno::SRCH)
}
