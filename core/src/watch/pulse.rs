//! When to look without having been told to: a timer that rings ever more
//! rarely while nothing happens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::sys::Result;

/// The soonest that one look follows another.
const SOONEST: Duration = Duration::from_millis(10);
/// The longest that something stays unseen, unless looking is expensive.
const LATEST: Duration = Duration::from_millis(80);
/// Looking takes at most one part in so many of the time.
pub(super) const SHARE: u32 = 20;

#[derive(Debug)]
pub(super) struct Pulse {
    timer: OwnedFd,
    period: Duration,
    last: Instant,
    cost: Duration,
}

impl Pulse {
    pub(super) fn new() -> Result<Pulse> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Pulse { timer, period: SOONEST, last: Instant::now(), cost: Duration::ZERO })
    }

    /// Whether it is time for the next look.
    pub(super) fn is_due(&self) -> bool {
        self.last.elapsed() >= self.interval()
    }

    /// A look was taken that began at `began`, and found something or not.
    pub(super) fn looked(&mut self, began: Instant, found: bool) {
        self.last = Instant::now();
        self.cost = began.elapsed();
        self.period = if found { SOONEST } else { (2 * self.period).min(LATEST) };
    }

    /// Something has happened: more may follow.
    pub(super) fn quicken(&mut self) {
        self.period = SOONEST;
    }

    /// Rings once: for the next look if `looks`, and at `also`.
    pub(super) fn set(&self, looks: bool, also: Option<Instant>) -> Result<()> {
        let next = looks.then(|| self.last + self.interval());
        let at = next.into_iter().chain(also).min();
        let value = match at {
            // Zero would be no ring at all.
            Some(at) => timespec(at.saturating_duration_since(Instant::now()).max(Duration::from_micros(1))),
            None => timespec(Duration::ZERO),
        };
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).map(drop)
    }

    fn interval(&self) -> Duration {
        self.period.max(SHARE * self.cost)
    }
}

impl AsFd for Pulse {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}
