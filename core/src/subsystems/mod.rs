//! What can be bound to a hierarchy: one file each.

pub mod freezer;
pub mod signal;
