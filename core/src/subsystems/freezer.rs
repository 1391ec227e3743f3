//! The freezer: stopping every task of a group, and letting it go again.
//!
//! ```text
//!                 freeze                 the last task stops
//!     THAWED ───────────────▶ FREEZING ───────────────────────▶ FROZEN
//!        ▲                        │                                │
//!        └──────── thaw ──────────┴───────────── thaw ─────────────┘
//! ```
//!
//! A checkpoint that begins on a FROZEN group makes it CHECKPOINTING until it ends
//! ([`checkpoint`](crate::checkpoint)).
//!
//! A group is FREEZING for as long as one of its tasks, or of a group below,
//! does not stop; it becomes FROZEN without further ado when the last one has.

use std::time::Duration;

use rustix::fs::OFlags;

use crate::about::About;
use crate::attach::Attach;
use crate::backend::{Effort, Outcome, guard, lease, passing};
use crate::blocker;
use crate::control_file::{ControlFile, flag};
use crate::deadline::{Deadline, Ended, Meanwhile, Wait};
use crate::error::{Error, Result};
use crate::frozen_time;
use crate::group::Group;
use crate::hold;
use crate::outer;
use crate::state::State;
use crate::subsystem::Subsystem;

/// The freezer, as hierarchies are bound to it.
pub(crate) struct Freezer;

const SWITCH: About = About { meaning: "", unit: "", format: "0 or 1", writers: "", errors: &[], backends: "" };

impl Subsystem for Freezer {
    fn name(&self) -> &'static str {
        "freezer"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        vec![
            ControlFile::new("frozen_usec")
                .about(About {
                    meaning: "How long the group has been frozen, from the request to the thaw",
                    unit: "microseconds",
                    format: "a number",
                    errors: &[("EOPNOTSUPP", "cgroup2, and the kernel does not count it (Linux 6.18 does)")],
                    ..About::default()
                })
                .read(|group| group.frozen_time().map(|time| format!("{}\n", time.as_micros()))),
            ControlFile::new("parent_freezing")
                .about(About { meaning: "Whether a group above this one was asked to freeze", ..SWITCH })
                .read(|group| group.is_parent_freezing().map(flag)),
            ControlFile::new("self_freezing")
                .about(About { meaning: "Whether this very group was asked to freeze", ..SWITCH })
                .read(|group| group.is_self_freezing().map(flag)),
            ControlFile::new("state")
                .about(About {
                    meaning: "What the tasks of the group do; a write asks, and does not wait",
                    format: "`THAWED`, `FREEZING`, `FROZEN` or `CHECKPOINTING`; takes `FROZEN`, `THAWED` and `RUNNING`",
                    errors: &[
                        ("EINVAL", "any other word, or the kernel's own root group"),
                        ("EBUSY", "a checkpoint holds the group"),
                        ("EDEADLK", "`FROZEN`, and the caller is in the group"),
                    ],
                    ..About::default()
                })
                .read(|group| group.state().map(|state| format!("{state}\n")))
                .write(write_state),
        ]
    }

    /// Whoever comes into a FROZEN group would stop there: not without being
    /// asked for (R2.4). A program that is to be started would not start.
    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        let group = attach.group();
        match group.state()? {
            State::Checkpointing => Err(Error::new(libc::EBUSY, format!("{group} is held by a checkpoint"))),
            State::Thawed => Ok(()),
            state if attach.is_birth() => {
                let why = format!("{group} is {state}: a program started there would not run before the thaw");
                Err(Error::new(libc::EBUSY, why))
            }
            State::Frozen if !attach.may_freeze() => {
                let pid = attach.pid();
                let why =
                    format!("{group} is FROZEN: {pid} would stop there; thaw it, or attach with the frozen option");
                Err(Error::new(libc::EBUSY, why))
            }
            State::Frozen | State::Freezing => Ok(()),
        }
    }
}

/// How to freeze: how long, and what then.
///
/// ```
/// use std::time::Duration;
/// let options = cgf::FreezeOptions::within(Duration::from_secs(5)).rollback(true);
/// ```
#[must_use]
pub struct FreezeOptions<'a> {
    deadline: Deadline,
    rollback: bool,
    with_caller: bool,
    meanwhile: Option<&'a mut Meanwhile<'a>>,
}

