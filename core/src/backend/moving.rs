//! Whom somebody is about to move, told to whoever begins a checkpoint.
//!
//! The kernel moves by number, from wherever the process is by then. A mover asks the
//! group where it saw the process ([`guard`](super::guard)); meanwhile another may have
//! moved it on, into a group whose checkpoint begins now and sees nobody at work there.
//! So movers say whom they move before they look where he is, and in one place for the
//! whole tree; and whoever begins a [`lease`](super::lease), once that can be seen,
//! waits for those who move somebody who is in its group. A mover who comes later finds
//! him there, and is refused. Of mover and lease one at least sees the other again.
//!
//! They say it by a read lock on `cgroup.procs` at the top of the tree, which everybody
//! can open; a mere reader can keep a lease from beginning by that, and is named for it.
//! It does not reach who sees another top: a mover outside of a container that has a
//! cgroup namespace of its own, moving a process into it beside another, while somebody
//! within begins a checkpoint.

use std::collections::HashSet;
use std::fs::File;

use super::Backend;
use super::guard::Guarded;
use super::stage::Whom;
use crate::error::{Error, Result};
use crate::holder::{Holder, MOVED, WORKERS};
use crate::process::{self, Process};
use crate::sys::lock::{self, Mode};

/// How many of those who are moved are looked at. More are not moved at one time.
const MOST: usize = 1000;

/// What we have said, until this is dropped: that we move, as one of the [`WORKERS`], so
/// that what is left of a killed one is known to be void; and whom, as the [`MOVED`].
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub(crate) struct Moving {
    /// `None`: nothing needs to be said, or the file is not ours to open.
    file: Option<File>,
    mover: Holder,
    moved: Vec<u64>,
}

impl Moving {
    /// Somebody who moves, and does not know yet whom.
    pub(crate) fn begin(backend: &dyn Backend) -> Result<Moving> {
        let moving = Moving { file: backend.movers_file()?, mover: backend.this_process(), moved: Vec::new() };
        moving.lock(WORKERS.of(moving.mover))?;
        Ok(moving)
    }

    pub(super) fn of(backend: &dyn Backend, whom: Whom<'_>) -> Result<Moving> {
        let mut moving = Moving::begin(backend)?;
        moving.add(whom.id())?;
        Ok(moving)
    }

    /// From now on this process or thread, too. Only then it is looked where it is.
    pub(super) fn add(&mut self, id: i32) -> Result<()> {
        let byte = MOVED.of(self.mover.beside(id));
        self.lock(byte)?;
        self.moved.push(byte);
        Ok(())
    }

    /// From now on those who are listed, too; of these, whom nobody had moved on before
    /// that was said.
    pub(super) fn add_all(&mut self, list: impl Fn() -> Result<Vec<i32>>) -> Result<Vec<i32>> {
        let before: HashSet<i32> = list()?.into_iter().collect();
        before.iter().try_for_each(|&id| self.add(id))?;
        Ok(list()?.into_iter().filter(|id| before.contains(id)).collect())
    }

    /// They were moved. Whom we move next is still to be said.
    pub(super) fn done(&mut self) {
        for byte in std::mem::take(&mut self.moved) {
            self.unlock(byte);
        }
    }

    fn lock(&self, byte: u64) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        match lock::try_lock(file, byte, Mode::Read) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = "somebody has cgroup.procs at the top of the tree locked, and is not of us";
                Err(Error::new(libc::EBUSY, why))
            }
            Err(errno) => Err(Error::os(errno, "locking cgroup.procs at the top of the tree")),
        }
    }

    /// Closing would not do: a child that another thread forks meanwhile has a copy of the
    /// descriptor.
    fn unlock(&self, byte: u64) {
        let _ = self.file.as_ref().map(|file| lock::unlock(file, byte));
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.done();
        self.unlock(WORKERS.of(self.mover));
    }
}

