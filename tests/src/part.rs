//! Another process of a test: the test's own program once more, which plays one
//! part. A part is written as a test that returns at once if it is not played.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cgf::{BackendKind, Hierarchy, Options};

use crate::board::Board;
use crate::stage;

const VARIABLE: &str = "CGF_TEST_PART";

/// A process that plays a part, in a process group of its own with all that it
/// forks. They end with this.
pub struct Part(Child);

/// What the process that plays it is given.
pub struct Role {
    /// The test's hierarchy, opened anew.
    pub hierarchy: Hierarchy,
    /// The board that it shares with the test.
    pub board: Board,
    /// Which of several this is.
    pub number: usize,
}

impl Part {
    /// Starts the part `name`, as number so-and-so.
    pub fn start(name: &str, number: usize, hierarchy: &Hierarchy, board: &Board) -> std::io::Result<Part> {
        use std::os::unix::process::CommandExt as _;
        let backend = hierarchy.backend_kind();
        let (hierarchy, path) = (hierarchy.name().display(), board.path().display());
        Command::new(std::env::current_exe()?)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(VARIABLE, format!("{name} {backend} {number} {hierarchy} {path}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Part)
    }

    /// Its process, and its process group.
    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// SIGKILL to the process alone; its forked children live on. Returns when it is
    /// dead.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Waits until it has ended by itself, and says whether it did so well.
    pub fn ends_well(&mut self) -> Result<bool, String> {
        stage::wait_for("a part to end", || self.0.try_wait().ok().flatten()).map(|status| status.success())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // SAFETY: the process group of our own child; its number is not another's
        // for as long as one of it is there or the child was not waited for.
        unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

impl Role {
    /// The role of this process in the part `name`; `None` in a run of the tests.
    pub fn of(name: &str) -> Option<Role> {
        let text = std::env::var(VARIABLE).ok()?;
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let [part, backend, number, hierarchy, board] = words[..] else { unreachable!("{VARIABLE}={text}") };
        if part != name {
            return None;
        }
        // SAFETY: takes integers. A test that is killed leaves nobody behind.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let kind: BackendKind = backend.parse().unwrap_or_else(|error| unreachable!("{error}"));
        let options = Options::default().backend(kind).deadline(Duration::from_secs(10));
        let hierarchy = Hierarchy::open_existing(hierarchy, &options).unwrap_or_else(|error| unreachable!("{error}"));
        let board = Board::open(Path::new(board)).unwrap_or_else(|error| unreachable!("{error}"));
        Some(Role { hierarchy, board, number: number.parse().unwrap_or_default() })
    }
}

/// Forks a child that has copies of all our descriptors, and only waits to be
/// killed.
pub fn fork_sleeper() -> i32 {
    // SAFETY: the child makes two system calls that touch no memory.
    match unsafe { libc::fork() } {
        0 => loop {
            // SAFETY: as said.
            unsafe { libc::pause() };
        },
        child => child,
    }
}

/// Kills and waits for a forked child of ours when it is dropped.
pub struct Forked(pub i32);

impl Forked {
    /// Forks a child that does this and ends with the number that it returns. The
    /// child has the calling thread alone: it should do little.
    pub fn of(job: impl FnOnce() -> i32) -> Forked {
        // SAFETY: the child may allocate, which glibc's fork allows, and ends
        // without running anything of the parent's.
        match unsafe { libc::fork() } {
            0 => {
                let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).unwrap_or(101);
                // SAFETY: ends the process.
                unsafe { libc::_exit(code) }
            }
            child => Forked(child),
        }
    }

    /// Waits for its end; the number that it ended with.
    pub fn result(&self) -> Result<i32, String> {
        stage::wait_for("a forked child to end", || {
            let mut status = 0;
            // SAFETY: our own child; the status outlives the call.
            let ended = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } == self.0;
            ended.then(|| if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) })
        })
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // SAFETY: our own child. If it was waited for, its number is free, and
        // nobody else's within so short a time.
        unsafe {
            if libc::waitpid(self.0, std::ptr::null_mut(), libc::WNOHANG) == 0 {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), 0);
            }
        }
    }
}