impl<'a> FreezeOptions<'a> {
    /// Waits at most this long for the last task to stop; a zero duration asks
    /// and looks once, [`Deadline::never`] waits without limit.
    pub fn within(deadline: impl Into<Deadline>) -> FreezeOptions<'a> {
        FreezeOptions { deadline: deadline.into(), rollback: false, with_caller: false, meanwhile: None }
    }

    /// After a failure, give the group back the state it had before. Without
    /// it, a group that missed its deadline stays FREEZING, and freezes when
    /// the blocking task goes.
    pub fn rollback(mut self, rollback: bool) -> Self {
        self.rollback = rollback;
        self
    }

    /// Allow a group that the caller is in. The caller stops with the others;
    /// the call returns when somebody else has thawed the group.
    pub fn with_caller(mut self, with_caller: bool) -> Self {
        self.with_caller = with_caller;
        self
    }

    /// Called about every 50 ms while the freeze waits, with the time it has
    /// waited. `Break` ends the wait: EINTR, the state kept or rolled back as
    /// after a missed deadline.
    pub fn meanwhile(mut self, meanwhile: &'a mut Meanwhile<'a>) -> Self {
        self.meanwhile = Some(meanwhile);
        self
    }

    /// A wait for something that comes before the freeze, within its time.
    pub(crate) fn wait(&mut self) -> Wait<'_> {
        match &mut self.meanwhile {
            Some(meanwhile) => Wait::with(self.deadline, Some(&mut **meanwhile)),
            None => Wait::until(self.deadline),
        }
    }
}

/// How much longer than its deadline a freeze may take to name who blocks.
const NAMING: Duration = Duration::from_millis(100);

impl Group {
    /// Freezes every task of the group and of the groups below, and returns
    /// when the last one has stopped (R3.2).
    ///
    /// Stopped and traced tasks count as frozen, and are still stopped after
    /// the thaw (R3.4). A group frozen already stays so: the call succeeds.
    ///
    /// # Errors
    ///
    /// * EBUSY: not all had stopped by the deadline. The error names them
    ///   ([`Error::blockers`]), which may take 100 ms more. The group stays
    ///   FREEZING until it is thawed, frozen again, or the blockers go.
    /// * EBUSY: a checkpoint holds it, or a group above (R4.1); nothing was done.
    /// * ECANCELED: somebody thawed it meanwhile.
    /// * EDEADLK: the caller is in the group (R3.5); nothing was frozen.
    /// * EINVAL: it is the kernel's own root group.
    /// * EOPNOTSUPP: the hierarchy is not bound to the freezer.
    /// * ENODEV: the group was removed. EACCES: not permitted.
    /// * ECHILD: the handle was made before a fork, and this is the child.
    pub fn freeze(&self, timeout: impl Into<Deadline>) -> Result<()> {
        self.freeze_with(FreezeOptions::within(timeout))
    }

    /// Freezes as [`freeze`](Group::freeze) does, with more to say about it.
    ///
    /// # Errors
    ///
    /// Those of [`freeze`](Group::freeze); EINTR: the caller's own function
    /// ended the wait.
    pub fn freeze_with(&self, options: FreezeOptions<'_>) -> Result<()> {
        let backend = self.backend()?;
        self.hierarchy().needs("freezer")?;
        let deadline = options.deadline;
        let began = frozen_time::now();
        // With the caller inside, its parent would stop it before it has asked here.
        let outer = (!options.with_caller).then(|| outer::Asked::of(self)).transpose()?;
        let mut wait = Wait::with(deadline, options.meanwhile);
        let attempt = match backend.freeze(self.node(), &mut wait, options.with_caller) {
            Ok(attempt) => attempt,
            Err(error) => {
                if let Some(outer) = outer {
                    outer.take_back()?;
                }
                return Err(error);
            }
        };
        if !attempt.was_asked && attempt.outcome != Outcome::Cancelled {
            // A figure for people: no reason to fail a freeze.
            let _ = frozen_time::begin(backend, self.node(), began);
        }
        let error = match attempt.outcome {
            Outcome::Done => return outer.map_or(Ok(()), |outer| outer.renew()),
            // The caller was stopped, and runs again: somebody thawed it.
            Outcome::Cancelled if attempt.held_caller => return Ok(()),
            Outcome::Cancelled => {
                return Err(Error::new(libc::ECANCELED, format!("somebody thawed {self} while it was freezing")));
            }
            Outcome::Ended(ended) => match self.not_frozen(ended, deadline) {
                Ok(None) => return Ok(()),
                Ok(Some(error)) | Err(error) => error,
            },
        };
        if options.rollback {
            let own = if attempt.was_asked { Ok(()) } else { self.thaw_itself() };
            let back = own.and(outer.map_or(Ok(()), outer::Asked::take_back));
            back.map_err(|failed| failed.context("giving the group its former state back"))?;
        }
        Err(error)
    }

    /// Lets every task of the group go that is not held by a group above, or,
    /// in a group below, by that group itself (R3.6).
    ///
    /// When it returns, no task is stopped by the group any more (R3.8). Thawing
    /// a thawed group succeeds; thawing one whose parent is frozen is accepted
    /// and takes effect when the parent is thawed.
    ///
    /// # Errors
    ///
    /// EBUSY: a checkpoint holds it, or a group above (R4.1). ETIMEDOUT: the kernel did
    /// not let go within the hierarchy's deadline.
    /// EINVAL: the kernel's own root. EOPNOTSUPP: the hierarchy is not bound to
    /// the freezer. ENODEV: the group was removed. EACCES: not permitted. ECHILD:
    /// in a forked child.
    pub fn thaw(&self) -> Result<()> {
        let outer = outer::of(self)?;
        self.thaw_itself()?;
        outer.map_or(Ok(()), |outer| outer.thaw_itself())
    }

