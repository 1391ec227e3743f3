//! `cgf attach`: processes that run already.

use cgf::AttachOptions;
use clap::Args;

use super::DONE;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// Move processes, or single threads, into a group
///
/// A process moves with all its threads; its children stay where they are, those
/// it makes later are born in the group. Stops at the first failure.
///
/// Errors: ESRCH: no such process. EBUSY: the group is frozen (see --frozen).
/// EACCES: not permitted. EOPNOTSUPP: the group cannot hold single threads.
///
/// Example: cgf attach jobs:web $$
#[derive(Args)]
pub struct Attach {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// Process numbers; with --task thread numbers
    #[arg(value_name = "PID", required = true, value_parser = clap::value_parser!(i32).range(1..))]
    pids: Vec<i32>,

    /// Into a frozen group too: the newcomer stops there
    #[arg(long, conflicts_with = "task")]
    frozen: bool,

    /// Move one thread each, not the process (cgroup1, threaded groups of cgroup2)
    #[arg(long)]
    task: bool,
}

impl Attach {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        for &id in &self.pids {
            if self.task {
                group.attach_task(id)?;
            } else {
                group.attach_with(id, AttachOptions { frozen: self.frozen })?;
            }
        }
        Ok(DONE)
    }
}
