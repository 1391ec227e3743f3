//! A directory that is held open, and everything that happens beneath it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags};

use super::{Errno, Result};

/// How many times a lookup is repeated that a rename elsewhere interrupted.
const LOOKUPS: usize = 128;

/// An open directory. Every path handed to it is looked up beneath it: no
/// `..`, no symbolic link, no other mount is followed on the way (openat2(2)).
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
}

impl Dir {
    /// Opens the directory that a hierarchy hangs on. The one lookup that may
    /// follow links: where the hierarchy lies is its opener's own word.
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(|fd| Dir { fd })
    }

    pub(crate) fn open_dir(&self, path: impl AsRef<Path>) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.lookup(path.as_ref(), flags, Mode::empty()).map(|fd| Dir { fd })
    }

    /// A second descriptor for the directory itself, good for naming it
    /// (CLONE_INTO_CGROUP, openat) and nothing else.
    pub(crate) fn path_fd(&self) -> Result<OwnedFd> {
        self.lookup(Path::new("."), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    pub(crate) fn open_file(&self, name: &str, flags: OFlags) -> Result<File> {
        // A pipe that somebody planted under the name is not waited for. (With
        // O_PATH nothing is, and openat2 does not take the flag.)
        let at_once = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK | OFlags::NOCTTY };
        let flags = flags | at_once | OFlags::CLOEXEC;
        self.lookup(Path::new(name), flags, Mode::empty()).map(File::from)
    }

    /// Makes the file if need be, readable and writable by its owner alone.
    pub(crate) fn create_file(&self, name: &str, flags: OFlags) -> Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = flags | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.lookup(Path::new(name), flags, mode).map(File::from)
    }

    /// The whole file, from one descriptor: one consistent answer.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        read_all(&self.open_file(name, OFlags::RDONLY)?)
    }

    /// The whole of the first of these files that is there.
    pub(crate) fn read_first(&self, names: &[&str]) -> Result<Vec<u8>> {
        let not_there = |read: &Result<_>| matches!(read, Err(Errno::NOENT));
        names.iter().map(|name| self.read(name)).find(|read| !not_there(read)).unwrap_or(Err(Errno::NOENT))
    }

    /// Writes in one call, as control files want it.
    pub(crate) fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        write_once(&self.open_file(name, OFlags::WRONLY)?, text)
    }

    pub(crate) fn mkdir(&self, name: &OsStr, mode: Mode) -> Result<()> {
        rustix::fs::mkdirat(&self.fd, name, mode)
    }

    pub(crate) fn rmdir(&self, name: &OsStr) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
    }

    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
    }

    pub(crate) fn chmod(&self, name: &str, mode: Mode) -> Result<()> {
        rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty())
    }

    /// Renames within this directory; EEXIST if the new name is taken.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> Result<()> {
        rustix::fs::renameat_with(&self.fd, from, &self.fd, to, rustix::fs::RenameFlags::NOREPLACE)
    }

    /// The same on kernfs, which refuses a taken name without being told to and
    /// knows no flags.
    pub(crate) fn rename_in_kernfs(&self, from: &OsStr, to: &OsStr) -> Result<()> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
    }

    /// Renames within this directory over whatever has the name now: readers
    /// see the old file or the new one, whole.
    pub(crate) fn replace(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
    }

    /// Another name for a file in this directory. EEXIST: it is taken.
    pub(crate) fn link(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())
    }

    /// Whether the directory was removed while we held it open.
    pub(crate) fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// The names of everything in this directory that is no directory.
    pub(crate) fn files(&self) -> Result<Vec<OsString>> {
        let directories = self.children()?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." && !directories.iter().any(|directory| directory == name) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The names of the directories in this one, sorted.
    pub(crate) fn children(&self) -> Result<Vec<OsString>> {
        // A cgroup (and a tmpfs) directory has two links and one for each
        // child, so a leaf is known by one fstat. File systems that count
        // otherwise (btrfs: always one) are read.
        if rustix::fs::fstat(&self.fd)?.st_nlink == 2 {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                known => known == FileType::Directory,
            };
            if is_dir {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Device and inode: the same directory, whatever it is called. On cgroup
    /// v2 the inode is the cgroup's id.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        rustix::fs::fstat(&self.fd).map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// Where the directory lies now; for messages and `/proc/PID/cgroup`.
    pub(crate) fn location(&self) -> Result<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let target = rustix::fs::readlink(link, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    pub(crate) fn xattr(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let mut value = [0_u8; 4096];
        match rustix::fs::fgetxattr(&self.fd, name, &mut value[..]) {
            Ok(length) => Ok(Some(value[..length].to_owned())),
            Err(Errno::NODATA) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The names of all attributes.
    pub(crate) fn xattrs(&self) -> Result<Vec<String>> {
        let split = |names: &[u8]| {
            let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
            names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        };
        // Most directories have none, or a few.
        let mut few = [0_u8; 1024];
        match rustix::fs::flistxattr(&self.fd, &mut few[..]) {
            Err(Errno::RANGE) => {}
            listed => return listed.map(|length| split(&few[..length])),
        }
        // The kernel's limit for a whole list (XATTR_LIST_MAX).
        let mut all = vec![0_u8; 64 << 10];
        rustix::fs::flistxattr(&self.fd, &mut all[..]).map(|length| split(&all[..length]))
    }

    pub(crate) fn set_xattr(&self, name: &str, value: &[u8]) -> Result<()> {
        rustix::fs::fsetxattr(&self.fd, name, value, XattrFlags::empty())
    }

    /// Sets an attribute that nobody has set: EEXIST otherwise.
    pub(crate) fn new_xattr(&self, name: &str, value: &[u8]) -> Result<()> {
        rustix::fs::fsetxattr(&self.fd, name, value, XattrFlags::CREATE)
    }

    pub(crate) fn remove_xattr(&self, name: &str) -> Result<()> {
        match rustix::fs::fremovexattr(&self.fd, name) {
            Err(Errno::NODATA) => Ok(()),
            other => other,
        }
    }

    fn lookup(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let confined =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        for _ in 0..LOOKUPS {
            match rustix::fs::openat2(&self.fd, path, flags, mode, confined) {
                // The kernel could not tell whether a rename led the lookup
                // out; it asks to be asked again.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => return self.lookup_by_steps(path, flags, mode),
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The same confinement where a sandbox hides openat2: one component at a
    /// time, none of them a link, `..` or on another device.
    fn lookup_by_steps(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let device = rustix::fs::fstat(&self.fd)?.st_dev;
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let names: Vec<&OsStr> =
            path.as_os_str().as_bytes().split(|&byte| byte == b'/').map(OsStr::from_bytes).collect();
        let (last, before) = names.split_last().ok_or(Errno::NOENT)?;
        let mut at: Option<OwnedFd> = None;
        let same_device = |fd: OwnedFd| match rustix::fs::fstat(&fd)?.st_dev == device {
            true => Ok(fd),
            false => Err(Errno::XDEV),
        };
        for name in before {
            if *name == ".." || name.is_empty() {
                return Err(Errno::XDEV);
            }
            let from = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            at = Some(same_device(rustix::fs::openat(from, *name, step, Mode::empty())?)?);
        }
        if *last == ".." {
            return Err(Errno::XDEV);
        }
        let from = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
        same_device(rustix::fs::openat(from, *last, flags | OFlags::NOFOLLOW, mode)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads an open file from its beginning to its end.
pub(crate) fn read_all(file: &File) -> Result<Vec<u8>> {
    // Most control files are a word or a few lines: one buffer, one call to
    // fill it, one to see the end.
    let mut text = vec![0_u8; 4096];
    let mut length = 0;
    loop {
        match rustix::io::pread(file, &mut text[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    Ok(text)
}

/// Reads a file of a few dozen bytes from its beginning, without a buffer of
/// its own: the way to look at one control file again and again.
pub(crate) fn read_short<'a>(file: &File, buffer: &'a mut [u8; 256]) -> Result<&'a [u8]> {
    loop {
        match rustix::io::pread(file, &mut buffer[..], 0) {
            Ok(count) => return Ok(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// One write(2): control files take a value whole or not at all.
pub(crate) fn write_once(file: &File, text: &[u8]) -> Result<()> {
    loop {
        match rustix::io::write(file, text) {
            Ok(count) if count == text.len() => return Ok(()),
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
