//! What the stream has said of the groups so far. A look is compared with it,
//! and what differs is an event: so nothing is told twice, and after a loss one
//! look at everything puts it right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::notices::Watched;
use crate::backend::{Backend, Node};
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::hold;
use crate::path::GroupPath;
use crate::state::State;

/// Somebody who holds a group frozen locks it and then freezes it; whoever
/// leaves unlocks it and then thaws it. A group that is locked and runs for so
/// long was thawed by another.
const BREACH: Duration = Duration::from_millis(20);

/// One group, as it was told.
#[derive(Debug)]
pub(super) struct Known {
    pub identity: (u64, u64),
    pub watched: Option<Watched>,
    pub children: usize,
    populated: bool,
    frozen: bool,
    breach: Breach,
}

#[derive(Debug, PartialEq, Eq)]
enum Breach {
    None,
    /// Held, and running, since.
    Suspected(Instant),
    Told,
}

/// A group as it is.
struct Look {
    populated: bool,
    state: State,
    /// Somebody holds it frozen.
    held: bool,
}

#[derive(Debug, Default)]
pub(super) struct Picture {
    groups: BTreeMap<GroupPath, Known>,
}

impl Picture {
    pub(super) fn get(&self, path: &GroupPath) -> Option<&Known> {
        self.groups.get(path)
    }

    pub(super) fn id(&self, path: &GroupPath) -> u64 {
        self.groups.get(path).map_or(0, |known| known.identity.1)
    }

    pub(super) fn paths(&self) -> Vec<GroupPath> {
        self.groups.keys().cloned().collect()
    }

    /// A group that is new. What is in it is found by the first look.
    pub(super) fn add(&mut self, path: &GroupPath, identity: (u64, u64), watched: Option<Watched>) {
        let known = Known { identity, watched, children: 0, populated: false, frozen: false, breach: Breach::None };
        self.groups.insert(path.clone(), known);
        if let Some(parent) = path.parent().and_then(|parent| self.groups.get_mut(&parent)) {
            parent.children += 1;
        }
    }

    /// A group that is no more, with those that were below it, deepest first.
    pub(super) fn remove(&mut self, path: &GroupPath) -> Vec<(GroupPath, Known)> {
        let mut within: Vec<GroupPath> = self.groups.keys().filter(|known| known.is_within(path)).cloned().collect();
        within.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        let mut removed = Vec::with_capacity(within.len());
        for gone in within {
            if let Some(parent) = gone.parent().and_then(|parent| self.groups.get_mut(&parent)) {
                parent.children = parent.children.saturating_sub(1);
            }
            removed.extend(self.groups.remove(&gone).map(|known| (gone, known)));
        }
        removed
    }

    /// Looks at a group, and tells in what it has changed. The first look at one
    /// that was there before the stream tells nothing: `quiet`.
    /// Somebody has `entered` since the look before: if nobody is there now, that
    /// one has left again.
    pub(super) fn look(
        &mut self,
        backend: &dyn Backend,
        group: &Node,
        entered: bool,
        quiet: bool,
    ) -> Result<Vec<Event>> {
        let look = Look::at(backend, group)?;
        let Some(known) = self.groups.get_mut(&group.path) else { return Ok(Vec::new()) };
        let mut kinds = Vec::new();
        if look.populated != known.populated {
            known.populated = look.populated;
            if look.populated {
                kinds.push(EventKind::Populated);
            } else if known.children == 0 {
                kinds.push(EventKind::Empty);
            }
        } else if entered && !look.populated && known.children == 0 {
            kinds.extend([EventKind::Populated, EventKind::Empty]);
        }
        match look.state {
            State::Frozen | State::Checkpointing if !known.frozen => {
                known.frozen = true;
                kinds.push(EventKind::Frozen);
            }
            State::Thawed if known.frozen => {
                known.frozen = false;
                kinds.push(EventKind::Thawed);
            }
            _ => {}
        }
        known.breach = match known.breach {
            _ if look.state != State::Thawed || !look.held => Breach::None,
            Breach::None => Breach::Suspected(Instant::now()),
            Breach::Suspected(since) if since.elapsed() >= BREACH => {
                kinds.push(EventKind::ForeignThaw);
                Breach::Told
            }
            Breach::Suspected(since) => Breach::Suspected(since),
            Breach::Told => Breach::Told,
        };
        let id = known.identity.1;
        Ok(if quiet { Vec::new() } else { kinds.iter().map(|&kind| Event::new(kind, &group.path, id)).collect() })
    }

    /// The last group below this one has gone: is it empty now?
    pub(super) fn lost_child(&self, path: &GroupPath) -> Option<Event> {
        let known = self.groups.get(path)?;
        (known.children == 0 && !known.populated).then(|| Event::new(EventKind::Empty, path, known.identity.1))
    }

    /// Those who are to be looked at again soon, and when.
    pub(super) fn suspects(&self) -> (Vec<GroupPath>, Option<Instant>) {
        let mut paths = Vec::new();
        let mut when = None;
        for (path, known) in &self.groups {
            if let Breach::Suspected(since) = known.breach {
                paths.push(path.clone());
                when = Some(when.map_or(since + BREACH, |when: Instant| when.min(since + BREACH)));
            }
        }
        (paths, when)
    }
}

impl Known {
    /// What a removal tells by itself: nobody was in there any more.
    pub(super) fn last_words(&self, path: &GroupPath) -> Vec<Event> {
        let empty = self.populated.then(|| Event::new(EventKind::Empty, path, self.identity.1));
        empty.into_iter().chain([Event::new(EventKind::Removed, path, self.identity.1)]).collect()
    }
}

impl Look {
    fn at(backend: &dyn Backend, group: &Node) -> Result<Look> {
        let state = backend.state(group)?;
        let held = state == State::Thawed && hold::is_held(backend, group)?;
        Ok(Look { populated: backend.is_populated(group)?, state, held })
    }
}
