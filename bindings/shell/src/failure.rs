//! Why a command failed: one line for people, one object for programs.

use std::io;

use cgf::Blocker;
use serde_json::{Value, json};

use crate::output::{Output, harmless};

/// The status of a command that failed.
const FAILED: u8 = 1;
/// The status a shell shows for a program that SIGPIPE ended.
const NOBODY_READS: u8 = 128 + 13;

/// What a command that did not do what it was asked for returns.
pub enum Failure {
    /// It could not be done.
    Cause(Box<Cause>),
    /// Whoever read our output went away (`cgf ls | head`): no failure of ours,
    /// and nothing to say to anybody.
    NobodyReads,
}

pub struct Cause {
    /// 0 where no system call is to blame.
    errno: i32,
    /// `EBUSY`; empty where no system call is to blame.
    name: &'static str,
    message: String,
    remedy: Option<String>,
    blockers: Vec<Blocker>,
}

impl Failure {
    /// A failure found by the command itself.
    pub fn new(errno: i32, name: &'static str, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure::Cause(Box::new(Cause { errno, name, message, remedy: None, blockers: Vec::new() }))
    }

    /// A failure that no errno describes.
    pub fn plain(message: impl Into<String>) -> Failure {
        Failure::new(0, "", message)
    }

    /// A failed system call of the command's own.
    pub fn system(doing: &str, error: impl Into<io::Error>) -> Failure {
        let error = error.into();
        Failure::new(error.raw_os_error().unwrap_or(0), "", format!("{doing}: {error}"))
    }

    /// Says what the reader can do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        if let Failure::Cause(cause) = &mut self {
            cause.remedy = Some(remedy.into());
        }
        self
    }

    pub fn is(&self, errno: i32) -> bool {
        matches!(self, Failure::Cause(cause) if cause.errno == errno)
    }

    /// The line for people, without the program's name.
    pub fn line(&self) -> String {
        let Failure::Cause(cause) = self else { return "nobody reads the output".to_owned() };
        let mut line = cause.message.clone();
        if !cause.name.is_empty() {
            line.push_str(&format!(" ({})", cause.name));
        }
        if let Some(remedy) = &cause.remedy {
            line.push_str(&format!("; {remedy}"));
        }
        harmless(&line)
    }

    /// Tells whoever wants to know, and returns the exit status.
    pub fn print(&self, output: &mut Output, json: bool) -> u8 {
        let Failure::Cause(cause) = self else { return NOBODY_READS };
        if json {
            // If that fails too, the line and the status still tell.
            let _ = output.json(&json!({ "error": cause.as_json() })).and_then(|()| output.flush());
        }
        eprintln_quietly(&format!("cgf: {}", self.line()));
        FAILED
    }
}

impl Cause {
    fn as_json(&self) -> Value {
        json!({
            "errno": self.errno,
            "name": self.name,
            "message": self.message,
            "remedy": self.remedy,
            "blockers": self.blockers.iter().map(blocker_as_json).collect::<Vec<_>>(),
        })
    }
}

fn blocker_as_json(blocker: &Blocker) -> Value {
    json!({
        "pid": blocker.pid,
        "tid": blocker.tid,
        "command": blocker.command,
        "state": blocker.state.to_string(),
        "waits_in": blocker.waits_in,
        "evidence": blocker.evidence.name(),
    })
}

/// `eprintln!` panics when standard error is closed, which is no reason to.
fn eprintln_quietly(line: &str) {
    let _ = io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes());
}

impl From<cgf::Error> for Failure {
    fn from(error: cgf::Error) -> Failure {
        Failure::Cause(Box::new(Cause {
            errno: error.errno(),
            name: error.name(),
            message: error.message().to_owned(),
            remedy: None,
            blockers: error.blockers().to_vec(),
        }))
    }
}

impl From<io::Error> for Failure {
    /// Only writing to standard output gives these.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::system("writing to standard output", error),
        }
    }
}
