//! Whether a process stands still, by the letters of its threads.

use crate::process::{self, Stat};
use crate::sys;

/// What the threads of a process do, the liveliest one deciding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stillness {
    /// All are stopped by a signal.
    Stopped,
    /// One is held by a tracer.
    Traced,
    /// One waits for its vfork child to execute a program or end. Nothing but
    /// that child, or its own death, gets it going again, and a stop that was
    /// sent to it meanwhile comes before any instruction of its own.
    InVfork,
    Moving,
}

/// What a thread in vfork(2) waits in, by the kernel's present and former names.
const VFORK: [&str; 4] = ["kernel_clone", "wait_for_vfork_done", "_do_fork", "do_fork"];

/// ESRCH: the process has gone.
pub(super) fn of(stat: &Stat) -> sys::Result<Stillness> {
    if stat.threads <= 1 {
        return Ok(of_thread(stat.pid, stat));
    }
    let mut liveliest = Stillness::Stopped;
    for tid in process::threads(stat.pid)? {
        // A thread that has ended does nothing any more.
        if let Ok(thread) = Stat::of_task(stat.pid, tid) {
            liveliest = liveliest.max(of_thread(stat.pid, &thread));
        }
    }
    Ok(liveliest)
}

/// `stat` is one thread's.
pub(super) fn of_thread(pid: i32, stat: &Stat) -> Stillness {
    match stat.state {
        b'T' => Stillness::Stopped,
        b't' => Stillness::Traced,
        b'D' if VFORK.contains(&process::waits_in(pid, stat.pid).as_str()) => Stillness::InVfork,
        _ if stat.is_dead() => Stillness::Stopped,
        _ => Stillness::Moving,
    }
}
