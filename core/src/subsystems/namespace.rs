//! Groups that are bound to namespaces: who may join, and how one enters some of them.

use crate::subsystem::Subsystem;

/// As hierarchies are bound to it.
pub(crate) struct Namespace;

impl Subsystem for Namespace {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }
}
