//! Moving what runs already into a group: whole processes, and single threads.
//!
//! The subsystems of the hierarchy are asked before and told after (R2.2):
//!
//! ```text
//! can_attach, can_attach_task for each thread   each subsystem in turn; may refuse
//! pre_attach                                    each; may still refuse
//! the move                                      in all kernel trees or in none
//! attach_task for each thread, attach           each; an error takes it all back
//! ```
//!
//! After a refusal, `cancel_attach` goes to those who had agreed, last first.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use crate::backend::guard::{self, Leave};
use crate::backend::stage::Whom;
use crate::backend::{self, Admission, BackendKind};
use crate::deadline::Wait;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::path::GroupPath;
use crate::process::{self, Process};
use crate::release;
use crate::subsystem::{self, Subsystem};

/// What an attach may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Into a FROZEN group too. The newcomer freezes there.
    pub frozen: bool,
}

/// Somebody coming into a group, as subsystems are told of it.
#[derive(Debug)]
pub struct Attach<'a> {
    group: &'a Group,
    whom: Newcomer,
    from: Option<GroupPath>,
    options: AttachOptions,
    /// Whether it begins its life by coming: also once it was born.
    is_newborn: bool,
    has_come: bool,
    threads: OnceLock<Vec<i32>>,
}

#[derive(Debug)]
enum Newcomer {
    Process(i32),
    Task {
        pid: i32,
        tid: i32,
    },
    /// A program that is to be started, whose process is not made yet.
    Unborn,
}

impl<'a> Attach<'a> {
    /// Where it comes.
    pub fn group(&self) -> &'a Group {
        self.group
    }

    /// The group where it is, or was, in this hierarchy; `None`: not born yet, or
    /// outside of a hierarchy that was opened by `root=`.
    pub fn from(&self) -> Option<&GroupPath> {
        self.from.as_ref()
    }

    /// The process; 0 if it is not born yet.
    pub fn pid(&self) -> i32 {
        match self.whom {
            Newcomer::Process(pid) | Newcomer::Task { pid, .. } => pid,
            Newcomer::Unborn => 0,
        }
    }

    /// The threads that come: all of the process as they are when this is first
    /// asked, or the one; 0 for that of a process not born yet.
    pub fn threads(&self) -> &[i32] {
        self.threads.get_or_init(|| match self.whom {
            // None: it has ended, and the move will say so.
            Newcomer::Process(pid) => process::threads(pid).unwrap_or_default(),
            Newcomer::Task { tid, .. } => vec![tid],
            Newcomer::Unborn => vec![0],
        })
    }

    /// Whether this is a program that is to be started in the group.
    pub fn is_birth(&self) -> bool {
        matches!(self.whom, Newcomer::Unborn)
    }

    /// Whether this is such a program's process, or will be once it is made.
    pub(crate) fn is_newborn(&self) -> bool {
        self.is_newborn
    }

    /// Whether it has arrived, though it may have to go back.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come
    }

    /// Whether it is one thread, the others of its process staying where they are.
    pub(crate) fn is_single_task(&self) -> bool {
        matches!(self.whom, Newcomer::Task { .. })
    }

    /// Whether it may come into a frozen group, and freeze there.
    pub fn may_freeze(&self) -> bool {
        self.options.frozen
    }

    /// The same newcomer where it has arrived, with the threads that it has now.
    fn arrived(&self, pid: i32) -> Attach<'a> {
        let whom = match self.whom {
            Newcomer::Task { pid, tid } => Newcomer::Task { pid, tid },
            Newcomer::Process(_) | Newcomer::Unborn => Newcomer::Process(pid),
        };
        Attach { whom, from: self.from.clone(), has_come: true, threads: OnceLock::new(), ..*self }
    }
}

/// An attach that every subsystem has agreed to. Until it is done, dropping it
/// tells them that it does not come.
pub(crate) struct Agreed<'a> {
    attach: Attach<'a>,
    subsystems: &'a [Arc<dyn Subsystem>],
    asked: usize,
    /// The same newcomer once it has come, or been born.
    arrived: OnceLock<Attach<'a>>,
}

