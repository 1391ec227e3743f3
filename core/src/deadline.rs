//! A point in time after which nothing of ours waits any longer.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// When a wait ends at the latest. Every wait of this library has one.
///
/// Made from a [`Duration`], from `None` (no limit), or from the C and shell
/// convention of milliseconds where 0 asks once and any negative number waits
/// without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    started: Instant,
    /// `None`: no limit, or one so far away that the clock cannot hold it.
    end: Option<Instant>,
}

impl Deadline {
    /// Ends `timeout` from now. A zero timeout asks once and does not wait.
    pub fn after(timeout: Duration) -> Deadline {
        let started = Instant::now();
        Deadline { started, end: started.checked_add(timeout) }
    }

    /// Never ends by itself.
    pub fn never() -> Deadline {
        Deadline { started: Instant::now(), end: None }
    }

    /// Milliseconds as C callers and the shell give them: 0 asks once, a
    /// negative number waits without limit.
    pub fn from_millis(timeout_ms: i32) -> Deadline {
        match u64::try_from(timeout_ms) {
            Ok(ms) => Deadline::after(Duration::from_millis(ms)),
            Err(_) => Deadline::never(),
        }
    }

    /// Whether the time is up.
    pub fn passed(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// What is left, zero when the time is up; `None` without a limit.
    pub fn remaining(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// `slice`, or what is left where that is less.
    pub(crate) fn at_most(&self, slice: Duration) -> Duration {
        self.remaining().map_or(slice, |left| left.min(slice))
    }

    /// How long the wait has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the caller asked for one look and no wait.
    pub(crate) fn asks_once(&self) -> bool {
        self.end.is_some_and(|end| end == self.started)
    }
}

impl From<Duration> for Deadline {
    fn from(timeout: Duration) -> Deadline {
        Deadline::after(timeout)
    }
}

impl From<Option<Duration>> for Deadline {
    fn from(timeout: Option<Duration>) -> Deadline {
        timeout.map_or_else(Deadline::never, Deadline::after)
    }
}

/// How a wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The time is up.
    Passed,
    /// The caller's own function asked to stop.
    Interrupted,
}

/// A wait in progress: the deadline, and what the caller wants to do meanwhile.
pub(crate) struct Wait<'a> {
    deadline: Deadline,
    meanwhile: Option<&'a mut Meanwhile<'a>>,
    called: Instant,
}

/// Called about every 50 ms while something waits, with how long it has waited;
/// `Break` ends the wait with EINTR.
pub type Meanwhile<'a> = dyn FnMut(Duration) -> ControlFlow<()> + 'a;

/// A caller who draws a progress line or heeds Ctrl-C is called this often.
const BEAT: Duration = Duration::from_millis(50);

impl<'a> Wait<'a> {
    pub(crate) fn until(deadline: Deadline) -> Wait<'a> {
        Wait { deadline, meanwhile: None, called: deadline.started }
    }

    pub(crate) fn with(deadline: Deadline, meanwhile: Option<&'a mut Meanwhile<'a>>) -> Wait<'a> {
        Wait { deadline, meanwhile, called: deadline.started }
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// How long the next sleep may last: at most `wanted`, never past the
    /// deadline, never so long that the caller's function comes late.
    pub(crate) fn slice(&mut self, wanted: Duration) -> Result<Duration, Ended> {
        if self.deadline.passed() {
            return Err(Ended::Passed);
        }
        let Some(meanwhile) = &mut self.meanwhile else {
            return Ok(self.deadline.at_most(wanted));
        };
        if self.called.elapsed() >= BEAT {
            self.called = Instant::now();
            if meanwhile(self.deadline.elapsed()).is_break() {
                return Err(Ended::Interrupted);
            }
        }
        Ok(self.deadline.at_most(wanted.min(BEAT)))
    }

    /// Sleeps for one slice, for what gives no notice of itself.
    pub(crate) fn pause(&mut self, wanted: Duration) -> Result<(), Ended> {
        std::thread::sleep(self.slice(wanted)?);
        Ok(())
    }
}
