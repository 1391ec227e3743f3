//! `cgf state`: what a group's tasks really do.

use clap::Args;
use serde_json::json;

use super::{DONE, Json, about, lossy};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::target::Subject;

/// Print THAWED, FREEZING, FROZEN or CHECKPOINTING
///
/// FREEZING: its tasks were asked to stop and at least one has not.
///
/// JSON: {hierarchy, group, backend, directory, state, self_freezing,
/// parent_freezing, frozen_usec}: whether this group itself, or one above it, was
/// asked to freeze; how long it has been frozen in all (null where the kernel does
/// not count). directory is that of the hierarchy.
///
/// Example: test "$(cgf state jobs:web)" = FROZEN
#[derive(Args)]
pub struct State {
    #[command(flatten)]
    subject: Subject,

    #[command(flatten)]
    pub json: Json,
}

impl State {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = self.subject.open(hierarchies)?;
        let state = group.state()?;
        if !self.json.json {
            output.line(state.name())?;
            return Ok(DONE);
        }
        let frozen = match group.frozen_time() {
            Ok(time) => Some(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            Err(error) if error.errno() == libc::EOPNOTSUPP => None,
            Err(error) => return Err(error.into()),
        };
        let facts = json!({
            "backend": group.hierarchy().backend_kind().name(),
            "directory": lossy(group.hierarchy().directory()),
            "state": state.name(),
            "self_freezing": group.is_self_freezing()?,
            "parent_freezing": group.is_parent_freezing()?,
            "frozen_usec": frozen,
        });
        output.json(&about(&group, facts))?;
        Ok(DONE)
    }
}
