//! `cgf kill`: a signal for every process of a group.

use clap::Args;
use serde_json::json;

use super::{DONE, Json, about};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::signal_name::Signal;
use crate::target::Target;

/// Send a signal to every process of a group and of the groups below, once each
///
/// KILL ends them all, also those born meanwhile and those in frozen groups, and
/// returns when they are dead. Any other signal stays pending in a frozen group
/// until it is thawed. The group stays, in the state it had.
///
/// Errors: EBUSY: some were not dead within deadline= of -o; they are named.
/// EPERM: not permitted to signal one of them; the others were signalled.
///
/// JSON: {hierarchy, group, signal}, the number
///
/// Example: cgf kill -s TERM jobs:web
#[derive(Args)]
pub struct Kill {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// A name (TERM, SIGTERM) or a number up to 64; 0 only checks
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", allow_negative_numbers = true)]
    signal: Signal,

    #[command(flatten)]
    pub json: Json,
}

impl Kill {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        group.kill(self.signal.0)?;
        if self.json.json {
            output.json(&about(&group, json!({ "signal": self.signal.0 })))?;
        }
        Ok(DONE)
    }
}
