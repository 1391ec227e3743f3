//! Creating a process that waits, before its program starts, for our word.
//!
//! clone3(2) puts the child into a v2 group from birth. Where a group cannot be
//! named at birth the child waits until it has been moved there, so that its
//! program never runs outside the group.

mod entry;
mod mark;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions};

pub(crate) use self::{entry::Entry, mark::Mark};
use super::{Errno, Result, last_errno, pidfd};
use crate::deadline::Deadline;

/// Everything the child needs, made before it exists: between clone and exec
/// it shares its parent's locks as they were, so it may only make system calls.
pub(crate) struct Plan {
    /// The program, as each of the paths where it may lie.
    pub candidates: Vec<CString>,
    pub argv: Vec<CString>,
    pub envp: Vec<CString>,
    pub cwd: Option<CString>,
    /// Descriptors of ours and the numbers they get in the child.
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// Close every other descriptor above standard error.
    pub close_others: bool,
    /// Begin a session of its own (setsid(2)).
    pub session: bool,
    /// Give SIGPIPE and SIGXFSZ, which Python and others ignore, their default back.
    pub restore_signals: bool,
    /// Signals blocked when the program starts, as the bits of a 64-bit set
    /// (signal n is bit n-1); `None`: as in the calling thread.
    pub signal_mask: Option<u64>,
    /// Namespaces that the child comes into.
    pub namespaces: Option<Entry>,
    /// Set by the child, just before its program begins.
    pub mark: Option<Mark>,
}

impl Plan {
    /// A child that waits for a word that never comes needs no program.
    pub(crate) fn nothing() -> Plan {
        Plan {
            candidates: Vec::new(),
            argv: Vec::new(),
            envp: Vec::new(),
            cwd: None,
            fds: Vec::new(),
            close_others: false,
            session: false,
            restore_signals: false,
            signal_mask: None,
            namespaces: None,
            mark: None,
        }
    }
}

/// A child that has not started its program.
pub(crate) struct Waiting {
    pid: i32,
    pidfd: OwnedFd,
    /// The child says here that it is ready, and one byte from us lets it go on.
    line: OwnedFd,
    /// Ends when the program starts; a report comes before if it cannot.
    report: OwnedFd,
    /// It has yet to come into its namespaces, and waits for a word of its own.
    changes_namespaces: bool,
    /// Somebody else owns the child now: it is not ended with this value.
    handed_over: bool,
}

/// What went wrong between the go and the program's first instruction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// The step that failed, and its errno.
    Failed(&'static str, Errno),
    /// The child did not get that far in time: it is frozen, or has no CPU.
    Late,
    /// The child died before it took our word: nothing of the program ran.
    Stillborn,
}

/// The steps a child takes, in the words of an error message.
const STEPS: [&str; 8] = [
    "beginning a session",
    "changing to the directory",
    "placing its descriptors",
    "setting its signals",
    "marking the group",
    "executing",
    "coming into its namespaces",
    "keeping its mounts to itself",
];

impl Waiting {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits until the child runs, and waits for our word: it has come alive in
    /// its group.
    pub(crate) fn await_birth(&mut self, deadline: Deadline) -> std::result::Result<(), NotStarted> {
        let failed = |errno| NotStarted::Failed("waiting for the program to start", errno);
        // Its death is asked of the pidfd: the ends of sockets and pipes may be
        // kept open by a child that another thread has forked.
        match wait_for_any([self.line.as_fd(), self.pidfd.as_fd()], deadline).map_err(failed)? {
            [true, _] => {}
            [false, true] => return Err(NotStarted::Stillborn),
            [false, false] => return Err(NotStarted::Late),
        }
        let mut ready = [0_u8; 1];
        match rustix::io::read(&self.line, &mut ready) {
            Ok(1) => Ok(()),
            _ => Err(NotStarted::Stillborn),
        }
    }

    /// Lets the child, which has come alive in its group, come into its namespaces, and waits
    /// until it has.
    pub(crate) fn change_namespaces(&mut self, deadline: Deadline) -> std::result::Result<(), NotStarted> {
        if !self.changes_namespaces {
            return Ok(());
        }
        self.changes_namespaces = false;
        // One that has died since takes no word.
        let _ = send(&self.line, &[1]);
        match self.await_birth(deadline) {
            Err(NotStarted::Stillborn) => match self.read_report(Deadline::after(std::time::Duration::ZERO)) {
                Ok(()) | Err(NotStarted::Late) => Err(NotStarted::Stillborn),
                other => other,
            },
            other => other,
        }
    }

