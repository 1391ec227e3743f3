//! Making the processes of a checkpoint again.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::images::Tree;
use super::program::{self, Running};
use super::{Criu, late};
use crate::backend::{self, BackendKind};
use crate::deadline::{Deadline, Ended, Meanwhile, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process::Stat;
use crate::state::State;

/// How to restore by CRIU.
#[must_use]
pub struct RestoreOptions<'a> {
    criu: Criu<'a>,
}

impl<'a> RestoreOptions<'a> {
    /// Bounds the whole.
    pub fn within(deadline: impl Into<Deadline>) -> RestoreOptions<'a> {
        RestoreOptions { criu: Criu::within(deadline.into()) }
    }

    /// Which CRIU: a path, or a name that is looked up in PATH; `criu`.
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        self.criu.program = program.into();
        self
    }

    /// One argument more for `criu restore`, such as `--tcp-established`.
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

impl fmt::Debug for RestoreOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreOptions").finish_non_exhaustive()
    }
}

/// Makes the processes of a checkpoint again, in a group that is there, empty
/// and THAWED, and returns the number of their root (R4.6).
///
/// They have the numbers that they had, unless they were in a pid namespace of
/// their own, and are in the group from the start. All are in this very group,
/// also those that were in groups below. Whoever was their parent is not it any
/// more: they are the children of init, or of the nearest subreaper. The files
/// that they had open must be there, as long as they were.
///
/// # Errors
///
/// * ENOENT: there is no such CRIU, or no whole checkpoint in the directory.
///   EINVAL: what is there is damaged.
/// * EBUSY: the group is not empty, or not THAWED.
/// * EEXIST: a number that they had is somebody else's, or still that of a process
///   that nobody has waited for by the deadline.
/// * EIO: CRIU failed; its last lines about it are in the message. EOPNOTSUPP: it
///   failed and is older than 4.1.
/// * ETIMEDOUT, EINTR: the deadline has passed, or the caller's function ended it.
/// * ENODEV, EACCES, ECHILD as always.
///
/// After an error nothing runs in the group: whatever is in it by then is killed.
pub fn restore(group: &Group, images: impl AsRef<Path>, options: RestoreOptions<'_>) -> Result<i32> {
    let RestoreOptions { mut criu } = options;
    group.backend()?;
    let program = program::find(&criu.program)?;
    let images = images.as_ref();
    let images =
        std::path::absolute(images).map_err(|error| Error::os(&error, format_args!("finding {}", images.display())))?;
    let tree = Tree::read(&images)?;
    if group.is_populated()? {
        return Err(Error::new(
            libc::EBUSY,
            format!("{group} has processes: a checkpoint is restored into an empty one"),
        ));
    }
    match group.state()? {
        State::Thawed => {}
        state => return Err(Error::new(libc::EBUSY, format!("{group} is {state}: nobody can be restored into it"))),
    }
    wait_for_numbers(&tree, &mut criu)?;
    let desk = Desk::new()?;
    let running = start(group, &images, &program, &mut criu, &desk)?;
    let restored = finish(group, running, &program, &mut criu, &desk).and_then(|root| {
        settle(group, root, &images)?;
        Ok(root)
    });
    restored.map_err(|error| match group.kill(libc::SIGKILL) {
        Ok(()) => error,
        Err(failed) => error.context(format_args!("something may be left in {group} ({failed})")),
    })
}

/// CRIU in the group itself, so that whoever it makes is born there.
fn start(group: &Group, images: &Path, program: &Path, criu: &mut Criu<'_>, desk: &Desk) -> Result<Running> {
    let command = program::command(program, "restore", images, program::log(&desk.log())?)
        .arg("--restore-detached")
        .arg("--work-dir")
        .arg(&desk.0)
        .arg("--pidfile")
        .arg(desk.pid_file())
        .args(std::mem::take(&mut criu.args))
        .session(true)
        .signal_mask(0);
    let child = group.spawn(command).map_err(|error| error.context("starting CRIU"))?;
    Ok(Running::of(child.pid(), child.into_pidfd()))
}

