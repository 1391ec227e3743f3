//! The files in a group's directory: which names are ours, and how one is opened.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, OFlags};

use crate::attribute::UNFINISHED_PREFIX;
use crate::path::OWN_PREFIX;
use crate::sys::{self, Errno, dir::Dir, dir::read_all};

/// Who is a member. The first that is made and the last that is removed, so a
/// directory with anything else of ours in it has this too.
pub(super) const MEMBERS: &str = "cgroup.procs";
pub(super) const REQUEST: &str = "freezer.state";
pub(super) const STOPPED: &str = "freezer.stopped";
pub(super) const TRACER: &str = "freezer.tracer";
pub(super) const LOCK: &str = "cgroup.lock";
pub(super) const CPU_TIME: &str = "cpuacct.time";

/// What a file is called until it replaces the one before.
pub(super) const NEW: &str = ".new";

/// Opens one of our files. EINVAL: a pipe or a device was put in its place.
pub(super) fn open(dir: &Dir, name: &str, flags: OFlags) -> sys::Result<File> {
    regular(dir.open_file(name, flags)?)
}

/// The same, and makes it if need be.
pub(super) fn create(dir: &Dir, name: &str, flags: OFlags) -> sys::Result<File> {
    regular(dir.create_file(name, flags)?)
}

pub(super) fn read(dir: &Dir, name: &str) -> sys::Result<Vec<u8>> {
    read_all(&open(dir, name, OFlags::RDONLY)?)
}

pub(super) fn is_there(dir: &Dir, name: &str) -> sys::Result<bool> {
    match open(dir, name, OFlags::RDONLY) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::INVAL | Errno::LOOP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether a file in a group's directory was made by the library.
pub(super) fn is_ours(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let known = [MEMBERS, REQUEST, STOPPED, TRACER, LOCK, CPU_TIME];
    let replaced = name.strip_suffix(NEW.as_bytes()).unwrap_or(name);
    [OWN_PREFIX, UNFINISHED_PREFIX].iter().any(|prefix| name.starts_with(prefix.as_bytes()))
        || known.iter().any(|known| known.as_bytes() == replaced)
}

fn regular(file: File) -> sys::Result<File> {
    let mode = rustix::fs::fstat(&file)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::RegularFile { Ok(file) } else { Err(Errno::INVAL) }
}