    /// Lets the child, which has come alive, start its program, and waits until it
    /// has. On `Late` the child is sent SIGKILL; a frozen one dies when it is let go.
    pub(crate) fn start(mut self, deadline: Deadline) -> std::result::Result<OwnedFd, NotStarted> {
        // One that has died since takes no word; its report has ended.
        let _ = send(&self.line, &[1]);
        self.read_report(deadline)?;
        self.handed_over = true;
        self.pidfd.try_clone().map_err(|error| NotStarted::Failed("executing", io_errno(&error)))
    }

    /// Waits until the report has ended, without a word.
    fn read_report(&self, deadline: Deadline) -> std::result::Result<(), NotStarted> {
        let mut report = [0_u8; 8];
        match read_once(&self.report, &mut report, deadline) {
            Ok(Some(0)) => Ok(()),
            Ok(Some(_)) => {
                let step = STEPS.get(usize::from(report[0])).copied().unwrap_or("executing");
                let errno = i32::from_ne_bytes([report[4], report[5], report[6], report[7]]);
                Err(NotStarted::Failed(step, Errno::from_raw_os_error(errno)))
            }
            Ok(None) => Err(NotStarted::Late),
            Err(errno) => Err(NotStarted::Failed("waiting for the program to start", errno)),
        }
    }
}

impl Drop for Waiting {
    /// A child that is not wanted any more leaves nothing behind, not even a
    /// zombie, unless it is frozen: then it dies when it is thawed, and stays a
    /// zombie until its parent waits for it or ends.
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        let _ = pidfd::send_signal(&self.pidfd, libc::SIGKILL);
        let _ = wait_readable(self.pidfd.as_fd(), Deadline::after(std::time::Duration::from_millis(100)));
        let _ =
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Creates the child, in the v2 group whose directory is `group` if one is
/// given. It then waits for [`Waiting::start`], and ends if we do.
///
/// ENOSYS for a group that cannot be named at birth: before Linux 5.7, or
/// behind a sandbox that hides clone3.
pub(crate) fn create(plan: &Plan, group: Option<BorrowedFd<'_>>) -> Result<Waiting> {
    let (ours, theirs) = socket_pair()?;
    let (report, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Nobody has this pipe's other end, which tells by its closing that the
    // program runs: the child opens it by this name, for itself alone. An end
    // that is there when the child is born could be inherited by whatever another
    // thread forks in that moment, and would be kept open by it.
    let report_name = CString::new(format!("/proc/self/fd/{}", report.as_raw_fd())).map_err(|_| Errno::INVAL)?;
    let argv = pointers(&plan.argv);
    let envp = pointers(&plan.envp);
    let candidates = pointers(&plan.candidates);
    // The child's own copies of the descriptors go above every number that it
    // has to fill, so that filling one never overwrites another.
    let above = plan.fds.iter().map(|(_, to)| *to).max().unwrap_or(2).max(2) + 1;
    let sources: Vec<(RawFd, RawFd)> = plan.fds.iter().map(|(from, to)| (from.as_raw_fd(), *to)).collect();
    let mut moved: Vec<RawFd> = vec![-1; sources.len()];

    // No handler of the host's may run in the child, where it would act on
    // descriptors that it shares with the host.
    let mask = block_signals()?;
    let born = clone_process(group);
    if let Ok(Born::Child) = born {
        let steps = ChildSteps {
            plan,
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            candidates: &candidates[..candidates.len() - 1],
            sources: &sources,
            above,
            line: theirs.as_raw_fd(),
            parents_end: ours.as_raw_fd(),
            report_name: report_name.as_ptr(),
            mask: plan.signal_mask.unwrap_or(mask),
        };
        steps.run(&mut moved);
    }
    set_signal_mask(mask);
    match born? {
        Born::Parent { pid, pidfd } => {
            let changes_namespaces = plan.namespaces.is_some();
            Ok(Waiting { pid, pidfd, line: ours, report, changes_namespaces, handed_over: false })
        }
        // `run` does not return; were it to, this would be the child.
        Born::Child => exit_now(127),
    }
}

enum Born {
    Parent { pid: i32, pidfd: OwnedFd },
    Child,
}

fn clone_process(group: Option<BorrowedFd<'_>>) -> Result<Born> {
    let mut new_pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: CLONE_PIDFD,
        pidfd: (&raw mut new_pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork(2): the child gets a copy of our
    // memory and goes on from here on a copy of our stack. `args` and
    // `new_pidfd` outlive the call. The child's duties are `ChildSteps::run`'s.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Born::Child),
        // SAFETY: the kernel stored a new descriptor, known to nobody else.
        1.. => Ok(Born::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(new_pidfd) } }),
        _ => match last_errno() {
            Errno::NOSYS if group.is_none() => fork_process(),
            errno => Err(errno),
        },
    }
}

