//! `cgf enter`: a command in some of a group's namespaces.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process;

use cgf::Namespaces;
use clap::Args;

use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// Run a command in some of a group's namespaces
///
/// The command comes into the group's namespaces of these kinds and into no others,
/// and is not in the group (see cgf exec). It takes the place of `cgf enter`: the exit
/// status is the command's own; 1 with a line on standard error if it could not be
/// started. A group is bound to kinds by `cgf set GROUP ns.types net,uts`.
///
/// pid and time hold for what the command starts, not for itself. With mnt the
/// command is looked up in there, and begins in its root directory.
///
/// Errors: EINVAL: the group is not bound to one of the kinds. ESRCH: nobody is in the
/// group. EPERM: it takes CAP_SYS_ADMIN in the user namespace that the others belong
/// to. ENOENT: no such group, or no such command. EOPNOTSUPP: the hierarchy is not bound
/// to namespace, as by `cgf create -o freezer,signal,namespace`.
///
/// Example: cgf enter jobs:web --namespaces net -- ip addr
#[derive(Args)]
pub struct Enter {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// Which: of cgroup, ipc, mnt, net, pid, time, user and uts
    #[arg(long, value_name = "KINDS", required = true)]
    namespaces: Namespaces,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Enter {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        hierarchies.group(&self.group)?.enter(self.namespaces)?;
        let mut words = self.command.into_iter();
        let program = words.next().unwrap_or_default();
        let error = process::Command::new(&program).args(words).exec();
        Err(Failure::system(&format!("starting {}", program.display()), error))
    }
}
