//! Freezing, thawing and killing by repeated passes.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use super::lock::{self, Held, Killer};
use super::members::locate;
use super::pass;
use super::records::{Roll, key_of};
use super::request::{self, Request};
use super::{Embedded, Patience, StopMethod, file, stopped, tracer};
use crate::backend::{Attempt, Backend, Node, Outcome, guard, send, would_stop_caller};
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::process::{self, Process, Stat};
use crate::state::State;
use crate::sys::{helper, spawn::wait_readable};

/// So many passes in a row must find nobody new and nobody running, if processes
/// were born meanwhile, ours or not: one may miss a process whose parent ended
/// between two looks.
pub(super) const QUIET: u32 = 3;

/// How long a kill tries to hold its victims still first. Who does not stop by
/// then is no reason to let the others live.
const HOLD: Duration = Duration::from_millis(50);

/// How often a wait for another process is interrupted for the caller's sake.
const BEAT: Duration = Duration::from_millis(50);

/// What the process beside the caller reports.
const DONE: u8 = 0;
const CANCELLED: u8 = 1;
/// Above it: so much and an errno.
const ENDED: u8 = 2;

/// The hierarchy's lock, and what stands written while we have it.
struct Turn {
    roll: Roll,
    /// The group's, and those below it.
    pages: Vec<usize>,
    /// What is asked of the group itself.
    request: Request,
    _held: Held,
}

impl Embedded {
    /// Asks a group to freeze and sees to it, by the means that is in use there
    /// already, or else by the caller's. EDEADLK: the caller is in it, or came into it.
    pub(super) fn ask_and_stop(&self, group: &Node, wait: &mut Wait<'_>, with_caller: bool) -> Result<Attempt> {
        // Before the hierarchy's lock, which whoever begins a checkpoint wants next.
        let request = self.request_file(group)?;
        let passage = match with_caller {
            // It might stop with its passage.
            true => guard::look(self, group, request).map(|()| None)?,
            false => Some(guard::enter(self, group, request)?),
        };
        let turn = self.turn(group, wait.deadline())?;
        let caller = locate(&turn.roll, process::this_process());
        let caller = caller.map_err(|errno| Error::os(errno, "looking for the caller's group"))?;
        let held_caller = caller.is_some_and(|page| turn.pages.contains(&page));
        if held_caller && !with_caller {
            return Err(would_stop_caller(group));
        }
        let by_helper = match turn.request {
            Request::None => self.stop == StopMethod::Ptrace,
            Request::Stop => false,
            Request::Trace(_) => true,
        };
        let (was_asked, outcome) = if by_helper {
            drop((turn, passage));
            // It traces the caller like any other.
            self.freeze_by_helper(group, wait)?
        } else if held_caller {
            let was_asked = !turn.request.is_none();
            drop((turn, passage));
            (was_asked, self.freeze_with_caller(group, wait)?)
        } else {
            self.ask(group, &turn)?;
            drop(passage);
            self.freeze_but_caller(group, turn, wait, false)?
        };
        Ok(Attempt { was_asked, held_caller, outcome })
    }

    /// Takes the lock and reads what is written down.
    fn turn(&self, group: &Node, deadline: Deadline) -> Result<Turn> {
        let held = self.lock_until(deadline)?;
        let roll = Roll::read(&self.root)?;
        let pages = roll.subtree(group)?;
        let request = Request::of(&group.dir).map_err(|errno| group.failed(errno, "reading freezer.state"))?;
        Ok(Turn { roll, pages, request, _held: held })
    }

    fn freeze_with_caller(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let deadline = wait.deadline();
        let freeze = || {
            let turn = self.turn(group, deadline)?;
            self.ask(group, &turn)?;
            self.freeze_but_caller(group, turn, &mut Wait::until(deadline), true).map(|(_, outcome)| outcome)
        };
        let outcome = match self.beside(wait, freeze).map_err(|error| error.context("freezing with the caller"))? {
            Some(outcome) => outcome,
            // What it did shows.
            None if !self.is_asked(group)? => Outcome::Cancelled,
            None => Outcome::Done,
        };
        Ok(outcome)
    }

