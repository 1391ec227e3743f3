//! What has become of the births in a group: how many there were, how many were refused, and
//! how many there were lately.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::attribute;
use crate::backend::{Backend, Node};
use crate::deadline::{Deadline, Wait};
use crate::error::Result;
use crate::group::Group;
use crate::sys::lock::{self, Mode};

/// The attribute of a group's tally: six numbers. A clone begins its own: without a dot.
const TALLY: &str = "numtasks-tally";

/// The byte of the group's freeze file that those who count lock by turns.
const COUNTING: u64 = (1 << 40) + 6;

/// Whoever counts needs microseconds. One who is stopped at it, or was killed and has a forked
/// child, costs a count and holds nobody up for longer.
const PATIENCE: Duration = Duration::from_millis(100);

/// The counts of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub successes: u64,
    pub failures: u64,
    pub rate_failures: u64,
    /// The kernel's own count of refusals when it was last reset.
    pub forgotten: u64,
    /// When the window began in which births are counted, and how many there were;
    /// nanoseconds since the machine started.
    window: u64,
    born: u64,
}

/// How many births there may be in how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub births: u64,
    pub seconds: u64,
}

impl Tally {
    /// One more birth, unless there were as many as may be.
    pub(super) fn count_birth(&mut self, rate: Rate, now: u64) -> bool {
        if self.is_over(rate, now) {
            self.window = now;
            self.born = 0;
        }
        let fits = self.born < rate.births;
        if fits {
            self.born += 1;
            self.successes = self.successes.saturating_add(1);
        }
        fits
    }

    /// Whether there would be room for one.
    pub(super) fn has_room(&self, rate: Rate, now: u64) -> bool {
        self.is_over(rate, now) || self.born < rate.births
    }

    /// Begins to count births anew.
    pub(super) fn begin_window(&mut self) {
        self.born = 0;
        self.window = 0;
    }

    /// Begins to count everything anew but the births of the window.
    pub(super) fn reset(&mut self, by_kernel: u64) {
        *self = Tally { forgotten: by_kernel, window: self.window, born: self.born, ..Tally::default() };
    }

    /// Whether the window is. One that began later than now is of another life of the
    /// machine.
    fn is_over(&self, rate: Rate, now: u64) -> bool {
        let length = rate.seconds.saturating_mul(1_000_000_000);
        now.checked_sub(self.window).is_none_or(|since| since >= length)
    }

    fn text(&self) -> String {
        let Tally { successes, failures, rate_failures, forgotten, window, born } = *self;
        format!("{successes} {failures} {rate_failures} {forgotten} {window} {born}")
    }

    /// Nothing, of what is no tally.
    fn parse(text: &str) -> Tally {
        let mut numbers = text.split(' ').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        let mut read = || {
            let (successes, failures, rate_failures) = (next()?, next()?, next()?);
            Some(Tally { successes, failures, rate_failures, forgotten: next()?, window: next()?, born: next()? })
        };
        read().unwrap_or_default()
    }
}

/// Now, as windows are told by.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

pub(super) fn read(group: &Node) -> Result<Tally> {
    Ok(attribute::get(group, TALLY)?.map(|text| Tally::parse(&text)).unwrap_or_default())
}

/// Changes a tally, alone as far as that can be had soon.
pub(super) fn update<T>(group: &Group, change: impl FnOnce(&mut Tally) -> T) -> Result<T> {
    let node = group.node();
    let _alone = alone(group.backend()?, node);
    let mut tally = read(node)?;
    let before = tally;
    let changed = change(&mut tally);
    if tally != before {
        attribute::set(node, TALLY, &tally.text())?;
    }
    Ok(changed)
}

struct Alone(File);

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = lock::unlock(&self.0, COUNTING);
    }
}

fn alone(backend: &dyn Backend, group: &Node) -> Option<Alone> {
    let file = group.dir.open_file(backend.freeze_file(), OFlags::RDWR).ok()?;
    let mut wait = Wait::until(Deadline::after(PATIENCE));
    while !lock::try_lock(&file, COUNTING, Mode::Write).ok()? {
        wait.pause(Duration::from_micros(100)).ok()?;
    }
    Some(Alone(file))
}
