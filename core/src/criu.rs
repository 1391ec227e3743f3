//! Checkpoints of groups, taken and restored by CRIU.
//!
//! [CRIU](https://criu.org) writes the processes of a group into a directory of
//! images and makes them again from it. [`dump`] freezes the group, guards it
//! against everybody else who uses this library (R4.5), has CRIU do its work, and
//! gives the group its former state back whatever happens; [`restore`] makes the
//! processes again in an empty group (R4.6).
//!
//! ```no_run
//! use std::time::Duration;
//! use cgf::criu::{self, DumpOptions, RestoreOptions};
//!
//! # fn main() -> cgf::Result<()> {
//! # let jobs = cgf::Hierarchy::open("jobs", &cgf::Options::default())?;
//! # let web = jobs.open_group("web")?;
//! criu::dump(&web, "web.images", DumpOptions::within(Duration::from_secs(30)))?;
//! // … the processes are gone; perhaps the machine was restarted …
//! let root = criu::restore(&web, "web.images", RestoreOptions::within(Duration::from_secs(30)))?;
//! println!("goes on as process {root}");
//! # Ok(())
//! # }
//! ```
//!
//! CRIU 4.1 or newer has to be installed, and needs root or CAP_CHECKPOINT_RESTORE
//! with what else it asks for. It runs as a child process in a session of its own.
//! Whether the processes run while their image is taken is CRIU's to see to: it
//! holds them by ptrace and lets the freezer go meanwhile. The lease holds off
//! who uses this library, and nobody else.

mod images;
mod program;
mod restore;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use crate::backend::BackendKind;
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::deadline::{Deadline, Ended, Meanwhile, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::outer;
use crate::process::{self, Stat};
use crate::state::State;
use crate::subsystems::freezer::FreezeOptions;
use images::{Draft, Tree};
use program::Running;

pub use restore::{RestoreOptions, restore};

/// What becomes of the processes once their images are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leave {
    /// CRIU ends them; the group stays, empty and THAWED.
    #[default]
    Kill,
    /// They run on, also if the group was FROZEN before.
    Running,
    /// The group is FROZEN, as it was when the images were taken.
    Frozen,
}

/// How to take a checkpoint by CRIU.
#[must_use]
pub struct DumpOptions<'a> {
    root: Option<i32>,
    leave: Leave,
    criu: Criu<'a>,
}

/// What both ways of running CRIU are told.
struct Criu<'a> {
    program: OsString,
    args: Vec<OsString>,
    deadline: Deadline,
    meanwhile: Option<&'a mut Meanwhile<'a>>,
}

impl Criu<'_> {
    fn within(deadline: Deadline) -> Self {
        Criu { program: "criu".into(), args: Vec::new(), deadline, meanwhile: None }
    }

    /// The caller's function, for each of the waits.
    fn beat(&mut self, waited: Duration) -> ControlFlow<()> {
        self.meanwhile.as_mut().map_or(ControlFlow::Continue(()), |meanwhile| meanwhile(waited))
    }
}

impl<'a> DumpOptions<'a> {
    /// Bounds the whole: freezing, CRIU's work, and what comes after. When the
    /// time is up CRIU may take 5 s more to let go of the processes.
    pub fn within(deadline: impl Into<Deadline>) -> DumpOptions<'a> {
        DumpOptions { root: None, leave: Leave::default(), criu: Criu::within(deadline.into()) }
    }

    /// The process whose whole tree is to be taken. Without it, the one of the
    /// group (or of a group below) whose parent is not among them.
    pub fn root(mut self, pid: i32) -> Self {
        self.root = Some(pid);
        self
    }

    /// What becomes of the processes; [`Leave::Kill`].
    pub fn leave(mut self, leave: Leave) -> Self {
        self.leave = leave;
        self
    }

    /// Which CRIU: a path, or a name that is looked up in PATH; `criu`.
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        self.criu.program = program.into();
        self
    }

    /// One argument more for `criu dump`, such as `--tcp-established`,
    /// `--shell-job` or `-v4`.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.criu.args.push(arg.into());
        self
    }

    /// Called about every 50 ms, with the time that has passed. `Break` ends it
    /// as a missed deadline does, with EINTR.
    pub fn meanwhile(mut self, meanwhile: &'a mut Meanwhile<'a>) -> Self {
        self.criu.meanwhile = Some(meanwhile);
        self
    }
}

impl fmt::Debug for DumpOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DumpOptions").field("root", &self.root).field("leave", &self.leave).finish_non_exhaustive()
    }
}

