//! The control files `bc.…`: the figures of a group as text (R6.6).

use super::kernel::Kernel;
use super::resource::Resource;
use super::snapshot::BeanCounter;
use super::{sample, stat};
use crate::control_file::{ControlFile, number};
use crate::counters::MOST;
use crate::error::{Error, Result};
use crate::group::Group;

/// All of them begin so, as they always have, and not with the name of the subsystem.
const PREFIX: &str = "bc.";

/// The files of each resource.
const OF_EACH: [&str; 8] = ["barrier", "enforced", "failcnt", "held", "limit", "limits", "maxheld", "minheld"];

/// What stands for no bound besides `max`: the most that a long can be.
pub(super) const NO_BOUND: u64 = i64::MAX as u64;

/// The longest text that one of them takes.
const LONGEST: usize = 63;

pub(super) fn all() -> Vec<ControlFile> {
    vec![ControlFile::family(PREFIX, names, pick)]
}

fn names(group: &Group) -> Result<Vec<String>> {
    let mut names = vec![format!("{PREFIX}stat"), format!("{PREFIX}underflow")];
    for info in group.hierarchy().resources()? {
        names.extend(OF_EACH.iter().map(|what| format!("{PREFIX}{}.{what}", info.name)));
        if sample::is_sampled(info.resource) {
            names.push(format!("{PREFIX}{}.sampled", info.name));
        }
    }
    Ok(names)
}

fn pick(group: &Group, name: &str) -> Result<Option<ControlFile>> {
    let Some(name) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let file = ControlFile::new(name);
    let Some((resource, what)) = name.split_once('.') else {
        return Ok(match name {
            "stat" => Some(file.read(|group| group.snapshot().map(|snapshot| stat::table(&snapshot)))),
            "underflow" => Some(file.read(|group| group.snapshot().map(|snapshot| line(snapshot.underflow)))),
            _ => None,
        });
    };
    let resource = match group.hierarchy().resource(resource) {
        Ok(resource) => resource,
        Err(error) if error.is(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let shown = |show: fn(&BeanCounter) -> String| {
        ControlFile::new(name).read(move |group| group.counter(resource).map(|counter| show(&counter)))
    };
    Ok(Some(match what {
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
        "sampled" if sample::is_sampled(resource) => file.read(move |group| sample::of(group, resource).map(line)),
        _ => return Ok(None),
    }))
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
