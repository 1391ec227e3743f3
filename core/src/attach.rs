//! Moving what runs already into a group: whole processes, and single threads.

use std::os::fd::AsFd;

use crate::backend::{self, Admission};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process::{self, Process};
use crate::state::State;

/// What an attach may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Into a FROZEN group too. The newcomer freezes there.
    pub frozen: bool,
}

impl Group {
    /// Moves a process with all its threads into the group; 0 is the caller
    /// (R2.1). Its children stay where they are; those it makes later are born
    /// in the group.
    ///
    /// # Errors
    ///
    /// * ESRCH: no such process, or it ended meanwhile, or the number is a
    ///   thread's.
    /// * EBUSY: the group is FROZEN (R2.4); or, on cgroup v2, hands controllers
    ///   down to its children and so cannot hold processes.
    /// * EACCES: the process belongs to another user (R1.13), or the caller may
    ///   not write to the group.
    /// * EINVAL: a negative number, or a kernel thread.
    /// * ENODEV: the group was removed. ECHILD: in a forked child.
    pub fn attach(&self, pid: i32) -> Result<()> {
        self.attach_with(pid, AttachOptions::default())
    }

    /// Moves a process, with more to say about it.
    ///
    /// # Errors
    ///
    /// As [`attach`](Group::attach).
    pub fn attach_with(&self, pid: i32, options: AttachOptions) -> Result<()> {
        self.backend()?;
        self.admit(&Process::open(pid)?, options)
    }

    /// Moves the process that a pidfd stands for: it cannot be mistaken for
    /// another that has its number by now.
    ///
    /// # Errors
    ///
    /// EBADF: no pidfd. ESRCH: its process has gone. Else as
    /// [`attach`](Group::attach).
    pub fn attach_pidfd(&self, pidfd: impl AsFd, options: AttachOptions) -> Result<()> {
        self.backend()?;
        self.admit(&Process::from_pidfd(pidfd.as_fd())?, options)
    }

    /// Moves one thread; 0 is the calling thread. On cgroup v1, and within a
    /// threaded subtree of v2.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: this group cannot hold single threads; the message says why.
    /// ESRCH: no such thread. Else as [`attach`](Group::attach).
    pub fn attach_task(&self, tid: i32) -> Result<()> {
        let backend = self.backend()?;
        if tid < 0 {
            return Err(Error::new(libc::EINVAL, format!("{tid} is no thread number")));
        }
        let tid = if tid == 0 { rustix::thread::gettid().as_raw_nonzero().get() } else { tid };
        let gone = || Error::new(libc::ESRCH, format!("no thread {tid}"));
        let pid = process::process_of(tid).map_err(|_| gone())?;
        check_owner(pid)?;
        self.check_not_frozen(AttachOptions::default(), tid)?;
        backend.admit_task(self.node(), tid)?;
        // A number read and then used: the thread may have ended in between,
        // and its number be another process's by now. That is seen and undone;
        // a thread has no descriptor before Linux 6.9 to exclude it.
        match (process::process_of(tid), backend.locate(tid)) {
            (Ok(now), Ok(Some(path))) if now == pid && path == self.node().path => Ok(()),
            (Ok(now), Ok(Some(path))) if now != pid && path == self.node().path => {
                backend.return_to_parent(now)?;
                Err(gone())
            }
            _ => Err(gone()),
        }
    }

    fn admit(&self, process: &Process, options: AttachOptions) -> Result<()> {
        let backend = self.backend()?;
        check_owner(process.pid())?;
        self.check_not_frozen(options, process.pid())?;
        backend.admit(self.node(), process, Admission::Attached)?;
        self.prove(process)
    }

    /// Reads the membership back (R2.5), and notices a recycled number (R2.3).
    ///
    /// The kernel moves by number. As long as the pidfd still has its process,
    /// which is asked last, the number was that process's all the time.
    pub(crate) fn prove(&self, process: &Process) -> Result<()> {
        let backend = self.backend()?;
        let pid = process.pid();
        let found = backend.locate(pid);
        if !process.is_there() {
            if matches!(found, Ok(Some(path)) if path == self.node().path) {
                // Another process has the number and was moved in its place.
                backend.return_to_parent(pid)?;
            }
            return Err(process::no_such_process(pid));
        }
        let found = found?;
        if found.as_ref() == Some(&self.node().path) || backend::is_member(backend, self.node(), pid)? {
            return Ok(());
        }
        if !process::Stat::of(pid).is_ok_and(|stat| stat.is_alive()) {
            return Err(process::no_such_process(pid));
        }
        let to = found.map_or_else(|| "out of the hierarchy".to_owned(), |path| format!("on to {path}"));
        Err(Error::new(libc::ECANCELED, format!("process {pid} was moved {to} at once")))
    }

    fn check_not_frozen(&self, options: AttachOptions, id: i32) -> Result<()> {
        match self.state()? {
            State::Frozen if !options.frozen => {
                let why = format!("{self} is FROZEN: {id} would stop there; thaw it, or attach with the frozen option");
                Err(Error::new(libc::EBUSY, why))
            }
            State::Checkpointing => Err(Error::new(libc::EBUSY, format!("{self} is held by a checkpoint"))),
            _ => Ok(()),
        }
    }
}

/// R1.13: root may attach anything, others what shares its real or saved user
/// id with the caller.
fn check_owner(pid: i32) -> Result<()> {
    let caller = rustix::process::geteuid();
    if caller.is_root() {
        return Ok(());
    }
    let [real, _, saved] = process::users(pid).map_err(|_| process::no_such_process(pid))?;
    if real == caller.as_raw() || saved == caller.as_raw() {
        return Ok(());
    }
    let why = format!("process {pid} belongs to user {real}, and we are user {}", caller.as_raw());
    Err(Error::new(libc::EACCES, why))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::backend::BackendKind;
    use crate::hierarchy::Hierarchy;
    use crate::options::Options;
    use crate::sys::pidfd;

    /// R2.3: between the opening of a pidfd and the move, the process ended and
    /// its number was given to another. A pidfd of a process that has gone, with
    /// the number of one that runs, is what that looks like.
    #[test]
    fn a_recycled_number_is_noticed_and_moved_back() {
        for kind in [BackendKind::Cgroup2, BackendKind::Cgroup1] {
            let options = Options::default().backend(kind);
            let name = format!("recycled-{}", process::this_process());
            let Ok(hierarchy) = Hierarchy::open(&name, &options) else {
                assert!(std::env::var_os("CGF_DEMAND").is_none(), "{kind} is demanded");
                continue;
            };
            let group = hierarchy.create("g").unwrap();
            let mut gone = std::process::Command::new("true").spawn().unwrap();
            let dead = pidfd::open(gone.id().try_into().unwrap()).unwrap();
            gone.wait().unwrap();
            let mut bystander = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let number = i32::try_from(bystander.id()).unwrap();

            let mistaken = Process::born(number, dead.as_fd()).unwrap();
            let result = group.admit(&mistaken, AttachOptions::default());

            let place = hierarchy.group_of(number).map(|group| group.path().to_string());
            bystander.kill().unwrap();
            bystander.wait().unwrap();
            group.remove_with(crate::group::RemoveOptions { kill: true, recursive: false }).unwrap();
            hierarchy.unmount().unwrap();
            assert_eq!(result.unwrap_err().errno(), libc::ESRCH);
            assert_eq!(place.unwrap(), "/", "on {kind}");
        }
    }
}
