//! Cleaning up after somebody, however they end.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use cgf::{Group, RemoveOptions};

use crate::commands::rm;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// A process that clears a group away when whoever hired it has ended: by
/// Ctrl-C, by SIGKILL, with everything in the group frozen. It learns that from
/// the end of its standard input.
pub struct Janitor(Child);

/// What is to be cleared away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Group,
    /// The hierarchy too, if nothing else is in it.
    HierarchyToo,
}

impl Janitor {
    pub fn hire(hierarchies: &Hierarchies, target: &Target, extent: Extent) -> Result<Janitor, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::system("finding this program", error))?;
        let mut command = Command::new(program);
        command.arg("__janitor").arg(target.to_argument());
        if extent == Extent::HierarchyToo {
            command.arg("--hierarchy-too");
        }
        let started = command
            .env("CGF_OPTIONS", hierarchies.text())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the whole process group of who hired it.
            .process_group(0)
            .spawn();
        started.map(Janitor).map_err(|error| Failure::system("starting a process", error))
    }

    /// There is nothing to clear away any more. Whoever makes a group of the
    /// same name now shall keep it.
    pub fn dismiss(mut self) {
        let _ = self.0.kill();
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the janitor does.
pub fn serve(hierarchies: &Hierarchies, target: &Target, extent: Extent) -> Result<(), Failure> {
    // An error ends the wait as well as the end of input does.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    match hierarchies.group(target) {
        Ok(group) => clear_away(&group, extent),
        // It was never made, or somebody was quicker.
        Err(failure) if failure.is(libc::ENOENT) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Kills what is in a group and below, and removes it.
pub fn clear_away(group: &Group, extent: Extent) -> Result<(), Failure> {
    let everything = RemoveOptions { kill: true, recursive: true };
    match (group.path().is_root(), extent) {
        (true, Extent::HierarchyToo) => return Ok(rm::end(group, everything)?),
        (true, Extent::Group) => group.kill(libc::SIGKILL)?,
        (false, _) => group.remove_with(everything)?,
    }
    if extent == Extent::HierarchyToo {
        match group.hierarchy().unmount() {
            // Somebody else uses it by now.
            Err(error) if error.errno() != libc::EBUSY => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

impl Target {
    fn to_argument(&self) -> OsString {
        let mut argument = self.hierarchy.clone();
        argument.push(":");
        argument.push(OsString::from_vec(self.path.clone()));
        argument
    }
}
