//! `cgf uncharge`: what a group keeps, given back.

use clap::Args;

use super::DONE;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// Take back a charge that a group keeps
///
/// Of more than it keeps, the rest is not taken and counts in bc.underflow. What
/// processes hold is theirs, and ends with them.
///
/// Errors: ENOENT: no such resource. EINVAL: more than 2^48. EOPNOTSUPP: the hierarchy
/// is not bound to beancounter.
///
/// Example: cgf uncharge jobs:web numfiles 64
#[derive(Args)]
pub struct Uncharge {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// What to take back
    resource: String,

    /// How much of it
    amount: u64,
}

impl Uncharge {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        let resource = group.hierarchy().resource(&self.resource)?;
        group.uncharge(resource, self.amount)?;
        Ok(DONE)
    }
}
