//! The load: how busy a group was in the last complete interval (R8.2).
//!
//! Nobody watches the clock. A read that finds the running interval long enough completes it,
//! with the CPU time used over the time that has passed, as long as that was; and begins the
//! next. A read before gives what the last complete one came to. The first read begins
//! the first.
//!
//! Two who read at once may both complete an interval: each gets the load up to its own
//! look, and the later begins the next one. One that is stopped in between, and goes on
//! later, puts back an older beginning, and the next load is that of a longer time. It is
//! right in each case, because when an interval began, what had been used then and what the
//! one before came to are one attribute. So there is no lock.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::attribute;
use crate::cpu_time::CpuTime;
use crate::error::Result;
use crate::group::Group;

/// How long an interval may be, in seconds.
pub(super) const INTERVALS: RangeInclusive<u64> = 1..=86_400;

/// The interval that was set: a setting, which a copy of the group has too.
pub(super) const INTERVAL: &str = "cpuacct.interval";

/// The interval that runs: when it began (CLOCK_MONOTONIC) and what had been used then, in
/// nanoseconds; and the load in the one before. Nobody else's, so not for a copy.
const RUNNING: &str = "cpuacct-interval";

/// In seconds, if nothing is set: as it has been since 2007.
const BY_DEFAULT: u64 = 10;

/// What a look came to.
pub(super) struct Load {
    /// Of one CPU, over the last complete interval.
    pub percent: u64,
    /// In the interval that runs.
    pub used: Duration,
    /// How long it has run.
    pub elapsed: Duration,
    /// What the backend had counted.
    pub counted: CpuTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    began: Duration,
    used: Duration,
    percent: u64,
}

/// Looks, and completes the interval that runs if it is long enough.
pub(super) fn look(group: &Group) -> Result<Load> {
    let counted = super::counted(group)?;
    let now = now();
    let interval = Duration::from_secs(interval(group)?);
    let running = attribute::get(group.node(), RUNNING)?.and_then(|text| Running::parse(&text));
    let next = Running::after(running, now, counted.usage, interval);
    if Some(next) != running {
        // Who may not note anything sees no load, which is no reason to fail.
        attribute::set(group.node(), RUNNING, &next.text())?;
    }
    Ok(Load {
        percent: next.percent,
        used: counted.usage.saturating_sub(next.used),
        elapsed: now.saturating_sub(next.began),
        counted,
    })
}

/// How long intervals are, in seconds.
pub(super) fn interval(group: &Group) -> Result<u64> {
    let set = group.attribute(INTERVAL)?.and_then(|text| text.parse().ok());
    Ok(set.filter(|seconds| INTERVALS.contains(seconds)).unwrap_or(BY_DEFAULT))
}

impl Running {
    /// The interval that runs once somebody has looked.
    fn after(running: Option<Running>, now: Duration, used: Duration, interval: Duration) -> Running {
        let first = Running { began: now, used, percent: 0 };
        let Some(running) = running else { return first };
        // Another reader may have begun it since our look, with more used than we have seen.
        if now.abs_diff(running.began) < RACE {
            return running;
        }
        // The machine has been started again, or somebody has reset the kernel's own count.
        let (Some(elapsed), Some(more)) = (now.checked_sub(running.began), used.checked_sub(running.used)) else {
            return first;
        };
        if elapsed < interval {
            return running;
        }
        let percent = (100 * more.as_nanos() + elapsed.as_nanos() / 2) / elapsed.as_nanos();
        Running { percent: u64::try_from(percent).unwrap_or(u64::MAX), ..first }
    }

    fn text(self) -> String {
        format!("{} {} {}", self.began.as_nanos(), self.used.as_nanos(), self.percent)
    }

    /// Somebody may have written rubbish there; that is as if there were none.
    fn parse(text: &str) -> Option<Running> {
        let mut words = text.split(' ').map(str::parse::<u64>);
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(Ok(began)), Some(Ok(used)), Some(Ok(percent)), None) => {
                Some(Running { began: Duration::from_nanos(began), used: Duration::from_nanos(used), percent })
            }
            _ => None,
        }
    }
}

/// Longer than a reader is between its look at the figures and at the interval, if it is not
/// stopped there. No interval is shorter.
const RACE: Duration = Duration::from_secs(1);

/// The clock that is the same in all time namespaces. Whoever sets it spoils one interval.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(running: Option<Running>, now: u64, used: u64) -> Running {
        Running::after(running, ms(now), ms(used), ms(1000))
    }

    /// R8.2
    #[test]
    fn the_load_is_that_of_the_last_complete_interval() {
        let first = after(None, 5000, 700);
        assert_eq!(first, Running { began: ms(5000), used: ms(700), percent: 0 });
        assert_eq!(after(Some(first), 5999, 1699), first, "it has not run long enough");
        let second = after(Some(first), 6000, 1700);
        assert_eq!(second, Running { began: ms(6000), used: ms(1700), percent: 100 });
        assert_eq!(after(Some(second), 6500, 9000).percent, 100, "what is used since is for the next one");
        assert_eq!(after(Some(second), 7000, 3704).percent, 200, "on two CPUs, rounded");
        assert_eq!(after(Some(second), 7000, 3706).percent, 201);
        // Nobody has looked for long: as long as it was.
        assert_eq!(after(Some(second), 16_000, 2700).percent, 10);
        let idle = after(Some(second), 7000, 1700);
        assert_eq!((idle.percent, idle.began), (0, ms(7000)));
    }

    /// R8.2
    #[test]
    fn what_cannot_be_begins_anew() {
        let running = Some(Running { began: ms(5000), used: ms(700), percent: 42 });
        assert_eq!(after(running, 3000, 800), after(None, 3000, 800), "the clock was started again");
        assert_eq!(after(running, 7000, 600), after(None, 7000, 600), "the count was");
        for (now, used) in [(4999, 690), (5001, 690), (4001, 0)] {
            assert_eq!(Some(after(running, now, used)), running, "another reader was quicker");
        }
    }

    proptest! {
        /// R8.2: whatever is on the directory, and what is written is read again.
        #[test]
        fn any_text_is_an_interval_or_none(text in ".*") {
            if let Some(running) = Running::parse(&text) {
                prop_assert_eq!(Running::parse(&running.text()), Some(running));
            }
        }

        #[test]
        fn an_interval_is_what_was_written(numbers in prop::collection::vec(any::<u64>(), 0..5), now: u64, used: u64) {
            let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let parsed = Running::parse(&words.join(" "));
            prop_assert_eq!(parsed.is_some(), numbers.len() == 3);
            if let Some(running) = parsed {
                prop_assert_eq!(Running::parse(&running.text()), Some(running));
                // Nothing overflows, and an interval never begins in the future of its reader by much.
                let next = Running::after(Some(running), Duration::from_nanos(now), Duration::from_nanos(used), ms(1));
                prop_assert!(next.began <= Duration::from_nanos(now).saturating_add(RACE));
            }
        }
    }
}