/// For sandboxes (and valgrind) that have no clone3.
fn fork_process() -> Result<Born> {
    // SAFETY: as for clone3 above; fork takes no arguments.
    match unsafe { libc::fork() } {
        0 => Ok(Born::Child),
        -1 => Err(last_errno()),
        // Our child keeps its number until we wait for it, so this is no race.
        pid => match pidfd::open(pid) {
            Ok(pidfd) => Ok(Born::Parent { pid, pidfd }),
            Err(errno) => {
                // SAFETY: a child of ours that nobody has waited for; no status
                // is asked for.
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, std::ptr::null_mut(), 0);
                }
                Err(errno)
            }
        },
    }
}

/// What the child does. Nothing here allocates, locks or unwinds.
struct ChildSteps<'a> {
    plan: &'a Plan,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
    candidates: &'a [*const libc::c_char],
    sources: &'a [(RawFd, RawFd)],
    above: RawFd,
    line: RawFd,
    /// Our copy of the parent's end: while it is open here, the parent's death
    /// would go unnoticed.
    parents_end: RawFd,
    report_name: *const libc::c_char,
    mask: u64,
}

impl ChildSteps<'_> {
    /// Never returns: the program runs, or the child ends.
    fn run(&self, moved: &mut [RawFd]) {
        // SAFETY: a descriptor of this child that nothing here uses.
        unsafe { libc::close(self.parents_end) };
        let Ok(line) = duplicate(self.line, self.above) else { exit_now(127) };
        // SAFETY: `report_name` is a string that ends in NUL.
        let report = unsafe { libc::open(self.report_name, libc::O_WRONLY | libc::O_CLOEXEC) };
        let Ok(report) = duplicate(report, self.above) else { exit_now(127) };
        let failed = |step: u8, errno: Errno| -> ! {
            let mut text = [step, 0, 0, 0, 0, 0, 0, 0];
            text[4..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
            // SAFETY: `report` is a descriptor of this child, `text` eight bytes.
            unsafe { libc::write(report, text.as_ptr().cast(), text.len()) };
            exit_now(127)
        };
        speak_and_await_word(line);
        if let Some(entry) = &self.plan.namespaces {
            if let Err((step, errno)) = entry.take() {
                failed(step, errno);
            }
            speak_and_await_word(line);
        }
        // SAFETY: setsid takes nothing and touches no memory.
        if self.plan.session && unsafe { libc::setsid() } == -1 {
            failed(0, last_errno());
        }
        if let Some(cwd) = &self.plan.cwd {
            // SAFETY: `cwd` is a string that ends in NUL.
            if unsafe { libc::chdir(cwd.as_ptr()) } == -1 {
                failed(1, last_errno());
            }
        }
        let marked = match &self.plan.mark {
            // Where filling a number does not overwrite it.
            Some(mark) => match duplicate(mark.dir.as_fd().as_raw_fd(), self.above) {
                Ok(dir) => Some((mark, dir)),
                Err(errno) => failed(2, errno),
            },
            None => None,
        };
        if let Err(errno) = self.place_descriptors(moved) {
            failed(2, errno);
        }
        if let Err(errno) = self.reset_signals() {
            failed(3, errno);
        }
        if let Some((mark, dir)) = marked
            && let Err(errno) = mark.set(dir)
        {
            failed(4, errno);
        }
        failed(5, self.execute())
    }

    fn place_descriptors(&self, moved: &mut [RawFd]) -> Result<()> {
        for (place, (from, _)) in moved.iter_mut().zip(self.sources) {
            *place = duplicate(*from, self.above)?;
        }
        if self.plan.close_others {
            close_on_exec_from(3)?;
        }
        for (from, (_, to)) in moved.iter().zip(self.sources) {
            // SAFETY: both are plain numbers; the new one stays open at exec.
            if unsafe { libc::dup2(*from, *to) } == -1 {
                return Err(last_errno());
            }
        }
        Ok(())
    }

    /// Handlers cannot be left to exec: they would run here if a signal came
    /// between unblocking and exec. What is ignored stays ignored, as by exec.
    fn reset_signals(&self) -> Result<()> {
        for signal in 1..=64 {
            // SAFETY: all-zero is a valid sigaction (SIG_DFL, no flags).
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: reads the present action into `action`.
            if unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == -1 {
                // SIGKILL's and glibc's own two cannot be asked after: no handler.
                continue;
            }
            let restored = self.plan.restore_signals && matches!(signal, libc::SIGPIPE | libc::SIGXFSZ);
            let handled = action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN;
            if handled || (restored && action.sa_sigaction == libc::SIG_IGN) {
                // SAFETY: as above: the default action.
                let default: libc::sigaction = unsafe { std::mem::zeroed() };
                // SAFETY: sets the action of a signal that can have one.
                unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
            }
        }
        set_signal_mask(self.mask);
        Ok(())
    }

    fn execute(&self) -> Errno {
        let searched = self.candidates.len() > 1;
        let mut found = Errno::NOENT;
        for candidate in self.candidates {
            // SAFETY: all three are NUL-terminated, the arrays end in null, and
            // all of them live in the plan.
            unsafe { libc::execve(*candidate, self.argv, self.envp) };
            match last_errno() {
                // Not here; execvp(3) goes on, and remembers a refusal.
                Errno::NOENT | Errno::NOTDIR if searched => {}
                Errno::ACCESS if searched => found = Errno::ACCESS,
                errno => return errno,
            }
        }
        found
    }
}

