//! How many tasks a group may have, as a share of what the group above has (R7.1-R7.4).
//!
//! What the shares of a group come to is its limit. Where the kernel counts tasks (the
//! controller `pids`) the limit is the kernel's, too, and binds every fork. Everywhere it
//! binds the programs that are started through the library. Moves are never refused.

mod births;
mod rate;
mod rules;
mod shares;
mod tally;
mod total;
mod tree;
mod turn;
mod usage;

use crate::about::About;
use crate::attach::Attach;
use crate::attribute;
use crate::backend::BackendKind;
use crate::control_file::{ControlFile, number};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::subsystem::Subsystem;
use crate::turn::Turn;

/// As hierarchies are bound to it.
pub(crate) struct NumTasks;

/// The longest text that its files take, the shares apart.
const LONGEST: usize = 63;

/// The longest text of shares: less than a page, as ever.
const LONGEST_SHARES: usize = 4095;

impl Subsystem for NumTasks {
    fn name(&self) -> &'static str {
        "numtasks"
    }

    fn controllers(&self) -> Vec<&str> {
        vec!["pids"]
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        files()
    }

    fn mount(&self, hierarchy: &Hierarchy) -> Result<()> {
        // Whoever may not, or finds somebody else at it, opens it all the same.
        let _ = tree::settle_what_is_left(hierarchy);
        Ok(())
    }

    /// Shares are not copied: nobody has given them to the clone. Into how many parts
    /// its own are divided is a setting.
    fn post_clone(&self, group: &Group, parent: &Group) -> Result<()> {
        tree::copy_divisor(parent, group)
    }

    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        births::ask(attach)
    }

    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        births::tell(attach)
    }
}

/// Before a group gets another name: nobody changes shares until this is dropped, who would not find the
/// group meanwhile, or its limit in another tree. `None`: there are no shares, or no other names, or it is not
/// ours to lock; or somebody has locked the file who may only read it, and so changes none.
///
/// EBUSY: somebody is at it until the hierarchy's deadline.
pub(crate) fn keep_names(hierarchy: &Hierarchy) -> Result<Option<Turn>> {
    if hierarchy.needs(NumTasks.name()).is_err() || hierarchy.backend_kind() == BackendKind::Cgroup2 {
        return Ok(None);
    }
    match turn::take(hierarchy, hierarchy.deadline()) {
        Err(error) if [libc::EACCES, libc::EPERM, libc::EROFS].into_iter().any(|errno| error.is(errno)) => Ok(None),
        Err(error) if error.is(libc::EBUSY) && !turn::is_taken(hierarchy)? => Ok(None),
        taken => taken.map(Some),
    }
}

/// What the failure to make a process for a group means. ENOSPC: others took the last place.
pub(crate) fn birth_failed(group: &Group, error: Error) -> Error {
    let is_ours = error.is(libc::EAGAIN) && group.hierarchy().needs(NumTasks.name()).is_ok();
    if is_ours { births::meaning(group, error) } else { error }
}

const LONG: (&str, &str) = ("E2BIG", "more than 63 bytes");
const NUMBER: (&str, &str) = ("EINVAL", "no number from 1 to 2147483647");

