//! A directory of CRIU's images: made under another name until it is whole, and
//! looked at before anybody relies on it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags};

use crate::error::{Error, Result};
use crate::sys::Errno;

/// A directory of a checkpoint that is being taken. Dropped, it is removed.
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Draft {
    /// Makes a directory beside the one that is to be, for its maker only:
    /// images hold the memory of the processes.
    pub(super) fn begin(target: &Path) -> Result<Draft> {
        let shown = target.display();
        let target = std::path::absolute(target).map_err(|error| Error::os(&error, format_args!("finding {shown}")))?;
        let (Some(above), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::new(libc::EINVAL, format!("{shown} is no name for a directory of images")));
        };
        if fs::symlink_metadata(&target).is_ok() {
            return Err(exists(&target));
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(format!(".cgf-{}-{count}", std::process::id()));
        let path = above.join(draft);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Error::os(&error, format_args!("making {}", path.display())))?;
        Ok(Draft { path, target, kept: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on it is worth more than its name: the processes are gone.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// Gives it its name, if nobody has taken that meanwhile.
    pub(super) fn publish(mut self) -> Result<()> {
        let renamed = match rustix::fs::renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            // A file system that cannot promise it. Images are never replaced
            // even so: a directory that is not empty is not.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(&self.path, &self.target),
            other => other,
        };
        let error = match renamed {
            Ok(()) => {
                self.kept = true;
                return Ok(());
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => exists(&self.target),
            Err(errno) => Error::os(errno, format_args!("naming the images {}", self.target.display())),
        };
        if self.kept {
            return Err(error.context(format_args!("the checkpoint is whole, and in {}", self.path.display())));
        }
        Err(error)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody to tell; its name says what it is.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn exists(target: &Path) -> Error {
    Error::new(libc::EEXIST, format!("{} is there already; a checkpoint replaces nothing", target.display()))
}

/// Who is in a directory of images.
pub(super) struct Tree {
    /// Every thread, by the number that it had where it lived.
    pub(super) tids: Vec<i32>,
}

impl Tree {
    /// Reads who is in it, and finds the image of every one of them.
    ///
    /// ENOENT: no such directory, or no checkpoint in it. EINVAL: it is not whole.
    pub(super) fn read(images: &Path) -> Result<Tree> {
        let inventory = image(images, "inventory.img")?;
        if inventory.get(..4) != Some(&INVENTORY.to_le_bytes()) {
            return Err(damaged(images, "inventory.img is not what CRIU writes"));
        }
        let tree = image(images, "pstree.img")?;
        let tids = threads(&tree).filter(|tids| !tids.is_empty());
        let tids = tids.ok_or_else(|| damaged(images, "pstree.img cannot be read"))?;
        for tid in &tids {
            let name = format!("core-{tid}.img");
            if image(images, &name)?.len() <= HEADER {
                return Err(damaged(images, &format!("{name} is empty")));
            }
        }
        Ok(Tree { tids })
    }

    /// Whether it comes with a pid namespace of its own: its numbers say
    /// nothing about ours.
    pub(super) fn has_own_numbers(&self) -> bool {
        self.tids.contains(&1)
    }
}

/// `IMG_COMMON_MAGIC`, `PSTREE_MAGIC` and `INVENTORY_MAGIC`, by which CRIU's
/// images are known (`crit show` prints them).
const COMMON: u32 = 0x5456_4319;
const PSTREE: u32 = 0x5027_3030;
const INVENTORY: u32 = 0x5831_3116;
/// Two magic numbers come before the first entry.
const HEADER: usize = 8;

fn image(images: &Path, name: &str) -> Result<Vec<u8>> {
    fs::read(images.join(name)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Error::new(libc::ENOENT, format!("{} holds no whole checkpoint: there is no {name}", images.display()))
        }
        _ => Error::os(&error, format_args!("reading {}", images.join(name).display())),
    })
}

fn damaged(images: &Path, why: &str) -> Error {
    Error::new(libc::EINVAL, format!("{} holds no whole checkpoint: {why}", images.display()))
}

/// Every thread in `pstree.img`: entries, each after its length in four bytes,
/// whose fields 1 and 5 are the process and its threads.
fn threads(image: &[u8]) -> Option<Vec<i32>> {
    let mut rest = image.strip_prefix(&COMMON.to_le_bytes())?.strip_prefix(&PSTREE.to_le_bytes())?;
    let mut tids = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let mut entry = take(&mut rest, length.try_into().ok()?)?;
        while !entry.is_empty() {
            let key = varint(&mut entry)?;
            match (key >> 3, key & 7) {
                (1 | 5, 0) => tids.push(varint(&mut entry)?.try_into().ok()?),
                (5, 2) => {
                    let length = varint(&mut entry)?;
                    let mut packed = take(&mut entry, length.try_into().ok()?)?;
                    while !packed.is_empty() {
                        tids.push(varint(&mut packed)?.try_into().ok()?);
                    }
                }
                (_, kind) => skip(&mut entry, kind)?,
            }
        }
    }
    tids.sort_unstable();
    tids.dedup();
    Some(tids)
}

/// One field of a kind that is of no interest (protocol buffers' wire types).
fn skip(entry: &mut &[u8], kind: u64) -> Option<()> {
    match kind {
        0 => varint(entry).map(drop),
        1 => take(entry, 8).map(drop),
        2 => {
            let length = varint(entry)?;
            take(entry, length.try_into().ok()?).map(drop)
        }
        5 => take(entry, 4).map(drop),
        _ => None,
    }
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

/// Seven bits a byte, the lowest first.
fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(from, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes as CRIU 4.1 writes them, one with two threads.
    const TWO: &[u8] = &[
        0x19, 0x43, 0x56, 0x54, 0x30, 0x30, 0x27, 0x50, 0x12, 0, 0, 0, 0x08, 0xfb, 0xbc, 0x01, 0x10, 0x00, 0x18, 0xfb,
        0xbc, 0x01, 0x28, 0xfb, 0xbc, 0x01, 0x28, 0x80, 0xbd, 0x01, 0x08, 0, 0, 0, 0x08, 0xfd, 0xbc, 0x01, 0x28, 0xfd,
        0xbc, 0x01,
    ];

    #[test]
    fn the_threads_of_a_tree_are_read() {
        assert_eq!(threads(TWO), Some(vec![24187, 24189, 24192]));
    }

    /// What was cut off, or is no image at all, is nobody's tree and no crash.
    #[test]
    fn half_an_image_is_none() {
        for length in 0..TWO.len() {
            let whole_entries = [8, 30].contains(&length);
            assert_eq!(threads(&TWO[..length]).is_some(), whole_entries, "{length} bytes");
        }
        assert_eq!(threads(&[0xff; 64]), None);
    }

    #[test]
    fn what_is_not_published_is_removed() {
        let target = std::env::temp_dir().join(format!("cgf-images-{}", std::process::id()));
        let draft = Draft::begin(&target).unwrap();
        let path = draft.path().to_owned();
        fs::write(path.join("half"), "").unwrap();
        drop(draft);
        assert!(!path.exists() && !target.exists());

        let draft = Draft::begin(&target).unwrap();
        fs::create_dir(&target).unwrap();
        assert_eq!(draft.publish().unwrap_err().errno(), libc::EEXIST);
        assert_eq!(Draft::begin(&target).map(|_| ()).unwrap_err().errno(), libc::EEXIST);
        fs::remove_dir(&target).unwrap();

        let draft = Draft::begin(&target).unwrap();
        let path = draft.path().to_owned();
        draft.publish().unwrap();
        assert!(target.is_dir() && !path.exists());
        fs::remove_dir(&target).unwrap();
    }
}
