//! `cgf freeze`: stop every task of a group, within a deadline.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use cgf::FreezeOptions;
use clap::Args;
use serde_json::json;

use super::{DONE, Json, about};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::progress::Progress;
use crate::target::Subject;
use crate::time_limit::TimeLimit;

/// Stop every task of a group and of the groups below
///
/// Returns when the last one has stopped. If one does not stop by the deadline,
/// the error names it, and what it waits in; the group stays FREEZING, and is
/// FROZEN when that task stops or goes, unless --rollback thaws it again.
///
/// Errors: EBUSY: not frozen by the deadline. ECANCELED: somebody thawed it
/// meanwhile. EDEADLK: this command itself is in the group.
///
/// JSON: {hierarchy, group, state, waited_ms}
///
/// Example: cgf freeze jobs:web --deadline 2s --rollback
#[derive(Args)]
pub struct Freeze {
    #[command(flatten)]
    subject: Subject,

    /// How long to wait: 5s, 500ms, 2m; 0 asks and looks once, none has no limit
    #[arg(long, value_name = "TIME", default_value = "5s")]
    deadline: TimeLimit,

    /// If it fails, thaw the group again (unless it was freezing before)
    #[arg(long)]
    rollback: bool,

    #[command(flatten)]
    pub json: Json,
}

impl Freeze {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = self.subject.open(hierarchies)?;
        let TimeLimit(limit) = self.deadline;
        let mut progress = Progress::new(format!("freezing {}", self.subject), limit);
        let mut meanwhile = |waited: Duration| {
            progress.beat(waited);
            ControlFlow::Continue(())
        };
        let began = Instant::now();
        let options = FreezeOptions::within(limit).rollback(self.rollback).meanwhile(&mut meanwhile);
        let frozen = group.freeze_with(options);
        let waited = began.elapsed();
        // Takes its line away before anything else is printed.
        drop(progress);
        frozen.map_err(|error| {
            let stays = error.errno() == libc::EBUSY && !self.rollback;
            let failure = Failure::from(error);
            if stays {
                failure.remedy(format!("it stays FREEZING: cgf thaw {} lets it go", self.subject))
            } else {
                failure
            }
        })?;
        if self.json.json {
            let facts = json!({
                "state": group.state()?.name(),
                "waited_ms": (waited.as_secs_f64() * 1e6).round() / 1e3,
            });
            output.json(&about(&group, facts))?;
        }
        Ok(DONE)
    }
}
