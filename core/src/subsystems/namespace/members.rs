//! Who is in a group, and in which namespaces.

use super::kinds::Namespaces;
use super::seen::Seen;
use crate::backend::{Backend, BackendKind};
use crate::error::Result;
use crate::group::Group;
use crate::process;
use crate::sys::{self, Errno};

/// The members of a group as they were at one look.
pub(super) struct Members<'a> {
    group: &'a Group,
    backend: &'a dyn Backend,
    pub processes: Vec<i32>,
}

impl<'a> Members<'a> {
    pub(super) fn of(group: &'a Group) -> Result<Members<'a>> {
        Ok(Members { group, backend: group.backend()?, processes: group.procs()? })
    }

    /// The threads by which a process is a member: on version 1 others of it may be elsewhere.
    pub(super) fn threads(&self, pid: i32) -> Vec<i32> {
        self.known_threads(pid).unwrap_or_default()
    }

    /// Whether a process has given up its namespaces: it is ending, and still on the group's list.
    pub(super) fn is_leaving(&self, pid: i32) -> bool {
        let has_none = |tid| matches!(Seen::of_task(pid, tid, Namespaces::MNT), Ok(None));
        match self.known_threads(pid) {
            Ok(threads) => threads.into_iter().all(has_none),
            Err(errno) => matches!(errno, Errno::NOENT | Errno::SRCH),
        }
    }

    /// Whether a process is in these namespaces, as far as we may see: by its first thread, and by
    /// any other if that has ended or is not a member.
    pub(super) fn is_in(&self, pid: i32, note: &Seen) -> bool {
        let threads = self.threads(pid);
        let first = threads.contains(&pid).then(|| Seen::of_task(pid, pid, note.kinds()));
        match first {
            Some(Ok(Some(seen))) => seen.difference(note).is_none(),
            Some(Err(_)) => false,
            Some(Ok(None)) | None => threads.into_iter().any(|tid| is_thread_in(pid, tid, note)),
        }
    }

    fn known_threads(&self, pid: i32) -> sys::Result<Vec<i32>> {
        let threads = process::threads(pid)?;
        if threads.len() < 2 || self.backend.kind() != BackendKind::Cgroup1 {
            return Ok(threads);
        }
        let is_here = |tid: &i32| self.backend.locate(*tid).is_ok_and(|path| path.as_ref() == Some(self.group.path()));
        let here: Vec<i32> = threads.iter().copied().filter(is_here).collect();
        // None: it goes while we look.
        Ok(if here.is_empty() { threads } else { here })
    }
}

pub(super) fn is_thread_in(pid: i32, tid: i32, note: &Seen) -> bool {
    matches!(Seen::of_task(pid, tid, note.kinds()), Ok(Some(seen)) if seen.difference(note).is_none())
}
