//! Resources that the kernel itself counts and limits, for every program in a group.
//!
//! `numtasks` is the controller `pids`, and `physpages` is `memory`, on either version of
//! control groups, where this group has them. Then the limit is the kernel's, and what is held
//! is what the kernel says. In the limit of tasks others may have a say, too
//! ([`task_limit`](crate::task_limit)).

use rustix::fs::OFlags;

use super::resource::Resource;
use super::snapshot::BeanCounter;
use crate::attribute;
use crate::backend::Node;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::sys::{Errno, dir::Dir};
use crate::task_limit::{self, TaskLimit, Whose};

/// The controllers that a hierarchy spans for this.
pub(super) const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// The kernel's counter of one resource of one group.
pub(super) struct Kernel<'a> {
    group: &'a Node,
    dir: Dir,
    files: &'static Files,
    /// How much of what the kernel counts is one of the resource.
    unit: u64,
}

/// A limit as it was.
pub(super) enum Before {
    /// What the kernel showed.
    Text(Vec<u8>),
    /// What was wished.
    OfTasks(Option<u64>),
}

/// What its files are called.
struct Files {
    resource: Resource,
    controller: &'static str,
    limit: &'static str,
    held: &'static str,
    /// Not there before Linux 6.5 on version 2, and 6.10 for tasks.
    most: &'static str,
    /// The first that is there: a number, or lines of which the one that begins so has it.
    failures: (&'static [&'static str], Option<&'static str>),
    /// What the limit is set to for none, and what it is shown as from.
    none: (&'static str, u64),
}

const FILES: [Files; 3] = [
    Files {
        resource: Resource::NUMTASKS,
        controller: "pids",
        limit: task_limit::FILE,
        held: "pids.current",
        most: "pids.peak",
        failures: (task_limit::EVENTS, Some("max ")),
        none: ("max", task_limit::NONE_FROM),
    },
    Files {
        resource: Resource::PHYSPAGES,
        controller: "memory",
        limit: "memory.max",
        held: "memory.current",
        most: "memory.peak",
        // The other has those of all groups below, too; this one is there from Linux 5.2.
        failures: (&["memory.events.local", "memory.events"], Some("max ")),
        none: ("max", u64::MAX),
    },
    Files {
        resource: Resource::PHYSPAGES,
        controller: "memory",
        limit: "memory.limit_in_bytes",
        held: "memory.usage_in_bytes",
        most: "memory.max_usage_in_bytes",
        failures: (&["memory.failcnt"], None),
        none: ("-1", i64::MAX as u64 >> 1),
    },
];

impl<'a> Kernel<'a> {
    /// The counter, where this group has one.
    pub(super) fn of(group: &'a Group, resource: Resource) -> Result<Option<Kernel<'a>>> {
        let backend = group.backend()?;
        let group = group.node();
        for files in FILES.iter().filter(|files| files.resource == resource) {
            let dir = match backend.controller_directory(group, files.controller) {
                Ok(Some(dir)) => dir,
                // The group was made by other means, in one tree alone.
                Ok(None) => continue,
                Err(error) if error.is(libc::ENODEV) => continue,
                Err(error) => return Err(error),
            };
            if dir.open_file(files.limit, OFlags::PATH).is_ok() {
                let page = rustix::param::page_size() as u64;
                let unit = if resource == Resource::PHYSPAGES { page } else { 1 };
                return Ok(Some(Kernel { group, dir, files, unit }));
            }
        }
        Ok(None)
    }

    /// Puts the kernel's figures in the place of ours.
    pub(super) fn show(&self, counter: &mut BeanCounter) -> Result<()> {
        let held = self.number(self.files.held)?.div_ceil(self.unit);
        counter.by_kernel = true;
        counter.held = held;
        counter.maxheld = self.number(self.files.most).map_or(held, |most| most.div_ceil(self.unit)).max(held);
        // The kernel keeps no least.
        counter.minheld = held;
        counter.limit = self.limit()?.or(counter.limit.filter(|limit| self.is_none(*limit)));
        counter.failcnt = counter.failcnt.saturating_add(self.failures().saturating_sub(self.forgotten()?));
        Ok(())
    }

    /// What the limit is, to be put back.
    pub(super) fn limit_before(&self) -> Result<Before> {
        match self.task_limit() {
            Some(_) => task_limit::wish(self.group, Whose::BeanCounter).map(Before::OfTasks),
            None => self.limit_text().map(Before::Text),
        }
    }

    pub(super) fn put_back(&self, before: &Before) -> Result<()> {
        match (before, self.task_limit()) {
            (Before::OfTasks(former), Some(limit)) => limit.put_back(Whose::BeanCounter, *former),
            (Before::Text(text), None) => self.write(self.files.limit, text.trim_ascii()),
            // It was taken of this very counter.
            _ => Ok(()),
        }
    }

    pub(super) fn set_limit(&self, limit: Option<u64>) -> Result<()> {
        if let Some(of_tasks) = self.task_limit() {
            return of_tasks.wish(Whose::BeanCounter, limit);
        }
        let text = match limit {
            Some(limit) if !self.is_none(limit) => (limit * self.unit).to_string(),
            _ => self.files.none.0.to_owned(),
        };
        self.write(self.files.limit, text.as_bytes())
    }

    /// Makes the most that was held what is held.
    ///
    /// EOPNOTSUPP: the kernel does not let it be reset.
    pub(super) fn reset_most(&self) -> Result<()> {
        if self.files.most != "memory.max_usage_in_bytes" {
            let why =
                format!("the kernel keeps {} of group {}, and resets it for nobody", self.files.most, self.group.path);
            return Err(Error::new(libc::EOPNOTSUPP, why));
        }
        self.write(self.files.most, b"0")
    }

    /// Makes the count of failures begin at 0: the kernel's goes on, and what it was
    /// is noted.
    pub(super) fn reset_failures(&self) -> Result<()> {
        attribute::must_set(self.group, &self.note(), &self.failures().to_string())
    }

    fn forgotten(&self) -> Result<u64> {
        Ok(attribute::get(self.group, &self.note())?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    fn note(&self) -> String {
        format!("bc-failures-{}", self.files.controller)
    }

    fn limit_text(&self) -> Result<Vec<u8>> {
        self.dir.read(self.files.limit).map_err(|errno| self.failed(errno, self.files.limit))
    }

    /// The limit of tasks, in which others have a say.
    fn task_limit(&self) -> Option<TaskLimit<'_>> {
        (self.files.resource == Resource::NUMTASKS).then(|| TaskLimit::new(self.group, &self.dir))
    }

    fn limit(&self) -> Result<Option<u64>> {
        if let Some(limit) = self.task_limit() {
            return limit.shown(Whose::BeanCounter);
        }
        let text = self.limit_text()?;
        let number = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse::<u64>().ok());
        Ok(number.filter(|number| *number < self.files.none.1).map(|number| number / self.unit))
    }

    /// Whether the kernel has no such limit, it being more than there can be.
    fn is_none(&self, limit: u64) -> bool {
        limit.checked_mul(self.unit).is_none_or(|limit| limit >= self.files.none.1)
    }

    fn failures(&self) -> u64 {
        let (files, line) = self.files.failures;
        let text = self.dir.read_first(files).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let count = match line {
            Some(begin) => text.lines().find_map(|line| line.strip_prefix(begin)),
            None => Some(text.trim()),
        };
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = self.dir.read(file).map_err(|errno| self.failed(errno, file))?;
        let number = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Error::os(Errno::IO, format_args!("reading {file} of group {}", self.group.path)))
    }

