//! `cgf ls`: hierarchies, and the groups of one.

use std::ffi::OsString;

use cgf::{Hierarchy, Options};
use clap::Args;
use serde_json::{Value, json};

use super::{DONE, Json, lossy};
use crate::failure::Failure;
use crate::hierarchies::{Found, Hierarchies};
use crate::members;
use crate::output::Output;
use crate::target::Target;

/// List hierarchies; with an argument a group and those below it
///
/// Without an argument: the hierarchies in the places that `cgf doctor` prints,
/// with their backend, how many groups they have besides the root, and their
/// directory. With one: the group and every group below, with its state and the
/// number of processes in that very group.
///
/// JSON: {hierarchies: [{hierarchy, backend, groups, directory}]} or
/// {hierarchy, groups: [{group, state, processes}]}
///
/// Example: cgf ls jobs
#[derive(Args)]
pub struct Ls {
    /// The hierarchy, or the group to begin at
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Option<Target>,

    #[command(flatten)]
    pub json: Json,
}

impl Ls {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        match &self.group {
            Some(target) => self.groups(hierarchies, target, output),
            None => self.hierarchies(hierarchies, output),
        }
    }

    fn groups(&self, hierarchies: &Hierarchies, target: &Target, output: &mut Output) -> Result<u8, Failure> {
        let top = hierarchies.group(target)?;
        let mut rows: Vec<(cgf::State, usize, OsString)> = Vec::new();
        members::each_group(&top, |group| {
            let name = Target::name(group.hierarchy().name(), group.path());
            rows.push((group.state()?, group.procs()?.len(), name));
            Ok(())
        })?;
        if self.json.json {
            let groups: Vec<Value> = rows
                .into_iter()
                .map(|(state, processes, name)| json!({ "group": lossy(name), "state": state.name(), "processes": processes }))
                .collect();
            output.json(&json!({ "hierarchy": lossy(&target.hierarchy), "groups": groups }))?;
            return Ok(DONE);
        }
        output.line("STATE          PROCS  GROUP")?;
        for (state, processes, name) in rows {
            let mut line = OsString::from(format!("{:<13}  {processes:>5}  ", state.name()));
            line.push(name);
            output.line(line)?;
        }
        Ok(DONE)
    }

    fn hierarchies(&self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let mut rows: Vec<(Found, usize)> = Vec::new();
        for found in hierarchies.list() {
            // Adopted, not opened: looking must not make what somebody else
            // removes at this moment.
            match Hierarchy::adopt(&found.directory, &Options::default()).and_then(|hierarchy| hierarchy.groups()) {
                Ok(groups) => rows.push((found, groups.len())),
                Err(error) if matches!(error.errno(), libc::ENOENT | libc::ENODEV) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.json.json {
            let listed: Vec<Value> = rows
                .into_iter()
                .map(|(found, groups)| {
                    json!({
                        "hierarchy": lossy(found.name),
                        "backend": found.backend.name(),
                        "groups": groups,
                        "directory": lossy(found.directory),
                    })
                })
                .collect();
            output.json(&json!({ "hierarchies": listed }))?;
            return Ok(DONE);
        }
        output.line("BACKEND   GROUPS  HIERARCHY  DIRECTORY")?;
        for (found, groups) in rows {
            let mut line = OsString::from(format!("{:<9} {groups:>6}  ", found.backend.name()));
            line.push(found.name);
            line.push("  ");
            line.push(found.directory);
            output.line(line)?;
        }
        Ok(DONE)
    }
}