fn finish(group: &Group, running: Running, program: &Path, criu: &mut Criu<'_>, desk: &Desk) -> Result<i32> {
    let deadline = criu.deadline;
    let mut beat = |waited| criu.beat(waited);
    let status = match running.wait(&mut Wait::with(deadline, Some(&mut beat)))? {
        Ok(status) => status,
        Err(ended) => {
            let waited = deadline.elapsed();
            running.kill()?;
            return Err(late(format_args!("restoring into {group}"), waited, ended, false, &desk.log()));
        }
    };
    if !status.success() {
        return Err(program::failure(program, status, &desk.log()).context(format_args!("restoring into {group}")));
    }
    let root = fs::read_to_string(desk.pid_file()).ok().and_then(|pid| pid.trim().parse().ok());
    root.ok_or_else(|| Error::new(libc::EIO, format!("restoring into {group}: CRIU names no root process")))
}

/// What is left to do for a tree that was restored.
fn settle(group: &Group, root: i32, images: &Path) -> Result<()> {
    if group.hierarchy().backend_kind() == BackendKind::Embedded {
        // Known until now as descendants of CRIU, which has gone.
        match group.attach(root) {
            Err(error) if error.is(libc::ESRCH) => {}
            other => other.map_err(|error| error.context("recording the restored tree"))?,
        }
    }
    continue_stopped(group, images)
}

/// A number is free again when whoever had it was waited for, which its parent
/// may do in a moment.
fn wait_for_numbers(tree: &Tree, criu: &mut Criu<'_>) -> Result<()> {
    if tree.has_own_numbers() {
        return Ok(());
    }
    let deadline = criu.deadline;
    let mut beat = |waited| criu.beat(waited);
    let mut wait = Wait::with(deadline, Some(&mut beat));
    for &tid in &tree.tids {
        while let Ok(stat) = Stat::of(tid) {
            if !stat.is_dead() {
                let why = format!("number {tid} of the checkpoint is another's now ({})", stat.command);
                return Err(Error::new(libc::EEXIST, why));
            }
            match wait.pause(Duration::from_millis(5)) {
                Ok(()) => {}
                Err(Ended::Passed) => {
                    let parent = stat.parent;
                    let why = format!(
                        "process {tid} of the checkpoint is dead, but its parent {parent} has not waited for it"
                    );
                    return Err(Error::new(libc::EEXIST, why));
                }
                Err(Ended::Interrupted) => {
                    return Err(Error::new(libc::EINTR, "the wait for the numbers of a checkpoint was interrupted"));
                }
            }
        }
    }
    Ok(())
}

/// In the directory of images: who was stopped by the embedded backend and not
/// by itself, a number a line.
const STOPPED: &str = "stopped-by-freezer";

/// Notes whom a restore has to let go.
pub(super) fn note_stopped(group: &Group, images: &Path) -> Result<()> {
    let backend = group.backend()?;
    let mut text = String::new();
    group.node().walk(&mut |node| {
        for pid in backend.stopped(node)? {
            text.push_str(&format!("{pid}\n"));
        }
        Ok(())
    })?;
    let path = images.join(STOPPED);
    fs::write(&path, text).map_err(|error| Error::os(&error, format_args!("writing {}", path.display())))
}

/// Lets them go, wherever they were restored.
fn continue_stopped(group: &Group, images: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(images.join(STOPPED)) else { return Ok(()) };
    let backend = group.backend()?;
    for pid in text.lines().filter_map(|line| line.parse().ok()) {
        // A file may say anything; only who is in the group is sent a signal.
        if let Some(process) = backend::member(backend, group.node(), pid)? {
            match backend.signal(group.node(), &process, libc::SIGCONT) {
                Err(error) if !error.is(libc::ESRCH) => return Err(error.context("letting the restored processes go")),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A directory for what CRIU writes at a restore: the images may be anywhere,
/// and not ours to write to.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Result<Desk> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cgf-restore-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Error::os(&error, format_args!("making {}", path.display())))?;
        Ok(Desk(path))
    }

    fn log(&self) -> PathBuf {
        self.0.join("restore.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.0.join("pid")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}
