//! CPU accounting and load: what the processes of a group have used, and how busy they are.
//!
//! A figure is of the group and all below it, of the tasks that have ended too, and of what
//! each used while it was in the group. Whoever carries the hierarchy counts
//! ([`Backend::cpu_time`](crate::backend::Backend::cpu_time)); what is here only reads. There
//! is no timer and no thread: nothing is done for a group that nobody reads.

mod load;

use self::load::{INTERVALS, Load};
use crate::about::About;
use crate::attribute;
use crate::backend::{BackendKind, CPU_ACCOUNTING};
use crate::control_file::{ControlFile, number};
use crate::cpu_time::CpuTime;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::subsystem::Subsystem;

/// What it is called in options.
const NAME: &str = "cpuacct";

/// What the backend's figures were when the count was restarted: usage, user and system in
/// nanoseconds. Not for a copy of the group, whose own count begins at 0.
const RESTARTED: &str = "cpuacct-restarted";

/// The longest text that one of the files takes.
const LONGEST: usize = 63;

/// As hierarchies are bound to it.
pub(crate) struct CpuAcct;

impl Subsystem for CpuAcct {
    fn name(&self) -> &'static str {
        NAME
    }

    fn controllers(&self) -> Vec<&str> {
        vec![CPU_ACCOUNTING]
    }

    fn controllers_on(&self, backend: BackendKind) -> Vec<&str> {
        match backend {
            // Every group of version 2 has the figures: no other tree is needed for them.
            BackendKind::Cgroup2 => Vec::new(),
            BackendKind::Cgroup1 | BackendKind::Embedded => self.controllers(),
        }
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        const FIGURE: About = About {
            meaning: "",
            unit: "milliseconds",
            format: "a number",
            errors: &[("ENODEV", "cgroup1, and no tree of version 1 has the controller cpuacct")],
            writers: "",
            backends: "",
        };
        const SPLIT: &str = "told by clock ticks on all: shared out of the exact sum on cgroup2, as they fell on cgroup1, \
             in steps of 10 ms on embedded";
        const BOOKS: &str = "embedded: of those whom nobody in the group or in the library waits for, only what \
                             was used up to the last look";
        vec![
            ControlFile::new("interval")
                .about(About {
                    meaning: "How long an interval of the load is at least",
                    unit: "seconds",
                    format: "a number from 1 to 86400; 10 to begin with",
                    errors: &[("EINVAL", "not such a number"), ("E2BIG", "more than 63 bytes")],
                    ..About::default()
                })
                .read(|group| load::interval(group).map(line))
                .write(set_interval),
            ControlFile::new("load")
                .about(About {
                    meaning: "How busy the group was in the last complete interval; more than 100 on several CPUs",
                    unit: "percent of one CPU",
                    format: "a number; 0 before there was such an interval",
                    ..FIGURE
                })
                .read(|group| Ok(line(load::look(group)?.percent))),
            ControlFile::new("stat")
                .about(About {
                    meaning: "CPU time in the interval that runs, and in all; how long that interval has run; the load",
                    unit: "milliseconds, percent",
                    format: "four lines: `time N`, `accumulated time N`, `time since interval N`, `load N`",
                    backends: BOOKS,
                    ..FIGURE
                })
                .read(stat),
            ControlFile::new("system")
                .about(About { meaning: "What the kernel used for the group's tasks", backends: SPLIT, ..FIGURE })
                .read(|group| Ok(line(group.cpu_time()?.system.as_millis()))),
            ControlFile::new("usage")
                .about(About {
                    meaning: "What the tasks of the group and below have used; writing 0 restarts all counts",
                    format: "a number; takes 0",
                    errors: &[
                        ("ENODEV", "cgroup1, and no tree of version 1 has the controller cpuacct"),
                        ("EINVAL", "not 0"),
                        ("E2BIG", "more than 63 bytes"),
                        ("EACCES", "nothing may be noted on the group"),
                    ],
                    backends: BOOKS,
                    ..FIGURE
                })
                .read(|group| Ok(line(group.cpu_time()?.usage.as_millis())))
                .write(restart),
            ControlFile::new("usage_ns")
                .about(About {
                    meaning: "The same as `cpuacct.usage`, finer",
                    unit: "nanoseconds",
                    backends: "in steps of 1000 on cgroup2",
                    ..FIGURE
                })
                .read(|group| Ok(line(group.cpu_time()?.usage.as_nanos()))),
            ControlFile::new("user")
                .about(About { meaning: "What the group's tasks used in their own code", backends: SPLIT, ..FIGURE })
                .read(|group| Ok(line(group.cpu_time()?.user.as_millis()))),
        ]
    }
}

