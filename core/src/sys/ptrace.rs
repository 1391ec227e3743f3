//! Holding threads by ptrace(2), for a process that does nothing else.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::time::Duration;

use super::{Errno, Result, last_errno};

/// What a tracee did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It stopped, and stays so. The signal, if not 0, is one that it was about
    /// to take, and gets when it is let go.
    Stopped {
        signal: i32,
    },
    Ended,
}

/// Becomes the thread's tracer, without stopping it. Its children and new
/// threads are tracees from birth, and begin stopped.
///
/// EPERM: not permitted, or somebody traces it already. ESRCH.
pub(crate) fn seize(tid: i32) -> Result<()> {
    const NEWBORN: libc::c_int = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;
    request(libc::PTRACE_SEIZE, tid, NEWBORN as usize)
}

/// Stops a tracee, soon.
pub(crate) fn interrupt(tid: i32) -> Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Lets a stopped tracee go, which then takes the signal, if it is not 0.
/// ESRCH: it is not stopped (yet), or has gone.
pub(crate) fn detach(tid: i32, signal: i32) -> Result<()> {
    request(libc::PTRACE_DETACH, tid, usize::try_from(signal).unwrap_or(0))
}

fn request(request: libc::c_uint, tid: i32, data: usize) -> Result<()> {
    // SAFETY: none of the three requests made here reads or writes memory of
    // ours; `data` is a number to all of them.
    match unsafe { libc::ptrace(request, tid, std::ptr::null_mut::<libc::c_void>(), data) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// What a tracee did and has not been told yet; `None` if nothing.
pub(crate) fn next_event() -> Result<Option<(i32, Event)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) } {
        0 => Ok(None),
        -1 => match last_errno() {
            Errno::CHILD => Ok(None),
            errno => Err(errno),
        },
        tid if libc::WIFSTOPPED(status) => {
            // A stop with an event is the tracer's doing, not a signal's.
            let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
            Ok(Some((tid, Event::Stopped { signal })))
        }
        tid => Ok(Some((tid, Event::Ended))),
    }
}

/// Waits until a tracee does something (SIGCHLD), we are told to look again
/// (SIGTERM), or the time is up. Both signals are blocked.
pub(crate) fn wait_for_news(timeout: Duration) {
    // SAFETY: all-zero is a valid set, and `sigemptyset` makes it an empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    let time = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: `set` and `time` outlive the calls; what the signal came with is
    // not asked for. A failure (time is up, interrupted) is as good as news.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const time);
    }
}

/// Gives up what a forked child has of its host: its session, its name, its
/// descriptors but for those to be kept.
pub(crate) fn leave_host(name: &CStr, keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    // SAFETY: neither call touches memory of ours but for the name, which ends
    // in NUL.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
    let mut next = 0;
    for fd in keep.iter().copied().chain([RawFd::MAX]) {
        if next < fd {
            close_range(next, fd - 1);
        }
        next = fd.saturating_add(1);
    }
    // What is printed by mistake must not get into a file of ours.
    for _ in 0..3 {
        // SAFETY: a path that ends in NUL in, a new descriptor or -1 out.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd > 2 {
            close_range(fd, fd);
        }
    }
}

fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: these descriptors are the child's own copies, and whatever owns
    // them in its copy of the host's memory is never dropped: a helper ends in
    // `_exit`.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9.
    for fd in first..=last.min(1 << 16) {
        // SAFETY: as above; a number that is no descriptor gives EBADF.
        unsafe { libc::close(fd) };
    }
}
