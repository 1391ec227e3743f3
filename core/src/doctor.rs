//! Which backend works here, and why the others do not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::BackendKind;
use crate::error::{Error, Result};
use crate::group::{Group, RemoveOptions};
use crate::hierarchy::Hierarchy;
use crate::options::Options;
use crate::place::place;
use crate::state::State;
use crate::sys::spawn::Plan;

/// What was found out about one backend.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The backend.
    pub backend: BackendKind,
    /// Where a hierarchy of the name `NAME` lies: this directory and `NAME`.
    pub place: Result<PathBuf>,
    /// Whether the trial went through, and if not, where it ended.
    pub trial: Result<()>,
}

/// Tries every backend: makes a group, starts a process in it, freezes, thaws,
/// kills and removes it. `backend=auto` takes the first one for which that works.
///
/// Takes some milliseconds, makes a child process for each, and leaves nothing.
pub fn doctor() -> Vec<Finding> {
    BackendKind::ALL
        .into_iter()
        .map(|backend| Finding { backend, place: place(backend, None), trial: trial(backend) })
        .collect()
}

/// The choice of `backend=auto` for a hierarchy that does not exist yet.
pub(crate) fn first_that_works() -> Result<BackendKind> {
    let mut reasons = Vec::new();
    for backend in BackendKind::ALL {
        match trial(backend) {
            Ok(()) => return Ok(backend),
            Err(error) => reasons.push(format!("{backend}: {error}")),
        }
    }
    Err(Error::new(libc::ENODEV, format!("no backend works here: {}", reasons.join("; "))))
}

/// How long each step of a trial may take.
const STEP: Duration = Duration::from_secs(2);

fn trial(backend: BackendKind) -> Result<()> {
    // By chance and not by pid, which another pid namespace on the same tree has
    // too, and a killed trial may have left.
    let mut number = [0_u8; 8];
    let drawn = rustix::rand::getrandom(&mut number[..], rustix::rand::GetRandomFlags::empty());
    drawn.map_err(|errno| Error::os(errno, "drawing a random number"))?;
    let name = OsString::from(format!("trial-{:016x}", u64::from_ne_bytes(number)));
    let options = Options::default().backend(backend).deadline(STEP);
    let hierarchy = Hierarchy::open_on(backend, &name, &options).map_err(|error| error.context("making a group"))?;
    let tried = try_out(&hierarchy);
    let ended = hierarchy.unmount().map_err(|error| error.context("ending the trial"));
    tried.and(ended)
}

fn try_out(hierarchy: &Hierarchy) -> Result<()> {
    let group = hierarchy.create("trial").map_err(|error| error.context("making a group"))?;
    let tried = try_group(&group);
    let removed = group.remove_with(RemoveOptions { kill: true, recursive: true });
    tried.and(removed.map_err(|error| error.context("removing the group")))
}

fn try_group(group: &Group) -> Result<()> {
    let child =
        group.create_process(&Plan::nothing()).map_err(|error| error.context("starting a process in the group"))?;
    group.freeze(STEP).map_err(|error| error.context("freezing the group"))?;
    let state = group.state()?;
    if state != State::Frozen {
        return Err(Error::new(libc::EIO, format!("the group was frozen and says {state}")));
    }
    group.thaw().map_err(|error| error.context("thawing the group"))?;
    group.kill(libc::SIGKILL).map_err(|error| error.context("killing the process"))?;
    drop(child);
    Ok(())
}
