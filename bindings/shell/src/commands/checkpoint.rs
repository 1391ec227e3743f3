//! `cgf checkpoint`: hold a group still while an image of it is taken.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{self, ExitStatus};
use std::time::Duration;

use cgf::criu::{self, DumpOptions, Leave};
use cgf::{CheckpointOptions, Deadline, FreezeOptions, Group};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{DONE, exec};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::interrupt;
use crate::progress::Progress;
use crate::target::Subject;
use crate::time_limit::TimeLimit;

/// Take a checkpoint of a group by CRIU, or guard it while a command takes one
///
/// With --images, CRIU (4.1 or newer) writes the processes of the group into a
/// new directory, and ends them; cgf restore makes them again. The directory has
/// its name only when everything is in it. If it fails, or is ended by Ctrl-C,
/// the group is in its former state, and there is no directory.
///
/// With a command, the group is frozen, held in CHECKPOINTING while the command
/// runs, and given its former state back: nobody can thaw it, kill in it or move
/// anybody in or out by libcgf meanwhile. If a task could run all the same the
/// status is 1, and what the command took is worth nothing (ESTALE); else it is
/// the command's own. For a tool that thaws the group itself, --external leaves
/// that proof to the tool.
///
/// Errors: EXDEV: processes below --root are outside of the group. EBUSY: not
/// frozen by the deadline, or held by somebody else's checkpoint. EINVAL: several
/// trees of processes, and no --root. EEXIST: the directory is there already.
/// ETIMEDOUT: CRIU did not finish within the deadline. EIO: CRIU failed; its last
/// words are in the message.
///
/// Example: cgf checkpoint jobs:web --images web.images --leave-running
#[derive(Args)]
pub struct Checkpoint {
    #[command(flatten)]
    subject: Subject,

    /// Have CRIU write the processes into this new directory
    #[arg(long, value_name = "DIR", required_unless_present_any = ["command", "break_it"], conflicts_with_all = ["command", "external", "break_it"])]
    images: Option<PathBuf>,

    /// The process whose whole tree is meant [default: the only one of the group without a parent in it]
    #[arg(long, value_name = "PID")]
    root: Option<i32>,

    /// Let the processes run on when their images are written
    #[arg(long, requires = "images", conflicts_with = "leave_frozen")]
    leave_running: bool,

    /// Leave the group frozen when the images are written
    #[arg(long, requires = "images")]
    leave_frozen: bool,

    /// How long the whole may take, or the freeze before a command: 30s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "30s")]
    deadline: TimeLimit,

    /// Which CRIU
    #[arg(long, value_name = "PROGRAM", default_value = "criu", env = "CGF_CRIU")]
    criu: OsString,

    /// An argument for `criu dump`, such as --criu-arg=--tcp-established
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, requires = "images")]
    criu_arg: Vec<OsString>,

    /// The command thaws the group itself: do not prove that no task ran
    #[arg(long, requires = "command")]
    external: bool,

    /// End somebody's checkpoint of the group by force; that fails then (ESTALE)
    #[arg(long = "break", conflicts_with_all = ["command", "root"])]
    break_it: bool,

    /// The command to run meanwhile, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Checkpoint {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        let group = self.subject.open(hierarchies)?;
        if self.break_it {
            group.break_checkpoint()?;
            return Ok(DONE);
        }
        // Ended by a signal we would leave the group frozen, or CRIU on its own.
        interrupt::note_signals()?;
        match self.images.clone() {
            Some(images) => self.dump(&group, images),
            None => self.guard(&group),
        }
    }

    fn dump(self, group: &Group, images: PathBuf) -> Result<u8, Failure> {
        let TimeLimit(limit) = self.deadline;
        let mut progress = Progress::new(format!("checkpointing {}", self.subject), limit);
        let mut meanwhile = |waited: Duration| {
            progress.beat(waited);
            interrupt::heed()
        };
        let leave = match (self.leave_running, self.leave_frozen) {
            (true, _) => Leave::Running,
            (_, true) => Leave::Frozen,
            _ => Leave::Kill,
        };
        let mut options = DumpOptions::within(limit).leave(leave).program(self.criu).meanwhile(&mut meanwhile);
        if let Some(root) = self.root {
            options = options.root(root);
        }
        for arg in self.criu_arg {
            options = options.arg(arg);
        }
        let taken = criu::dump(group, images, options);
        // Takes its line away before anything else is printed.
        drop(progress);
        taken?;
        Ok(DONE)
    }

    fn guard(self, group: &Group) -> Result<u8, Failure> {
        let deadline = Deadline::from(self.deadline.0);
        let was_frozen = group.is_self_freezing()?;
        let mut progress = Progress::new(format!("freezing {}", self.subject), self.deadline.0);
        let mut meanwhile = |waited: Duration| {
            progress.beat(waited);
            interrupt::heed()
        };
        let frozen = group.freeze_with(FreezeOptions::within(deadline).rollback(true).meanwhile(&mut meanwhile));
        drop(progress);
        frozen?;
        let guarded = guarded(group, self.root, self.external, deadline, self.command);
        let thawed = if was_frozen { Ok(()) } else { group.thaw() };
        let status = guarded?;
        thawed?;
        Ok(status)
    }
}

/// Runs the command while the group is held.
fn guarded(
    group: &Group,
    root: Option<i32>,
    external: bool,
    deadline: Deadline,
    command: Vec<OsString>,
) -> Result<u8, Failure> {
    let options = CheckpointOptions::default().within(deadline).external(external);
    let guard = group.checkpoint_with(root, options)?;
    let ran = run(command);
    // What was taken while a task ran is worth nothing, whatever the command says.
    guard.end()?;
    ran.map(exec::as_shell)
}

/// Runs a program to its end. What the terminal sends reaches it by itself; what
/// only we are sent is passed on.
fn run(command: Vec<OsString>) -> Result<ExitStatus, Failure> {
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    let started = process::Command::new(&program).args(words).spawn();
    let mut child = started.map_err(|error| Failure::system(&format!("starting {}", program.display()), error))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut passed_on = false;
    while let Some(pidfd) = &pidfd {
        let beat = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        if matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&beat)), Ok(1)) {
            break;
        }
        if !passed_on && let Some(signal) = interrupt::came().filter(|&signal| signal != libc::SIGINT) {
            passed_on = true;
            if let Some(signal) = Signal::from_named_raw(signal) {
                let _ = pidfd_send_signal(pidfd, signal);
            }
        }
    }
    child.wait().map_err(|error| Failure::system("waiting for the command", error))
}
