//! `cgf watch`: what happens in a group and below.

use cgf::WatchOptions;
use clap::Args;

use super::{DONE, Json};
use crate::events::Events;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::target::Target;
use crate::time_limit::TimeLimit;

/// Print what happens in a group and below, as it happens
///
/// The first line, `watching`, says that nothing is missed from then on. Then one
/// line for each event: seconds since the machine was booted, the event, the group,
/// and what belongs to it. Events: created removed empty populated frozen thawed
/// foreign-thaw (a group runs although somebody holds it frozen), with --tasks fork
/// exit attached left, and lost: more has happened than could be told, and what
/// follows tells what is different now. Ends when the hierarchy does.
///
/// JSON, one value a line: {event, time_usec, group, group_id}, and where they
/// belong to the event pid, parent, status (as wait(2) has it), other (where a
/// process came from or went), message. The first has event, hierarchy and boot_id;
/// boot_id and group_id name a group among those of all machines.
///
/// Example: cgf watch jobs: --tasks --json
#[derive(Args)]
pub struct Watch {
    /// The group; without PATH the whole hierarchy
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// Also who is born, ends, comes and goes
    #[arg(long)]
    tasks: bool,

    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", default_value = "none")]
    limit: TimeLimit,

    #[command(flatten)]
    pub json: Json,
}

impl Watch {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        let hierarchy = group.hierarchy();
        let mut watch = hierarchy.watch(WatchOptions::default().tasks(self.tasks))?;
        let boot_id = watch.boot_id().to_owned();
        let mut events = Events { output, json: self.json.json, within: group.path().clone() };
        events.print(hierarchy, &boot_id, self.limit.0, |left| watch.next(left))?;
        Ok(DONE)
    }
}
