//! CPU accounting and load: what the processes of a group have used.

use crate::subsystem::Subsystem;

/// As hierarchies are bound to it.
pub(crate) struct CpuAcct;

impl Subsystem for CpuAcct {
    fn name(&self) -> &'static str {
        "cpuacct"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }
}
