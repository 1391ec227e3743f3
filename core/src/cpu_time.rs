//! CPU time: how long processes have had a CPU, and as what.

use std::time::Duration;

/// What the processes of a group have used (R8.1).
///
/// `usage` is exact. How much of it was the programs' own and how much the kernel's on
/// their behalf is told by the kernel's clock ticks, so `user` and `system` come to `usage`
/// only nearly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuTime {
    /// All of it.
    pub usage: Duration,
    /// In the programs' own code.
    pub user: Duration,
    /// In the kernel, for them.
    pub system: Duration,
}

impl CpuTime {
    pub(crate) fn of_nanoseconds(usage: u64, user: u64, system: u64) -> CpuTime {
        let [usage, user, system] = [usage, user, system].map(Duration::from_nanos);
        CpuTime { usage, user, system }
    }

    /// As `[usage, user, system]`.
    pub(crate) fn nanoseconds(self) -> [u64; 3] {
        [self.usage, self.user, self.system].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn plus(self, other: CpuTime) -> CpuTime {
        self.each(other, Duration::saturating_add)
    }

    /// What it is more than the other; nothing where it is less.
    pub(crate) fn since(self, other: CpuTime) -> CpuTime {
        self.each(other, Duration::saturating_sub)
    }

    pub(crate) fn at_least(self, other: CpuTime) -> CpuTime {
        self.each(other, Duration::max)
    }

    fn each(self, other: CpuTime, combine: impl Fn(Duration, Duration) -> Duration) -> CpuTime {
        CpuTime {
            usage: combine(self.usage, other.usage),
            user: combine(self.user, other.user),
            system: combine(self.system, other.system),
        }
    }
}
