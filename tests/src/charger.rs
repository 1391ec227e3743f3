//! A process of a test's own that charges (`bin/charger.rs`).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cgf::Hierarchy;

/// A process that charges groups of a hierarchy; killed when it is dropped.
pub struct Charger {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Charger {
    /// Starts the program, which opens the hierarchy for itself.
    pub fn start(program: &str, hierarchy: &Hierarchy) -> Charger {
        let options = format!("{},backend={}", hierarchy.subsystems().join(","), hierarchy.backend_kind());
        let mut process = Command::new(program)
            .arg(hierarchy.name())
            .arg(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| unreachable!("starting {program}: {error}"));
        match (process.stdin.take(), process.stdout.take()) {
            (Some(asks), Some(answers)) => Charger { process, asks, answers: BufReader::new(answers) },
            _ => unreachable!("the charger has no pipes"),
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// One question, one answer; an errno for a failure.
    pub fn ask(&mut self, question: &str) -> Result<String, i32> {
        writeln!(self.asks, "{question}").unwrap_or_else(|error| unreachable!("the charger is gone: {error}"));
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        let line = line.trim_end();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ok", value) => Ok(value.to_owned()),
            ("error", why) => Err(why.split(' ').next().and_then(|errno| errno.parse().ok()).unwrap_or(-1)),
            _ => unreachable!("to {question:?} the charger says {line:?}: {read:?}"),
        }
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Charger {
    fn drop(&mut self) {
        self.end();
    }
}
