//! What can be bound to a hierarchy: one file each.

pub mod beancounter;
pub mod freezer;
pub mod signal;