/// Somebody who is about to move a process of this group, or of one below; and the file that
/// tells so.
pub(super) fn find(group: &Guarded<'_>) -> Result<Option<(File, String)>> {
    let Some(file) = group.backend.movers_file()? else { return Ok(None) };
    let mut found = None;
    for (count, bytes) in MOVED.locked(&file, Mode::Write).enumerate() {
        let bytes = bytes?;
        found = if count == MOST || bytes.end - bytes.start > 1 {
            Some("somebody who has many bytes locked".to_owned())
        } else {
            mover_of(group, Holder::from(bytes.start))?
        };
        if found.is_some() {
            break;
        }
    }
    // Void, if no mover lives.
    if found.is_none() || WORKERS.held(&file, Mode::Write)?.is_none() {
        return Ok(None);
    }
    Ok(found.map(|who| (file, who)))
}

/// By what words who moves this process or thread is known, if its process is in the group.
fn mover_of(group: &Guarded<'_>, whom: Holder) -> Result<Option<String>> {
    let Some(id) = whom.as_seen_by(group.backend.this_process()) else {
        // By that number we cannot find him: he may be one of ours.
        return Ok(Some("somebody who moves a process, in another pid namespace,".to_owned()));
    };
    let Ok(pid) = process::process_of(id) else { return Ok(None) };
    let homes = match Process::open(pid).and_then(|process| group.backend.homes(Whom::Process(&process))) {
        Err(error) if error.is(libc::ESRCH) => return Ok(None),
        homes => homes?,
    };
    let is_in = homes.iter().any(|home| home.path.is_within(&group.whole));
    Ok(is_in.then(|| format!("somebody who moves process {pid}")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::backend::{BackendKind, guard};
    use crate::checkpoint::CheckpointOptions;
    use crate::deadline::{Deadline, Wait};
    use crate::group::{Group, RemoveOptions};
    use crate::hierarchy::Hierarchy;
    use crate::options::Options;

    /// R4.1: somebody has looked where a process is and is about to take it away, when
    /// another moves it into a group whose checkpoint begins. That waits for the first,
    /// and no other does.
    #[test]
    fn a_checkpoint_waits_for_who_is_about_to_move_a_member() {
        for kind in [BackendKind::Cgroup2, BackendKind::Cgroup1] {
            let name = format!("moving-{}", process::this_process());
            let Ok(hierarchy) = Hierarchy::open(&name, &Options::default().backend(kind)) else {
                assert!(std::env::var_os("CGF_DEMAND").is_none(), "{kind} is demanded");
                continue;
            };
            let [group, other] = ["g", "other"].map(|path| hierarchy.create(path).unwrap());
            let inside = hierarchy.create("g/below").unwrap();
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let process = Process::open(child.id() as i32).unwrap();
            let backend = group.backend().unwrap();

            let mut wait = Wait::until(Deadline::after(Duration::from_secs(5)));
            let leave = guard::leave(backend, Whom::Process(&process), &mut wait).unwrap();
            inside.attach(process.pid()).unwrap();
            group.freeze(Duration::from_secs(5)).unwrap();
            other.freeze(Duration::from_secs(5)).unwrap();
            let begin = |group: &Group, ms| {
                group.checkpoint_with(None, CheckpointOptions::default().within(Duration::from_millis(ms)))
            };
            let early = begin(&group, 300).map(drop);
            let elsewhere = begin(&other, 5000).map(drop);
            drop(leave);
            let begun = begin(&group, 5000);
            let late = guard::leave(backend, Whom::Process(&process), &mut wait).map(drop);

            let begun = begun.map(drop);
            group.thaw().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            group.remove_with(RemoveOptions { kill: true, recursive: true }).unwrap();
            other.remove().unwrap();
            hierarchy.unmount().unwrap();
            let early = early.unwrap_err();
            assert_eq!(early.errno(), libc::EBUSY, "{kind}");
            let why = format!("somebody who moves process {}", process.pid());
            assert!(early.to_string().contains(&why), "{kind}: {early}");
            elsewhere.unwrap();
            begun.unwrap();
            assert_eq!(late.unwrap_err().errno(), libc::EBUSY, "{kind}");
        }
    }
}
