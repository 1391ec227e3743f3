//! A surface under test: a program in its language that is told a line
//! (`freeze a 5000 rollback`) and answers one: `ok VALUE`, or
//! `error ERRNO BLOCKERS MESSAGE` where BLOCKERS is `-` or a list of
//! `pid:tid:evidence`, comma-separated. Odd bytes are written `%0a`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The surfaces of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The crate itself.
    Rust,
    /// libcgf.so, from a C program.
    C,
    /// The package, in CPython.
    Python,
}

/// A failure as the surface reported it.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// The errno, positive.
    pub errno: i32,
    /// `(pid, tid, evidence)` of each blocker.
    pub blockers: Vec<(i32, i32, String)>,
    /// The sentence.
    pub message: String,
}

impl Failure {
    /// The errno's name, or its number.
    pub fn name(&self) -> String {
        const NAMES: [(i32, &str); 28] = [
            (libc::EACCES, "EACCES"),
            (libc::EBADF, "EBADF"),
            (libc::EBUSY, "EBUSY"),
            (libc::ECANCELED, "ECANCELED"),
            (libc::ECHILD, "ECHILD"),
            (libc::EDEADLK, "EDEADLK"),
            (libc::EEXIST, "EEXIST"),
            (libc::EINTR, "EINTR"),
            (libc::EINVAL, "EINVAL"),
            (libc::EIO, "EIO"),
            (libc::E2BIG, "E2BIG"),
            (libc::ELOOP, "ELOOP"),
            (libc::ENAMETOOLONG, "ENAMETOOLONG"),
            (libc::ENODEV, "ENODEV"),
            (libc::ENOENT, "ENOENT"),
            (libc::EMFILE, "EMFILE"),
            (libc::ENOMEM, "ENOMEM"),
            (libc::ENOSPC, "ENOSPC"),
            (libc::ENOSYS, "ENOSYS"),
            (libc::ENOTDIR, "ENOTDIR"),
            (libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (libc::EPERM, "EPERM"),
            (libc::ESRCH, "ESRCH"),
            (libc::ESTALE, "ESTALE"),
            (libc::ETIMEDOUT, "ETIMEDOUT"),
            (libc::EXDEV, "EXDEV"),
            (libc::ENODATA, "ENODATA"),
            (-1, "broken"),
        ];
        NAMES
            .iter()
            .find(|(number, _)| *number == self.errno)
            .map_or(self.errno.to_string(), |(_, name)| (*name).to_owned())
    }
}

/// A running driver.
pub struct Driver {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Surface {
    /// How to start it, or why it cannot be.
    pub fn command(self) -> Result<Command, String> {
        let from = |name: &str| std::env::var_os(name).ok_or(format!("{name} does not name the surface's driver"));
        match self {
            Surface::Rust => Ok(Command::new(from("CGF_DRIVER_RUST")?)),
            Surface::C => Ok(Command::new(from("CGF_DRIVER_C")?)),
            Surface::Python => {
                let mut command = Command::new(from("CGF_PYTHON")?);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/contract/driver.py"));
                Ok(command)
            }
        }
    }
}

impl Driver {
    /// Starts the surface's program.
    pub fn start(mut command: Command) -> Result<Driver, String> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("starting {command:?}: {error}"))?;
        match (process.stdin.take(), process.stdout.take()) {
            (Some(asks), Some(answers)) => Ok(Driver { process, asks, answers: BufReader::new(answers) }),
            _ => Err("the driver has no pipes".into()),
        }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// One question, one answer.
    pub fn ask(&mut self, words: &[&str]) -> Result<String, Failure> {
        let broken = |why: String| Failure { errno: -1, message: why, ..Failure::default() };
        writeln!(self.asks, "{}", words.join(" ")).map_err(|error| broken(format!("the driver is gone: {error}")))?;
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => return Err(broken(format!("the driver ended on {words:?}"))),
            Err(error) => return Err(broken(format!("the driver's answer: {error}"))),
            Ok(_) => {}
        }
        let line = line.trim_end_matches('\n');
        if let Some(value) = line.strip_prefix("ok") {
            return Ok(decode(value.trim_start()));
        }
        let mut parts = line.splitn(4, ' ');
        let (Some("error"), Some(errno), Some(blockers)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(broken(format!("the driver says {line:?}")));
        };
        Err(Failure {
            errno: errno.parse().unwrap_or(-1),
            blockers: blockers.split(',').filter_map(blocker).collect(),
            message: decode(parts.next().unwrap_or_default()),
        })
    }

    /// What it has open. With these options counters are there, and stay for as long as the
    /// process does: their file, and a descriptor of each process that has charged something.
    pub fn descriptors(&mut self, option: &str) -> Result<Vec<String>, String> {
        let list = self.ask(&["fds"]).map_err(|failure| failure.message)?;
        let stays =
            |of: &str| option.contains("beancounter") && (of.contains("/cgf-counters/") || of.contains("pidfd"));
        let mut found: Vec<String> = list.split_whitespace().filter(|of| !stays(of)).map(str::to_owned).collect();
        found.sort();
        Ok(found)
    }

    /// Ends it and waits for it.
    pub fn end(mut self) {
        // SAFETY-relevant only in that it is our own child, not yet waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn blocker(text: &str) -> Option<(i32, i32, String)> {
    let mut parts = text.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.to_owned()))
}

/// `%0a` and the like to what they stand for, as text.
pub fn decode(text: &str) -> String {
    String::from_utf8_lossy(&decode_bytes(text)).into_owned()
}

/// `%0a` and the like to the bytes they stand for.
pub fn decode_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}
