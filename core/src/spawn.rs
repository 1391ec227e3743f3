//! Starting a program inside a group, so that it never runs outside.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::process::{WaitId, WaitIdOptions};

use crate::backend::{Admission, BackendKind};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process::Process;
use crate::release::{self, Entered};
use crate::subsystems::namespace::kinds::Namespaces;
use crate::subsystems::{namespace, numtasks};
use crate::sys::{
    Errno,
    spawn::{self, NotStarted, Plan, Waiting},
};

/// A program to start, and how.
///
/// ```no_run
/// # fn main() -> cgf::Result<()> {
/// # let group = cgf::Hierarchy::open("jobs", &cgf::Options::default())?.create("web")?;
/// let child = group.spawn(cgf::Spawn::new("sleep").arg("60").env("LANG", "C"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Spawn {
    program: OsString,
    args: Vec<OsString>,
    inherits_env: bool,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    fds: Vec<(OwnedFd, RawFd)>,
    close_others: bool,
    session: bool,
    restore_signals: bool,
    signal_mask: Option<u64>,
    namespaces: Namespaces,
}

impl Spawn {
    /// A program, looked up in the child's PATH if it has no slash (as execvp(3)
    /// does, `/bin:/usr/bin` without one); with the caller's environment as it
    /// is when the child is made, its directory and descriptors.
    pub fn new(program: impl Into<OsString>) -> Spawn {
        let program = program.into();
        Spawn {
            args: vec![program.clone()],
            program,
            inherits_env: true,
            env: Vec::new(),
            cwd: None,
            fds: Vec::new(),
            close_others: false,
            session: false,
            restore_signals: false,
            signal_mask: None,
            namespaces: Namespaces::NONE,
        }
    }

    /// One argument more.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Spawn {
        self.args.push(arg.into());
        self
    }

    /// Some arguments more.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Spawn {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The program's name for itself, `argv[0]`.
    pub fn arg0(mut self, name: impl Into<OsString>) -> Spawn {
        if let Some(first) = self.args.first_mut() {
            *first = name.into();
        }
        self
    }

    /// Sets one variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Spawn {
        let name = name.into();
        self.env.retain(|(other, _)| *other != name);
        self.env.push((name, value.into()));
        self
    }

    /// Starts from an empty environment.
    pub fn env_clear(mut self) -> Spawn {
        self.inherits_env = false;
        self.env.clear();
        self
    }

    /// The directory to start in.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Spawn {
        self.cwd = Some(directory.into());
        self
    }

    /// Gives the child a descriptor under a number: 0, 1, 2 for the standard
    /// streams. Ours is closed once the child has started.
    pub fn fd(mut self, ours: impl Into<OwnedFd>, number: RawFd) -> Spawn {
        self.fds.push((ours.into(), number));
        self
    }

    /// Closes in the child every descriptor above 2 that was not given by
    /// [`fd`](Spawn::fd).
    pub fn close_others(mut self, close: bool) -> Spawn {
        self.close_others = close;
        self
    }

    /// Begins a session (setsid(2)). The embedded backend always does.
    pub fn session(mut self, session: bool) -> Spawn {
        self.session = session;
        self
    }

    /// Gives SIGPIPE and SIGXFSZ their default action back if they are ignored.
    pub fn restore_signals(mut self, restore: bool) -> Spawn {
        self.restore_signals = restore;
        self
    }

    /// The signals blocked in the child: signal n is bit n-1. By default those
    /// that the calling thread blocks.
    pub fn signal_mask(mut self, mask: u64) -> Spawn {
        self.signal_mask = Some(mask);
        self
    }

    /// In the group's namespaces of these kinds, or, if nobody is in the group, in new ones
    /// that are the group's from then on (R10.2). Of the others it has the caller's, which
    /// have to be the group's as far as that is bound to them.
    ///
    /// A new mount namespace keeps its mounts to itself. Nobody has a number in a new user
    /// namespace before somebody writes its maps (user_namespaces(7)). Who joins a mount
    /// namespace starts at its root: relative paths, of the program and of
    /// [`current_dir`](Spawn::current_dir), mean what they mean there.
    pub fn namespaces(mut self, kinds: Namespaces) -> Spawn {
        self.namespaces = kinds;
        self
    }

    pub(crate) fn plan(mut self, session: bool) -> Result<Plan> {
        if self.inherits_env {
            let ours = std::env::vars_os().filter(|(name, _)| self.env.iter().all(|(other, _)| other != name));
            self.env = ours.chain(self.env.iter().cloned()).collect();
        }
        let candidates = self.candidates()?;
        let mut envp = Vec::with_capacity(self.env.len());
        for (name, value) in &self.env {
            let mut line = name.clone();
            line.push("=");
            line.push(value);
            envp.push(c_string(line, "the environment")?);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let is_number = |number: RawFd| u64::try_from(number).is_ok_and(|number| number + 1 < limit);
        if let Some((_, number)) = self.fds.iter().find(|(_, number)| !is_number(*number)) {
            return Err(Error::new(
                libc::EBADF,
                format!("{number} cannot be a descriptor's number here (RLIMIT_NOFILE)"),
            ));
        }
        Ok(Plan {
            candidates,
            argv: self.args.into_iter().map(|arg| c_string(arg, "an argument")).collect::<Result<_>>()?,
            envp,
            cwd: self.cwd.map(|cwd| c_string(cwd.into_os_string(), "the directory")).transpose()?,
            fds: self.fds,
            close_others: self.close_others,
            session: self.session || session,
            restore_signals: self.restore_signals,
            signal_mask: self.signal_mask,
            namespaces: None,
            mark: None,
        })
    }

    /// Where the program may lie, in the order to try them (execvp(3)).
    fn candidates(&self) -> Result<Vec<CString>> {
        let program = self.program.as_bytes();
        if program.is_empty() {
            return Err(Error::new(libc::ENOENT, "the name of the program is empty"));
        }
        if program.contains(&b'/') {
            return Ok(vec![c_string(self.program.clone(), "the program")?]);
        }
        let path = self.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
        std::env::split_paths(&path)
            .map(|directory| {
                // An empty entry means the current directory.
                let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
                c_string(directory.join(&self.program).into_os_string(), "the program")
            })
            .collect()
    }
}