impl<'a> Agreed<'a> {
    fn ask(attach: Attach<'a>, subsystems: &'a [Arc<dyn Subsystem>]) -> Result<Agreed<'a>> {
        let mut agreed = Agreed { attach, subsystems, asked: 0, arrived: OnceLock::new() };
        for subsystem in subsystems {
            let attach = &agreed.attach;
            subsystem::call(&**subsystem, "can_attach", || subsystem.can_attach(attach))?;
            agreed.asked += 1;
            if subsystem.follows_attach() {
                let attach = &agreed.attach;
                attach.threads().iter().try_for_each(|&tid| {
                    subsystem::call(&**subsystem, "can_attach_task", || subsystem.can_attach_task(attach, tid))
                })?;
            }
        }
        for subsystem in subsystems {
            subsystem::call(&**subsystem, "pre_attach", || subsystem.pre_attach(&agreed.attach))?;
        }
        Ok(agreed)
    }

    fn is_followed(&self) -> bool {
        self.subsystems.iter().any(|subsystem| subsystem.follows_attach())
    }

    /// It has come, as this process.
    pub(crate) fn tell(&self, pid: i32) -> Result<()> {
        let arrived = self.arrived.get_or_init(|| self.attach.arrived(pid));
        for subsystem in self.subsystems.iter().filter(|subsystem| subsystem.follows_attach()) {
            arrived.threads().iter().try_for_each(|&tid| {
                subsystem::call(&**subsystem, "attach_task", || subsystem.attach_task(arrived, tid))
            })?;
            subsystem::call(&**subsystem, "attach", || subsystem.attach(arrived))?;
        }
        Ok(())
    }

    /// It stays.
    pub(crate) fn done(mut self) {
        self.asked = 0;
    }
}

