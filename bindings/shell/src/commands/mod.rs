//! The subcommands, one file each.

mod attach;
mod charge;
mod checkpoint;
mod create;
mod doctor;
mod enter;
mod exec;
mod files;
mod freeze;
mod get;
mod kill;
mod ls;
mod monitor;
mod ps;
mod restore;
pub mod rm;
mod set;
mod state;
mod thaw;
mod uncharge;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use cgf::Group;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::demo::{self, workload::Workload};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::janitor::{self, Extent};
use crate::output::Output;
use crate::silent_fuse;
use crate::target::Target;

/// The exit status of a command that did what it was asked for.
const DONE: u8 = 0;

#[derive(Subcommand)]
pub enum Command {
    Doctor(doctor::Doctor),
    Create(create::Create),
    Exec(exec::Exec),
    Enter(enter::Enter),
    Attach(attach::Attach),
    Freeze(freeze::Freeze),
    Thaw(thaw::Thaw),
    State(state::State),
    Checkpoint(checkpoint::Checkpoint),
    Restore(restore::Restore),
    Kill(kill::Kill),
    Rm(rm::Rm),
    Ls(ls::Ls),
    Ps(ps::Ps),
    Files(files::Files),
    Get(get::Get),
    Set(set::Set),
    Charge(charge::Charge),
    Uncharge(uncharge::Uncharge),
    Watch(watch::Watch),
    Monitor(monitor::Monitor),
    /// Show the main job at work on real processes, with evidence
    ///
    /// Starts a small tree of processes, freezes it under a deadline, thaws it,
    /// shows a freeze that cannot succeed and who blocks it, kills and removes
    /// everything. Takes some two seconds. Every line is checked before it is
    /// printed: the exit status is 1 if one does not hold.
    ///
    /// Example: cgf demo -o backend=cgroup1
    Demo,
    /// What the demo has running: one process of it, or the whole tree.
    #[command(name = "__workload", hide = true)]
    Workload {
        #[arg(value_enum)]
        role: Workload,
    },
    /// Clears a group away at the end of standard input.
    #[command(name = "__janitor", hide = true)]
    Janitor {
        group: Target,
        #[arg(long)]
        hierarchy_too: bool,
    },
    /// Mounts a FUSE file system whose server answers nothing: whoever looks
    /// into it blocks, and no freeze succeeds. Prints "ready"; unmounts at the
    /// end of standard input.
    #[command(name = "__silent-fuse", hide = true)]
    SilentFuse {
        mountpoint: PathBuf,
    },
}

impl Command {
    /// Whether the caller reads JSON, and wants failures in it too.
    pub fn wants_json(&self) -> bool {
        match self {
            Command::Doctor(command) => command.json.json,
            Command::Freeze(command) => command.json.json,
            Command::State(command) => command.json.json,
            Command::Restore(command) => command.json.json,
            Command::Kill(command) => command.json.json,
            Command::Rm(command) => command.json.json,
            Command::Ls(command) => command.json.json,
            Command::Ps(command) => command.json.json,
            Command::Files(command) => command.json.json,
            Command::Get(command) => command.json.json,
            Command::Watch(command) => command.json.json,
            Command::Monitor(command) => command.json.json,
            _ => false,
        }
    }

    /// Does it, and returns the exit status.
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        match self {
            Command::Doctor(command) => command.run(output),
            Command::Create(command) => command.run(hierarchies),
            Command::Exec(command) => command.run(hierarchies),
            Command::Enter(command) => command.run(hierarchies),
            Command::Attach(command) => command.run(hierarchies),
            Command::Freeze(command) => command.run(hierarchies, output),
            Command::Thaw(command) => command.run(hierarchies),
            Command::State(command) => command.run(hierarchies, output),
            Command::Checkpoint(command) => command.run(hierarchies),
            Command::Restore(command) => command.run(hierarchies, output),
            Command::Kill(command) => command.run(hierarchies, output),
            Command::Rm(command) => command.run(hierarchies, output),
            Command::Ls(command) => command.run(hierarchies, output),
            Command::Ps(command) => command.run(hierarchies, output),
            Command::Files(command) => command.run(hierarchies, output),
            Command::Get(command) => command.run(hierarchies, output),
            Command::Set(command) => command.run(hierarchies),
            Command::Charge(command) => command.run(hierarchies),
            Command::Uncharge(command) => command.run(hierarchies),
            Command::Watch(command) => command.run(hierarchies, output),
            Command::Monitor(command) => command.run(hierarchies, output),
            Command::Demo => demo::run(hierarchies, output).map(|()| DONE),
            Command::Workload { role } => role.run().map(|()| DONE),
            Command::Janitor { group, hierarchy_too } => {
                let extent = if hierarchy_too { Extent::HierarchyToo } else { Extent::Group };
                janitor::serve(hierarchies, &group, extent).map(|()| DONE)
            }
            Command::SilentFuse { mountpoint } => silent_fuse::serve(&mountpoint, output).map(|()| DONE),
        }
    }
}

/// The same flag on every command that can answer a program.
#[derive(Args)]
pub struct Json {
    /// Print JSON (a failure too)
    #[arg(long)]
    pub json: bool,
}

/// The facts about a group, with its name before them.
fn about(group: &Group, facts: Value) -> Value {
    let mut value = json!({
        "hierarchy": lossy(group.hierarchy().name()),
        "group": lossy(Target::name(group.hierarchy().name(), group.path())),
    });
    if let (Some(all), Value::Object(facts)) = (value.as_object_mut(), facts) {
        all.extend(facts);
    }
    value
}

/// A name in JSON: bytes that are not UTF-8 are replaced.
fn lossy(name: impl Into<OsString>) -> String {
    name.into().to_string_lossy().into_owned()
}
