//! A group as those see it and write to it who know nothing of the library.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cgf::{BackendKind, Group};

/// One of the group's own files.
pub fn path(group: &Group, file: &str) -> PathBuf {
    group.hierarchy().directory().join(OsStr::from_bytes(group.path().as_bytes())).join(file)
}

/// Writes to one of them.
pub fn write(group: &Group, file: &str, text: &str) -> io::Result<()> {
    std::fs::write(path(group, file), text)
}

/// The file whose locks guard a checkpoint.
pub fn freeze_file(group: &Group) -> PathBuf {
    path(
        group,
        if group.hierarchy().backend_kind() == BackendKind::Cgroup2 { "cgroup.freeze" } else { "freezer.state" },
    )
}

/// Takes the request to freeze back. On embedded nobody runs on by that alone.
pub fn thaw(group: &Group) -> io::Result<()> {
    match group.hierarchy().backend_kind() {
        BackendKind::Cgroup2 => write(group, "cgroup.freeze", "0"),
        _ => write(group, "freezer.state", "THAWED"),
    }
}

/// Asks to freeze.
pub fn freeze(group: &Group) -> io::Result<()> {
    match group.hierarchy().backend_kind() {
        BackendKind::Cgroup2 => write(group, "cgroup.freeze", "1"),
        _ => write(group, "freezer.state", "FROZEN"),
    }
}

/// Puts a process into the group, as the kernel's own file does it.
pub fn put(group: &Group, pid: i32) -> io::Result<()> {
    write(group, "cgroup.procs", &pid.to_string())
}

/// The processes that the group's own record lists, sorted.
pub fn members(group: &Group) -> io::Result<Vec<i32>> {
    let text = std::fs::read_to_string(path(group, "cgroup.procs"))?;
    // On embedded, more words follow.
    let number = |line: &str| line.split_whitespace().next()?.parse().ok();
    let mut pids: Vec<i32> = text.lines().filter_map(number).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// What the library has noted on the group under a name, where the file system
/// has extended attributes.
pub fn note(group: &Group, name: &str) -> Option<String> {
    let directory = std::ffi::CString::new(path(group, "").as_os_str().as_bytes()).ok()?;
    let name = std::ffi::CString::new(format!("user.cgf.{name}")).ok()?;
    let mut value = [0_u8; 1024];
    // SAFETY: both names end with a zero, and the kernel writes no more than the
    // buffer's length.
    let length = unsafe { libc::getxattr(directory.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let value = value.get(..usize::try_from(length).ok()?)?;
    String::from_utf8(value.to_vec()).ok()
}

/// Notes it there, as a library does that is killed right after.
pub fn set_note(group: &Group, name: &str, text: &str) -> io::Result<()> {
    let directory = std::ffi::CString::new(path(group, "").as_os_str().as_bytes())?;
    let name = std::ffi::CString::new(format!("user.cgf.{name}"))?;
    // SAFETY: both names end with a zero, and the kernel reads no more than the text's length.
    let done = unsafe { libc::setxattr(directory.as_ptr(), name.as_ptr(), text.as_ptr().cast(), text.len(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
