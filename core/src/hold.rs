//! A freeze that several share: the last one out thaws.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::attribute;
use crate::backend::{Backend, KILLING, Node};
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::outer;
use crate::subsystems::freezer::FreezeOptions;
use crate::sys::Errno;
use crate::sys::fork::Origin;
use crate::sys::lock::{self, Mode};

/// Whoever comes or goes locks this byte of the freeze file alone.
const DOOR: u64 = 1 << 40;
/// Everybody inside shares a read lock on this one.
const INSIDE: u64 = DOOR + 1;

/// What the group was before the first came in: an attribute while somebody is.
const BEFORE: &str = "held";
const FROZEN: &str = "FROZEN";
const THAWED: &str = "THAWED";
/// It is to be thawed, and a checkpoint that holds it will.
const OWED: &str = "OWED";

/// A share in keeping a group frozen.
///
/// Holds are counted across threads and processes by read locks on the group's
/// freeze file. When the last one is given back the group is thawed, unless it
/// was frozen already before the first. A holder that is killed gives its share
/// back; if it was the last, the group stays frozen until the next holder leaves
/// or somebody thaws it.
///
/// It does not keep others from thawing the group: that takes a checkpoint.
/// After a fork the share is the parent's; dropping the child's copy does
/// nothing, but a parent that is killed leaves its share to such a child until
/// that ends or executes a program.
#[must_use = "dropping a hold gives it back at once"]
#[derive(Debug)]
pub struct Hold {
    group: Group,
    file: File,
    origin: Origin,
    given_back: bool,
}

impl Group {
    /// Freezes the group for as long as the returned value, or another one of
    /// anybody's, is there.
    ///
    /// # Errors
    ///
    /// Those of [`freeze_with`](Group::freeze_with), after which the share has
    /// been given back; EACCES: nor may it be noted on the group what it was before;
    /// ETIMEDOUT: another holder comes or goes and does not get
    /// on with it before the deadline.
    pub fn hold(&self, deadline: impl Into<Deadline>) -> Result<Hold> {
        self.hold_with(FreezeOptions::within(deadline))
    }

    /// The same, with more to say about the freeze.
    ///
    /// # Errors
    ///
    /// As [`hold`](Group::hold).
    pub fn hold_with(&self, mut options: FreezeOptions<'_>) -> Result<Hold> {
        let backend = self.backend()?;
        let file = self.node().dir.open_file(backend.freeze_file(), OFlags::RDWR);
        let file = file.map_err(|errno| self.node().failed(errno, "opening the freeze file"))?;
        {
            let mut wait = options.wait();
            let _door = Door::enter(self, &file, &mut wait)?;
            self.let_killer_finish(&file, &mut wait)?;
            // With nobody inside, what is recorded is what holders who were
            // killed found, and so is the state that they left: it stands.
            if !self.locked(&file)? && attribute::get(self.node(), BEFORE)?.is_none() {
                let is_frozen = self.is_self_freezing()? || outer::is_asked(self)?;
                let before = if is_frozen { FROZEN } else { THAWED };
                attribute::set(self.node(), BEFORE, before)?;
                if attribute::get(self.node(), BEFORE)?.is_none() {
                    let why = format!("holding {self}: we may not note on it what it was before");
                    return Err(Error::new(libc::EACCES, why));
                }
            }
            let inside = lock::try_lock(&file, INSIDE, Mode::Read);
            inside.map_err(|errno| self.node().failed(errno, "locking the freeze file"))?;
        }
        let hold = Hold { group: self.clone(), file, origin: Origin::here(), given_back: false };
        match self.freeze_with(options) {
            Ok(()) => Ok(hold),
            Err(error) => {
                hold.give_back()?;
                Err(error)
            }
        }
    }

    /// A killer of version 1 freezes the group for a moment, which must not be
    /// taken for the state that the first holder finds.
    fn let_killer_finish(&self, file: &File, wait: &mut Wait<'_>) -> Result<()> {
        let failed = |errno| self.node().failed(errno, "looking at the locks of the freeze file");
        while lock::is_locked(file, KILLING, Mode::Read).map_err(failed)? {
            if wait.pause(Duration::from_millis(1)).is_err() {
                return Err(Error::new(libc::ETIMEDOUT, format!("{self} is being killed by somebody")));
            }
        }
        Ok(())
    }

    fn locked(&self, file: &File) -> Result<bool> {
        let locked = lock::is_locked(file, INSIDE, Mode::Write);
        locked.map_err(|errno| self.node().failed(errno, "looking at the locks of the freeze file"))
    }
}

