//! `cgf ps`: the processes of a group, and the groups of a process.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use cgf::Group;
use clap::Args;
use serde_json::{Value, json};

use super::{DONE, Json, about, lossy};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::members;
use crate::output::Output;
use crate::process::Process;
use crate::target::{Subject, Target};

/// List the processes of a group; with --pid the groups of a process
///
/// Processes: number, the kernel's letter for what it does (S sleeps, D sleeps
/// and heeds no signal, T is stopped, Z is dead; a frozen task shows S on cgroup2
/// and D on cgroup1), command line; with -r the group too. Processes that our pid
/// namespace does not show are counted at the end.
///
/// With --pid: one line `hierarchy:subsystems:/path` for every hierarchy that
/// exists in the places of `cgf doctor`; / for those it was never moved in. With
/// -o state=DIR the hierarchies of that system, else those of none.
///
/// JSON: {hierarchy, group, processes: [{pid, state, command, arguments, group}],
/// unseen}, or {pid, groups: [{hierarchy, subsystems, path}]}
///
/// Example: cgf ps jobs:web -r; cgf ps --pid $$
#[derive(Args)]
pub struct Ps {
    #[command(flatten)]
    subject: Subject,

    /// The groups below too
    #[arg(short, long, conflicts_with = "pid")]
    recursive: bool,

    #[command(flatten)]
    pub json: Json,
}

impl Ps {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        match self.subject.pid {
            Some(pid) => self.groups_of(pid, hierarchies, output),
            None => self.processes(hierarchies, output),
        }
    }

    fn processes(&self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let top = self.subject.open(hierarchies)?;
        let mut rows: Vec<(Process, OsString)> = Vec::new();
        let mut unseen = 0;
        let mut list = |group: &Group| {
            let name = Target::name(group.hierarchy().name(), group.path());
            rows.extend(group.procs()?.into_iter().filter_map(Process::read).map(|process| (process, name.clone())));
            unseen += group.unseen_procs()?;
            Ok(())
        };
        if self.recursive {
            members::each_group(&top, list)?
        } else {
            list(&top)?
        }
        if self.json.json {
            let processes: Vec<Value> = rows.into_iter().map(|(process, group)| as_json(process, group)).collect();
            output.json(&about(&top, json!({ "processes": processes, "unseen": unseen })))?;
            return Ok(DONE);
        }
        output.line(if self.recursive { "    PID S GROUP COMMAND" } else { "    PID S COMMAND" })?;
        for (process, group) in rows {
            let mut line = OsString::from(format!("{:>7} {} ", process.pid, process.state));
            if self.recursive {
                line.push(group);
                line.push(" ");
            }
            // Arguments may hold newlines; a process has one line.
            line.push(crate::output::harmless(&process.command_line()));
            output.line(line)?;
        }
        if unseen > 0 {
            output.line(format!("and {unseen} that our pid namespace does not show"))?;
        }
        Ok(DONE)
    }

    fn groups_of(&self, pid: i32, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        if Process::read(pid).is_none() {
            return Err(Failure::new(libc::ESRCH, "ESRCH", format!("no process {pid}")));
        }
        let mut rows = Vec::new();
        for found in hierarchies.list() {
            let looked = hierarchies.open_found(&found).and_then(|hierarchy| {
                let group = hierarchy.group_of(pid)?;
                Ok((found.name.clone(), hierarchy.subsystems().join(","), group.path().as_bytes().to_vec()))
            });
            match looked {
                Ok(row) => rows.push(row),
                // Ended meanwhile, or part of a system that -o state= names.
                Err(error) if matches!(error.errno(), libc::ENOENT | libc::ENODEV | libc::EBUSY) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.json.json {
            let groups: Vec<Value> = rows
                .into_iter()
                .map(|(name, subsystems, path)| {
                    let path = format!("/{}", String::from_utf8_lossy(&path));
                    json!({ "hierarchy": lossy(name), "subsystems": subsystems.split(',').collect::<Vec<_>>(), "path": path })
                })
                .collect();
            output.json(&json!({ "pid": pid, "groups": groups }))?;
            return Ok(DONE);
        }
        for (mut line, subsystems, path) in rows {
            line.push(format!(":{subsystems}:/"));
            line.push(OsString::from_vec(path));
            output.line(line)?;
        }
        Ok(DONE)
    }
}

fn as_json(process: Process, group: OsString) -> Value {
    json!({
        "pid": process.pid,
        "state": process.state.to_string(),
        "command": process.command,
        "arguments": process.arguments,
        "group": lossy(group),
    })
}
