//! How long a group has been frozen, where the kernel does not count it.
//!
//! Counted from the request to the thaw, as the kernel's `frozen_usec` is. Two
//! attributes on the group's directory: `user.cgf.frozen_since`, while a freeze
//! lasts, and `user.cgf.frozen_usec`, the sum of those that ended; both in
//! microseconds (CLOCK_MONOTONIC).
//!
//! Two callers who freeze and thaw one group at once may each see the other's
//! half: an interval is then counted once or not at all. It is a figure for
//! people and graphs, and never worth a lock that a freezer might die with.

use std::time::Duration;

use crate::attribute;
use crate::backend::{Backend, BackendKind, Node};
use crate::error::{Error, Result};

const SINCE: &str = "frozen_since";
const TOTAL: &str = "frozen_usec";

/// Now, in microseconds.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds * 1_000_000 + nanoseconds / 1000
}

/// The group was asked to freeze at `began`.
pub(crate) fn begin(backend: &dyn Backend, group: &Node, began: u64) -> Result<()> {
    if kernel_counts(backend) {
        return Ok(());
    }
    group.walk(&mut |node| {
        // Present already: it is frozen by a group above, or by itself.
        attribute::set_new(node, SINCE, &began.to_string()).map(drop)
    })
}

/// The group's own request ended. It goes on being frozen if one above it is.
pub(crate) fn end(backend: &dyn Backend, group: &Node) -> Result<()> {
    if kernel_counts(backend) || backend.is_asked_above(group)? {
        return Ok(());
    }
    end_below(backend, group, now())
}

/// A group that is made below one with these attributes, which is frozen if one of
/// them says so, is frozen from the start.
pub(crate) fn inherit(parents: &[String], created: &Node) -> Result<()> {
    if parents.iter().all(|name| name != SINCE) {
        return Ok(());
    }
    attribute::set_new(created, SINCE, &now().to_string()).map(drop)
}

/// The sum, the freeze that lasts included.
pub(crate) fn total(backend: &dyn Backend, group: &Node) -> Result<Duration> {
    if kernel_counts(backend) {
        return match backend.frozen_usec(group)? {
            Some(usec) => Ok(Duration::from_micros(usec)),
            None => Err(Error::new(
                libc::EOPNOTSUPP,
                "this kernel does not count frozen time on cgroup version 2; Linux 6.18 does",
            )),
        };
    }
    let since = number(group, SINCE)?.map_or(0, |since| now().saturating_sub(since));
    Ok(Duration::from_micros(number(group, TOTAL)?.unwrap_or(0) + since))
}

fn end_below(backend: &dyn Backend, group: &Node, now: u64) -> Result<()> {
    if backend.is_asked(group)? {
        return Ok(());
    }
    if let Some(since) = number(group, SINCE)? {
        let total = number(group, TOTAL)?.unwrap_or(0).saturating_add(now.saturating_sub(since));
        attribute::set(group, TOTAL, &total.to_string())?;
        attribute::remove(group, SINCE)?;
    }
    for child in group.every_child()? {
        end_below(backend, &child?, now)?;
    }
    Ok(())
}

fn kernel_counts(backend: &dyn Backend) -> bool {
    backend.kind() == BackendKind::Cgroup2
}

/// Somebody may have written rubbish there; that counts as nothing.
fn number(group: &Node, name: &str) -> Result<Option<u64>> {
    Ok(attribute::get(group, name)?.and_then(|text| text.parse().ok()))
}
