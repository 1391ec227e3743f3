//! `cgf create`: new groups.

use clap::Args;

use super::DONE;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Target;

/// Make groups, and the hierarchy if there is none
///
/// Parents that are missing are made too. Without PATH, the hierarchy alone is
/// made. Stops at the first failure; what was made before that stays.
///
/// Errors: EEXIST: there is one. EINVAL, ENAMETOOLONG: no name for a group.
/// EACCES: not permitted here. EBUSY: the hierarchy is bound to other subsystems
/// than those of -o. ENODEV: no backend works (cgf doctor).
///
/// Example: cgf create jobs:web jobs:db/1
#[derive(Args)]
pub struct Create {
    /// The groups
    #[arg(value_name = "HIERARCHY:PATH", required = true)]
    groups: Vec<Target>,
}

impl Create {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        for target in &self.groups {
            create(hierarchies, target)?;
        }
        Ok(DONE)
    }
}

/// Makes one group; says whether it made the hierarchy for it.
pub fn create(hierarchies: &Hierarchies, target: &Target) -> Result<(cgf::Group, bool), Failure> {
    let (hierarchy, is_new) = hierarchies.made(&target.hierarchy)?;
    if is_new && target.is_root() {
        return Ok((hierarchy.root(), is_new));
    }
    match hierarchy.create(&target.path) {
        Ok(group) => Ok((group, is_new)),
        Err(error) => {
            if is_new {
                // Best effort: somebody else may have begun to use it.
                let _ = hierarchy.unmount();
            }
            Err(error.into())
        }
    }
}
