//! A directory of the kernel's controller, of either version.

use rustix::fs::OFlags;

use super::Kind;
use super::list::List;
use super::rules::Settings;
use crate::sys::{Errno, Result, dir::Dir};

/// What the kernel holds a group to.
#[derive(Debug)]
pub(super) struct Kernel {
    dir: Dir,
    /// Version 2: a group whose list is empty has what is above it, and there are no
    /// exclusive ones.
    is_version_2: bool,
}

/// Version 1: groups made below copy their parent's lists.
const CLONE: &str = "cgroup.clone_children";

impl Kernel {
    /// `None`: the directory is without the controller, or the root of version 2.
    pub(super) fn of(dir: Dir) -> Option<Kernel> {
        let has = |file: &str| dir.open_file(file, OFlags::PATH).is_ok();
        let is_there = has(Kind::Cpus.file());
        let is_version_2 = has(Kind::Cpus.effective());
        is_there.then_some(Kernel { dir, is_version_2 })
    }

    /// That of the directory above, in the same tree.
    pub(super) fn above(&self) -> Option<Kernel> {
        let location = self.dir.location().ok()?;
        Kernel::of(Dir::open(location.parent()?).ok()?)
    }

    pub(super) fn inode(&self) -> Result<u64> {
        self.dir.identity().map(|(_, inode)| inode)
    }

    /// What was written for this very group; `None`: it has what is above it.
    pub(super) fn own(&self, kind: Kind) -> Result<Option<List>> {
        let list = self.list(kind.file())?;
        Ok(Some(list).filter(|list| !(self.is_version_2 && list.is_empty())))
    }

    /// What holds for the group's tasks, and whether nobody beside it may have it.
    pub(super) fn in_effect(&self) -> Result<Settings> {
        let list = |kind: Kind| match self.own(kind)? {
            Some(own) => Ok(own),
            None => self.list(kind.effective()),
        };
        Ok(Settings {
            cpus: list(Kind::Cpus)?,
            mems: list(Kind::Mems)?,
            cpu_exclusive: self.is_exclusive(Kind::Cpus)?,
            mem_exclusive: self.is_exclusive(Kind::Mems)?,
        })
    }

    pub(super) fn set(&self, kind: Kind, list: &List) -> Result<()> {
        // No bytes at all would be no write.
        self.dir.write(kind.file(), format!("{list}\n").as_bytes())
    }

    pub(super) fn is_exclusive(&self, kind: Kind) -> Result<bool> {
        match self.dir.read(kind.exclusive()) {
            Ok(text) => Ok(text.first() == Some(&b'1')),
            Err(Errno::NOENT) if self.is_version_2 => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Where the kernel has such a flag, and the directory above has it, too. Without that
    /// the library alone minds it.
    pub(super) fn set_exclusive(&self, kind: Kind, exclusive: bool) -> Result<()> {
        if self.is_version_2 || self.is_exclusive(kind)? == exclusive {
            return Ok(());
        }
        match self.dir.write(kind.exclusive(), if exclusive { b"1" } else { b"0" }) {
            Err(Errno::ACCESS) if exclusive => Ok(()),
            other => other,
        }
    }

    /// Gives a new directory of version 1 and the one above it, which are both ours, what
    /// is above them, and lets all below copy it.
    pub(super) fn begin(&self) -> Result<()> {
        if self.is_version_2 {
            return Ok(());
        }
        if let Some(shared) = self.above() {
            if let Some(top) = shared.above() {
                for kind in Kind::BOTH {
                    if shared.list(kind.file())?.is_empty() {
                        shared.copy(&top, kind)?;
                    }
                }
            }
            shared.let_copy()?;
            Kind::BOTH.into_iter().try_for_each(|kind| self.copy(&shared, kind))?;
        }
        self.let_copy()
    }

    fn let_copy(&self) -> Result<()> {
        match self.dir.write(CLONE, b"1") {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn copy(&self, from: &Kernel, kind: Kind) -> Result<()> {
        let mut result = Ok(());
        // Somebody may make it smaller between the two.
        for _ in 0..16 {
            result = self.set(kind, &from.list(kind.file())?);
            if result != Err(Errno::ACCESS) {
                break;
            }
        }
        result
    }

    fn list(&self, file: &str) -> Result<List> {
        let text = self.dir.read(file)?;
        // The list of a kernel's own file may be longer than what is taken from people.
        let text = std::str::from_utf8(&text).map_err(|_| Errno::IO)?;
        List::read(text).ok_or(Errno::IO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files of a controller as the kernel has them.
    fn with(name: &str, files: &[(&str, &str)], test: impl FnOnce(&Kernel)) {
        let directory = std::env::temp_dir().join(format!("cgf-cpuset-{}-{name}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        test(&Kernel::of(Dir::open(&directory).unwrap()).unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// R9.1: version 2, whose controller this machine may not have there.
    #[test]
    fn a_group_of_version_2_has_what_is_above_it() {
        let files = [
            ("cpuset.cpus", "\n"),
            ("cpuset.mems", "1\n"),
            ("cpuset.cpus.effective", "0-3\n"),
            ("cpuset.mems.effective", "0-1\n"),
        ];
        with("2", &files, |kernel| {
            assert_eq!(kernel.own(Kind::Cpus).unwrap(), None);
            assert_eq!(kernel.own(Kind::Mems).unwrap().unwrap().to_string(), "1");
            let settings = kernel.in_effect().unwrap();
            assert_eq!((settings.cpus.to_string(), settings.mems.to_string()), ("0-3".into(), "1".into()));
            assert!(!settings.cpu_exclusive && !settings.mem_exclusive);
            kernel.set(Kind::Cpus, &List::parse("3,1,2").unwrap()).unwrap();
            assert_eq!(kernel.own(Kind::Cpus).unwrap().unwrap().to_string(), "1-3");
            kernel.set_exclusive(Kind::Cpus, true).unwrap();
            kernel.begin().unwrap();
            assert_eq!(kernel.own(Kind::Cpus).unwrap().unwrap().to_string(), "1-3");
        });
    }

    /// R9.1: an empty list of version 1 is no processors.
    #[test]
    fn an_empty_group_of_version_1_has_nothing() {
        let files = [
            ("cpuset.cpus", "\n"),
            ("cpuset.mems", "\n"),
            ("cpuset.cpu_exclusive", "1\n"),
            ("cpuset.mem_exclusive", "0\n"),
        ];
        with("1", &files, |kernel| {
            assert!(kernel.own(Kind::Cpus).unwrap().unwrap().is_empty());
            let settings = kernel.in_effect().unwrap();
            assert!(settings.cpus.is_empty() && settings.cpu_exclusive && !settings.mem_exclusive);
            kernel.set_exclusive(Kind::Mems, true).unwrap();
            assert!(kernel.is_exclusive(Kind::Mems).unwrap());
        });
    }

    #[test]
    fn a_directory_without_the_controller_is_none() {
        assert!(Kernel::of(Dir::open(std::path::Path::new("/proc")).unwrap()).is_none());
    }
}
