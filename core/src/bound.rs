//! The subsystems that a hierarchy is bound to, and calling them.

use std::sync::Arc;

use crate::backend::BackendKind;
use crate::control_file::ControlFiles;
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::subsystem::{self, Subsystem};

/// The subsystems of a hierarchy.
#[derive(Debug)]
pub(crate) struct Bound {
    /// All, as its record says.
    names: Vec<String>,
    /// Those of them that this process knows, in the same order.
    known: Vec<Arc<dyn Subsystem>>,
    files: ControlFiles,
}

impl Bound {
    pub(crate) fn find(names: Vec<String>) -> Result<Bound> {
        let mut known = Vec::with_capacity(names.len());
        for name in &names {
            match subsystem::find(name) {
                Ok(found) => known.push(found),
                // Another program's. Ours may look at the hierarchy all the same.
                Err(error) if error.is(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        let files = ControlFiles::of(&known)?;
        Ok(Bound { names, known, files })
    }

    pub(crate) fn controllers(&self, backend: BackendKind) -> Vec<&str> {
        let mut all: Vec<&str> = self.known.iter().flat_map(|subsystem| subsystem.controllers_on(backend)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The names of all, sorted.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// One that only another program knows.
    fn stranger(&self) -> Option<&String> {
        self.names.iter().find(|name| self.known.iter().all(|known| known.name() != name.as_str()))
    }
}

impl Hierarchy {
    pub(crate) fn control_files(&self) -> &ControlFiles {
        &self.bound().files
    }

    /// The subsystems that this process knows.
    pub(crate) fn known_subsystems(&self) -> &[Arc<dyn Subsystem>] {
        &self.bound().known
    }

    /// All subsystems, for what none of them must be passed over in.
    ///
    /// ENOENT: one is another program's.
    pub(crate) fn every_subsystem(&self) -> Result<&[Arc<dyn Subsystem>]> {
        match self.bound().stranger() {
            None => Ok(&self.bound().known),
            Some(stranger) => {
                let why = format!(
                    "hierarchy {self} is bound to {stranger}, which has a say in this and is not registered here"
                );
                Err(Error::new(libc::ENOENT, why))
            }
        }
    }

    /// EOPNOTSUPP unless the hierarchy is bound to the subsystem.
    pub(crate) fn needs(&self, subsystem: &str) -> Result<()> {
        if self.bound().names.iter().any(|name| name == subsystem) {
            return Ok(());
        }
        Err(Error::new(libc::EOPNOTSUPP, format!("hierarchy {self} is not bound to {subsystem}")))
    }

    /// Calls a callback of every subsystem, and returns the first error.
    pub(crate) fn tell_all(&self, what: &str, tell: impl Fn(&dyn Subsystem) -> Result<()>) -> Result<()> {
        let mut first = Ok(());
        for subsystem in self.known_subsystems() {
            let told = subsystem::call(&**subsystem, what, || tell(&**subsystem));
            first = first.and(told);
        }
        first
    }

    /// If one of them refuses, those who had agreed hear that it has ended.
    pub(crate) fn tell_mounted(&self) -> Result<()> {
        let subsystems = self.known_subsystems();
        for (at, subsystem) in subsystems.iter().enumerate() {
            if let Err(error) = subsystem::call(&**subsystem, "mount", || subsystem.mount(self)) {
                for mounted in subsystems[..at].iter().rev() {
                    let _ = subsystem::call(&**mounted, "unmount", || mounted.unmount(self));
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
