//! Shares of tasks as their files have them, and the kernel's limit.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use cgf::Group;

/// Writes to a file of the subsystem; an error is its errno.
pub fn write(group: &Group, file: &str, text: &str) -> Result<(), i32> {
    group.write(&format!("numtasks.{file}"), text).map_err(|error| error.errno())
}

/// What one of them says.
pub fn read(group: &Group, file: &str) -> String {
    let text = group.read(&format!("numtasks.{file}"));
    text.unwrap_or_else(|error| unreachable!("{error}")).trim_end().to_owned()
}

/// The group's directory in the tree that counts tasks.
pub fn pids(group: &Group) -> PathBuf {
    let directory = group.controller_fd("pids").unwrap_or_else(|error| unreachable!("{error}"));
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
        .unwrap_or_else(|error| unreachable!("{error}"))
}

/// What the kernel has for a limit.
pub fn kernels(group: &Group) -> String {
    let file = pids(group).join("pids.max");
    std::fs::read_to_string(file).unwrap_or_else(|error| unreachable!("{error}")).trim().to_owned()
}