/// Takes a checkpoint of the processes of a group by CRIU, into a directory
/// that must not be there yet (R4.6).
///
/// The directory has its name only once everything is in it; CRIU's log is
/// `dump.log` in it. After an error there is no such directory, and the group is
/// in its former state. On the embedded backend the processes are taken stopped,
/// as they are, and [`restore`] lets them go on.
///
/// # Errors
///
/// * ENOENT: there is no such CRIU, or no directory to make the images in.
/// * EEXIST: the directory is there already.
/// * EINVAL: the group has several trees of processes, and no root was given
///   (they are named), or none was found in it. ESRCH: no such root.
/// * EBUSY, ECANCELED, EDEADLK: as [`freeze`](Group::freeze) says it; EBUSY also:
///   somebody else's checkpoint holds the group, a group above it is frozen, or
///   one of the processes is traced, so that CRIU cannot. EXDEV: processes of the
///   tree are outside of the group ([`Error::blockers`]).
/// * ETIMEDOUT, EINTR: the deadline has passed, or the caller's function ended it.
///   CRIU was made to let go first; where it would not within 5 s it was killed,
///   and the message says so: then its code may still be in some process.
/// * ESTALE: somebody has ended the guard by force ([`break_checkpoint`](Group::break_checkpoint)).
///   If CRIU has succeeded all the same, the images are there.
/// * EIO: CRIU failed; its last lines about it are in the message. EOPNOTSUPP: it
///   failed and is older than 4.1.
/// * ENODEV, EACCES, ECHILD as always.
///
/// If the caller itself is killed meanwhile, CRIU goes on to its end, and what it
/// wrote is in a directory `.NAME.cgf-…` beside the one that was to be.
pub fn dump(group: &Group, images: impl AsRef<Path>, options: DumpOptions<'_>) -> Result<()> {
    let DumpOptions { root, leave, mut criu } = options;
    group.backend()?;
    group.hierarchy().needs("freezer")?;
    let program = program::find(&criu.program)?;
    let mut draft = Draft::begin(images.as_ref())?;
    let root = match root {
        Some(root) => root,
        None => root_of(group)?,
    };
    // Its own parent (hold=parent) is frozen and thawed with it.
    let outer = outer::of(group)?;
    if outer.as_ref().unwrap_or(group).is_parent_freezing()? {
        let why = format!("a group above {group} is frozen, and CRIU could not let its processes go: thaw that first");
        return Err(Error::new(libc::EBUSY, why));
    }

    let was_frozen = group.is_self_freezing()?;
    let deadline = criu.deadline;
    let mut beat = |waited| criu.beat(waited);
    group.freeze_with(FreezeOptions::within(deadline).rollback(true).meanwhile(&mut beat))?;
    let (taken, ended) = match begin(group, root, criu.deadline) {
        Ok(guard) => {
            let taken = run(&guard, root, leave, &program, &mut criu, &draft);
            (taken.and_then(|()| Tree::read(draft.path()).map(drop)), guard.end().map(drop))
        }
        Err(error) => (Err(error), Ok(())),
    };
    if taken.is_ok() && leave == Leave::Kill {
        draft.keep();
    }
    // The state that was asked for, or the former one. CRIU, or the end of the
    // guard, has left it FROZEN, or it has lost its processes.
    let stays_frozen = if taken.is_ok() { leave == Leave::Frozen } else { was_frozen };
    let settled = if stays_frozen { settle_frozen(group) } else { group.thaw() };
    // Somebody may have ended the guard by force: that is told, and changes nothing
    // about what is put right.
    let settled = ended.and(settled);
    match (taken, settled) {
        (Ok(()), Ok(())) => draft.publish(),
        (Ok(()), Err(failed)) => {
            let published = draft.publish().err().map_or(String::new(), |error| format!("; {error}"));
            Err(failed.context(format_args!("the checkpoint was taken, but {group} is not as it should be{published}")))
        }
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(failed)) => Err(error.context(format_args!("giving {group} its former state back: {failed}"))),
    }
}

/// From here on nobody else of this library may touch the group.
fn begin(group: &Group, root: i32, deadline: Deadline) -> Result<Checkpoint> {
    nobody_else_traces(group)?;
    group.checkpoint_with(Some(root), CheckpointOptions::default().within(deadline).external(true))
}

