//! Running CRIU: found, started, waited for, stopped gently, and asked what went
//! wrong.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid};

use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::process;
use crate::spawn::Spawn;
use crate::sys::Errno;
use crate::sys::spawn::{self, NotStarted};

/// The oldest CRIU that can dump on kernels of today.
const OLDEST: (u32, u32) = (4, 1);

/// Finds the program as execvp(3) would, before anything is done for it.
pub(super) fn find(program: &OsStr) -> Result<PathBuf> {
    let is_program =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let named = Path::new(program);
    let found = if program.as_encoded_bytes().contains(&b'/') {
        is_program(named).then(|| named.to_owned())
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin".into());
        std::env::split_paths(&path).map(|directory| directory.join(named)).find(|path| is_program(path))
    };
    found.ok_or_else(|| {
        let why = format!(
            "there is no program {}: CRIU {}.{} or newer has to be installed, or named",
            program.display(),
            OLDEST.0,
            OLDEST.1
        );
        Error::new(libc::ENOENT, why)
    })
}

/// A CRIU at work, a child of ours.
pub(super) struct Running {
    pid: i32,
    pidfd: OwnedFd,
}

impl Running {
    pub(super) fn of(pid: i32, pidfd: OwnedFd) -> Running {
        Running { pid, pidfd }
    }

    /// Starts it outside of every group, in a session of its own: what a terminal
    /// sends to the caller (Ctrl-C) must not end CRIU in the middle.
    ///
    /// SIGXFSZ is blocked for it, which is what `stop_gently` needs.
    pub(super) fn start(spawn: Spawn, deadline: Deadline) -> Result<Running> {
        let plan = spawn.session(true).signal_mask(1 << (libc::SIGXFSZ - 1)).plan(true)?;
        let mut waiting = spawn::create(&plan, None).map_err(|errno| Error::os(errno, "making a process for CRIU"))?;
        let pid = waiting.pid();
        let started = waiting.await_birth(deadline).and_then(|()| waiting.start(deadline));
        match started {
            Ok(pidfd) => Ok(Running { pid, pidfd }),
            Err(NotStarted::Failed(step, errno)) => Err(Error::os(errno, format_args!("starting CRIU: {step}"))),
            Err(NotStarted::Late) => Err(Error::new(libc::ETIMEDOUT, "CRIU did not start in time")),
            Err(NotStarted::Stillborn) => Err(Error::new(libc::ECANCELED, "CRIU was killed before it could start")),
        }
    }

    /// Waits for its end.
    pub(super) fn wait(&self, wait: &mut Wait<'_>) -> Result<Result<ExitStatus, Ended>> {
        let failed = |errno: Errno| Error::os(errno, "waiting for CRIU");
        loop {
            let slice = match wait.slice(Duration::from_secs(1)) {
                Ok(slice) => slice,
                Err(ended) => return Ok(Err(ended)),
            };
            if !spawn::wait_readable(self.pidfd.as_fd(), Deadline::after(slice)).map_err(failed)? {
                continue;
            }
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), how).map_err(failed)?;
            let status = status.ok_or_else(|| failed(Errno::CHILD))?;
            // The encoding of wait(2): a signal in the low bits, a status above.
            let raw = match status.exit_status() {
                Some(code) => (code & 0xff) << 8,
                None => status.terminating_signal().unwrap_or(0),
            };
            return Ok(Ok(ExitStatus::from_raw(raw)));
        }
    }

    /// Makes a dump fail by itself, and waits until it has.
    ///
    /// A signal would end CRIU with its code still in the processes. But where it
    /// may not write to its images any more (RLIMIT_FSIZE; EFBIG, for SIGXFSZ is
    /// blocked) it fails as if the disk were full: it takes its code out, gives the
    /// freezer its state back and lets go. If it does not, `free` may take away what
    /// it waits for. `None`: it did not even then, and was killed.
    pub(super) fn stop_gently(&self, free: impl FnOnce()) -> Result<Option<ExitStatus>> {
        self.forbid_writing(self.pid);
        if let Ok(status) = self.wait(&mut Wait::until(Deadline::after(GENTLE / 2)))? {
            return Ok(Some(status));
        }
        free();
        if let Ok(status) = self.wait(&mut Wait::until(Deadline::after(GENTLE / 2)))? {
            return Ok(Some(status));
        }
        self.kill()?;
        Ok(None)
    }

    /// Its children too: what was named as CRIU may be a script that runs it.
    fn forbid_writing(&self, pid: i32) {
        let nothing = Rlimit { current: Some(0), maximum: Some(0) };
        if let Some(pid) = Pid::from_raw(pid) {
            // If we may not, it is killed. A child that has just ended, and whose number
            // was given away since it was listed, is as good as impossible: numbers go
            // round once before they come again.
            let _ = prlimit(Some(pid), Resource::Fsize, nothing);
        }
        process::children(pid).unwrap_or_default().into_iter().for_each(|child| self.forbid_writing(child));
    }

    /// Ends it at once, and its children.
    pub(super) fn kill(&self) -> Result<()> {
        // A child of ours that nobody has waited for keeps its number, and so does
        // its session. It may have ended this moment.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        match self.wait(&mut Wait::until(Deadline::after(GENTLE)))? {
            Ok(_) => Ok(()),
            Err(_) => {
                let why = format!("CRIU (process {}) was killed and has not ended after {GENTLE:?}", self.pid);
                Err(Error::new(libc::ETIMEDOUT, why))
            }
        }
    }
}

