//! What happens in a hierarchy, as a [`Watch`](crate::Watch) tells it.

use std::fmt;
use std::time::Duration;

use crate::path::GroupPath;

/// What kind of thing has happened (R1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventKind {
    /// A group was made, or was given this name.
    Created,
    /// A group was removed, or was given another name. The removal of the
    /// root group ends the stream.
    Removed,
    /// A process was born in the group: [`Event::pid`], and [`Event::parent`].
    Fork,
    /// A process of the group ended: [`Event::pid`], and [`Event::status`] where
    /// the kernel told.
    Exit,
    /// A process came into the group that was alive already, from
    /// [`Event::other`] if that is in the hierarchy too.
    Attached,
    /// A process left the group alive, to [`Event::other`] if that is in the
    /// hierarchy too; else another hierarchy on the same kernel tree has it
    /// now, or no group at all (R1.2).
    Left,
    /// The last task has left, and there is no group below (R1.11).
    Empty,
    /// A task has come to the group, or to one below, where none was.
    Populated,
    /// Every task of the group has stopped.
    Frozen,
    /// The group runs again.
    Thawed,
    /// The group runs although somebody holds it frozen: another one thawed it.
    ForeignThaw,
    /// The group was removed because it was empty (`auto_delete`):
    /// [`Event::figures`] has what it had counted. From a
    /// [`Monitor`](crate::Monitor) only.
    Released,
    /// The release agent was started for the empty group: [`Event::pid`]. From a
    /// monitor only.
    Notified,
    /// A monitor could not do what the group's emptiness called for:
    /// [`Event::message`] says why. It is not tried again.
    ReleaseFailed,
    /// A resource went over its barrier.
    Barrier,
    /// A resource met its limit.
    Limit,
    /// More has happened than was told; [`Event::message`] says where it was
    /// lost. Events that follow tell in what the hierarchy differs now from what
    /// was told before.
    Lost,
}

impl EventKind {
    /// One word, as `cgf watch` prints it: `created`, `foreign-thaw`, …
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Created => "created",
            EventKind::Removed => "removed",
            EventKind::Fork => "fork",
            EventKind::Exit => "exit",
            EventKind::Attached => "attached",
            EventKind::Left => "left",
            EventKind::Empty => "empty",
            EventKind::Populated => "populated",
            EventKind::Frozen => "frozen",
            EventKind::Thawed => "thawed",
            EventKind::ForeignThaw => "foreign-thaw",
            EventKind::Released => "released",
            EventKind::Notified => "notified",
            EventKind::ReleaseFailed => "release-failed",
            EventKind::Barrier => "barrier",
            EventKind::Limit => "limit",
            EventKind::Lost => "lost",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// To which group; the root for what is about the whole hierarchy.
    pub group: GroupPath,
    /// The inode of the group's directory (on cgroup v2 the cgroup's id), 0 if
    /// it was gone before it could be asked for. With
    /// [`Watch::boot_id`](crate::Watch::boot_id) it names the group among all of
    /// all machines.
    pub group_id: u64,
    /// When, since the machine was booted, sleep included (CLOCK_BOOTTIME). Of
    /// a fork and an exit by the kernel's clock, else when it was noticed.
    pub time: Duration,
    /// Which process.
    pub pid: Option<i32>,
    /// Of a fork: by which process.
    pub parent: Option<i32>,
    /// Of an exit: the status as wait(2) gives it.
    pub status: Option<i32>,
    /// Of a move within the hierarchy: the other end.
    pub other: Option<GroupPath>,
    /// Of a release: `frozen_usec` (microseconds) and, on cgroup v2, those of
    /// `cpu.stat` that end in `_usec`.
    pub figures: Vec<(String, u64)>,
    /// Of a loss or a failure: a sentence about it.
    pub message: Option<String>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, group: &GroupPath, group_id: u64) -> Event {
        Event {
            kind,
            group: group.clone(),
            group_id,
            time: now(),
            pid: None,
            parent: None,
            status: None,
            other: None,
            figures: Vec::new(),
            message: None,
        }
    }

    pub(crate) fn of_process(mut self, pid: i32) -> Event {
        self.pid = Some(pid);
        self
    }

    pub(crate) fn saying(mut self, message: impl Into<String>) -> Event {
        self.message = Some(message.into());
        self
    }

    /// At a time of CLOCK_MONOTONIC, which stands still while the machine
    /// sleeps: right unless it slept since.
    pub(crate) fn at(mut self, monotonic: Duration) -> Event {
        let behind = clock(rustix::time::ClockId::Monotonic).saturating_sub(monotonic);
        self.time = now().saturating_sub(behind);
        self
    }
}

impl fmt::Display for Event {
    /// One line without the time: `fork /web 4243 by 4242`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.group)?;
        if let Some(pid) = self.pid {
            write!(f, " {pid}")?;
        }
        if let Some(parent) = self.parent {
            write!(f, " by {parent}")?;
        }
        if let Some(status) = self.status {
            write!(f, " status {status:#x}")?;
        }
        if let Some(other) = &self.other {
            let way = if self.kind == EventKind::Left { "to" } else { "from" };
            write!(f, " {way} {other}")?;
        }
        for (name, value) in &self.figures {
            write!(f, " {name}={value}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

fn now() -> Duration {
    clock(rustix::time::ClockId::Boottime)
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let now = rustix::time::clock_gettime(id);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
