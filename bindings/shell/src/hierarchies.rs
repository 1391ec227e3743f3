//! The hierarchies there are, and which of them the options let us use.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use cgf::{BackendKind, Group, Hierarchy, Options};

use crate::failure::Failure;
use crate::target::Target;

/// The options of the command line, and what can be opened with them.
pub struct Hierarchies {
    text: String,
    options: Options,
}

/// A hierarchy that exists.
pub struct Found {
    pub name: OsString,
    pub backend: BackendKind,
    pub directory: PathBuf,
}

impl Hierarchies {
    pub fn parse(text: &str) -> cgf::Result<Hierarchies> {
        Ok(Hierarchies { text: text.to_owned(), options: Options::parse(text)? })
    }

    /// The options as they were given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Opens a hierarchy that exists: only `cgf create` and `cgf exec --create`
    /// make one, since a mistyped name must not.
    pub fn existing(&self, name: &OsStr) -> Result<Hierarchy, Failure> {
        Ok(Hierarchy::open_existing(name, &self.options)?)
    }

    /// Opens a hierarchy, and makes it if there is none; says whether it did.
    pub fn made(&self, name: &OsStr) -> Result<(Hierarchy, bool), Failure> {
        match Hierarchy::open_existing(name, &self.options) {
            Err(error) if error.errno() == libc::ENOENT => Ok((Hierarchy::open(name, &self.options)?, true)),
            other => Ok((other?, false)),
        }
    }

    /// Opens a group that exists.
    pub fn group(&self, target: &Target) -> Result<Group, Failure> {
        let hierarchy = self.existing(&target.hierarchy)?;
        hierarchy.open_group(&target.path).map_err(|error| {
            let missing = error.errno() == libc::ENOENT;
            let failure = Failure::from(error);
            if missing { failure.remedy(format!("cgf create {target} makes it")) } else { failure }
        })
    }

    /// Opens the group that a process is in, as a root.
    pub fn group_of(&self, pid: i32) -> Result<Group, Failure> {
        Ok(Hierarchy::adopt_group_of(pid, &self.options)?.root())
    }

    /// Every hierarchy in the places of the backends, by name.
    pub fn list(&self) -> Vec<Found> {
        let state = self.text.split(',').find_map(|token| token.strip_prefix("state=")).map(Path::new);
        let named = Hierarchy::all(&self.options).into_iter();
        named
            .filter_map(|(name, backend)| {
                let directory = cgf::place(backend, state).ok()?.join(&name);
                Some(Found { name, backend, directory })
            })
            .collect()
    }

    /// Opens one of the list.
    pub fn open_found(&self, found: &Found) -> cgf::Result<Hierarchy> {
        Hierarchy::open_existing(&found.name, &self.options.clone().backend(found.backend))
    }
}