fn files() -> Vec<ControlFile> {
    vec![
        ControlFile::new("forkrate")
            .about(About {
                meaning: "How many programs may be started in this very group in one interval",
                unit: "programs",
                format: "a number; 2147483647 if nothing was written",
                errors: &[NUMBER, LONG],
                ..About::default()
            })
            .read(|group| rate::noted(group, rate::BIRTHS).map(line))
            .write(|group, text| rate::set(group, rate::BIRTHS, positive(text)?)),
        ControlFile::new("forkrate_interval")
            .about(About {
                meaning: "How long an interval is; a write begins one",
                unit: "seconds",
                format: "a number; 1 if nothing was written",
                errors: &[NUMBER, LONG],
                ..About::default()
            })
            .read(|group| rate::noted(group, rate::SECONDS).map(line))
            .write(|group, text| rate::set(group, rate::SECONDS, positive(text)?)),
        ControlFile::new("limit")
            .about(About {
                meaning: "What max_shares comes to: how many tasks there may be in the group and below",
                unit: "tasks",
                format: "a number, or `max`: don't care",
                backends: "enforced by the kernel where there is the controller `pids`; else for programs started through the library",
                ..About::default()
            })
            .read(limit),
        ControlFile::new("shares")
            .about(About {
                meaning: "What the group has of the parts of the group above, promised and allowed, and into how many its own tasks are divided",
                unit: "parts",
                format: "`res=numtasks,min_shares=-3,max_shares=-3,child_shares_divisor=100`; takes any of these, in any order; -1 and -2: as it was; -3: don't care",
                writers: "whoever may change the root group",
                errors: &[
                    ("EINVAL", "unknown, twice, or of another `res`; `min_shares` above `max_shares`; more rise of `min_shares` than the group above has unused; `max_shares` above its divisor; a divisor below what the groups below have, or 0; a share of the root"),
                    ("EBUSY", "somebody else changes shares and does not get on with it"),
                    ("E2BIG", "more than 4095 bytes"),
                ],
                ..About::default()
            })
            .read(read_shares)
            .write(write_shares),
        ControlFile::new("stats")
            .about(About {
                meaning: "The tasks in the group and below, the programs that were started in this very group, and those that were refused",
                unit: "tasks; programs",
                format: "four lines, the first `numtasks: Current usage 0`; takes 0 or `res=numtasks`, which reset the counts",
                errors: &[("EINVAL", "any other text"), LONG],
                backends: "failures have the forks that the kernel refused, where there is the controller `pids`",
                ..About::default()
            })
            .read(stats)
            .write(reset),
        ControlFile::new("total_numtasks")
            .about(About {
                meaning: "How many tasks there may be in the hierarchy: what all shares are shares of",
                unit: "tasks",
                format: "a number; the machine's pid_max if nothing was written",
                writers: "whoever may change the root group",
                errors: &[
                    ("EINVAL", "no number from 1 to 2147483647, or less than there are tasks now"),
                    ("EBUSY", "somebody else changes shares and does not get on with it; or the root is a group of another hierarchy, which limits it"),
                    LONG,
                ],
                ..About::default()
            })
            .read(|group| total::of(group.node()).map(line))
            .write(|group, text| tree::change_total(group.hierarchy(), positive(text)?))
            .only_at_root(),
    ]
}

fn limit(group: &Group) -> Result<String> {
    attribute::must_be_there(group.node())?;
    let counts = tree::counts(&tree::lineage(group)?)?;
    Ok(counts.first().copied().flatten().map_or_else(|| "max\n".to_owned(), line))
}

fn read_shares(group: &Group) -> Result<String> {
    attribute::must_be_there(group.node())?;
    tree::of(group.node()).map(|shares| format!("{shares}\n"))
}

fn write_shares(group: &Group, text: &str) -> Result<()> {
    must_fit(text, LONGEST_SHARES)?;
    tree::change(group, shares::parse(text)?)
}

fn stats(group: &Group) -> Result<String> {
    attribute::must_be_there(group.node())?;
    let tally::Tally { successes, failures, rate_failures, forgotten, .. } = tally::read(group.node())?;
    let by_kernel = usage::refused_by_kernel(group)?.saturating_sub(forgotten);
    let lines = [
        ("Current usage", usage::of(group)?),
        ("Number of successes", successes),
        ("Number of failures", failures.saturating_add(by_kernel)),
        ("Number of forkrate failures", rate_failures),
    ];
    Ok(lines.map(|(what, number)| format!("{}: {what} {number}\n", shares::RESOURCE)).concat())
}

fn reset(group: &Group, text: &str) -> Result<()> {
    must_fit(text, LONGEST)?;
    if text.strip_prefix("res=") != Some(shares::RESOURCE) && number::<u64>(text)? != 0 {
        return Err(Error::new(libc::EINVAL, format!("{text:?}: only 0 can be written, which resets the counts")));
    }
    attribute::must_be_there(group.node())?;
    let by_kernel = usage::refused_by_kernel(group)?;
    tally::update(group, |tally| tally.reset(by_kernel))
}

/// EINVAL: not from 1 to the largest int.
fn positive(text: &str) -> Result<u32> {
    must_fit(text, LONGEST)?;
    match number::<i32>(text)? {
        number if number > 0 => Ok(number.unsigned_abs()),
        other => Err(Error::new(libc::EINVAL, format!("{other} is not from 1 to {}", i32::MAX))),
    }
}

fn must_fit(text: &str, longest: usize) -> Result<()> {
    if text.len() > longest {
        return Err(Error::new(libc::E2BIG, format!("{} bytes, and it takes {longest}", text.len())));
    }
    Ok(())
}

fn line(number: u64) -> String {
    format!("{number}\n")
}
