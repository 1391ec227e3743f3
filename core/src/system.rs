//! A system: hierarchies that share a state directory, and in it the rule that
//! a subsystem is bound to one of them at most (R1.1).
//!
//! `STATE/bound/SUBSYSTEM` holds the root directory of the hierarchy that has
//! it. A record whose hierarchy is no more (somebody removed it with rmdir) is
//! void, so nothing here goes stale.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::sys::lock;

/// The state directory of a system.
#[derive(Debug)]
pub(crate) struct System {
    directory: PathBuf,
}

impl System {
    pub(crate) fn open(directory: &Path) -> Result<System> {
        let bound = directory.join("bound");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&bound);
        made.map_err(|error| Error::os(&error, format_args!("making the state directory {}", bound.display())))?;
        Ok(System { directory: directory.to_owned() })
    }

    /// Binds the subsystems to the hierarchy, all or none.
    pub(crate) fn bind(&self, root: &Path, name: &OsStr, subsystems: &[String], deadline: Deadline) -> Result<()> {
        let _lock = self.lock(deadline)?;
        for subsystem in subsystems {
            if let Some(other) = self.bound_to(subsystem)?
                && other != root
            {
                let (name, other) = (name.display(), other.display());
                let why = format!("cannot bind {subsystem} to {name}: in this system it is bound to {other}");
                return Err(Error::new(libc::EBUSY, why));
            }
        }
        for subsystem in subsystems {
            let file = self.file(subsystem);
            let written = std::fs::write(&file, root.as_os_str().as_bytes());
            written.map_err(|error| Error::os(&error, format_args!("writing {}", file.display())))?;
        }
        Ok(())
    }

    /// Forgets a hierarchy that has ended.
    pub(crate) fn unbind(&self, root: &Path) -> Result<()> {
        let _lock = self.lock(Deadline::after(Duration::from_secs(10)))?;
        let bound = self.directory.join("bound");
        let failed = |error: &std::io::Error| Error::os(error, format_args!("reading {}", bound.display()));
        for entry in std::fs::read_dir(&bound).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            if std::fs::read(&path).is_ok_and(|text| text == root.as_os_str().as_bytes()) {
                std::fs::remove_file(&path).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    /// The hierarchy that has a subsystem, if it still exists.
    fn bound_to(&self, subsystem: &str) -> Result<Option<PathBuf>> {
        let file = self.file(subsystem);
        match std::fs::read(&file) {
            Ok(text) => Ok(Some(PathBuf::from(OsStr::from_bytes(&text))).filter(|root| root.is_dir())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::os(&error, format_args!("reading {}", file.display()))),
        }
    }

    fn file(&self, subsystem: &str) -> PathBuf {
        self.directory.join("bound").join(subsystem)
    }

    /// Held while the returned file is open.
    fn lock(&self, deadline: Deadline) -> Result<std::fs::File> {
        let path = self.directory.join("lock");
        let shown = path.display();
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(|error| Error::os(&error, format_args!("opening {shown}")))?;
        let mut wait = Wait::until(deadline);
        while !lock::try_lock(&file, 0, lock::Mode::Write)
            .map_err(|errno| Error::os(errno, format_args!("locking {shown}")))?
        {
            if wait.pause(Duration::from_millis(1)).is_err() {
                return Err(Error::new(libc::ETIMEDOUT, format!("{shown} stayed locked by somebody else")));
            }
        }
        Ok(file)
    }
}