    /// Whatever holds it besides.
    fn thaw_itself(&self) -> Result<()> {
        let backend = self.backend()?;
        self.hierarchy().needs("freezer")?;
        let deadline = self.hierarchy().deadline();
        // A mover that was killed may have left somebody frozen in a group of its
        // own in here. None has in a group that a checkpoint holds.
        passing::sweep(backend, self.node());
        let outcome = backend.thaw(self.node(), &mut Wait::until(deadline))?;
        frozen_time::end(backend, self.node())?;
        hold::forget(self.node())?;
        match outcome {
            Outcome::Ended(_) => {
                let waited = deadline.elapsed().as_millis();
                Err(Error::new(libc::ETIMEDOUT, format!("{self} was asked to thaw and had not after {waited} ms")))
            }
            Outcome::Done | Outcome::Cancelled => Ok(()),
        }
    }

    /// What the group's tasks really do at this moment.
    ///
    /// # Errors
    ///
    /// ENODEV: the group was removed. ECHILD: in a forked child.
    pub fn state(&self) -> Result<State> {
        let backend = self.backend()?;
        if lease::is_on(backend, self.node())? {
            return Ok(State::Checkpointing);
        }
        backend.state(self.node())
    }

    /// Whether this group itself was asked to freeze (`freezer.self_freezing`).
    ///
    /// # Errors
    ///
    /// As [`state`](Group::state).
    pub fn is_self_freezing(&self) -> Result<bool> {
        self.backend()?.is_asked(self.node())
    }

    /// Whether a group above it was (`freezer.parent_freezing`).
    ///
    /// # Errors
    ///
    /// As [`state`](Group::state).
    pub fn is_parent_freezing(&self) -> Result<bool> {
        self.backend()?.is_asked_above(self.node())
    }

    /// How long the group has been frozen or freezing in all, by itself or by
    /// a group above (R3.9).
    ///
    /// The kernel's figure on cgroup v2. Elsewhere ours, which counts what is
    /// frozen and thawed through this library, by anybody.
    ///
    /// # Errors
    ///
    /// As [`state`](Group::state); EOPNOTSUPP: cgroup v2 before Linux 6.18.
    pub fn frozen_time(&self) -> Result<Duration> {
        frozen_time::total(self.backend()?, self.node())
    }

    /// Who has not stopped; `None` if the last one has by now.
    fn not_frozen(&self, ended: Ended, deadline: Deadline) -> Result<Option<Error>> {
        let backend = self.backend()?;
        let effort = match ended {
            Ended::Interrupted => Effort::Glance,
            // A caller who asks once asks often: no moving of tasks for that.
            Ended::Passed if deadline.asks_once() => Effort::Glance,
            Ended::Passed => Effort::Prove(Deadline::after(NAMING)),
        };
        let waited = deadline.elapsed().as_millis();
        let blockers = backend.blockers(self.node(), effort)?;
        if blockers.is_empty() && ended == Ended::Passed && backend.state(self.node())? == State::Frozen {
            return Ok(None);
        }
        if ended == Ended::Interrupted {
            let message = format!("the wait for {self} to freeze was interrupted after {waited} ms");
            return Ok(Some(Error::new(libc::EINTR, message).with_blockers(blockers)));
        }
        let mut message = format!("{self} is not frozen after {waited} ms");
        if !blockers.is_empty() {
            message.push_str(&format!(", blocked by {}", blocker::in_short(&blockers)));
        }
        Ok(Some(Error::new(libc::EBUSY, message).with_blockers(blockers)))
    }
}

/// Asks, and does not wait: whoever wants to wait calls freeze (R3.2).
fn write_state(group: &Group, text: &str) -> Result<()> {
    match text {
        "FROZEN" => match group.freeze_with(FreezeOptions::within(Duration::ZERO)) {
            Err(error) if error.errno() == libc::EBUSY && group.state()? != State::Thawed => {
                // It does not freeze at once; or it may not.
                let backend = group.backend()?;
                let file = group.node().dir.open_file(backend.freeze_file(), OFlags::RDONLY);
                let file = file.map_err(|errno| group.node().failed(errno, "opening the freeze file"))?;
                guard::look(backend, group.node(), file)
            }
            other => other,
        },
        // RUNNING is the word of the first proposals.
        "THAWED" | "RUNNING" => group.thaw(),
        _ => Err(Error::new(libc::EINVAL, format!("{text:?} cannot be written; FROZEN and THAWED can"))),
    }
}