/// A program that was started in a group.
///
/// Dropping it neither ends nor waits for the process; unless somebody waits it
/// stays a zombie, as any child does.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    group: Group,
}

impl Child {
    /// Its number; it stays the child's until somebody has waited for it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end; `None`: it had not ended by the deadline.
    ///
    /// On the embedded backend, what it leaves behind is found by it, dead as it
    /// is, and so looked for first. Who waits by other means calls
    /// [`Group::procs`] before.
    ///
    /// # Errors
    ///
    /// ECHILD: somebody else waited for it, or it is not ours any more.
    pub fn wait(&self, deadline: impl Into<Deadline>) -> Result<Option<ExitStatus>> {
        let failed = |errno: Errno| Error::os(errno, format_args!("waiting for process {}", self.pid));
        if !spawn::wait_readable(self.pidfd.as_fd(), deadline.into()).map_err(failed)? {
            return Ok(None);
        }
        if self.group.hierarchy().backend_kind() == BackendKind::Embedded {
            // A look records whom it finds. A group that was removed has nobody.
            let _ = self.group.procs();
        }
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), how).map_err(failed)?;
        // The encoding of wait(2): a signal in the low bits, a status above.
        Ok(status.map(|status| {
            let core = if status.dumped() { 0x80 } else { 0 };
            let raw = match status.exit_status() {
                Some(code) => (code & 0xff) << 8,
                None => status.terminating_signal().unwrap_or(0) | core,
            };
            ExitStatus::from_raw(raw)
        }))
    }

    /// Its pidfd, to keep.
    pub fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Group {
    /// Starts a program as a child of the caller, in the group before its first
    /// instruction (R1.5). On cgroup v2 it is born there.
    ///
    /// # Errors
    ///
    /// * ENOENT, EACCES, ENOEXEC, …: the program could not be executed; the
    ///   message names the step. Nothing is left of the child.
    /// * EBUSY: the group is not THAWED, or was frozen meanwhile, so that the
    ///   program could not start within the hierarchy's deadline.
    /// * ECANCELED: somebody killed the child before it could start.
    /// * EINVAL: a NUL in an argument; the group is not bound to the
    ///   [`namespaces`](Spawn::namespaces), or they are `pid` or `time`. EPERM: it may not
    ///   make or join them; or the group is bound to namespaces, and it is not in them. EBADF: a bad descriptor number.
    /// * EAGAIN, ENOMEM: no process could be made.
    /// * ENODEV: the group was removed. ECHILD: in a forked child.
    /// * ENOENT: the hierarchy is bound to a subsystem that is not registered
    ///   here. Any other: a subsystem refused, or failed to follow; nothing is
    ///   left of the child.
    pub fn spawn(&self, spawn: Spawn) -> Result<Child> {
        let deadline = self.hierarchy().deadline();
        let program = spawn.program.clone();
        let agreed = self.agree_to_birth()?;
        let namespaces = namespace::for_birth(self, spawn.namespaces)?;
        let plan = Plan { namespaces, ..spawn.plan(self.needs_session())? };
        let made = self.create_process(&plan);
        let (mut waiting, mut entered) = made.map_err(|error| numtasks::birth_failed(self, error))?;
        let mut ready = waiting.await_birth(deadline);
        if matches!(ready, Err(NotStarted::Stillborn)) {
            // Once a v2 group was killed, the kernel kills at birth whoever is
            // cloned into it from a group that was not (it compares how often
            // each was, cgroup_post_fork; seen on Linux 6.18). A process that
            // is moved there lives.
            drop(waiting);
            entered.undo(|| Ok(()))?;
            (waiting, entered) = release::using(self, || self.create_process_and_move(&plan))?;
            ready = waiting.await_birth(deadline);
        }
        let pid = waiting.pid();
        let ready = ready.and_then(|()| waiting.change_namespaces(deadline));
        let started = match ready.map(|()| agreed.tell(pid)) {
            Ok(Ok(())) => waiting.start(deadline),
            Ok(Err(refused)) => {
                drop(waiting);
                entered.undo(|| Ok(()))?;
                return Err(refused);
            }
            Err(not_born) => {
                drop(waiting);
                Err(not_born)
            }
        };
        if started.is_err() {
            entered.undo(|| Ok(()))?;
        }
        match started {
            Ok(pidfd) => {
                agreed.done();
                Ok(Child { pid, pidfd, group: self.clone() })
            }
            Err(NotStarted::Stillborn) => {
                let why = format!("{} was killed before it could start in {self}", program.display());
                Err(Error::new(libc::ECANCELED, why))
            }
            Err(NotStarted::Failed(step, errno)) => {
                Err(Error::os(errno, format_args!("starting {}: {step}", program.display())))
            }
            Err(NotStarted::Late) => {
                let waited = deadline.elapsed().as_millis();
                let why = format!("{} did not start in {self} within {waited} ms: was it frozen?", program.display());
                Err(Error::new(libc::EBUSY, why))
            }
        }
    }

    /// A child in the group that waits for the word to start.
    pub(crate) fn create_process(&self, plan: &Plan) -> Result<(Waiting, Entered)> {
        release::using(self, || self.create_process_in_it(plan))
    }

    fn create_process_in_it(&self, plan: &Plan) -> Result<Waiting> {
        let backend = self.backend()?;
        if let Some(group) = backend.birth_group(self.node()) {
            match spawn::create(plan, Some(group.as_fd())) {
                Ok(waiting) => return Ok(waiting),
                // No clone3 here, or not into a group: move it there instead.
                Err(Errno::NOSYS | Errno::INVAL | Errno::TOOBIG) => {}
                Err(errno) => return Err(self.not_born(errno)),
            }
        }
        self.create_process_and_move(plan)
    }

    fn create_process_and_move(&self, plan: &Plan) -> Result<Waiting> {
        let backend = self.backend()?;
        let waiting = spawn::create(plan, None).map_err(|errno| Error::os(errno, "making a process"))?;
        let process = Process::born(waiting.pid(), waiting.pidfd())?;
        backend.admit(self.node(), &process, Admission::Spawned)?;
        self.prove(&process)?;
        Ok(waiting)
    }

    /// Whether a child must begin a session: the kernel sends SIGHUP and SIGCONT
    /// to a stopped process group whose leader's parent dies, which would let
    /// go what the embedded backend had stopped.
    fn needs_session(&self) -> bool {
        self.hierarchy().backend_kind() == BackendKind::Embedded
    }

    fn not_born(&self, errno: Errno) -> Error {
        match errno {
            Errno::BUSY => Error::new(
                libc::EBUSY,
                format!("{self} cannot hold processes: it hands controllers down (cgroup.subtree_control)"),
            ),
            Errno::ACCESS => Error::new(
                libc::EACCES,
                format!(
                    "starting a process in {self}: not permitted; a delegate must itself be in the delegated \
                     subtree, or be able to write cgroup.procs of the nearest group above both"
                ),
            ),
            errno => self.node().failed(errno, "starting a process in the directory"),
        }
    }
}

fn c_string(text: impl Into<OsString>, what: impl fmt::Display) -> Result<CString> {
    let text: OsString = text.into();
    let shown = OsStr::display(&text).to_string();
    CString::new(text.into_vec()).map_err(|_| Error::new(libc::EINVAL, format!("{what} holds a NUL byte: {shown:?}")))
}
