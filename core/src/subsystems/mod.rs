//! What can be bound to a hierarchy: one file each.

pub mod beancounter;
pub mod cpuacct;
pub mod cpuset;
pub mod freezer;
pub mod namespace;
pub mod numtasks;
pub mod signal;
