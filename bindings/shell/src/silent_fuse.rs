//! A file system whose server never answers.
//!
//! Whoever looks into it blocks in the kernel, heeds no signal and cannot be
//! frozen (`D` in `request_wait_answer`) until the mount is aborted: the one
//! task that stands in the way of every freeze, made to order. It needs root
//! and /dev/fuse; no library, for all it says is one answer (INIT), after which
//! the kernel begins to send it what it will not answer. What is asked must be
//! read all the same: SIGKILL ends a request that the server has not seen.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::failure::Failure;
use crate::output::Output;

/// The server: mounts, says "ready", then "asked" and the pid of each who asks, whom
/// no SIGKILL ends from then on; and unmounts at the end of standard input. If it is
/// killed the kernel aborts the mount, so nobody stays blocked.
pub fn serve(mountpoint: &Path, output: &mut Output) -> Result<(), Failure> {
    let fuse = File::options().read(true).write(true).open("/dev/fuse");
    let fuse = fuse.map_err(|error| Failure::system("opening /dev/fuse", error))?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", fuse.as_raw_fd());
    let options = CString::new(options).map_err(|error| Failure::plain(error.to_string()))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("cgf-silent", mountpoint, "fuse", flags, Some(options.as_c_str()))
        .map_err(|errno| Failure::system("mounting a FUSE file system", errno))?;
    let served = begin(&fuse).and_then(|()| {
        output.line("ready")?;
        output.flush()?;
        ignore_all(&fuse, output)
    });
    abort(mountpoint);
    served
}

/// The largest request the kernel may send at the size of write that we allow.
const LARGEST: usize = 64 * 1024;
/// FUSE_INIT, the only request that gets an answer.
const INIT: u32 = 26;
/// struct fuse_in_header: len, opcode, unique (64 bits), nodeid (64), uid, gid, pid, …
const HEADER: usize = 40;

/// Answers the kernel's INIT, which is the first thing it sends.
fn begin(mut fuse: &File) -> Result<(), Failure> {
    let mut request = vec![0; LARGEST];
    let length = fuse.read(&mut request).map_err(|error| Failure::system("reading from /dev/fuse", error))?;
    let opcode = word(&request[..length], 4);
    if length < HEADER || opcode != Some(INIT) {
        return Err(Failure::plain(format!("the kernel began with request {opcode:?}, not with INIT")));
    }
    let unique = request.get(8..16).unwrap_or_default();
    fuse.write_all(&answer(unique)).map_err(|error| Failure::system("answering INIT", error))
}

/// Who sent a request; nobody, if it is the kernel's own.
fn asker(request: &[u8]) -> Option<u32> {
    word(request, 32).filter(|&pid| pid != 0)
}

fn word(request: &[u8], at: usize) -> Option<u32> {
    request.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
}

/// struct fuse_out_header and struct fuse_init_out (fuse.h), protocol 7.23: the
/// kernel speaks whatever older version it is answered in.
fn answer(unique: &[u8]) -> Vec<u8> {
    const LENGTH: u32 = 16 + 64;
    let mut answer = Vec::new();
    answer.extend(LENGTH.to_ne_bytes());
    answer.extend(0_i32.to_ne_bytes()); // error
    answer.extend(unique);
    for word in [7_u32, 23] {
        answer.extend(word.to_ne_bytes()); // major, minor
    }
    answer.extend(0_u32.to_ne_bytes()); // max_readahead
    answer.extend(0_u32.to_ne_bytes()); // flags
    for half in [12_u16, 9] {
        answer.extend(half.to_ne_bytes()); // max_background, congestion_threshold
    }
    answer.extend(4096_u32.to_ne_bytes()); // max_write
    answer.extend(1_u32.to_ne_bytes()); // time_gran
    answer.resize(LENGTH as usize, 0);
    answer
}

/// Takes every request and answers none, until standard input ends or somebody
/// else unmounts.
fn ignore_all(mut fuse: &File, output: &mut Output) -> Result<(), Failure> {
    // A request may be withdrawn between the poll and the read, which must not wait for
    // the next one then.
    rustix::fs::fcntl_setfl(fuse, rustix::fs::OFlags::NONBLOCK)
        .map_err(|errno| Failure::system("setting up /dev/fuse", errno))?;
    let stdin = std::io::stdin();
    let mut request = vec![0; LARGEST];
    loop {
        let mut ready = [
            PollFd::from_borrowed_fd(fuse.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(|errno| Failure::system("waiting for requests", errno))?,
        };
        let [asked, told] = ready.map(|descriptor| descriptor.revents());
        if !told.is_empty() && stdin.lock().read(&mut request).unwrap_or(0) == 0 {
            return Ok(());
        }
        if asked.intersects(PollFlags::ERR | PollFlags::HUP) {
            return Ok(());
        }
        if asked.contains(PollFlags::IN)
            && let Ok(length) = fuse.read(&mut request)
            && let Some(pid) = asker(&request[..length])
        {
            output.line(format!("asked {pid}"))?;
            output.flush()?;
        }
    }
}

/// Ends all that wait in the file system, and takes it away.
fn abort(mountpoint: &Path) {
    // It may be gone already, and whoever is told can do no more than this.
    let _ = unmount(mountpoint, UnmountFlags::FORCE | UnmountFlags::DETACH);
}

/// A mounted silent file system, for as long as this is there.
pub struct SilentFuse {
    server: Child,
    directory: PathBuf,
}

/// How long the server may take to mount, or to end.
const PATIENCE: Duration = Duration::from_secs(5);

impl SilentFuse {
    /// Mounts one on a directory of its own. The error is the reason why there
    /// can be none here.
    pub fn mount() -> Result<SilentFuse, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let directory = std::env::temp_dir().join(format!("cgf-silent-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(|error| error.to_string())?;
        let server = Command::new(program)
            .arg("__silent-fuse")
            .arg(&directory)
            .env_remove("CGF_OPTIONS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What ends us from the terminal shall not end it: it unmounts when
            // our end of its input is closed.
            .process_group(0)
            .spawn();
        let server = match server {
            Ok(server) => server,
            Err(error) => {
                let _ = std::fs::remove_dir(&directory);
                return Err(error.to_string());
            }
        };
        let mut mounted = SilentFuse { server, directory };
        if mounted.is_ready() { Ok(mounted) } else { Err(mounted.reason()) }
    }

    /// A file to look at, for whoever wants to block.
    pub fn file(&self) -> PathBuf {
        self.directory.join("file")
    }

    fn is_ready(&mut self) -> bool {
        let Some(stdout) = &mut self.server.stdout else { return false };
        let mut ready = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
        let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        if !poll(&mut ready, Some(&limit)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).is_ok() && line == "ready\n"
    }

    fn reason(&mut self) -> String {
        let _ = self.server.kill();
        let mut text = String::new();
        if let Some(stderr) = &mut self.server.stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        let text = text.trim().trim_start_matches("cgf: ");
        if text.is_empty() { "its server did not start".to_owned() } else { text.to_owned() }
    }
}

impl Drop for SilentFuse {
    fn drop(&mut self) {
        // Closed input ends the server; should it not, a dead server ends all
        // waiting just as well.
        drop(self.server.stdin.take());
        let began = std::time::Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
        abort(&self.directory);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let answer = answer(&7_u64.to_ne_bytes());
        assert_eq!(answer.len(), 80);
        assert_eq!(&answer[..4], 80_u32.to_ne_bytes());
        assert_eq!(&answer[8..16], 7_u64.to_ne_bytes());
    }
}
