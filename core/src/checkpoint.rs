//! Checkpoints: a frozen group that nobody touches while an image is taken, and the
//! proof that nothing in it ran (R4.1-R4.5).
//!
//! ```text
//!              checkpoint                    end, or the holder's death
//!     FROZEN ──────────────▶ CHECKPOINTING ─────────────────────────────▶ FROZEN
//! ```
//!
//! Others that use this library are kept out ([`guard`](crate::backend::guard)); what
//! those do who write to the kernel's files themselves is detected
//! ([`proof`](crate::proof)).

use std::fmt;
use std::time::Duration;

use crate::backend::lease::{self, Held, Terms};
use crate::backend::passing;
use crate::deadline::{Deadline, Meanwhile, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hold;
use crate::outer;
use crate::proof::{Proof, Stillness};
use crate::state::State;
use crate::stray;
use crate::sys::fork::Origin;

/// How a checkpoint is held, and how long its begin may take.
#[derive(Default)]
#[must_use]
pub struct CheckpointOptions<'a> {
    deadline: Option<Deadline>,
    external: bool,
    wakeups: bool,
    meanwhile: Option<&'a mut Meanwhile<'a>>,
}

impl<'a> CheckpointOptions<'a> {
    /// How long to wait for others who act upon the group; without it, for as long as
    /// the hierarchy's operations may take ([`Options::deadline`](crate::Options::deadline)).
    pub fn within(mut self, deadline: impl Into<Deadline>) -> Self {
        self.deadline = Some(deadline.into());
        self
    }

    /// For a tool that must thaw the group to do its work, as CRIU does once it has
    /// seized the tasks (R4.5). Nothing is proved; that is left to the tool. This
    /// process may freeze and thaw the group, and act upon it, others may not.
    /// The end makes it FROZEN again.
    pub fn external(mut self, external: bool) -> Self {
        self.external = external;
        self
    }

    /// Counts how often each thread is woken also on cgroup version 2, where the
    /// proof does without: for [`Stillness::woken`].
    pub fn wakeups(mut self, wakeups: bool) -> Self {
        self.wakeups = wakeups;
        self
    }

    /// Called about every 50 ms while others are waited for, with the time that has
    /// passed. `Break` ends the wait: EINTR.
    pub fn meanwhile(mut self, meanwhile: &'a mut Meanwhile<'a>) -> Self {
        self.meanwhile = Some(meanwhile);
        self
    }
}

impl fmt::Debug for CheckpointOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckpointOptions { deadline, external, wakeups, .. } = self;
        let mut shown = f.debug_struct("CheckpointOptions");
        shown.field("deadline", deadline).field("external", external).field("wakeups", wakeups).finish_non_exhaustive()
    }
}

/// A group is CHECKPOINTING for as long as this is there and its process lives.
///
/// Dropping it ends the checkpoint without a proof, and so does the end of the process,
/// also by SIGKILL: then the group is FROZEN, and can be thawed. A forked child has no
/// share in it: there everything but dropping it gives ECHILD, and dropping it does
/// nothing.
#[must_use = "dropping a checkpoint ends it at once"]
#[derive(Debug)]
pub struct Checkpoint {
    group: Group,
    held: Held,
    /// The parent that holds the group, which nobody thaws meanwhile, either.
    outer: Option<(Group, Held)>,
    /// `None`: the tool has its own.
    proof: Option<Proof>,
    /// The group was frozen by one above it alone, and is asked itself only for this.
    is_asked_for_this: bool,
    origin: Origin,
    is_over: bool,
}

impl Group {
    /// Makes a FROZEN group CHECKPOINTING: until the end, everybody who freezes, thaws,
    /// kills, renames or removes it, or moves something into it or out of it through
    /// this library gets EBUSY, from whichever process (R4.1). So does who does that to
    /// a group below, and who kills or removes one above.
    ///
    /// `root` is the process that is to be checkpointed with all its descendants: they
    /// must all be in the group or below (R4.2). Without it nobody but the members is
    /// looked at.
    ///
    /// On cgroup version 2 it takes 25 ms, in which the kernel may still tell of what
    /// was before. On control groups an inotify instance is used while it lasts.
    ///
    /// # Errors
    ///
    /// * EINVAL: the group is THAWED, or the kernel's own root; `root` is no process
    ///   number.
    /// * EBUSY: it is FREEZING; a checkpoint holds it already, or one above; somebody acts
    ///   upon it, or only has its freeze file locked, and does not get on with it (the
    ///   message says who).
    /// * EXDEV: not all of the process's family are in the group;
    ///   [`Error::blockers`] names those who are not.
    /// * ESRCH: no process `root`. EDEADLK: the caller is in the group.
    /// * EOPNOTSUPP: the hierarchy is not bound to the freezer; or the kernel does not
    ///   count how often a thread runs, which is needed on cgroup version 1 and embedded,
    ///   or shows us not all of them.
    /// * EACCES: not permitted to freeze it, or to note on it who checkpoints it.
    /// * ENODEV: the group was removed. ECHILD: in a forked child.
    ///
    /// After any of them the group is as before.
    pub fn checkpoint(&self, root: Option<i32>) -> Result<Checkpoint> {
        self.checkpoint_with(root, CheckpointOptions::default())
    }

