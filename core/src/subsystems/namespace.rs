//! Groups that are bound to namespaces: who may join, and how one enters some of them.
//!
//! The first who joins an empty group comes from the group above, and its namespaces are the
//! group's for as long as one of its members is in them; later ones prove by
//! `/proc/PID/ns/*` that they are in the same (R10.1). What a member does to its own
//! namespaces after that is the kernel's business: whoever enters looks again.

mod enter;
mod files;
mod first;
pub(crate) mod kinds;
mod members;
mod seen;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub(crate) use enter::for_birth;

use crate::attach::Attach;
use crate::control_file::ControlFile;
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::subsystem::Subsystem;

const NAME: &str = "namespace";

/// As hierarchies are bound to it.
pub(crate) struct Namespace;

impl Subsystem for Namespace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        files::all()
    }

    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        first::may_come(attach)
    }

    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        first::settle(attach)
    }
}

/// EINVAL: a bare number, for a group of a hierarchy that is bound to namespaces. Groups that
/// were named after processes were there already when the number came again (R10.2).
pub(crate) fn check_name(hierarchy: &Hierarchy, name: &OsStr) -> Result<()> {
    if hierarchy.needs(NAME).is_err() || !name.as_bytes().iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    let why = format!("{name:?} is no name for a group that may be bound to namespaces: a bare number");
    Err(Error::new(libc::EINVAL, why))
}
