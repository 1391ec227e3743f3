//! The `cgf` command: groups of processes, from a shell.

mod commands;
mod demo;
mod events;
mod failure;
mod hierarchies;
mod interrupt;
mod janitor;
mod members;
mod output;
mod process;
mod progress;
mod signal_name;
mod silent_fuse;
mod target;
mod time_limit;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;

/// Freeze, guard, move, count and end groups of Linux processes.
#[derive(Parser)]
#[command(name = "cgf", bin_name = "cgf", version, after_help = SHORT_MANUAL, after_long_help = MANUAL, max_term_width = 100)]
struct CommandLine {
    /// Mount-style options of the hierarchy, for example backend=cgroup1
    ///
    /// Separated by commas: subsystems to bind (freezer, signal, beancounter, cpuacct,
    /// cpuset, namespace, numtasks; default: the first two); flat, to count charges in a group alone and not above it;
    /// backend=auto, cgroup2, cgroup1 or embedded; root=DIR, to open the groups
    /// below a directory that somebody else made; state=DIR, the system that the
    /// hierarchy belongs to; deadline=MS, which bounds rm, kill, exec, attach and
    /// thaw (10000); stop=signal or ptrace, how the embedded backend stops a task;
    /// hold=parent, to make groups with a parent of their own that is frozen with them.
    #[arg(
        short = 'o',
        long = "options",
        global = true,
        env = "CGF_OPTIONS",
        default_value = "",
        hide_default_value = true,
        value_name = "OPTIONS"
    )]
    options: String,

    #[command(subcommand)]
    command: Command,
}

const SHORT_MANUAL: &str = "\
HIERARCHY:PATH names a group: jobs:web/1. Without a path, the root group.
Begin with `cgf demo` and `cgf doctor`; `cgf --help` is the manual.";

const MANUAL: &str = "\
Groups:
  HIERARCHY:PATH names a group: jobs:web/1 is the group web/1 of the hierarchy
  jobs. Without a path (jobs: or jobs) it is the hierarchy's root group. A
  hierarchy comes into being with `cgf create` and ends with `cgf rm jobs:`;
  every other command fails on one that does not exist. Names are bytes; they
  need not be UTF-8.

Exit status:
  0  done
  1  failed: one line on standard error names the cause, with the name of the
     errno in brackets and, where one is known, the remedy
  2  wrong usage
  `cgf exec` exits with the status of the program it ran. When nobody reads the
  output any more, the status is 141, as after SIGPIPE.

JSON:
  With --json a command prints one JSON value on one line; the keys are in its
  --help. If it fails it prints {\"error\": {errno, name, message, remedy,
  blockers}}, where blockers is a list of {pid, tid, command, state, waits_in,
  evidence}, evidence being \"proved\" or \"state\" of who blocks, \"outside\" of
  who is not in the group, \"ran\", \"thawed\", \"left\" or \"came\" of who was not
  still during a checkpoint. Bytes that are not UTF-8 are replaced by U+FFFD.

Units:
  Deadlines are written 5s, 500ms or 2m; 0 asks once, none waits without limit.
  Keys that end in _ms are milliseconds, in _usec microseconds.

Example:
  cgf create jobs:web
  cgf exec jobs:web -- ./server &
  cgf freeze jobs:web --deadline 2s --rollback
  cgf ps jobs:web
  cgf thaw jobs:web
  cgf rm jobs:web --kill && cgf rm jobs:";

fn main() -> ExitCode {
    // clap prints usage errors itself, and ends with status 2.
    let line = CommandLine::parse();
    let mut output = Output::standard();
    let hierarchies = match Hierarchies::parse(&line.options) {
        Ok(hierarchies) => hierarchies,
        Err(error) => {
            Failure::from(error).print(&mut output, false);
            return ExitCode::from(2);
        }
    };
    let json = line.command.wants_json();
    let done = line.command.run(&hierarchies, &mut output).and_then(|status| {
        output.flush()?;
        Ok(status)
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => ExitCode::from(failure.print(&mut output, json)),
    }
}
