//! `cgf restore`: the processes of a checkpoint, in a group again.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cgf::criu::{self, RestoreOptions};
use clap::Args;
use serde_json::json;

use super::{DONE, Json, about};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::target::Target;
use crate::time_limit::TimeLimit;

/// Restore a checkpoint of CRIU's into a group, and print its first process
///
/// The group must be there, empty and thawed; the processes are in it from the
/// start, and run when this returns. They have the numbers that they had, so
/// these must be free, and find their files where they left them.
///
/// Errors: ENOENT: no whole checkpoint in the directory. EBUSY: the group is not
/// empty, or not thawed. EEXIST: one of the numbers is somebody else's. EIO: CRIU
/// failed; its last words are in the message. ETIMEDOUT: not within the deadline.
/// After an error nothing runs in the group.
///
/// JSON: {hierarchy, group, pid}
///
/// Example: cgf restore jobs:web --images web.images
#[derive(Args)]
pub struct Restore {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// The directory that cgf checkpoint made
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// How long it may take: 30s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "30s")]
    deadline: TimeLimit,

    /// Which CRIU
    #[arg(long, value_name = "PROGRAM", default_value = "criu", env = "CGF_CRIU")]
    criu: OsString,

    /// An argument for `criu restore`, such as --criu-arg=--tcp-established
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    criu_arg: Vec<OsString>,

    #[command(flatten)]
    pub json: Json,
}

impl Restore {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        interrupt::note_signals()?;
        let TimeLimit(limit) = self.deadline;
        let mut progress = Progress::new(format!("restoring {}", self.group), limit);
        let mut meanwhile = |waited: Duration| {
            progress.beat(waited);
            interrupt::heed()
        };
        let mut options = RestoreOptions::within(limit).program(self.criu).meanwhile(&mut meanwhile);
        for arg in self.criu_arg {
            options = options.arg(arg);
        }
        let restored = criu::restore(&group, &self.images, options);
        // Takes its line away before anything else is printed.
        drop(progress);
        let pid = restored?;
        if self.json.json {
            output.json(&about(&group, json!({ "pid": pid })))?;
        } else {
            output.line(pid.to_string())?;
        }
        Ok(DONE)
    }
}
