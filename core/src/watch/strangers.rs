//! Births outside of the hierarchy, remembered for a moment: on the embedded
//! backend a process is made first and recorded as a member then, and it may
//! have children, and they may have ended, before the record is read.

use std::collections::VecDeque;
use std::time::Duration;

/// Enough for the forks of the time between two looks; the oldest go first.
const MOST: usize = 1024;

/// Somebody who was born outside, as far as was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    pub pid: i32,
    pub parent: i32,
    pub born: Duration,
    /// With which status, and when.
    pub ended: Option<(i32, Duration)>,
}

#[derive(Debug, Default)]
pub(super) struct Strangers(VecDeque<Stranger>);

impl Strangers {
    pub(super) fn born(&mut self, pid: i32, parent: i32, born: Duration) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Stranger { pid, parent, born, ended: None });
    }

    pub(super) fn ended(&mut self, pid: i32, status: i32, time: Duration) {
        if let Some(stranger) = self.0.iter_mut().rev().find(|stranger| stranger.pid == pid) {
            stranger.ended = Some((status, time));
        }
    }

    /// A process turns out to be a member. If it was born a moment ago, it was
    /// made for that: its descendants, parents first, were born members.
    pub(super) fn descendants(&mut self, member: i32) -> Vec<Stranger> {
        let Some(at) = self.0.iter().rposition(|stranger| stranger.pid == member) else { return Vec::new() };
        self.0.remove(at);
        let mut family = vec![member];
        let mut found = Vec::new();
        // Births are in the order in which they were told, so one pass will do.
        self.0.retain(|stranger| {
            let is_ours = family.contains(&stranger.parent);
            if is_ours {
                family.push(stranger.pid);
                found.push(*stranger);
            }
            !is_ours
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1.12
    #[test]
    fn a_family_is_told_from_its_neighbours() {
        let mut strangers = Strangers::default();
        for (pid, parent) in [(10, 1), (11, 10), (20, 1), (12, 11), (21, 20)] {
            strangers.born(pid, parent, Duration::ZERO);
        }
        strangers.ended(12, 9, Duration::ZERO);
        let family = strangers.descendants(10);
        assert_eq!(family.iter().map(|one| one.pid).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(family[1].ended, Some((9, Duration::ZERO)));
        assert!(strangers.descendants(99).is_empty(), "nobody knows when it was born");
        assert_eq!(strangers.descendants(20).len(), 1);
    }
}
