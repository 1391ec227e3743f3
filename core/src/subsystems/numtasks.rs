//! How many tasks a group may have, as a share of what the group above has.

use crate::subsystem::Subsystem;

/// As hierarchies are bound to it.
pub(crate) struct NumTasks;

impl Subsystem for NumTasks {
    fn name(&self) -> &'static str {
        "numtasks"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }
}
