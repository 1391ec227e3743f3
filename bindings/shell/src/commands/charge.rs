//! `cgf charge`: so much of a resource, for a group or for a command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process;

use cgf::Severity;
use clap::{Args, ValueEnum};

use super::DONE;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// Charge a resource to a group, for good or while a command runs
///
/// The charge counts in the group and in all groups above it, or, if one of them has
/// no room for it, in none. Without a command the group keeps it until somebody takes
/// it back (cgf uncharge); it cannot be removed before. With a command it is the
/// command's: it ends with it, however that ends. The exit status is the command's
/// own, and the command is not in the group (see cgf exec).
///
/// Resources: kmemsize, privvmpages, physpages, numtasks, numfiles, and those that
/// programs have registered; `cgf get GROUP bc.stat` lists them. Limits are control
/// files: `cgf set GROUP bc.numfiles.limit 100`.
///
/// Errors: ENOMEM, of numfiles EMFILE: a group has no room; it is named. ENOENT: no such
/// resource, or no such command. EINVAL: more than 2^48. EOPNOTSUPP: the hierarchy is
/// not bound to beancounter, as by `cgf create -o freezer,signal,beancounter`.
///
/// Example: cgf charge jobs:web numfiles 64 -- ./server
#[derive(Args)]
pub struct Charge {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// What to charge
    resource: String,

    /// How much of it
    amount: u64,

    /// When to be refused: beyond the barrier, beyond the limit, or never
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Insistence::Limit)]
    severity: Insistence,

    /// The command that is to hold the charge, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// As the library's severities are called here.
#[derive(Clone, Copy, ValueEnum)]
enum Insistence {
    Barrier,
    Limit,
    Force,
}

impl From<Insistence> for Severity {
    fn from(insistence: Insistence) -> Severity {
        match insistence {
            Insistence::Barrier => Severity::Barrier,
            Insistence::Limit => Severity::Limit,
            Insistence::Force => Severity::Force,
        }
    }
}

impl Charge {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        let resource = group.hierarchy().resource(&self.resource)?;
        let severity = Severity::from(self.severity);
        let mut words = self.command.into_iter();
        let Some(program) = words.next() else {
            group.charge_kept(&[(resource, self.amount)], severity)?;
            return Ok(DONE);
        };
        group.charge(resource, self.amount, severity)?;
        // A charge is the process's, and stays it over an exec: whatever ends the
        // command ends the charge, and there is nobody in between who could be killed.
        let error = process::Command::new(&program).args(words).exec();
        Err(Failure::system(&format!("starting {}", program.display()), error))
    }
}
