//! The control files `bc.…`: the figures of a group as text (R6.6).

use super::kernel::Kernel;
use super::resource::Resource;
use super::snapshot::BeanCounter;
use super::{sample, stat};
use crate::about::About;
use crate::control_file::{ControlFile, number};
use crate::counters::MOST;
use crate::error::{Error, Result};
use crate::group::Group;

/// All of them begin so, as they always have, and not with the name of the subsystem.
const PREFIX: &str = "bc.";

/// The files of each resource, and what is said of them.
const OF_EACH: [(&str, About); 8] = [
    (
        "barrier",
        About { meaning: "Where those are refused who can do without", format: BOUND, errors: BOUNDS, ..FIGURE },
    ),
    (
        "enforced",
        About {
            meaning: "Who counts and limits the resource here",
            unit: "",
            format: "`kernel` or `library`",
            backends: "the kernel for `numtasks` where there is the controller `pids`, and for `physpages` where there is `memory`",
            ..FIGURE
        },
    ),
    (
        "failcnt",
        About {
            meaning: "How many charges this group has refused",
            unit: "charges",
            format: RESET,
            errors: ZERO,
            ..FIGURE
        },
    ),
    ("held", About { meaning: "What is held in the group and below", ..FIGURE }),
    ("limit", About { meaning: "Where all are refused but those who force", format: BOUND, errors: BOUNDS, ..FIGURE }),
    (
        "limits",
        About {
            meaning: "Barrier and limit in one step",
            format: "two bounds, as in `90 100`",
            errors: BOUNDS,
            ..FIGURE
        },
    ),
    ("maxheld", About { meaning: "The most that was held", format: MARK, errors: MARKS, ..FIGURE }),
    ("minheld", About { meaning: "The least that was held", format: MARK, errors: MARKS, ..FIGURE }),
];

/// For some of them.
const SAMPLED: About = About {
    meaning: "What the processes of the group use as `/proc` shows it: a sample, neither charged nor limited",
    ..FIGURE
};
const STAT: About = About {
    meaning: "All figures of all resources at one instant",
    unit: "each resource's",
    format: "the table of `/proc/user_beancounters`, version 2.5: resource, held, maxheld, barrier, limit, failcnt",
    ..FIGURE
};
const UNDERFLOW: About = About {
    meaning: "What more was taken back than was held, in all resources together",
    unit: "each resource's",
    ..FIGURE
};

const FIGURE: About =
    About { meaning: "", unit: "the resource's", format: "a number", writers: "", errors: &[], backends: "" };
const BOUND: &str = "a number, or `max` for none";
const RESET: &str = "a number; 0 resets it";
const MARK: &str = "a number; 0 makes both marks what is held";
const BOUNDS: &[(&str, &str)] =
    &[("EINVAL", "the barrier would be above the limit, or the number is above 2^48"), ("E2BIG", "more than 63 bytes")];
const ZERO: &[(&str, &str)] = &[("EINVAL", "not 0"), ("E2BIG", "more than 63 bytes")];
const MARKS: &[(&str, &str)] = &[
    ("EINVAL", "not 0"),
    ("EOPNOTSUPP", "the kernel keeps the mark and does not let it be reset"),
    ("E2BIG", "more than 63 bytes"),
];

/// What stands for no bound besides `max`: the most that a long can be.
pub(super) const NO_BOUND: u64 = i64::MAX as u64;

/// The longest text that one of them takes.
const LONGEST: usize = 63;

pub(super) fn all() -> Vec<ControlFile> {
    vec![ControlFile::family(PREFIX, names, pick, described)]
}

fn names(group: &Group) -> Result<Vec<String>> {
    let mut names = vec![format!("{PREFIX}stat"), format!("{PREFIX}underflow")];
    for info in group.hierarchy().resources()? {
        names.extend(OF_EACH.iter().map(|(what, _)| format!("{PREFIX}{}.{what}", info.name)));
        if sample::is_sampled(info.resource) {
            names.push(format!("{PREFIX}{}.sampled", info.name));
        }
    }
    Ok(names)
}