impl Hold {
    /// Gives the share back, and thaws the group if it was the last.
    ///
    /// # Errors
    ///
    /// Those of [`thaw`](Group::thaw), ECHILD in a forked child among them;
    /// ETIMEDOUT as in [`Group::hold`].
    pub fn give_back(mut self) -> Result<()> {
        self.group.backend()?;
        self.leave()
    }

    fn leave(&mut self) -> Result<()> {
        if self.given_back || !self.origin.is_here() {
            return Ok(());
        }
        self.given_back = true;
        let group = &self.group;
        let _door = Door::enter(group, &self.file, &mut Wait::until(group.hierarchy().deadline()))?;
        // Unlocked and not just closed: a forked child has a copy of the
        // descriptor, and must not keep up what its parent gave back.
        lock::unlock(&self.file, INSIDE).map_err(|errno| group.node().failed(errno, "unlocking the freeze file"))?;
        if group.locked(&self.file)? {
            return Ok(());
        }
        // The thaw comes before the note goes: should we be killed in between,
        // the next holder still knows.
        if attribute::get(group.node(), BEFORE)?.as_deref() == Some(FROZEN) {
            return forget(group.node());
        }
        thaw_or_owe(group)
    }
}

/// Thaws a group now, or, if a checkpoint holds it, when that ends.
pub(crate) fn thaw_or_owe(group: &Group) -> Result<()> {
    match group.thaw() {
        Err(error) if error.is(libc::EBUSY) => {
            // What somebody else holds is his to thaw, or not.
            if attribute::get(group.node(), BEFORE)?.as_deref() != Some(FROZEN) {
                attribute::set(group.node(), BEFORE, OWED)?;
            }
            // If it has ended before it could read that, nothing stands in our way.
            group.thaw().or_else(|error| if error.is(libc::EBUSY) { Ok(()) } else { Err(error) })
        }
        other => other,
    }
}

/// Forgets what a group was before it was held. Whoever thaws it does: what
/// killed holders left is over then.
pub(crate) fn forget(group: &Node) -> Result<()> {
    attribute::remove(group, BEFORE)
}

/// A checkpoint has ended: thaws the groups, of this one and those below, whose last
/// holder left meanwhile.
pub(crate) fn settle(group: &Group) -> Result<()> {
    let backend = group.backend()?;
    let mut owed = Vec::new();
    group.node().walk(&mut |node| {
        if attribute::get(node, BEFORE)?.as_deref() == Some(OWED) && !is_held(backend, node)? {
            owed.push(node.path.clone());
        }
        Ok(())
    })?;
    // Another checkpoint may hold them by now: then that one settles it.
    owed.iter().try_for_each(|path| thaw_or_owe(&Group::open(group.hierarchy(), path)?))
}

/// Whether somebody holds the group frozen now. A kernel root has no freeze file,
/// and whoever may not read one is not told.
pub(crate) fn is_held(backend: &dyn Backend, group: &Node) -> Result<bool> {
    let failed = |errno| group.failed(errno, "looking at the locks of the freeze file");
    match group.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
        Ok(file) => lock::is_locked(&file, INSIDE, Mode::Write).map_err(failed),
        Err(Errno::NOENT) => attribute::must_be_there(group).map(|()| false),
        Err(Errno::ACCESS) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Nobody to tell; who wants to know calls give_back.
        let _ = self.leave();
    }
}

/// Being alone in coming and going.
struct Door<'a> {
    file: &'a File,
}

impl<'a> Door<'a> {
    fn enter(group: &Group, file: &'a File, wait: &mut Wait<'_>) -> Result<Door<'a>> {
        // A deadline of zero still leaves a moment to the one in the door.
        let least = Deadline::after(Duration::from_millis(100));
        loop {
            match lock::try_lock(file, DOOR, Mode::Write) {
                Ok(true) => return Ok(Door { file }),
                Ok(false) => {}
                Err(errno) => return Err(group.node().failed(errno, "locking the freeze file")),
            }
            let pause = Duration::from_millis(1);
            match wait.pause(pause) {
                Ok(()) => {}
                Err(Ended::Passed) if !least.passed() => std::thread::sleep(pause),
                Err(Ended::Passed) => {
                    let why = format!("another holder of {group} has stood in the door for too long");
                    return Err(Error::new(libc::ETIMEDOUT, why));
                }
                Err(Ended::Interrupted) => {
                    return Err(Error::new(libc::EINTR, format!("the wait to hold {group} was interrupted")));
                }
            }
        }
    }
}

impl Drop for Door<'_> {
    fn drop(&mut self) {
        let _ = lock::unlock(self.file, DOOR);
    }
}
