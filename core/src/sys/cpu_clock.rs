//! The CPU time of another process, to the nanosecond.

use std::time::Duration;

use super::{Errno, Result, last_errno};

/// What a process has used, all its threads, those that have ended too. It can be asked of
/// any process that is there, until it has been waited for (seen on Linux 6.18). SRCH.
pub(crate) fn of_process(pid: i32) -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes `time` during the call, which is ours.
    match unsafe { libc::clock_gettime(clock(pid), &raw mut time) } {
        0 => Ok(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)),
        _ => match last_errno() {
            // No clock, for there is no such process.
            Errno::INVAL => Err(Errno::SRCH),
            errno => Err(errno),
        },
    }
}

/// The number of a process's clock: that of the process, inverted, and the kind of the clock
/// in the low bits (`CPUCLOCK_SCHED` of the kernel's `posix-timers.h`, and of glibc's
/// `clock_getcpuclockid`, which would look the process up once more).
fn clock(pid: i32) -> libc::clockid_t {
    const SCHED: libc::clockid_t = 2;
    !pid << 3 | SCHED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::this_process;

    /// R8.1
    #[test]
    fn the_clock_of_a_process_is_its_own() {
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
        assert!(of_process(this_process()).unwrap() >= own);

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = super::super::pidfd::open(pid).unwrap();
        assert!(
            super::super::spawn::wait_readable(std::os::fd::AsFd::as_fd(&pidfd), crate::deadline::Deadline::never())
                .unwrap()
        );
        let dead = of_process(pid).unwrap();
        assert!(dead > Duration::ZERO, "a program cannot start for nothing");
        assert_eq!(of_process(pid), Ok(dead));
        child.wait().unwrap();
        assert_eq!(of_process(pid), Err(Errno::SRCH));
    }
}
