//! A process of our own that does one thing beside its parent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Errno, Result, last_errno, pidfd};

/// A child that runs a function of ours and ends with its result.
///
/// It is a child of the host's like any other: its end raises SIGCHLD, and a
/// wait of the host's for any child may take its result away.
#[derive(Debug)]
pub(crate) struct Helper {
    pid: i32,
    pidfd: OwnedFd,
}

/// Runs `job` in a child process, with every signal blocked that can be, so
/// that no handler of the host's runs there.
///
/// The child has a copy of the host's memory with the locks of the host's other
/// threads as they were: `job` may allocate (libc sees to that at a fork) but
/// must take no lock that another thread could have held.
pub(crate) fn start(job: impl FnOnce() -> u8) -> Result<Helper> {
    let mask = set_signal_mask(u64::MAX)?;
    // fork(3), not the bare system call: the allocator must work in the child.
    // SAFETY: the child runs `job` and ends in `_exit`; see above for `job`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).unwrap_or(u8::MAX);
        // SAFETY: ends the child; nothing of its parent's is run.
        unsafe { libc::_exit(status.into()) }
    }
    let born = if pid == -1 { Err(last_errno()) } else { Ok(pid) };
    set_signal_mask(mask)?;
    let pid = born?;
    Ok(Helper { pid, pidfd: pidfd::open(pid)? })
}

impl Helper {
    #[cfg(test)]
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the child has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends the child. It is not asked.
    pub(crate) fn kill(self) {
        let _ = pidfd::send_signal(&self.pidfd, libc::SIGKILL);
        self.result();
    }

    /// The result of a child that has ended; `None` if it was killed, or if the
    /// host waited for it first.
    pub(crate) fn result(self) -> Option<u8> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for the answer.
            match unsafe { libc::waitpid(self.pid, &raw mut status, 0) } {
                -1 if last_errno() == Errno::INTR => {}
                -1 => return None,
                _ => break,
            }
        }
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u8)
    }
}

/// Sets the thread's blocked signals, as the kernel's 64-bit set, and returns
/// those before.
fn set_signal_mask(mask: u64) -> Result<u64> {
    let mut before = 0_u64;
    // SAFETY: both sets are the kernel's size, 8 bytes, and outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut before, size_of::<u64>())
    };
    if result == 0 { Ok(before) } else { Err(last_errno()) }
}
