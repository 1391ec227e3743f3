//! What the library remembers about a group: extended attributes on its
//! directory, so that the record dies with the group.
//!
//! `user.cgf.NAME` on the directory. Where the file system has no such
//! attributes (tmpfs before Linux 6.6), a file `cgf.NAME` in the directory
//! stands in; a cgroup directory that takes neither is left without a record.

use rustix::fs::OFlags;

use crate::backend::Node;
use crate::error::{Error, Result};
use crate::path::OWN_PREFIX;
use crate::release::{AUTO_DELETE, RELEASED};
use crate::sys::{Errno, dir::write_once};

/// The longest value, in bytes.
pub(crate) const LONGEST: usize = 1024;

/// The value of an attribute, `None` if it is not set.
pub(crate) fn get(group: &Node, name: &str) -> Result<Option<String>> {
    let value = match group.dir.xattr(&attribute(name)) {
        Err(Errno::OPNOTSUPP) => match group.dir.read(&file(name)) {
            Ok(text) => Some(text),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(group.failed(errno, "reading the record")),
        },
        other => other.map_err(|errno| group.failed(errno, "reading the record"))?,
    };
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// Sets an attribute. On a directory that we may not mark, nothing happens.
pub(crate) fn set(group: &Node, name: &str, value: &str) -> Result<()> {
    match group.dir.set_xattr(&attribute(name), value.as_bytes()) {
        Err(Errno::OPNOTSUPP) => by_file(group, name, value, OFlags::TRUNC).map(drop),
        other => marked(group, other).map(drop),
    }
}

/// Sets an attribute that nobody has set yet; `false` if somebody has.
pub(crate) fn set_new(group: &Node, name: &str, value: &str) -> Result<bool> {
    match group.dir.new_xattr(&attribute(name), value.as_bytes()) {
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::OPNOTSUPP) => by_file(group, name, value, OFlags::EXCL),
        other => marked(group, other),
    }
}

/// Sets an attribute, or fails where the directory may not be marked.
pub(crate) fn must_set(group: &Node, name: &str, value: &str) -> Result<()> {
    set(group, name, value)?;
    if get(group, name)?.as_deref() == Some(value) {
        return Ok(());
    }
    Err(Error::new(libc::EACCES, format!("we may not note {name} on group {}", group.path)))
}

/// Copies what makes a group like its parent: what subsystems have noted, whose
/// attributes are called `SUBSYSTEM.key`, and what happens when it is empty.
pub(crate) fn copy_settings(from: &Node, to: &Node) -> Result<()> {
    for name in all(from)?.iter().filter(|name| name.contains('.') || *name == AUTO_DELETE) {
        if let Some(value) = get(from, name)? {
            if name == AUTO_DELETE {
                // Nobody has been in it yet, which is no emptiness to act upon.
                set(to, RELEASED, "1")?;
            }
            set(to, name, &value)?;
        }
    }
    Ok(())
}

/// ENODEV if the group was removed: its directory, held open, still has its
/// attributes then, and takes new ones, but no files.
pub(crate) fn must_be_there(group: &Node) -> Result<()> {
    match group.dir.open_file("cgroup.procs", OFlags::PATH) {
        Ok(_) => Ok(()),
        Err(errno) => Err(group.failed(errno, "looking at the directory")),
    }
}

/// The names of all attributes that are set.
pub(crate) fn all(group: &Node) -> Result<Vec<String>> {
    let failed = |errno| group.failed(errno, "listing the records");
    let ours = |names: Vec<String>, prefix: &str| {
        names.iter().filter_map(|name| name.strip_prefix(prefix).map(str::to_owned)).collect()
    };
    match group.dir.xattrs() {
        Err(Errno::OPNOTSUPP) => {
            let files = group.dir.files().map_err(failed)?;
            Ok(ours(files.into_iter().filter_map(|name| name.into_string().ok()).collect(), OWN_PREFIX))
        }
        listed => Ok(ours(listed.map_err(failed)?, "user.cgf.")),
    }
}

/// Unsets an attribute, set or not.
pub(crate) fn remove(group: &Node, name: &str) -> Result<()> {
    match group.dir.remove_xattr(&attribute(name)) {
        Err(Errno::OPNOTSUPP) => match group.dir.unlink(&file(name)) {
            Err(Errno::NOENT | Errno::PERM) | Ok(()) => Ok(()),
            Err(errno) => Err(group.failed(errno, "removing the record")),
        },
        other => marked(group, other).map(drop),
    }
}

/// What an attribute is called, and the file that stands in for it: for who sets
/// it by system calls alone.
pub(crate) fn names(name: &str) -> (String, String) {
    (attribute(name), file(name))
}

fn attribute(name: &str) -> String {
    format!("user.cgf.{name}")
}

fn file(name: &str) -> String {
    format!("{OWN_PREFIX}{name}")
}

fn by_file(group: &Node, name: &str, value: &str, how: OFlags) -> Result<bool> {
    match group.dir.create_file(&file(name), OFlags::WRONLY | how) {
        Ok(file) => marked(group, write_once(&file, value.as_bytes())),
        Err(Errno::EXIST) if how.contains(OFlags::EXCL) => Ok(false),
        Err(errno) => marked(group, Err(errno)),
    }
}

/// Somebody else's directory, which we were let into but may not mark, is as
/// good as any for everything that needs no memory.
fn marked(group: &Node, result: std::result::Result<(), Errno>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(true),
        Err(errno @ (Errno::NOENT | Errno::NODEV)) => Err(group.failed(errno, "writing the record")),
        Err(errno) => Err(Error::os(errno, format_args!("writing the record of group {}", group.path))),
    }
}