    /// The same, with more to say about it.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Group::checkpoint). EINTR: the caller's own function ended the
    /// wait.
    pub fn checkpoint_with(&self, root: Option<i32>, options: CheckpointOptions<'_>) -> Result<Checkpoint> {
        let backend = self.backend()?;
        self.hierarchy().needs("freezer")?;
        if backend.holds_caller(self.node())? {
            let why = format!("a checkpoint of {self} would stop the caller, which is in it");
            return Err(Error::new(libc::EDEADLK, why));
        }
        self.must_be_frozen()?;
        let deadline = options.deadline.unwrap_or_else(|| self.hierarchy().deadline());
        // One that is frozen by another alone could be thawed there; by its own parent
        // it is held, and somebody may have thawed it without effect.
        let is_asked = backend.is_asked(self.node())?;
        let is_held = outer::of(self)?.map(|outer| outer.is_self_freezing()).transpose()?;
        let is_asked_for_this = !is_asked && is_held != Some(true);
        if !is_asked && !backend.is_asked_above(self.node())? {
            return Err(self.thawed_just_now());
        }
        if !is_asked || is_held == Some(false) {
            self.freeze(deadline)?;
        }
        self.begin(root, options, deadline, is_asked_for_this).inspect_err(|_| {
            if is_asked_for_this {
                // It is frozen all the same.
                let _ = hold::thaw_or_owe(self);
            }
        })
    }

    /// Ends somebody's checkpoint of this group by force. The group is FROZEN then;
    /// whose checkpoint it was gets ESTALE when it ends it.
    ///
    /// # Errors
    ///
    /// ENOENT: no checkpoint holds the group itself. EBUSY: somebody acts upon it, and
    /// does not get on with it. EACCES: not permitted to freeze it. ENODEV: the group
    /// was removed. ECHILD: in a forked child.
    pub fn break_checkpoint(&self) -> Result<()> {
        let backend = self.backend()?;
        let mut wait = Wait::until(self.hierarchy().deadline());
        let terms = lease::end_by_force(backend, self.node(), &mut wait)?;
        if let Some(outer) = outer::of(self)? {
            match lease::end_by_force(backend, outer.node(), &mut wait) {
                Err(error) if !error.is(libc::ENOENT) => return Err(error),
                _ => {}
            }
        }
        if terms.asked {
            hold::thaw_or_owe(self)?;
        }
        hold::settle(self)
    }

    fn begin(
        &self,
        root: Option<i32>,
        options: CheckpointOptions<'_>,
        deadline: Deadline,
        is_asked_for_this: bool,
    ) -> Result<Checkpoint> {
        let backend = self.backend()?;
        let node = self.node();
        node.walk(&mut |node| {
            passing::sweep(backend, node);
            Ok(())
        })?;
        let mut wait = Wait::with(deadline, options.meanwhile);
        let is_ready = || self.is_frozen_by_itself();
        let terms = Terms { external: options.external, asked: is_asked_for_this };
        let held = Held::begin(backend, node, terms, &mut wait, &is_ready)?;
        // From here on, whatever fails gives the leases up by being dropped.
        let mut checkpoint = Checkpoint {
            group: self.clone(),
            held,
            outer: None,
            proof: None,
            is_asked_for_this: false,
            origin: Origin::here(),
            is_over: false,
        };
        if let Some(outer) = outer::of(self)? {
            let is_ready = || outer.is_frozen_by_itself();
            let terms = Terms { external: options.external, asked: false };
            let held = Held::begin(backend, outer.node(), terms, &mut wait, &is_ready)?;
            checkpoint.outer = Some((outer, held));
        }
        if !options.external {
            let stands_still = checkpoint.stands_still().node();
            checkpoint.proof = Some(Proof::begin(backend, stands_still, options.wakeups, &mut wait)?);
        }
        if let Some(root) = root {
            stray::refuse_strays(self, root)?;
        }
        // Somebody may have thawed it by the kernel's own file before the proof began.
        checkpoint.stands_still().is_frozen_by_itself()?;
        if let (true, Some((outer, _))) = (options.external, &checkpoint.outer) {
            // What the tool thaws must run.
            outer.thaw()?;
        }
        checkpoint.is_asked_for_this = is_asked_for_this;
        Ok(checkpoint)
    }

