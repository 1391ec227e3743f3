//! `cgf set`: write a control file.

use clap::Args;

use super::DONE;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// Write a control file
///
/// freezer.state takes FROZEN (which asks, and does not wait: cgf freeze does)
/// and THAWED; cgroup.procs a process to attach, tasks a thread; signal.kill a
/// signal's number. `cgf files --json` says what the others take.
///
/// Errors: ENOENT: no such file, or its subsystem is not bound. EINVAL: not what
/// the file takes. EACCES: it can only be read. E2BIG: more than 4096 bytes.
///
/// Example: cgf set jobs:web signal.kill 15
#[derive(Args)]
pub struct Set {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// The control file
    file: String,

    /// What to write
    #[arg(allow_hyphen_values = true)]
    value: String,
}

impl Set {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        hierarchies.group(&self.group)?.write(&self.file, &self.value)?;
        Ok(DONE)
    }
}
