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
//! It does not reach who sees another top (in a cgroup namespace, or by a mount of a part
//! of the tree): a mover outside, taking away a process that another moves into a group
//! inside, while somebody inside begins a checkpoint. Nor is it said by who brings back what
//! was moved by a recycled number.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;

use super::Backend;
use super::guard::Guarded;
use super::stage::Whom;
use crate::error::{Error, Result};
use crate::holder::{Holder, MOVED, WORKERS};
use crate::process::{self, Process};
use crate::sys::Errno;
use crate::sys::lock::{self, Mode};

/// How many are said to be moved at one time by one mover: each costs a look over all locks.
const AT_ONCE: usize = 256;

/// How many of them a beginning lease looks at. So many movers do not come together.
const MOST: usize = 4 * AT_ONCE;

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
    /// Somebody who is going to move, and has said of nobody so far. What may fail for want of
    /// a descriptor has not failed.
    pub(crate) fn begin(backend: &dyn Backend) -> Result<Moving> {
        Ok(Moving { file: backend.movers_file()?, mover: backend.this_process(), moved: Vec::new() })
    }

    pub(super) fn of(backend: &dyn Backend, whom: Whom<'_>) -> Result<Moving> {
        let mut moving = Moving::begin(backend)?;
        moving.add(whom.id())?;
        Ok(moving)
    }

    /// From now on this process or thread. Only then it is looked where it is.
    pub(super) fn add(&mut self, id: i32) -> Result<()> {
        if self.moved.is_empty() {
            self.lock(WORKERS.of(self.mover))?;
        }
        let byte = MOVED.of(self.mover.beside(id));
        self.moved.push(byte);
        self.lock(byte)
    }

    /// Moves each of those who are listed, but whom somebody moved on before it was said.
    pub(super) fn each(
        &mut self,
        list: &dyn Fn() -> Result<Vec<i32>>,
        mut place: impl FnMut(i32) -> Result<()>,
    ) -> Result<()> {
        for some in list()?.chunks(AT_ONCE) {
            let said = some.iter().try_for_each(|&id| self.add(id));
            let placed = said.and_then(|()| {
                let there: HashSet<i32> = list()?.into_iter().collect();
                some.iter().filter(|id| there.contains(id)).try_for_each(|&id| place(id))
            });
            self.done();
            placed?;
        }
        Ok(())
    }

    /// They were moved. Whom we move next is still to be said.
    pub(super) fn done(&mut self) {
        if self.moved.is_empty() {
            return;
        }
        for byte in std::mem::take(&mut self.moved) {
            self.unlock(byte);
        }
        self.unlock(WORKERS.of(self.mover));
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
    }
}

/// Somebody who is about to move a process of this group, or of one below: the file that
/// tells so, the bytes of it, and by what words he is known.
pub(super) fn find(group: &Guarded<'_>) -> Result<Option<(File, Range<u64>, String)>> {
    let Some(file) = group.backend.movers_file()? else { return Ok(None) };
    let mut found = None;
    for (count, bytes) in MOVED.locked(&file, Mode::Write).enumerate() {
        let bytes = bytes?;
        let who = if count == MOST || bytes.end - bytes.start > 1 {
            Some("somebody who has many bytes locked".to_owned())
        } else {
            mover_of(group, Holder::from(bytes.start))?
        };
        if let Some(who) = who {
            found = Some((bytes, who));
            break;
        }
    }
    let Some((bytes, who)) = found else { return Ok(None) };
    // Void, if no mover lives.
    let is_void = WORKERS.held(&file, Mode::Write)?.is_none();
    Ok((!is_void).then_some((file, bytes, who)))
}

/// By what words who moves this process or thread is known, if its process is in the group.
fn mover_of(group: &Guarded<'_>, whom: Holder) -> Result<Option<String>> {
    let Some(id) = whom.as_seen_by(group.backend.this_process()) else {
        let is_in = may_be_in(group, whom.number())?;
        return Ok(is_in.then(|| "somebody who moves a process, in another pid namespace,".to_owned()));
    };
    let pid = match process::process_of(id) {
        Ok(pid) => pid,
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(Error::os(errno, format_args!("looking at {id}, which is moved"))),
    };
    let homes = match Process::open(pid).and_then(|process| group.backend.homes(Whom::Process(&process))) {
        Err(error) if error.is(libc::ESRCH) => return Ok(None),
        homes => homes?,
    };
    let is_in = homes.iter().any(|home| home.path.is_within(&group.whole));
    Ok(is_in.then(|| format!("somebody who moves process {pid}")))
}

/// Whether a member may have this number in another pid namespace: it is known only of those
/// below ours, which from the first one all are. Of members whom we do not see it is not, either.
fn may_be_in(group: &Guarded<'_>, number: i32) -> Result<bool> {
    let mut found = !process::sees_all_namespaces();
    if !found {
        group.node.walk(&mut |node| {
            for tid in group.backend.tasks(node)? {
                found = found || tid <= 0 || process::numbers_of(tid).contains(&number);
            }
            Ok(())
        })?;
    }
    Ok(found)
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