    fn must_be_frozen(&self) -> Result<()> {
        match self.state()? {
            State::Frozen => Ok(()),
            State::Thawed => Err(Error::new(libc::EINVAL, format!("{self} is THAWED; a checkpoint needs it FROZEN"))),
            State::Freezing => Err(Error::new(libc::EBUSY, format!("{self} is not FROZEN yet, but FREEZING"))),
            State::Checkpointing => {
                Err(Error::new(libc::EBUSY, format!("a checkpoint holds {self}; break_checkpoint ends it by force")))
            }
        }
    }

    fn is_frozen_by_itself(&self) -> Result<()> {
        let backend = self.backend()?;
        if backend.is_asked(self.node())? && backend.state(self.node())? == State::Frozen {
            return Ok(());
        }
        Err(self.thawed_just_now())
    }

    fn thawed_just_now(&self) -> Error {
        Error::new(libc::EBUSY, format!("somebody thawed {self}, or moved something into it, just now"))
    }
}

impl Checkpoint {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Whether no task of the group could execute anything, and its members are the
    /// same, since the checkpoint began (R4.4). With `external`, only whether it goes on.
    ///
    /// # Errors
    ///
    /// ESTALE: a task could run, or came, or left; [`Error::blockers`] names the first
    /// one. Or somebody has ended the checkpoint by force. ENODEV: the group was
    /// removed. ECHILD: in a forked child.
    pub fn verify(&self) -> Result<Stillness> {
        let backend = self.group.backend()?;
        let node = self.group.node();
        if !self.held.is_ours(node)? {
            return Err(lease::broken(node));
        }
        match &self.proof {
            Some(proof) => proof.verify(backend, self.stands_still().node()),
            None => Ok(Stillness::default()),
        }
    }

    /// Ends the checkpoint, and says what [`verify`](Checkpoint::verify) does. The group
    /// is FROZEN again, or as its last holder left it who went away meanwhile
    /// ([`Hold`](crate::Hold)).
    ///
    /// # Errors
    ///
    /// Those of [`verify`](Checkpoint::verify); with `external`, those of
    /// [`Group::freeze`]. The checkpoint has ended all the same.
    pub fn end(mut self) -> Result<Stillness> {
        self.group.backend()?;
        let proved = self.verify();
        let frozen = match self.proof {
            // Whoever has ended it by force may have done anything since.
            None if self.held.is_ours(self.group.node())? => self.group.freeze(self.group.hierarchy().deadline()),
            _ => Ok(()),
        };
        let over = self.finish(self.group.hierarchy().deadline());
        let stillness = proved?;
        frozen?;
        over.map(|()| stillness)
    }

    /// What must not be thawed: the parent that holds the group, or the group.
    fn stands_still(&self) -> &Group {
        self.outer.as_ref().map_or(&self.group, |(outer, _)| outer)
    }

    fn finish(&mut self, deadline: Deadline) -> Result<()> {
        if self.is_over || !self.origin.is_here() {
            return Ok(());
        }
        self.is_over = true;
        let mut wait = Wait::until(deadline);
        let backend = self.group.backend()?;
        let node = self.group.node();
        if self.is_asked_for_this && matches!(self.held.let_us_act(backend, node, &mut wait), Ok(true)) {
            // Before others may freeze it, whose request this would take back.
            hold::thaw_or_owe(&self.group)?;
        }
        let is_ours = self.held.is_ours(node).unwrap_or(false);
        let over = self.held.give_up(backend, node, &mut wait);
        if let Some((outer, held)) = &self.outer {
            if self.proof.is_none() && is_ours {
                // It was thawed for the tool; it is frozen when the group is.
                let _ = outer.freeze(Duration::ZERO);
            }
            // Whoever broke the one may have broken the other.
            let _ = held.give_up(backend, outer.node(), &mut wait);
        }
        hold::settle(&self.group)?;
        over
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // Nobody to tell, and no time; who wants to know calls end.
        let _ = self.finish(Deadline::after(Duration::ZERO));
    }
}
