//! Events as lines: for people, and as JSON.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use cgf::{Event, EventKind, GroupPath, Hierarchy};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::target::Target;

/// Where events go, and which.
pub struct Events<'a> {
    pub output: &'a mut Output,
    pub json: bool,
    /// The groups that are wanted: this one and those below.
    pub within: GroupPath,
}

impl Events<'_> {
    /// Prints what `next` gives until the hierarchy ends, or until `limit` has
    /// passed. The first line says that from now on nothing is missed.
    pub fn print(
        &mut self,
        hierarchy: &Hierarchy,
        boot_id: &str,
        limit: Option<Duration>,
        mut next: impl FnMut(Option<Duration>) -> cgf::Result<Option<Event>>,
    ) -> Result<(), Failure> {
        let name = hierarchy.name();
        if self.json {
            let name = name.to_string_lossy();
            self.output.json(&json!({ "event": "watching", "hierarchy": name, "boot_id": boot_id }))?;
        } else {
            self.output.line(format!("watching {}", name.display()))?;
        }
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            // A reader wants to see now what has happened now.
            self.output.flush()?;
            match next(end.map(|end| end.saturating_duration_since(Instant::now()))) {
                Ok(Some(event)) => self.event(name, &event)?,
                Ok(None) => return Ok(()),
                Err(error) if error.errno() == libc::ENODEV => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn event(&mut self, hierarchy: &OsStr, event: &Event) -> Result<(), Failure> {
        if !event.group.is_within(&self.within) && event.kind != EventKind::Lost {
            return Ok(());
        }
        if self.json {
            return self.output.json(&as_json(hierarchy, event));
        }
        let mut line = OsString::from(format!("{:>12.6} ", event.time.as_secs_f64()));
        line.push(event.to_string());
        self.output.line(line)
    }
}

fn as_json(hierarchy: &OsStr, event: &Event) -> Value {
    let name = |path: &GroupPath| Target::name(hierarchy, path).to_string_lossy().into_owned();
    let mut facts = Map::new();
    let mut add = |key: &str, value: Value| facts.insert(key.to_owned(), value);
    add("event", json!(event.kind.name()));
    add("time_usec", json!(u64::try_from(event.time.as_micros()).unwrap_or(u64::MAX)));
    add("group", json!(name(&event.group)));
    add("group_id", json!(event.group_id));
    for (key, number) in [("pid", event.pid), ("parent", event.parent), ("status", event.status)] {
        number.map(|number| add(key, json!(number)));
    }
    event.other.as_ref().map(|other| add("other", json!(name(other))));
    if event.kind == EventKind::Released {
        add("figures", event.figures.iter().map(|(name, value)| (name.clone(), json!(value))).collect());
    }
    event.message.as_ref().map(|message| add("message", json!(message)));
    Value::Object(facts)
}