    fn write(&self, file: &str, text: &[u8]) -> Result<()> {
        self.dir.write(file, text).map_err(|errno| self.failed(errno, file))
    }

    fn failed(&self, errno: Errno, file: &str) -> Error {
        self.group.failed(errno, &format!("using {file}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::GroupPath;

    /// A directory with the files of a controller as the kernel has them.
    fn with<T>(files: &[(&str, &str)], test: impl FnOnce(&Node, Dir) -> T) -> T {
        let name = format!("cgf-kernel-{}-{}", std::process::id(), files.len());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let dir = || Dir::open(&directory).unwrap();
        let done = test(&Node { dir: dir(), path: GroupPath::root() }, dir());
        std::fs::remove_dir_all(&directory).unwrap();
        done
    }

    fn counter() -> BeanCounter {
        BeanCounter {
            resource: Resource::PHYSPAGES,
            name: "physpages".into(),
            unit: "pages".into(),
            by_kernel: false,
            held: 1,
            maxheld: 1,
            minheld: 1,
            barrier: Some(5),
            limit: Some(6),
            failcnt: 2,
        }
    }

    /// R6.11: version 2, whose files this machine may not have.
    #[test]
    fn memory_of_version_2_is_in_pages() {
        let events = "low 0\nhigh 0\nmax 3\noom 1\n";
        let files = [
            ("memory.max", "81920\n"),
            ("memory.current", "8193\n"),
            ("memory.peak", "40960\n"),
            ("memory.events", events),
        ];
        with(&files, |group, dir| {
            let kernel = Kernel { group, dir, files: &FILES[1], unit: 4096 };
            let mut shown = counter();
            kernel.show(&mut shown).unwrap();
            assert_eq!((shown.held, shown.maxheld, shown.minheld, shown.failcnt), (3, 10, 3, 5));
            assert_eq!((shown.barrier, shown.limit, shown.by_kernel), (Some(5), Some(20), true));
            assert_eq!(kernel.reset_most().unwrap_err().errno(), libc::EOPNOTSUPP);
            kernel.set_limit(Some(30)).unwrap();
            assert_eq!(kernel.limit().unwrap(), Some(30));
        });
    }

    /// R6.11: from where on the kernel counts in a group what its own limit refused, apart from what
    /// those below were refused, a group's failures are those.
    #[test]
    fn failures_are_of_the_group_itself() {
        for (at, file) in [(0, "pids.events"), (1, "memory.events")] {
            let events = [(file, "max 9\nmax.imposter 7\n"), (FILES[at].limit, "max"), ("pids.current", "1")];
            let local = format!("{file}.local");
            let with_local = [events[0], events[1], events[2], (local.as_str(), "low 1\nmax 2\n")];
            let failures = |group: &Node, dir| Kernel { group, dir, files: &FILES[at], unit: 1 }.failures();
            assert_eq!(with(&events, |group, dir| failures(group, dir)), 9, "{file}");
            assert_eq!(with(&with_local, |group, dir| failures(group, dir)), 2, "{file}");
        }
    }

    /// R6.11: no limit is shown as none, however the kernel writes it.
    #[test]
    fn no_limit_is_none() {
        for (at, text) in [(0, "max\n"), (1, "max\n"), (2, "9223372036854771712\n")] {
            with(&[(FILES[at].limit, text)], |group, dir| {
                let kernel = Kernel { group, dir, files: &FILES[at], unit: 4096 };
                assert_eq!(kernel.limit().unwrap(), None, "{text}");
                assert!(kernel.is_none(u64::MAX) && !kernel.is_none(1));
            });
        }
    }
}
