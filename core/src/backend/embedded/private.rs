//! Directories that nobody but us can have put there: who may write to a
//! hierarchy's records says whom we stop and kill.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::Mode;

use super::file;
use crate::error::{Error, Result};
use crate::sys::{Errno, dir::Dir};

/// The root directory of a hierarchy, and whether it had to be made.
///
/// It is made below the directory that was looked at, not below whatever has its
/// name by then. EACCES: others may write to it, or to one of the two above it.
pub(crate) fn open_or_make(above: &Path, name: &OsStr) -> Result<(Dir, bool)> {
    let shown = above.display();
    let failed = |errno: Errno| Error::os(errno, format_args!("making {shown}/{}", name.display()));
    // Somebody who ends another hierarchy may take `above` away between our
    // making it and our using it: then it is made again.
    for _ in 0..100 {
        let opened = make(above)?;
        let made = opened.mkdir(name, Mode::RWXU);
        match made {
            Ok(()) | Err(Errno::EXIST) => match opened.open_dir(name) {
                Ok(dir) => return Ok((dir, made.is_ok())),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            },
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(failed(Errno::NOENT))
}

/// A directory that only we write to, made if need be, and those above it that are
/// missing. EACCES: others may write to it, or to the one above it.
pub(crate) fn make(path: &Path) -> Result<Dir> {
    let failed = |errno: Errno| Error::os(errno, format_args!("making {}", path.display()));
    for _ in 0..100 {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| Error::os(&error, format_args!("making {}", path.display())))?;
        match Dir::open(path) {
            Ok(opened) => {
                check(&opened)?;
                check_above(&opened)?;
                return Ok(opened);
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(failed(Errno::NOENT))
}

/// Whether a directory is a hierarchy's already, by the files in it.
pub(crate) fn is_hierarchy(dir: &Dir) -> Result<bool> {
    file::is_there(dir, file::MEMBERS).map_err(|errno| Error::os(errno, "looking for a hierarchy's files"))
}

/// EACCES: another user's, or others may write to it.
pub(super) fn check(dir: &Dir) -> Result<()> {
    let (owner, mode) = owner_and_mode(dir)?;
    if owner == us() && mode & 0o022 == 0 { Ok(()) } else { Err(refused(dir)) }
}

/// Who may write to the directory above may put another in this one's place;
/// with the sticky bit, only in that of his own.
fn check_above(dir: &Dir) -> Result<()> {
    let above = dir.location().and_then(|path| Dir::open(&path.join("..")));
    let above = above.map_err(|errno| Error::os(errno, "opening the directory above the hierarchies"))?;
    let (owner, mode) = owner_and_mode(&above)?;
    if (owner == us() || owner == 0) && (mode & 0o022 == 0 || mode & 0o1000 != 0) {
        Ok(())
    } else {
        Err(refused(&above))
    }
}

/// Whether two directories have one owner, and nobody else may write to either.
pub(super) fn are_one_owners(one: &Dir, other: &Dir) -> Result<bool> {
    let ((owner, mode), (of_other, mode_of_other)) = (owner_and_mode(one)?, owner_and_mode(other)?);
    Ok(owner == of_other && (mode | mode_of_other) & 0o022 == 0)
}

fn owner_and_mode(dir: &Dir) -> Result<(u32, u32)> {
    let stat = rustix::fs::fstat(dir).map_err(|errno| Error::os(errno, "looking at a directory"))?;
    Ok((stat.st_uid, stat.st_mode))
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn refused(dir: &Dir) -> Error {
    let shown = dir.location().unwrap_or_default();
    let why = format!("{} belongs to another user, or others may write to it: not used", shown.display());
    Error::new(libc::EACCES, why)
}
