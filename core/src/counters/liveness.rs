//! Which processes have ended: asked of descriptors that are kept, since a refusal asks
//! each time.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::holder::Process;
use crate::process::Stat;
use crate::sys::{Errno, pidfd};

/// As many are kept: a program may want to open files, too. The rest is looked up each time.
const KEPT: usize = 64;

/// Descriptors of processes that count with us.
#[derive(Debug)]
pub(super) struct Liveness {
    kept: Mutex<HashMap<Process, OwnedFd>>,
    /// The boot that runs, as processes have it.
    boot: u8,
}

impl Liveness {
    pub(super) fn new(boot: u8) -> Liveness {
        Liveness { kept: Mutex::default(), boot }
    }

    /// The boot that runs, as processes have it.
    pub(super) fn boot(&self) -> u8 {
        self.boot
    }

    /// Which of these have ended for certain. A pidfd tells when the last thread of a
    /// process has (a zombie leader with threads alive is no end), and stands for the
    /// process that had the number when its start time was looked at.
    pub(super) fn dead(&self, processes: &[Process]) -> Vec<bool> {
        // Nobody waits for another thread here, who may be stopped: then without.
        let mut spare = HashMap::new();
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => Some(kept),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        let known = kept.as_deref_mut().unwrap_or(&mut spare);
        let mut dead: Vec<bool> =
            processes.iter().map(|process| !known.contains_key(process) && self.look(*process, known)).collect();
        for place in told(processes, known) {
            let Some(process) = processes.get(place) else { continue };
            // What a kept descriptor tells is only a reason to look: a program that closes all
            // of its files made the number free for one of its own.
            let old = known.remove(process);
            dead[place] = self.look(*process, known);
            if !dead[place] {
                // So this is somebody else's, and not ours to close.
                std::mem::forget(old);
            }
        }
        // Those who left while they lived are asked about no more.
        if known.len() > processes.len().max(KEPT / 2) {
            known.retain(|process, _| processes.contains(process));
        }
        dead
    }

    /// Whether a process has ended; else its descriptor is kept from now on, if there is one
    /// to be had.
    fn look(&self, process: Process, known: &mut HashMap<Process, OwnedFd>) -> bool {
        if process.boot() != self.boot {
            return true;
        }
        // Not shown is not dead: procfs can hide other users' processes.
        let is_another = || {
            let stat = Stat::of(process.pid());
            stat.is_ok_and(|stat| Process::new(process.pid(), self.boot, stat.start_time) != process)
        };
        match pidfd::open(process.pid()) {
            Ok(fd) => {
                // Looked at after it was opened: if the number is this process's still, so
                // is the descriptor.
                if is_another() || has_ended(&fd) {
                    return true;
                }
                if known.len() < KEPT {
                    known.insert(process, fd);
                }
                false
            }
            // No process, or a thread of another one, has the number.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => true,
            // No descriptor to be had: as far as is known it may be there.
            Err(_) => is_gone(process.pid()) || is_another(),
        }
    }
}

/// The places of those whose kept descriptors have something to tell.
fn told(processes: &[Process], known: &HashMap<Process, OwnedFd>) -> Vec<usize> {
    let mut watched = Vec::new();
    let mut places = Vec::new();
    for (place, process) in processes.iter().enumerate() {
        if let Some(fd) = known.get(process) {
            watched.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
            places.push(place);
        }
    }
    if watched.is_empty() || poll(&mut watched, Some(&NOW)) == Ok(0) {
        return Vec::new();
    }
    let told = places.iter().zip(&watched).filter(|(_, polled)| !polled.revents().is_empty());
    told.map(|(place, _)| *place).collect()
}

/// Whether nobody has the number.
fn is_gone(pid: i32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    poll(&mut watched, Some(&NOW)).is_ok() && watched.iter().any(|polled| polled.revents().contains(PollFlags::IN))
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
