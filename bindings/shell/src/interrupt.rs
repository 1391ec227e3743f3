//! Being asked to end (Ctrl-C, SIGTERM, a closed terminal) by who has something
//! to put right first.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::failure::Failure;

/// The last signal that came; 0 for none.
static CAME: AtomicI32 = AtomicI32::new(0);

const NOTED: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

extern "C" fn note(signal: libc::c_int) {
    CAME.store(signal, Ordering::Relaxed);
}

/// From now on such a signal is noted and ends nothing. Programs that are
/// started find them as they were: a handler does not survive an exec.
pub fn note_signals() -> Result<(), Failure> {
    for signal in NOTED {
        // SAFETY: a sigaction of zeros is a valid one, without flags and with an
        // empty mask; both are only read and written during the calls. The handler
        // stores into an atomic and does nothing else.
        let failed = unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
            // Whoever is run under nohup stays so.
            libc::sigaction(signal, std::ptr::null(), &raw mut before) == -1
                || (before.sa_sigaction != libc::SIG_IGN
                    && libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == -1)
        };
        if failed {
            return Err(Failure::system("preparing for Ctrl-C", std::io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// The signal that came, if one did.
pub fn came() -> Option<i32> {
    Some(CAME.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
}

/// For waits: whether to go on.
pub fn heed() -> ControlFlow<()> {
    came().map_or(ControlFlow::Continue(()), |_| ControlFlow::Break(()))
}
