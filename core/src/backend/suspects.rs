//! The tasks of a freezing group that do not look frozen.

use super::{Backend, Node};
use crate::blocker::{Blocker, Evidence};
use crate::error::Result;
use crate::process::{self, Stat};

/// The threads whose own state does not already show that they are quiet.
pub(super) fn suspects(backend: &dyn Backend, node: &Node, quiet_in: &[&str]) -> Result<Vec<Blocker>> {
    let mut suspects = Vec::new();
    for tid in backend.tasks(node)? {
        let Ok(pid) = process::process_of(tid) else { continue };
        let Ok(stat) = Stat::of_task(pid, tid) else { continue };
        if stat.is_dead() || matches!(stat.state, b'T' | b't') {
            continue;
        }
        let waits_in = process::waits_in(pid, tid);
        if quiet_in.contains(&waits_in.as_str()) {
            continue;
        }
        let state = char::from(stat.state);
        suspects.push(Blocker { pid, tid, command: stat.command, state, waits_in, evidence: Evidence::State });
    }
    Ok(suspects)
}