fn pick(group: &Group, name: &str) -> Result<Option<ControlFile>> {
    let Some((resource, what)) = name.strip_prefix(PREFIX).and_then(|name| name.split_once('.')) else {
        return Ok(of_all(name));
    };
    match group.hierarchy().resource(resource) {
        Ok(resource) => Ok(of_one(name, resource, what)),
        Err(error) if error.is(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn described() -> Vec<ControlFile> {
    let whats = OF_EACH.iter().map(|(what, _)| *what).chain(["sampled"]);
    let of_each = whats.filter_map(|what| of_one(&format!("{PREFIX}RESOURCE.{what}"), Resource::NUMFILES, what));
    ["bc.stat", "bc.underflow"].into_iter().filter_map(of_all).chain(of_each).collect()
}

/// A file about all resources together.
fn of_all(name: &str) -> Option<ControlFile> {
    let file = ControlFile::new(name);
    match name {
        "bc.stat" => Some(file.about(STAT).read(|group| group.snapshot().map(|snapshot| stat::table(&snapshot)))),
        "bc.underflow" => {
            Some(file.about(UNDERFLOW).read(|group| group.snapshot().map(|snapshot| line(snapshot.underflow))))
        }
        _ => None,
    }
}

/// A file about one resource, under its whole name.
fn of_one(name: &str, resource: Resource, what: &str) -> Option<ControlFile> {
    if what == "sampled" {
        let file = ControlFile::new(name).about(SAMPLED).read(move |group| sample::of(group, resource).map(line));
        return sample::is_sampled(resource).then_some(file);
    }
    let (_, about) = OF_EACH.iter().find(|(known, _)| *known == what)?;
    let shown = |show: fn(&BeanCounter) -> String| {
        let file = ControlFile::new(name).about(*about);
        file.read(move |group| group.counter(resource).map(|counter| show(&counter)))
    };
    Some(match what {
        "held" => shown(|counter| line(counter.held)),
        "maxheld" => {
            shown(|counter| line(counter.maxheld)).write(move |group, text| reset_marks(group, resource, text))
        }
        "minheld" => {
            shown(|counter| line(counter.minheld)).write(move |group, text| reset_marks(group, resource, text))
        }
        "failcnt" => {
            shown(|counter| line(counter.failcnt)).write(move |group, text| reset_failures(group, resource, text))
        }
        "barrier" => shown(|counter| bound(counter.barrier) + "\n")
            .write(move |group, text| group.change_limits(resource, Some(read_bound(text)?), None)),
        "limit" => shown(|counter| bound(counter.limit) + "\n")
            .write(move |group, text| group.change_limits(resource, None, Some(read_bound(text)?))),
        "limits" => shown(|counter| format!("{} {}\n", bound(counter.barrier), bound(counter.limit)))
            .write(move |group, text| set_both(group, resource, text)),
        "enforced" => shown(|counter| (if counter.by_kernel { "kernel\n" } else { "library\n" }).to_owned()),
        _ => return None,
    })
}

fn set_both(group: &Group, resource: Resource, text: &str) -> Result<()> {
    must_be_short(text)?;
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(barrier), Some(limit), None) => {
            group.change_limits(resource, Some(read_bound(barrier)?), Some(read_bound(limit)?))
        }
        _ => Err(Error::new(libc::EINVAL, format!("{text:?} is no barrier and limit, as in \"100 200\""))),
    }
}

fn reset_marks(group: &Group, resource: Resource, text: &str) -> Result<()> {
    must_be_zero(text)?;
    let account = group.account(resource)?;
    if let Some(kernel) = Kernel::of(group, resource)? {
        kernel.reset_most()?;
    }
    group.standing()?.books.region.reset_marks(account)
}

fn reset_failures(group: &Group, resource: Resource, text: &str) -> Result<()> {
    must_be_zero(text)?;
    let account = group.account(resource)?;
    if let Some(kernel) = Kernel::of(group, resource)? {
        kernel.reset_failures()?;
    }
    group.standing()?.books.region.reset_failures(account)
}

fn must_be_zero(text: &str) -> Result<()> {
    must_be_short(text)?;
    match number::<u64>(text)? {
        0 => Ok(()),
        _ => Err(Error::new(libc::EINVAL, format!("{text:?}: only 0 can be written, which resets it"))),
    }
}

fn must_be_short(text: &str) -> Result<()> {
    if text.len() > LONGEST {
        return Err(Error::new(libc::E2BIG, format!("{} bytes, and it takes {LONGEST}", text.len())));
    }
    Ok(())
}

/// EINVAL: it is none, or more than any bound.
fn read_bound(text: &str) -> Result<Option<u64>> {
    must_be_short(text)?;
    if text.trim() == "max" {
        return Ok(None);
    }
    match number::<u64>(text)? {
        NO_BOUND => Ok(None),
        some if some <= MOST => Ok(Some(some)),
        other => Err(Error::new(libc::EINVAL, format!("{other} is above {MOST}, which is as far as bounds go"))),
    }
}

fn bound(bound: Option<u64>) -> String {
    bound.map_or_else(|| "max".to_owned(), |bound| bound.to_string())
}

fn line(number: u64) -> String {
    format!("{number}\n")
}