    /// Stops the caller, who has just come into a group that is asked.
    pub(super) fn stop_caller(&self, group: &Node) -> Result<()> {
        let stop = || {
            let _held = self.lock()?;
            let mut roll = Roll::read(&self.root)?;
            let page = roll.find(group)?;
            let request = roll.request(&self.root, page)?;
            self.see_to(&mut roll, page, request)?;
            Ok(Outcome::Done)
        };
        self.beside(&mut Wait::until(Deadline::after(lock::LONGEST)), stop).map(drop)
    }

    /// Does what stops the caller, in a child of the caller's.
    ///
    /// The caller cannot stop and then give back the lock, nor give it back and
    /// then stop: a thaw in between would come too early, and the stop would
    /// last. `None`: the child was killed, or waited for by somebody else.
    fn beside(&self, wait: &mut Wait<'_>, job: impl FnOnce() -> Result<Outcome>) -> Result<Option<Outcome>> {
        let failed = |errno| Error::os(errno, "starting a process that can stop the caller");
        let child = helper::start(|| match job() {
            Ok(Outcome::Done) => DONE,
            Ok(Outcome::Cancelled) => CANCELLED,
            Ok(Outcome::Ended(_)) => ENDED,
            Err(error) => u8::try_from(error.errno()).unwrap_or(0).saturating_add(ENDED),
        });
        let child = child.map_err(failed)?;
        let mut grace = None;
        loop {
            let slice = wait.slice(BEAT);
            if wait_readable(child.pidfd(), Deadline::after(slice.unwrap_or(BEAT))).map_err(failed)? {
                break;
            }
            let Err(ended) = slice else { continue };
            // Its own deadline is ours; it is given some time to say so.
            let grace = grace.get_or_insert_with(|| Deadline::after(lock::LONGEST));
            if ended == Ended::Interrupted || grace.passed() {
                child.kill();
                return Ok(Some(Outcome::Ended(ended)));
            }
        }
        match child.result() {
            Some(DONE) => Ok(Some(Outcome::Done)),
            Some(CANCELLED) => Ok(Some(Outcome::Cancelled)),
            Some(ENDED) => Ok(Some(Outcome::Ended(Ended::Passed))),
            Some(above) => Err(Error::os(i32::from(above - ENDED), "in the process that stops the caller")),
            None => Ok(None),
        }
    }

    fn ask(&self, group: &Node, turn: &Turn) -> Result<()> {
        if !turn.request.is_none() {
            return Ok(());
        }
        let asked = tracer::clear(&group.dir).and_then(|()| request::ask(&group.dir, true));
        asked.map_err(|errno| group.failed(errno, "writing freezer.state"))
    }

    /// Whether the group was asked before the turn began, and how the wait ended.
    /// `beside`: we are a helper, and no process of the group that counts.
    fn freeze_but_caller(
        &self,
        group: &Node,
        turn: Turn,
        wait: &mut Wait<'_>,
        beside: bool,
    ) -> Result<(bool, Outcome)> {
        let was_asked = !turn.request.is_none();
        let outcome = self.stop_but_caller(group, turn, wait, beside);
        if outcome.is_err() && !was_asked {
            self.undo(group);
        }
        outcome.map(|outcome| (was_asked, outcome))
    }

    /// After a failed freeze of ours nothing is half-done: no descriptor was left
    /// in the middle of it, say, or no space to record one more process.
    pub(super) fn undo(&self, group: &Node) {
        let helper = tracer::read(&group.dir).ok().flatten();
        let _ = self.let_go(group, &mut Wait::until(Deadline::after(lock::LONGEST)));
        helper.into_iter().for_each(tracer::Tracer::poke);
    }

