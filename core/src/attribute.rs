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
use crate::sys::{self, Errno, dir::write_once};

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
        Err(Errno::OPNOTSUPP) => {
            let put = |new: &str, file: &str| group.dir.replace(new, file);
            by_file(group, name, value, &put).map(drop)
        }
        other => marked(group, other).map(drop),
    }
}

/// Sets an attribute that nobody has set yet; `false` if somebody has.
pub(crate) fn set_new(group: &Node, name: &str, value: &str) -> Result<bool> {
    match group.dir.new_xattr(&attribute(name), value.as_bytes()) {
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::OPNOTSUPP) => {
            // By a second name, since not every file system that has no attributes renames to
            // a name that must be free; nor has every one links.
            let put = |new: &str, file: &str| match group.dir.link(new, file) {
                Ok(()) => group.dir.unlink(new),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => group.dir.rename(new.as_ref(), file.as_ref()),
                taken => taken,
            };
            by_file(group, name, value, &put)
        }
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

/// What a file is called until it is whole: no attribute, and removed with the group should
/// its writer be killed.
pub(crate) const UNFINISHED_PREFIX: &str = ".cgf.";

/// Writes a file that nobody reads before it is whole, and gives it its name by `put`.
/// `false`: there was one, and may not be.
fn by_file(group: &Node, name: &str, value: &str, put: &dyn Fn(&str, &str) -> sys::Result<()>) -> Result<bool> {
    let mut number = [0_u8; 8];
    rustix::rand::getrandom(&mut number[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::os(errno, "asking for a random number"))?;
    let new = format!("{UNFINISHED_PREFIX}{:016x}", u64::from_ne_bytes(number));
    let made = group.dir.create_file(&new, OFlags::WRONLY | OFlags::EXCL);
    let put = made.and_then(|made| {
        write_once(&made, value.as_bytes()).and_then(|()| put(&new, &file(name))).inspect_err(|_| {
            let _ = group.dir.unlink(&new);
        })
    });
    match put {
        Err(Errno::EXIST) => Ok(false),
        other => marked(group, other),
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::path::GroupPath;
    use crate::sys::dir::Dir;

    /// A directory that has no extended attributes.
    struct Plain(PathBuf);

    impl Plain {
        fn mount() -> Option<Plain> {
            let path = std::env::temp_dir().join(format!("cgf-plain-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            let plain = Plain(path);
            let mounted = Command::new("mount").args(["-t", "ramfs", "cgf-plain"]).arg(&plain.0).status();
            if mounted.is_ok_and(|status| status.success()) {
                return Some(plain);
            }
            assert!(std::env::var_os("CGF_DEMAND").is_none(), "a ramfs is demanded");
            eprintln!("skipped: no ramfs can be mounted here");
            None
        }

        fn node(&self) -> Node {
            Node { dir: Dir::open(&self.0).unwrap(), path: GroupPath::root() }
        }
    }

    impl Drop for Plain {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    /// R1.9: an attribute that is kept in a file is read as one of the values that were set.
    #[test]
    fn a_file_for_an_attribute_is_never_seen_half_written() {
        let Some(plain) = Plain::mount() else { return };
        let (writer, reader) = (plain.node(), plain.node());
        let values = ["short".to_owned(), "long".repeat(250)];
        assert!(set_new(&writer, "sub.key", &values[0]).unwrap());
        assert!(!set_new(&writer, "sub.key", &values[1]).unwrap());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in values.iter().cycle().take(20_000) {
                    set(&writer, "sub.key", value).unwrap();
                }
                stop.store(true, Ordering::SeqCst);
            });
            while !stop.load(Ordering::SeqCst) {
                let seen = get(&reader, "sub.key").unwrap();
                assert!(seen.as_ref().is_some_and(|seen| values.contains(seen)), "{seen:?}");
                let all = all(&reader).unwrap();
                assert!(all.is_empty() || all == ["sub.key"], "{all:?}");
            }
        });
        remove(&writer, "sub.key").unwrap();
        assert_eq!(get(&reader, "sub.key").unwrap(), None);
        assert_eq!(std::fs::read_dir(&plain.0).unwrap().count(), 0);
    }
}
