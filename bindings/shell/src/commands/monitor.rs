//! `cgf monitor`: who sees to emptied groups.

use cgf::GroupPath;
use clap::Args;

use super::{DONE, Json};
use crate::events::Events;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::target::Target;
use crate::time_limit::TimeLimit;

/// Run the release agent of a hierarchy, and remove groups with auto_delete
///
/// When a group with notify_on_release has been emptied, the hierarchy's
/// release_agent is started with the group's path as its argument, once: also if
/// several monitors run, or if this one is killed and started again. A group with
/// auto_delete is removed instead. `cgf set` sets all three. What was empty before
/// the monitor came is seen to when it comes. Ends when the hierarchy does.
///
/// Prints the events of `cgf watch`, and notified (the agent was started), released
/// (the group removed itself) and release-failed. JSON: as `cgf watch`; released
/// has figures, what the group has counted, by name.
///
/// Example: cgf set jobs: release_agent /usr/local/bin/emptied; cgf monitor jobs:
#[derive(Args)]
pub struct Monitor {
    /// The hierarchy
    #[arg(value_name = "HIERARCHY:")]
    hierarchy: Target,

    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", default_value = "none")]
    limit: TimeLimit,

    #[command(flatten)]
    pub json: Json,
}

impl Monitor {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        if !self.hierarchy.is_root() {
            let why = format!("{} names a group; a monitor is for a whole hierarchy", self.hierarchy);
            return Err(Failure::new(libc::EINVAL, "EINVAL", why));
        }
        let hierarchy = hierarchies.existing(&self.hierarchy.hierarchy)?;
        let mut monitor = hierarchy.monitor()?;
        let boot_id = monitor.watch().boot_id().to_owned();
        let mut events = Events { output, json: self.json.json, within: GroupPath::root() };
        events.print(&hierarchy, &boot_id, self.limit.0, |left| monitor.next(left))?;
        Ok(DONE)
    }
}
