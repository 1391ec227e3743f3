//! Signals to a whole group, and its end.

use crate::about::About;
use crate::backend::{self, Outcome, guard};
use crate::blocker;
use crate::control_file::{ControlFile, number};
use crate::deadline::{Ended, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process;
use crate::subsystem::Subsystem;

/// Signals to groups, as hierarchies are bound to them.
pub(crate) struct Signal;

impl Subsystem for Signal {
    fn name(&self) -> &'static str {
        "signal"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        vec![
            ControlFile::new("kill")
                .about(About {
                    meaning: "Sends a signal to every process of the group and below; 9 ends them all, and waits for that",
                    format: "a signal's number, 0 to 64; 0 only checks",
                    writers: "whoever may signal the processes; for 9, whoever may write the group's files",
                    errors: &[
                        ("EINVAL", "no such signal, or the kernel's own root group"),
                        ("EBUSY", "a checkpoint holds the group, or some were not dead in time"),
                        ("EPERM", "one of them may not be signalled by the caller"),
                    ],
                    ..About::default()
                })
                .write(|group, text| group.kill(number(text)?)),
        ]
    }
}

/// The highest signal number (SIGRTMAX of the kernel).
const HIGHEST: i32 = 64;

impl Group {
    /// Sends a signal to every process of the group and below, to each once
    /// (R5.1). 0 only checks that it could be sent.
    ///
    /// SIGKILL ends them all: those born meanwhile, and those in frozen groups.
    /// It returns when they are dead (though perhaps not yet waited for), and
    /// leaves the freezer's state as it was (R5.2). Any other signal goes to the
    /// processes that are there when the call begins; a process with a recycled
    /// number is never hit (R5.3). The caller, if it is in the group, comes last.
    ///
    /// # Errors
    ///
    /// * EINVAL: no such signal, or the kernel's own root group.
    /// * EBUSY: a checkpoint holds the group, one above it or below (R4.1), and no
    ///   signal was sent; or after SIGKILL, some were not dead by the hierarchy's
    ///   deadline, and [`Error::blockers`] names them.
    /// * EPERM: not permitted to signal one of them; the others were signalled.
    /// * EACCES: not permitted to kill in this group.
    /// * ENODEV: the group was removed. ECHILD: in a forked child.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if !(0..=HIGHEST).contains(&signal) {
            return Err(Error::new(libc::EINVAL, format!("{signal} is no signal; they go from 0 to {HIGHEST}")));
        }
        let backend = self.backend()?;
        if backend.is_kernel_root(self.node()) {
            return Err(Error::new(libc::EINVAL, "the kernel's own root group holds everything; it takes no signal"));
        }
        let _passage = match signal {
            0 => None,
            _ => guard::end_all(backend, self.node())?,
        };
        if signal == libc::SIGKILL { self.kill_everybody() } else { self.signal_all(signal) }
    }

    /// For whoever has leave to.
    pub(crate) fn kill_everybody(&self) -> Result<()> {
        let backend = self.backend()?;
        let deadline = self.hierarchy().deadline();
        match backend.kill(self.node(), &mut Wait::until(deadline))? {
            Outcome::Done | Outcome::Cancelled => Ok(()),
            Outcome::Ended(Ended::Passed | Ended::Interrupted) => {
                let waited = deadline.elapsed().as_millis();
                let survivors = backend.blockers(self.node(), backend::Effort::Glance)?;
                let message = match survivors.len() {
                    0 => format!("{self} was not empty {waited} ms after SIGKILL"),
                    _ => format!("alive in {self} {waited} ms after SIGKILL: {}", blocker::in_short(&survivors)),
                };
                Err(Error::new(libc::EBUSY, message).with_blockers(survivors))
            }
        }
    }

    fn signal_all(&self, signal: i32) -> Result<()> {
        let backend = self.backend()?;
        let caller = process::this_process();
        let mut caller_in = None;
        let mut refused = None;
        // The list is made before the first signal goes out: a process that
        // reacts by forking would otherwise have its child signalled too.
        let mut members = Vec::new();
        self.node().walk(&mut |node| {
            members.extend(backend.procs(node)?);
            Ok(())
        })?;
        members.sort_unstable();
        members.dedup();
        for pid in members {
            let Some(process) = backend::member(backend, self.node(), pid)? else { continue };
            if pid == caller {
                caller_in = Some(process);
                continue;
            }
            match backend.signal(self.node(), &process, signal) {
                // It ended by itself meanwhile.
                Err(error) if error.is(libc::ESRCH) => {}
                Err(error) if error.is(libc::EPERM) => refused = Some(error),
                other => other?,
            }
        }
        if let Some(process) = caller_in {
            backend.signal(self.node(), &process, signal)?;
        }
        refused.map_or(Ok(()), Err)
    }
}
