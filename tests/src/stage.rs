//! The actors of a case, and what they really do according to the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must come, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long the tests that try to break something go on at least: as long as it
/// takes, or so many seconds as `CGF_STRESS` says.
pub fn stress() -> Duration {
    let seconds = std::env::var("CGF_STRESS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Waits until `seen` gives something; an error says what did not come.
pub fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(found) = seen() {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("waited {PATIENCE:?} for {what}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The program that plays the parts.
pub fn actor() -> Result<PathBuf, String> {
    std::env::var_os("CGF_ACTOR").map(PathBuf::from).ok_or("CGF_ACTOR does not name the actor program".into())
}

/// A name that no other test of any process uses.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The letter of a process's state; `None` once it has gone.
pub fn state_letter(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Gone, or dead and not yet waited for.
pub fn has_ended(pid: i32) -> bool {
    matches!(state_letter(pid), None | Some('Z' | 'X'))
}

/// The inode of a process's namespace; `None` once it has gone.
pub fn namespace(pid: i32, kind: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|found| found.ino())
}

/// The children of a process's first thread.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// How often the threads of a process were given a CPU, in all.
pub fn run_count(pid: i32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().nth(2)?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// CPU time of a process's threads, in nanoseconds.
pub fn cpu_time(pid: i32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Waits until an actor says that it is in place.
pub fn wait_until_ready(pid: i32) -> Result<(), String> {
    wait_for(&format!("actor {pid} to be ready"), || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "ready").then_some(())
    })
}

/// An actor outside of any group, a child of the test.
pub fn start_outside(part: &[&str]) -> Result<Child, String> {
    let child = Command::new(actor()?)
        .args(part)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("starting the actor: {error}"))?;
    wait_until_ready(child.id() as i32)?;
    Ok(child)
}

/// A mounted file system whose server never answers: whoever asks it about a
/// file sleeps in the kernel where no freezer reaches, until this is dropped.
pub struct SilentServer {
    server: Child,
    directory: PathBuf,
    /// What it says, a line each: "ready", "asked PID".
    said: PathBuf,
}

impl SilentServer {
    /// Mounts it on a new directory.
    pub fn start() -> Result<SilentServer, String> {
        let command = std::env::var_os("CGF_COMMAND").ok_or("CGF_COMMAND does not name the cgf command")?;
        let directory = std::env::temp_dir().join(unique("cgf-silent"));
        let said = directory.with_extension("said");
        let failed = |error| format!("making {}: {error}", directory.display());
        fs::create_dir(&directory).map_err(failed)?;
        let out = fs::File::create(&said).map_err(failed)?;
        let server = Command::new(command)
            .arg("__silent-fuse")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(out)
            .spawn()
            .map_err(|error| format!("starting the silent server: {error}"))?;
        let mut silent = SilentServer { server, directory, said };
        wait_for("the silent server to be ready, or to end", || {
            let ended = silent.server.try_wait().ok()?.is_some();
            (ended || silent.has_said("ready")).then_some(())
        })?;
        if silent.has_said("ready") {
            Ok(silent)
        } else {
            Err("the silent server ended, and said why on stderr".into())
        }
    }

    /// A file that nothing will ever be heard of.
    pub fn file(&self) -> PathBuf {
        self.directory.join("file")
    }

    /// Waits until a process sleeps in this silence, from which SIGKILL does not wake
    /// it: that ends a request only as long as the server has not read it.
    pub fn wait_until_stuck(&self, pid: i32) -> Result<(), String> {
        wait_for(&format!("actor {pid} to be stuck in the file system"), || {
            let place = fs::read_to_string(format!("/proc/{pid}/wchan")).ok()?;
            let asked = self.has_said(&format!("asked {pid}"));
            (asked && place.trim() == "request_wait_answer").then_some(())
        })
    }

    fn has_said(&self, line: &str) -> bool {
        fs::read_to_string(&self.said).is_ok_and(|said| said.lines().any(|said| said == line))
    }
}

impl Drop for SilentServer {
    fn drop(&mut self) {
        // The end of its input is its word to unmount.
        drop(self.server.stdin.take());
        let _ = self.server.wait();
        let _ = fs::remove_dir(&self.directory);
        let _ = fs::remove_file(&self.said);
    }
}

/// Whether there is something of this name.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