    fn stop_but_caller(&self, group: &Node, mut turn: Turn, wait: &mut Wait<'_>, beside: bool) -> Result<Outcome> {
        let mut scan = self.scan();
        let mut patience = Patience::new();
        let mut quiet = 0;
        if turn.request.is_none() {
            // The first pass has to stop everybody; the next one counts.
            scan.spare_orphans();
        }
        loop {
            let Turn { roll, pages, .. } = &mut turn;
            let mut pass = pass::stop(&self.root, &mut scan, roll, pages)?;
            if pass.hasty {
                // Most have stopped by the time that the last was told to.
                pass = pass::stop(&self.root, &mut scan, roll, pages)?;
            }
            if pass.met_caller && !beside {
                return Err(would_stop_caller(group));
            }
            drop(turn);
            quiet = if pass.quiet { quiet + 1 } else { 0 };
            if quiet == QUIET || (pass.quiet && pass.unborn) {
                return Ok(Outcome::Done);
            }
            if quiet == 0
                && let Err(ended) = patience.wait(wait)
            {
                return Ok(Outcome::Ended(ended));
            }
            turn = self.turn(group, wait.deadline())?;
            if turn.request.is_none() {
                return Ok(Outcome::Cancelled);
            }
        }
    }

    /// What a group's tasks do; if they are to be still, sees to it.
    pub(super) fn drive(&self, group: &Node) -> Result<State> {
        let held = self.lock_to_read()?;
        let mut roll = Roll::read(&self.root)?;
        let page = roll.find(group)?;
        let pages = roll.subtree(group)?;
        let request = roll.request(&self.root, page)?;
        let mut scan = self.scan();
        let frozen = match request {
            Request::None => {
                if held.is_some() {
                    self.release_abandoned(&roll, &pages)?;
                }
                return Ok(State::Thawed);
            }
            Request::Stop if held.is_some() => {
                // If the first pass had to stop somebody, it may have worked.
                let mut pass = pass::stop(&self.root, &mut scan, &mut roll, &pages)?;
                if !pass.quiet && !pass.met_caller {
                    pass = pass::stop(&self.root, &mut scan, &mut roll, &pages)?;
                }
                pass.quiet && !pass.met_caller
            }
            _ => {
                let is_still = pass::look(&mut scan, &mut roll, &pages)?;
                if !is_still {
                    self.poke_helpers(&roll, page)?;
                }
                is_still
            }
        };
        Ok(if frozen { State::Frozen } else { State::Freezing })
    }

    /// Takes the request back and continues whom it held, in one step.
    pub(super) fn let_go(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        {
            let _passage = guard::enter(self, group, self.request_file(group)?)?;
            let _held = self.lock_until(wait.deadline())?;
            let roll = Roll::read(&self.root)?;
            let pages = roll.subtree(group)?;
            request::ask(&group.dir, false).map_err(|errno| group.failed(errno, "writing freezer.state"))?;
            self.release_unasked(&roll, &pages)?;
        }
        self.await_helpers(group, wait)
    }

    /// `freezer.state`, which every group has.
    fn request_file(&self, group: &Node) -> Result<File> {
        let file = file::create(&group.dir, file::REQUEST, OFlags::RDONLY);
        file.map_err(|errno| group.failed(errno, "opening freezer.state"))
    }

