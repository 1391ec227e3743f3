//! Ending a group of version 1, where what is frozen does not die.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use super::{Cgroup1, put, put_state, read_state, refused};
use crate::backend::{
    Backend, KILLING, Node, Outcome, holds_others, kill_caller, kill_listed, member, moving::Moving, passing::Passing,
    send,
};
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::state::State;
use crate::sys::Errno;
use crate::sys::dir::write_once;
use crate::sys::lock::{self, Mode as Lock};

/// How long others are waited for who have the killer's byte locked and cannot be
/// killers, for those lock it for writing. A mere reader keeps nobody from killing.
const READERS: Duration = Duration::from_millis(100);

impl Cgroup1 {
    /// Kills when nobody else is killing here, above or below: two who each hold
    /// still, let go and put back would each put back what the other did.
    pub(super) fn take_turn_and_kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let file = self.state_file(group)?;
        let failed = |errno| group.failed(errno, "locking freezer.state");
        let patience = Deadline::after(READERS);
        loop {
            let has_turn = lock::try_lock(&file, KILLING, Lock::Write).map_err(failed)?
                || (patience.passed() && !lock::is_locked(&file, KILLING, Lock::Read).map_err(failed)?);
            if has_turn {
                // Who kills above goes first: we would wait for each other else.
                if !self.is_killed_above(group)? {
                    break;
                }
                lock::unlock(&file, KILLING).map_err(failed)?;
            }
            if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                return Ok(Outcome::Ended(ended));
            }
        }
        while self.is_killed_below(group)? {
            if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                return Ok(Outcome::Ended(ended));
            }
        }
        let outcome = match self.is_asked_above(group)? {
            true => self.kill_below_frozen(group, wait),
            false => self.hold_kill_release(group, wait),
        };
        // Not left to the closing of the file: a child that another thread
        // forks meanwhile has a copy of it.
        let _ = lock::unlock(&file, KILLING);
        outcome
    }

    /// Whether somebody kills this group, or one above it.
    pub(super) fn is_being_killed(&self, group: &Node, state: &File) -> Result<bool> {
        let locked = lock::is_locked(state, KILLING, Lock::Read);
        Ok(locked.map_err(|errno| group.failed(errno, "looking at the locks"))? || self.is_killed_above(group)?)
    }

    fn is_killed_above(&self, group: &Node) -> Result<bool> {
        let (top, above) = self.tree.above(&group.path);
        for path in above.iter().filter(|path| !path.is_root()) {
            let state = top.open_dir(path.as_path()).and_then(|dir| dir.open_file("freezer.state", OFlags::RDONLY));
            match state.and_then(|file| lock::is_locked(&file, KILLING, Lock::Read)) {
                Ok(true) => return Ok(true),
                // What is above a delegated directory may be hidden from us.
                Ok(false) | Err(Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => return Err(group.failed(errno, "looking at the locks above")),
            }
        }
        Ok(false)
    }

    fn is_killed_below(&self, group: &Node) -> Result<bool> {
        let mut found = false;
        for child in group.every_child()? {
            child?.walk(&mut |node| {
                let state: File = self.state_file(node)?;
                let locked = lock::is_locked(&state, KILLING, Lock::Read);
                found |= locked.map_err(|errno| node.failed(errno, "looking at the locks"))?;
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// SIGKILL stays pending on a frozen task of version 1. So: hold the group
    /// still, so that nothing is born unseen; kill; let everything go, frozen
    /// children included, to die; freeze again what was frozen.
    ///
    /// A task that does not freeze (it waits for a dead file server, say) is no
    /// reason not to kill the others, so the hold is not waited for long.
    fn hold_kill_release(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let frozen = self.asked_within(group)?;
        let inside = self.holds_caller(group)?;
        let outcome = self.kill_in_rounds(group, wait, inside);
        // Also after a failure: what was frozen before is frozen again, all of it.
        let mut refrozen = Ok(());
        for node in &frozen {
            let again = put_state(&node.dir, "FROZEN").map_err(|errno| node.failed(errno, "freezing again"));
            refrozen = refrozen.and(again.or_else(gone_is_fine));
        }
        let outcome = outcome?;
        refrozen?;
        if inside {
            kill_caller()?;
        }
        Ok(outcome)
    }

    fn kill_in_rounds(&self, group: &Node, wait: &mut Wait<'_>, inside: bool) -> Result<Outcome> {
        loop {
            if !inside {
                let mut hold = Wait::until(Deadline::after(wait.deadline().at_most(Duration::from_millis(50))));
                self.hold_still(group, &mut hold)?;
            }
            let killed = kill_listed(self, group);
            let released =
                group.walk(&mut |node| put_state(&node.dir, "THAWED").map_err(|errno| node.failed(errno, "thawing")));
            released?;
            // The dying need a moment; only who is still there after it, or was
            // born in a group that could not be held, needs another round.
            let round = Deadline::after(Duration::from_millis(20));
            while !round.passed() {
                if !holds_others(self, group)? {
                    return Ok(Outcome::Done);
                }
                if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                    return Ok(Outcome::Ended(ended));
                }
            }
            // Whom we may not kill will not go; the others have.
            killed?;
        }
    }

    /// For a killer, whom no checkpoint stands in the way of.
    fn hold_still(&self, group: &Node, wait: &mut Wait<'_>) -> Result<()> {
        let state = self.state_file(group)?;
        let failed = |errno| group.failed(errno, "freezing");
        write_once(&state, b"FROZEN").map_err(failed)?;
        self.wait_until_frozen(group, &state, false, wait).map(drop).inspect_err(|_| {
            let _ = write_once(&state, b"THAWED");
        })
    }

    /// Below a frozen ancestor nothing can be let go in place: the victims are
    /// moved to a passing group beside the topmost frozen one, and die there.
    fn kill_below_frozen(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let (top, above) = self.tree.above(&group.path);
        let mut beside = None;
        for path in above.iter().filter(|path| !path.is_root()) {
            let dir = top.open_dir(path.as_path()).map_err(|errno| group.failed(errno, "opening the groups above"))?;
            if read_state(
                &dir.open_file("freezer.state", OFlags::RDONLY)
                    .map_err(|errno| group.failed(errno, "reading freezer.state above"))?,
            ) != Ok(State::Thawed)
            {
                beside = path.parent();
            }
        }
        let Some(beside) = beside else {
            // The ancestor was thawed meanwhile.
            return self.hold_kill_release(group, wait);
        };
        let failed = |errno| {
            Error::os(
                errno,
                format_args!("making a group beside the frozen one, in {beside}, for the killed to die in"),
            )
        };
        let parent = if beside.is_root() { top.open_dir(".") } else { top.open_dir(beside.as_path()) };
        // It stays if somebody does not die in time; the next one who comes by
        // sweeps it.
        let dying = parent.and_then(|dir| Passing::create(&dir, self.freeze_file(), "dying")).map_err(failed)?;
        loop {
            let mut move_error = None;
            group.walk(&mut |node| {
                Moving::begin(self)?.each(&|| self.procs(node), |pid| {
                    let Some(process) = member(self, node, pid)? else { return Ok(()) };
                    send(&process, libc::SIGKILL).or_else(gone_is_fine)?;
                    match put(&dying.dir, "cgroup.procs", pid) {
                        // Died, and its number is another's, who was moved.
                        Ok(()) if !process.is_there() => self.return_to_parent(pid)?,
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => move_error = Some(refused(node, pid, errno)),
                    }
                    Ok(())
                })
            })?;
            if let Some(error) = move_error {
                return Err(error.context("moving a process out of a frozen group to die"));
            }
            if !self.is_populated(group)? && dying.dir.read("tasks").is_ok_and(|text| text.is_empty()) {
                return Ok(Outcome::Done);
            }
            if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                return Ok(Outcome::Ended(ended));
            }
        }
    }

    /// The groups of this subtree that are asked to freeze themselves.
    fn asked_within(&self, group: &Node) -> Result<Vec<Node>> {
        let mut asked = Vec::new();
        group.walk(&mut |node| {
            if self.is_asked(node)? {
                let dir = node.dir.open_dir(".").map_err(|errno| node.failed(errno, "opening the directory"))?;
                asked.push(Node { dir, path: node.path.clone() });
            }
            Ok(())
        })?;
        Ok(asked)
    }
}

fn gone_is_fine(error: Error) -> Result<()> {
    if error.is(libc::ESRCH) || error.is(libc::ENODEV) { Ok(()) } else { Err(error) }
}