/// How long CRIU may take to let go of the processes after its time is up.
const GENTLE: Duration = Duration::from_secs(5);

/// A log for CRIU's standard output and error.
pub(super) fn log(path: &Path) -> Result<(File, File)> {
    let file = File::options().create(true).append(true).open(path);
    let both = file.and_then(|file| file.try_clone().map(|copy| (file, copy)));
    both.map_err(|error| Error::os(&error, format_args!("opening {}", path.display())))
}

/// What CRIU says about a failure of its own.
pub(super) fn failure(program: &Path, status: ExitStatus, log: &Path) -> Error {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("CRIU failed with status {code}"),
        (None, signal) => format!("CRIU was ended by signal {}", signal.unwrap_or(0)),
    };
    let why = with_errors(how, log);
    match version(program) {
        Some((version, number)) if number < OLDEST => {
            let (major, minor) = OLDEST;
            let why = format!("CRIU {version} is too old, {major}.{minor} or newer is needed; {why}");
            Error::new(libc::EOPNOTSUPP, why)
        }
        _ => Error::new(libc::EIO, why),
    }
}

/// A sentence, and CRIU's own words after it, if it has any.
pub(super) fn with_errors(sentence: String, log: &Path) -> String {
    let said = errors_in(&fs::read(log).unwrap_or_default());
    if said.is_empty() { sentence } else { format!("{sentence}: {said}") }
}

/// The lines that tell of an error, without their time stamps: the last ones, and
/// the first, which is the cause as often as not.
fn errors_in(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines = || text.lines().filter(|line| !NOISE.iter().any(|noise| line.contains(noise)));
    let mut errors: Vec<&str> =
        lines().filter_map(|line| line.find("Error (").map(|at| line[at..].trim_end())).collect();
    if errors.is_empty() {
        errors = lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    }
    if errors.len() > LINES {
        errors.splice(1..errors.len() - (LINES - 1), ["…"]);
    }
    errors.join("; ")
}

/// As many lines as an error's one sentence can bear.
const LINES: usize = 4;

/// What CRIU calls an error whenever it is so, and goes on.
const NOISE: [&str; 2] = ["Can't setup RLIMIT_NOFILE", "cgroupd: recv req error"];

/// `criu --version`, as text and as numbers.
fn version(program: &Path) -> Option<(String, (u32, u32))> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    let deadline = Deadline::after(Duration::from_secs(2));
    let asked = Running::start(Spawn::new(program).arg("--version").fd(theirs, 1), deadline).ok()?;
    let Ok(Ok(_)) = asked.wait(&mut Wait::until(deadline)) else {
        let _ = asked.kill();
        return None;
    };
    let mut text = [0; 256];
    let length = rustix::io::read(&ours, &mut text).ok()?;
    parse_version(&String::from_utf8_lossy(&text[..length]))
}

fn parse_version(text: &str) -> Option<(String, (u32, u32))> {
    let version = text.lines().find_map(|line| line.strip_prefix("Version:"))?.trim();
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next().and_then(std::result::Result::ok).unwrap_or(0);
    Some((version.to_owned(), (major, minor)))
}

/// The arguments that every way of running CRIU begins with.
pub(super) fn command(program: &Path, verb: &str, images: &Path, log: (File, File)) -> Spawn {
    let words: [&OsStr; 4] =
        [verb.as_ref(), "--images-dir".as_ref(), images.as_ref(), "--manage-cgroups=ignore".as_ref()];
    Spawn::new(program).args(words).fd(log.0, 1).fd(log.1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_a_log_are_its_first_and_its_last_ones() {
        let error = |number: i32| format!("(00.0{number}) Error (criu/x.c:{number}): no {number}\n");
        let noise = "(00.05) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self\n";
        let log = format!("{noise}(00.06) Warn  (criu/x.c:1): odd\n{}{}", error(1), error(2));
        assert_eq!(errors_in(log.as_bytes()), "Error (criu/x.c:1): no 1; Error (criu/x.c:2): no 2");
        let many: String = (1..=9).map(error).collect();
        let said = errors_in(many.as_bytes());
        assert!(
            said.starts_with("Error (criu/x.c:1): no 1; …; Error (criu/x.c:7)") && said.ends_with("no 9"),
            "{said}"
        );
        assert_eq!(errors_in(b"criu: unrecognized option '--speed'\n"), "criu: unrecognized option '--speed'");
        assert_eq!(errors_in(b""), "");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("Version: 4.1.1\nGitID: 0\n").unwrap().1, (4, 1));
        assert!(parse_version("Version: 3.17.1\n").unwrap().1 < OLDEST);
        assert!(parse_version("Version: 4.10\n").unwrap().1 > OLDEST);
        assert_eq!(parse_version("4.1"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = find(OsStr::new("no-such-criu")).unwrap_err();
        assert_eq!(error.errno(), libc::ENOENT);
        assert!(error.message().contains("no-such-criu"), "{error}");
    }
}