/// Says to the parent that the child has come so far, and waits for its word. No word: it
/// gave up, or has gone.
fn speak_and_await_word(line: RawFd) {
    // SAFETY: one byte is read from a place that has one.
    unsafe { libc::send(line, b"!".as_ptr().cast(), 1, libc::MSG_NOSIGNAL) };
    let mut word = 0_u8;
    loop {
        // SAFETY: reads at most one byte into `word`.
        match unsafe { libc::read(line, (&raw mut word).cast(), 1) } {
            1 => return,
            -1 if last_errno() == Errno::INTR => {}
            _ => exit_now(127),
        }
    }
}

fn duplicate(fd: RawFd, above: RawFd) -> Result<RawFd> {
    // SAFETY: plain numbers in, a new descriptor or -1 out.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, above) } {
        -1 => Err(last_errno()),
        new => Ok(new),
    }
}

fn close_on_exec_from(first: libc::c_uint) -> Result<()> {
    // SAFETY: sets a flag on descriptors of this child, closes none.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => close_on_exec_one_by_one(first),
    }
}

/// Before Linux 5.11, and where a sandbox hides close_range.
fn close_on_exec_one_by_one(first: libc::c_uint) -> Result<()> {
    // SAFETY: `limit` is a valid place for the answer.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == -1 {
        return Err(last_errno());
    }
    for fd in first..limit.rlim_cur.min(1 << 20) as libc::c_uint {
        // SAFETY: a number that is no descriptor gives EBADF, no harm.
        unsafe { libc::fcntl(fd as RawFd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Blocks every signal for this thread and returns what was blocked before.
fn block_signals() -> Result<u64> {
    let every = u64::MAX;
    let mut before = 0_u64;
    // The system call, not sigprocmask(3): glibc keeps two signals unblocked
    // for its own use, whose handlers must not run in the child either.
    // SAFETY: both sets are the kernel's size, 8 bytes, and outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const every, &raw mut before, size_of::<u64>())
    };
    if result == 0 { Ok(before) } else { Err(last_errno()) }
}

fn set_signal_mask(mask: u64) {
    // SAFETY: as above; the previous set is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
}

/// Ends the child without running anything that belongs to its parent.
fn exit_now(status: i32) -> ! {
    // SAFETY: never returns, runs no handler.
    unsafe { libc::_exit(status) }
}

/// The array exec wants: pointers into `strings`, a null at the end.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for the two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) } == -1 {
        return Err(last_errno());
    }
    // SAFETY: both are new and known to nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// A socket rather than a pipe, because a write to a dead child's pipe would
/// raise SIGPIPE in the host.
fn send(line: &OwnedFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the descriptor is ours, the bytes outlive the call.
    let sent = unsafe { libc::send(line.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if sent == -1 { Err(last_errno()) } else { Ok(()) }
}

/// `Some(0)`: the other end closed. `None`: nothing came in time.
fn read_once(pipe: &OwnedFd, bytes: &mut [u8], deadline: Deadline) -> Result<Option<usize>> {
    loop {
        if !wait_readable(pipe.as_fd(), deadline)? {
            return Ok(None);
        }
        match rustix::io::read(pipe, &mut *bytes) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits until the descriptor can be read; `false` when the time is up.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    wait_for_any([fd], deadline).map(|[ready]| ready)
}

/// Waits until one of the descriptors can be read, and says which can.
fn wait_for_any<const N: usize>(fds: [BorrowedFd<'_>; N], deadline: Deadline) -> Result<[bool; N]> {
    let mut polled = fds.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
    loop {
        let left = deadline.remaining().map(|left| rustix::event::Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn io_errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// `struct clone_args` of include/uapi/linux/sched.h, 88 bytes (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
