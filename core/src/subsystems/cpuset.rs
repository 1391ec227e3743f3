//! Which processors and memory nodes the processes of a group may use.

use crate::subsystem::Subsystem;

/// As hierarchies are bound to it.
pub(crate) struct CpuSet;

impl Subsystem for CpuSet {
    fn name(&self) -> &'static str {
        "cpuset"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }
}
