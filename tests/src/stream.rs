//! Reading a stream of events until what must come has come.

use std::time::{Duration, Instant};

use cgf::{Event, EventKind, Monitor, Result, Watch};

use crate::stage::PATIENCE;

/// Whatever gives events.
pub trait Stream {
    /// The next one within a time.
    fn next_within(&mut self, time: Duration) -> Result<Option<Event>>;

    /// Everything up to and with the event that `is_last` is true of. A test
    /// fails here if it does not come.
    fn until(&mut self, what: &str, mut is_last: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < PATIENCE {
            let next = self.next_within(Duration::from_millis(100));
            let next =
                next.unwrap_or_else(|error| unreachable!("waiting for {what}: {error}; so far {}", shown(&seen)));
            let Some(event) = next else { continue };
            let done = is_last(&event);
            seen.push(event);
            if done {
                return seen;
            }
        }
        unreachable!("waited {PATIENCE:?} for {what}; so far {}", shown(&seen));
    }

    /// The same for the first event of a kind in a group.
    fn until_kind(&mut self, kind: EventKind, group: &str) -> Vec<Event> {
        self.until(&format!("{kind} of {group}"), |event| is(event, kind, group))
    }
}

impl Stream for Watch {
    fn next_within(&mut self, time: Duration) -> Result<Option<Event>> {
        self.next(time)
    }
}

impl Stream for Monitor {
    fn next_within(&mut self, time: Duration) -> Result<Option<Event>> {
        self.next(time)
    }
}

/// Whether an event is of this kind, in this group.
pub fn is(event: &Event, kind: EventKind, group: &str) -> bool {
    event.kind == kind && event.group.to_string() == group
}

/// How many are of this kind, in this group.
pub fn count(events: &[Event], kind: EventKind, group: &str) -> usize {
    events.iter().filter(|event| is(event, kind, group)).count()
}

/// In words, for a failure.
pub fn shown(events: &[Event]) -> String {
    events.iter().map(|event| format!("[{event}]")).collect::<Vec<_>>().join(" ")
}
