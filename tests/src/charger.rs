//! A process of a test's own that charges (`bin/charger.rs`), and what groups hold then.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cgf::{Group, Hierarchy};

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
        let mut command = Command::new(program);
        command.arg(hierarchy.name()).arg(options);
        Charger::run(command)
    }

    /// The same by a command that says all of it.
    pub fn run(mut command: Command) -> Charger {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.unwrap_or_else(|error| unreachable!("starting {command:?}: {error}"));
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

/// What a group holds of a resource, by its file.
pub fn held(group: &Group, resource: &str) -> u64 {
    figure(group, resource, "held")
}

/// How many charges it has refused.
pub fn failures(group: &Group, resource: &str) -> u64 {
    figure(group, resource, "failcnt")
}

fn figure(group: &Group, resource: &str, what: &str) -> u64 {
    let file = format!("bc.{resource}.{what}");
    let text = group.read(&file).unwrap_or_else(|error| unreachable!("{file}: {error}"));
    text.trim().parse().unwrap_or_else(|_| unreachable!("{file}: {text:?}"))
}