    /// Continues the processes of those of these groups that nobody asks to
    /// freeze any more.
    fn release_unasked(&self, roll: &Roll, pages: &[usize]) -> Result<()> {
        let mut failure = None;
        for &page in pages {
            if roll.request(&self.root, page)?.is_none() {
                let released = roll.dir(&self.root, page).and_then(|dir| pass::release(&dir));
                failure = failure.or(released.err());
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Continues whom somebody held who died before he could let them go: a
    /// killer, or one who had taken the request back already.
    fn release_abandoned(&self, roll: &Roll, pages: &[usize]) -> Result<()> {
        let failed = |errno| Error::os(errno, "looking for processes that were left stopped");
        let mut abandoned = Vec::new();
        for &page in pages {
            if stopped::are_there(&roll.dir(&self.root, page)?).map_err(failed)? && !self.is_being_killed(roll, page)? {
                abandoned.push(page);
            }
        }
        self.release_unasked(roll, &abandoned)
    }

    fn is_being_killed(&self, roll: &Roll, page: usize) -> Result<bool> {
        let failed = |errno| Error::os(errno, format_args!("asking who kills group {}", roll.pages[page].path));
        for (index, above) in roll.pages.iter().enumerate() {
            if roll.pages[page].path.is_within(&above.path)
                && Killer::is_at(&roll.dir(&self.root, index)?).map_err(failed)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sees to somebody who has just come into a group.
    pub(super) fn see_to(&self, roll: &mut Roll, page: usize, request: Request) -> Result<()> {
        match request {
            Request::None => Ok(()),
            Request::Stop => pass::stop(&self.root, &mut self.scan(), roll, &[page]).map(drop),
            Request::Trace(_) => self.poke_helpers(roll, page),
        }
    }

    /// SIGCONT must not thaw, and SIGSTOP must outlast the thaw: for a process
    /// that we hold stopped, both only change what becomes of it afterwards.
    pub(super) fn signal_a_stop(&self, group: &Node, process: &Process, signal: i32) -> Result<()> {
        let _held = self.lock()?;
        let roll = Roll::read(&self.root)?;
        let page = self.page_within(&roll, group, process)?;
        if roll.request(&self.root, page)? == Request::Stop {
            let stat = Stat::of(process.pid()).map_err(|_| process::no_such_process(process.pid()))?;
            let entry = (key_of(&stat), signal == libc::SIGCONT);
            let dir = roll.dir(&self.root, page)?;
            stopped::append(&dir, &[entry]).map_err(|errno| group.failed(errno, "recording a stopped process"))?;
            if signal == libc::SIGCONT {
                // May it be sent at all?
                return send(process, 0);
            }
        }
        send(process, signal)
    }

    fn page_within(&self, roll: &Roll, group: &Node, process: &Process) -> Result<usize> {
        match locate(roll, process.pid()) {
            Ok(Some(page)) => Ok(page),
            Ok(None) => roll.find(group),
            Err(_) => Err(process::no_such_process(process.pid())),
        }
    }

    /// Holds everybody still, so that nobody is born unseen, and then kills.
    /// SIGKILL ends a stopped process without a continue.
    pub(super) fn stop_and_kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        // The mark comes before the first stop and goes after the last continue.
        let _killer = Killer::of(group)?;
        let killed = self.hold_and_kill(group, wait);
        // Whom we held but could not kill runs on, if nobody asked to freeze it.
        let met_caller = {
            let _held = self.lock()?;
            let roll = Roll::read(&self.root)?;
            self.release_unasked(&roll, &roll.subtree(group)?)?;
            locate(&roll, process::this_process())
                .ok()
                .flatten()
                .is_some_and(|page| roll.subtree(group).is_ok_and(|pages| pages.contains(&page)))
        };
        let outcome = killed?;
        if met_caller {
            send(&Process::open(0)?, libc::SIGKILL)?;
        }
        Ok(outcome)
    }

    fn hold_and_kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let hold = Deadline::after(wait.deadline().at_most(HOLD));
        let mut scan = self.scan();
        let mut patience = Patience::new();
        loop {
            let held = self.lock_until(wait.deadline())?;
            let mut roll = Roll::read(&self.root)?;
            let pages = roll.subtree(group)?;
            match pass::stop(&self.root, &mut scan, &mut roll, &pages) {
                Ok(pass) if !pass.quiet && !hold.passed() => {}
                // It cannot be recorded, say: killing needs no record.
                _ => break,
            }
            drop(held);
            if let Err(Ended::Interrupted) = patience.wait(wait) {
                return Ok(Outcome::Ended(Ended::Interrupted));
            }
        }
        let caller = process::this_process();
        let mut patience = Patience::new();
        loop {
            let mut alive = false;
            let mut refused = None;
            {
                let _held = self.lock_until(wait.deadline())?;
                let mut roll = Roll::read(&self.root)?;
                let pages = roll.subtree(group)?;
                scan.visit(&mut roll, &pages, &mut |_, members| {
                    for member in members.iter().filter(|member| member.stat.pid != caller) {
                        match pass::signal(key_of(&member.stat), libc::SIGKILL) {
                            Err(error) if !error.is(libc::ESRCH) => refused = Some(error),
                            _ => alive = true,
                        }
                    }
                    Ok(())
                })?;
            }
            if !alive {
                return refused.map_or(Ok(Outcome::Done), Err);
            }
            if let Err(ended) = patience.wait(wait) {
                return Ok(Outcome::Ended(ended));
            }
        }
    }
}