impl Group {
    /// What the tasks of this group and of those below have used since the group was made,
    /// or since the count was restarted (`cpuacct.usage`), each while it was here (R8.1).
    /// Tasks that have ended or left are included, and groups that were removed.
    ///
    /// On the embedded backend nobody counts meanwhile: a call is a look at every member, and
    /// `docs/cpuacct.md` says what can be missed.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: the hierarchy is not bound to `cpuacct`. ENODEV: the group was removed; or, on
    /// cgroup v1, no tree has the controller `cpuacct`. ECHILD: in a forked child.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        let counted = counted(self)?;
        Ok(counted.since(restarted(self)?))
    }
}

/// What the backend says, whatever was restarted.
fn counted(group: &Group) -> Result<CpuTime> {
    let backend = group.backend()?;
    group.hierarchy().needs(NAME)?;
    backend.cpu_time(group.node())
}

/// Somebody may have written rubbish there; that counts as nothing.
fn restarted(group: &Group) -> Result<CpuTime> {
    let Some(text) = attribute::get(group.node(), RESTARTED)? else { return Ok(CpuTime::default()) };
    let numbers: Option<Vec<u64>> = text.split(' ').map(|word| word.parse().ok()).collect();
    Ok(match numbers.as_deref() {
        Some(&[usage, user, system]) => CpuTime::of_nanoseconds(usage, user, system),
        _ => CpuTime::default(),
    })
}

/// Nothing in the kernel is touched: others may count by the same figures.
fn restart(group: &Group, text: &str) -> Result<()> {
    must_be_short(text)?;
    if number::<u64>(text)? != 0 {
        return Err(Error::new(libc::EINVAL, format!("{text:?}: only 0 can be written, which restarts the count")));
    }
    let numbers = counted(group)?.nanoseconds().map(|number| number.to_string());
    attribute::must_set(group.node(), RESTARTED, &numbers.join(" "))?;
    attribute::must_be_there(group.node())
}

fn set_interval(group: &Group, text: &str) -> Result<()> {
    must_be_short(text)?;
    let seconds = number::<u64>(text)?;
    if !INTERVALS.contains(&seconds) {
        let (least, most) = (INTERVALS.start(), INTERVALS.end());
        return Err(Error::new(libc::EINVAL, format!("an interval is {least} to {most} seconds, and not {seconds}")));
    }
    group.set_attribute(load::INTERVAL, &seconds.to_string())
}

fn stat(group: &Group) -> Result<String> {
    let Load { percent, used, elapsed, counted } = load::look(group)?;
    let accumulated = counted.since(restarted(group)?).usage.as_millis();
    let (time, since) = (used.as_millis(), elapsed.as_millis());
    Ok(format!("time {time}\naccumulated time {accumulated}\ntime since interval {since}\nload {percent}\n"))
}

fn must_be_short(text: &str) -> Result<()> {
    if text.len() > LONGEST {
        return Err(Error::new(libc::E2BIG, format!("{} bytes, and it takes {LONGEST}", text.len())));
    }
    Ok(())
}

fn line(number: impl std::fmt::Display) -> String {
    format!("{number}\n")
}