impl Drop for Agreed<'_> {
    fn drop(&mut self) {
        let attach = self.arrived.get().unwrap_or(&self.attach);
        for subsystem in self.subsystems[..self.asked].iter().rev() {
            // What it has to say about it changes nothing.
            let _ = subsystem::call(&**subsystem, "cancel_attach", || subsystem.cancel_attach(attach));
        }
    }
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
    /// * EBUSY: the group is FROZEN (R2.4); a checkpoint holds it, or the group that
    ///   the process is in, or one above either (R4.1); or, on cgroup v2, it hands
    ///   controllers down to its children and so cannot hold processes.
    /// * EACCES: the process belongs to another user (R1.13), or the caller may
    ///   not write to the group.
    /// * EINVAL: a negative number, or a kernel thread.
    /// * ENODEV: the group was removed. ECHILD: in a forked child.
    /// * EPERM: the group is bound to namespaces (`ns.types`), and the process is not in
    ///   them; or it would be the first, and is not in the group above (R10.1).
    /// * ENOENT: the hierarchy is bound to a subsystem that is not registered
    ///   here. Any other: a subsystem refused, or failed to follow; the process
    ///   is where it was.
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
        let from = backend.locate(tid)?;
        let agreed = self.agree(Newcomer::Task { pid, tid }, from, AttachOptions::default())?;
        if agreed.is_followed() || backend.is_spanning() {
            self.come(Whom::Task(tid), &agreed, pid)?;
        } else {
            let _leave = self.leave_for_it(Whom::Task(tid))?;
            release::using(self, || backend.admit_task(self.node(), tid))?;
        }
        // A number read and then used: the thread may have ended in between,
        // and its number be another process's by now. That is seen and undone;
        // a thread has no descriptor before Linux 6.9 to exclude it.
        match (process::process_of(tid), backend.locate(tid)) {
            (Ok(now), Ok(Some(path))) if now == pid && path == self.node().path => {
                agreed.done();
                Ok(())
            }
            (Ok(now), Ok(Some(path))) if now != pid && path == self.node().path => {
                backend.return_to_parent(now)?;
                Err(gone())
            }
            _ => Err(gone()),
        }
    }

    fn admit(&self, process: &Process, options: AttachOptions) -> Result<()> {
        let backend = self.backend()?;
        let pid = process.pid();
        check_owner(pid)?;
        let from = backend.locate(pid)?;
        if from.as_ref() == Some(self.path()) && !backend.is_spanning() && self.has_all_threads(pid)? {
            // A checkpoint refuses this like any attach, though it would change nothing.
            drop(self.leave_for_it(Whom::Process(process))?);
            return self.prove(process);
        }
        let agreed = self.agree(Newcomer::Process(pid), from, options)?;
        if agreed.is_followed() || backend.is_spanning() {
            self.come(Whom::Process(process), &agreed, pid)?;
        } else {
            let _leave = self.leave_for_it(Whom::Process(process))?;
            release::using(self, || backend.admit(self.node(), process, Admission::Attached))?;
        }
        self.prove(process)?;
        agreed.done();
        Ok(())
    }

    /// Whether no thread of a process whose first one is in the group is
    /// elsewhere.
    fn has_all_threads(&self, pid: i32) -> Result<bool> {
        let backend = self.backend()?;
        // The others do not tell threads apart, or only in threaded subtrees.
        if backend.kind() != BackendKind::Cgroup1 {
            return Ok(true);
        }
        for tid in process::threads(pid).map_err(|_| process::no_such_process(pid))? {
            match backend.locate(tid) {
                Ok(path) if path.as_ref() == Some(self.path()) => {}
                Err(error) if error.is(libc::ESRCH) => {}
                Ok(_) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// A program may be started in the group, as far as the subsystems go.
    pub(crate) fn agree_to_birth(&self) -> Result<Agreed<'_>> {
        self.agree(Newcomer::Unborn, None, AttachOptions::default())
    }

    fn agree(&self, whom: Newcomer, from: Option<GroupPath>, options: AttachOptions) -> Result<Agreed<'_>> {
        let subsystems = self.hierarchy().every_subsystem()?;
        let from = from.or_else(|| match whom {
            Newcomer::Process(_) | Newcomer::Task { .. } => self.hierarchy().home_of_others(),
            Newcomer::Unborn => None,
        });
        let is_newborn = matches!(whom, Newcomer::Unborn);
        let attach = Attach { group: self, whom, from, options, is_newborn, has_come: false, threads: OnceLock::new() };
        Agreed::ask(attach, subsystems)
    }

    /// Moves somebody in such a way that it can be taken back, tells the
    /// subsystems, and takes it back if one of them cannot follow.
    fn come(&self, whom: Whom<'_>, agreed: &Agreed<'_>, pid: i32) -> Result<()> {
        let backend = self.backend()?;
        // Where it comes from may be empty meanwhile, and yet is not released: it
        // may have to go back there.
        let home = agreed.attach.from().and_then(|path| Group::open(self.hierarchy(), path).ok());
        let kept = home.as_ref().map(release::begin_use).transpose()?;
        let leave = self.leave_for_it(whom)?;
        let deadline = self.hierarchy().deadline();
        let (mut staged, entered) = release::using(self, || backend.stage(self.node(), whom, deadline))?;
        // A checkpoint that begins where it comes from, or goes to, sees from now on
        // that somebody may have to go back there, or is on the way in.
        drop(leave);
        // A callback may have taken its time: that is not counted.
        match agreed.tell(pid).and_then(|()| staged.settle(self.hierarchy().deadline())) {
            Ok(()) => Ok(()),
            Err(error) => {
                let back = entered.undo(|| staged.take_back(self.hierarchy().deadline()));
                drop(kept);
                match back {
                    Ok(()) => Err(error),
                    Err(failed) => Err(error.context(format_args!("{failed}, and it had to go back"))),
                }
            }
        }
    }

    /// Leave to take somebody away from where it is.
    fn leave_for_it(&self, whom: Whom<'_>) -> Result<Leave> {
        guard::leave(self.backend()?, whom, &mut Wait::until(self.hierarchy().deadline()))
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
