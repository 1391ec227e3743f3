//! `cgf exec`: a program in a group, from its first instruction.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use cgf::{Child, Deadline, Group, Namespaces, Spawn};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::create::create;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::janitor::{Extent, Janitor, clear_away};
use crate::target::Target;

/// Run a program in a group and wait for it
///
/// The program and everything it starts is in the group from the first
/// instruction on. The exit status is the program's own, or 128 plus the number
/// of the signal that ended it; 1 with a line on standard error if it could not
/// be started. Signals are not passed on: what a terminal sends (Ctrl-C) reaches
/// the program by itself, except on the embedded backend, where it runs in a
/// session of its own. Without --rm, who ends `cgf exec` does not end the program:
/// cgf kill does.
///
/// Errors: ENOENT: no such group (see --create), or no such program. EBUSY: the
/// group is frozen. EPERM: the group is bound to namespaces that the program is not in.
///
/// Example: cgf exec --create --rm tests:run1 -- make check
#[derive(Args)]
pub struct Exec {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// Make the group (and the hierarchy) if there is none
    #[arg(long)]
    create: bool,

    /// When the program has ended, kill what is left in the group and remove it
    ///
    /// A hierarchy that --create made is ended too, if nothing else is in it. The
    /// same happens at once, the program included, if `cgf exec` itself is ended,
    /// be it by Ctrl-C or SIGKILL.
    #[arg(long)]
    rm: bool,

    /// Be in the group's namespaces of these kinds, or make them if nobody is in it
    ///
    /// Kinds that the group is bound to, with commas between them: `cgf set GROUP
    /// ns.types net,uts`. The program is started in the group's; if nobody is in the
    /// group, in new ones that are the group's from then on. Not pid and time, which a
    /// process cannot change for itself.
    #[arg(long, value_name = "KINDS", default_value = "", hide_default_value = true)]
    namespaces: Namespaces,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        let (group, made_hierarchy) = self.open(hierarchies)?;
        if !self.rm {
            return run(&group, self.namespaces, self.command);
        }
        let extent = if made_hierarchy { Extent::HierarchyToo } else { Extent::Group };
        let janitor = Janitor::hire(hierarchies, &self.group, extent)?;
        let ran = run(&group, self.namespaces, self.command);
        let cleared = clear_away(&group, extent);
        janitor.dismiss();
        match (ran, cleared) {
            // Nobody shall take what could not be cleaned up for a success,
            // but the program's own word comes first.
            (Ok(0), Err(failure)) => Err(failure),
            (ran, _) => ran,
        }
    }

    fn open(&self, hierarchies: &Hierarchies) -> Result<(Group, bool), Failure> {
        if !self.create {
            return Ok((hierarchies.group(&self.group)?, false));
        }
        match create(hierarchies, &self.group) {
            Err(failure) if failure.is(libc::EEXIST) => Ok((hierarchies.group(&self.group)?, false)),
            other => other,
        }
    }
}

fn run(group: &Group, namespaces: Namespaces, command: Vec<OsString>) -> Result<u8, Failure> {
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    // We ignore SIGPIPE; the program shall find it as we did.
    let child = group.spawn(Spawn::new(program).args(words).namespaces(namespaces).restore_signals(true))?;
    wait_for_end(&child)?;
    // The embedded backend knows what a program left behind by the program:
    // before it is waited for, and so forgotten, everybody is listed once.
    let _ = group.procs();
    match child.wait(Deadline::never())? {
        Some(status) => Ok(as_shell(status)),
        None => Err(Failure::plain(format!("process {} was not waited for to its end", child.pid()))),
    }
}

/// Returns when the program has ended, and leaves it to be waited for.
fn wait_for_end(child: &Child) -> Result<(), Failure> {
    loop {
        match poll(&mut [PollFd::new(child, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::system("waiting for the program", errno)),
        }
    }
}

pub fn as_shell(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1)
}