fn run(guard: &Checkpoint, root: i32, leave: Leave, program: &Path, criu: &mut Criu<'_>, draft: &Draft) -> Result<()> {
    let group = guard.group();
    let log = draft.path().join("dump.log");
    let mut command =
        program::command(program, "dump", draft.path(), program::log(&log)?).arg("--tree").arg(root.to_string());
    let is_embedded = group.hierarchy().backend_kind() == BackendKind::Embedded;
    if is_embedded {
        // Stopped by signals, they are taken as they stand; who runs on after
        // the thaw has to run on after a restore.
        restore::note_stopped(group, draft.path())?;
    } else {
        command = command.arg("--freeze-cgroup").arg(directory(group)?);
    }
    if leave != Leave::Kill {
        command = command.arg("--leave-running");
    }
    if let Some(left) = criu.deadline.remaining() {
        // In whole seconds, and only for the freezing; the rest is ours.
        command = command.arg("--timeout").arg(left.as_secs().saturating_add(1).to_string());
    }
    let deadline = criu.deadline;
    let running = Running::start(command.args(std::mem::take(&mut criu.args)), deadline)?;
    let mut beat = |waited| criu.beat(waited);
    match running.wait(&mut Wait::with(deadline, Some(&mut beat)))? {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(program::failure(program, status, &log).context(format_args!("checkpointing {group}"))),
        Err(ended) => {
            let waited = deadline.elapsed();
            // Somebody may have written FROZEN to the kernel's file, so that CRIU's
            // code in the processes does not answer any more.
            let free = || {
                if !is_embedded {
                    let _ = group.thaw();
                }
            };
            match running.stop_gently(free)? {
                // It was done just when its time was up.
                Some(status) if status.success() => Ok(()),
                status => Err(late(format_args!("checkpointing {group}"), waited, ended, status.is_none(), &log)),
            }
        }
    }
}

/// The error of a CRIU that was not let finish.
fn late(what: fmt::Arguments<'_>, waited: Duration, ended: Ended, was_killed: bool, log: &Path) -> Error {
    let waited = waited.as_millis();
    let (errno, how) = match ended {
        Ended::Passed => (libc::ETIMEDOUT, "did not finish within"),
        Ended::Interrupted => (libc::EINTR, "was interrupted after"),
    };
    let mut why = format!("{what}: CRIU {how} {waited} ms");
    if was_killed {
        why.push_str(", did not let go either, and was killed: its code may still be in a process");
    }
    Error::new(errno, program::with_errors(why, log))
}

/// FROZEN is what was promised: where CRIU or a killed one left something else,
/// it is asked for again.
fn settle_frozen(group: &Group) -> Result<()> {
    match group.state()? {
        State::Frozen => Ok(()),
        _ => group.freeze(group.hierarchy().deadline()),
    }
}

/// The group's directory by its name in the file system, which is how CRIU
/// takes it.
fn directory(group: &Group) -> Result<OsString> {
    use std::os::fd::AsRawFd;
    let fd = group.directory_fd()?;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let path = fs::read_link(link).map_err(|error| Error::os(&error, "finding the group's directory"))?;
    Ok(path.into_os_string())
}

/// Everybody in the group and below.
fn everybody(group: &Group) -> Result<Vec<i32>> {
    let backend = group.backend()?;
    let mut pids = Vec::new();
    group.node().walk(&mut |node| {
        pids.extend(backend.procs(node)?);
        Ok(())
    })?;
    pids.retain(|&pid| pid > 0);
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The only process whose parent is not in the group with it.
fn root_of(group: &Group) -> Result<i32> {
    let pids = everybody(group)?;
    let is_root = |&pid: &i32| {
        let stat = Stat::of(pid);
        // Who has ended is nobody's root, even if it is still listed.
        stat.is_ok_and(|stat| stat.is_alive() && pids.binary_search(&stat.parent).is_err())
    };
    let roots: Vec<i32> = pids.iter().copied().filter(is_root).collect();
    match roots[..] {
        [root] => Ok(root),
        [] => Err(Error::new(libc::EINVAL, format!("{group} has no process to take a checkpoint of"))),
        _ => {
            let mut shown: Vec<String> = roots.iter().take(5).map(i32::to_string).collect();
            if roots.len() > 5 {
                shown.push("…".to_owned());
            }
            let shown = shown.join(", ");
            let why = format!(
                "{group} has several trees of processes, and a checkpoint takes one: name its root, of {shown}"
            );
            Err(Error::new(libc::EINVAL, why))
        }
    }
}

/// A process has one tracer at most, and CRIU has to be it.
fn nobody_else_traces(group: &Group) -> Result<()> {
    for pid in everybody(group)? {
        let status = process::read(&format!("/proc/{pid}/status")).unwrap_or_default();
        let tracer = process::field(&status, "TracerPid:").and_then(|tracer| tracer.parse::<i32>().ok());
        if let Some(tracer) = tracer.filter(|&tracer| tracer != 0) {
            let why = format!(
                "process {pid} of {group} is traced by {tracer} (a debugger, or stop=ptrace), so CRIU cannot take it"
            );
            return Err(Error::new(libc::EBUSY, why));
        }
    }
    Ok(())
}
