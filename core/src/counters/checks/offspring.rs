//! Forked processes that answer on a line, and end with whoever started them.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// How long an answer may take. A hang ends sooner, by the limit on processor time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds of processor time that one of them may use.
const BUSY: u64 = 10;

/// A child, killed and waited for when dropped.
pub(super) struct Child {
    pid: i32,
    line: BufReader<UnixStream>,
    reaped: bool,
}

/// The child's end.
pub(super) struct Line(BufReader<UnixStream>);

impl Line {
    pub(super) fn say(&mut self, what: &str) {
        // Nobody listens any more when the parent has given up.
        let _ = self.0.get_mut().write_all(format!("{what}\n").as_bytes());
    }

    /// What the parent says; empty once it has gone.
    pub(super) fn hear(&mut self) -> String {
        let mut text = String::new();
        let _ = self.0.read_line(&mut text);
        text.trim_end().to_owned()
    }
}

impl Child {
    /// Forks; the child says what `body` returns, or what it panicked with, and ends.
    pub(super) fn start(body: impl FnOnce(&mut Line) -> String) -> Child {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        // SAFETY: this process has one thread (`alone`), so the child may do anything.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            drop(ours);
            bound();
            let mut line = Line(BufReader::new(theirs));
            let said = std::panic::catch_unwind(AssertUnwindSafe(|| body(&mut line)));
            let said = said.unwrap_or_else(|_| "panicked".to_owned());
            line.say(&said.replace('\n', " "));
            // SAFETY: ends the child at once; what its parent's tests would do at their end is not its business.
            unsafe { libc::_exit(0) };
        }
        Child { pid, line: BufReader::new(ours), reaped: false }
    }

    /// Runs `body` in a child to its end; what it said.
    pub(super) fn run(body: impl FnOnce() -> String) -> Result<String, String> {
        let mut child = Child::start(|_| body());
        let said = child.hear()?;
        child.wait()?;
        Ok(said)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// The next line.
    pub(super) fn hear(&mut self) -> Result<String, String> {
        let mut text = String::new();
        match self.line.read_line(&mut text) {
            Ok(0) => {
                let fate = self.status(0).map_or(String::new(), |status| format!(" (status {status:#x})"));
                Err(format!("process {} ended and said nothing{fate}", self.pid))
            }
            Ok(_) if text.trim_end() == "panicked" => Err(format!("process {} panicked", self.pid)),
            Ok(_) => Ok(text.trim_end().to_owned()),
            Err(error) => Err(format!("waiting for process {}: {error}", self.pid)),
        }
    }

    /// What it has said before it was asked: only its end is a reason to.
    pub(super) fn has_trouble(&mut self) -> Result<(), String> {
        let mut poll = libc::pollfd { fd: self.line.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid record, for the call.
        if unsafe { libc::poll(&raw mut poll, 1, 0) } == 0 {
            return Ok(());
        }
        Err(self.hear().unwrap_or_else(|why| why))
    }

    /// Its processor time.
    pub(super) fn used(&self) -> Option<Duration> {
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both are valid places for the answers.
        let failed = unsafe {
            libc::clock_getcpuclockid(self.pid, &raw mut clock) != 0 || libc::clock_gettime(clock, &raw mut time) != 0
        };
        if failed { None } else { Some(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).ok()?)) }
    }

    pub(super) fn tell(&mut self, what: &str) -> Result<(), String> {
        let line = format!("{what}\n");
        self.line.get_mut().write_all(line.as_bytes()).map_err(|error| format!("telling {}: {error}", self.pid))
    }

    pub(super) fn ask(&mut self, what: &str) -> Result<String, String> {
        self.tell(what)?;
        self.hear()
    }

    pub(super) fn signal(&self, signal: i32) {
        if !self.reaped {
            // SAFETY: our own child, which nobody has waited for: the number is still its.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// SIGSTOP, and until it has stopped.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.signal(libc::SIGSTOP);
        let status = self.status(libc::WUNTRACED)?;
        if libc::WIFSTOPPED(status) { Ok(()) } else { Err(format!("process {} ended: {status:#x}", self.pid)) }
    }

    /// SIGKILL, and until it is gone.
    pub(super) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        while self.status(0).is_ok_and(|status| libc::WIFSTOPPED(status)) {}
    }

    /// Until it has ended of its own accord.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        match self.status(0)? {
            0 => Ok(()),
            status => Err(format!("process {} ended with {status:#x}", self.pid)),
        }
    }

    fn status(&mut self, flags: i32) -> Result<i32, String> {
        if self.reaped {
            return Err(format!("process {} has been waited for", self.pid));
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        let found = unsafe { libc::waitpid(self.pid, &raw mut status, flags) };
        self.reaped = found != self.pid || !libc::WIFSTOPPED(status);
        if found == self.pid { Ok(status) } else { Err(format!("waiting for {}", self.pid)) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

/// Ends this process with its parent, and when it has used too much processor time.
pub(super) fn bound() {
    let limit = libc::rlimit { rlim_cur: BUSY, rlim_max: BUSY + 1 };
    // SAFETY: both only say when this process is to end; `limit` lives for the call.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setrlimit(libc::RLIMIT_CPU, &raw const limit);
    }
}
