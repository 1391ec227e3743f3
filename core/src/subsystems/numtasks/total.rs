//! How many tasks a whole hierarchy may have: what all shares are shares of (R7.2).

use super::usage;
use crate::attribute;
use crate::backend::Node;
use crate::error::{Error, Result};
use crate::group::Group;

/// The attribute of the root; not there: as many as the machine takes.
const TOTAL: &str = "numtasks-total";

/// What was set. EUCLEAN: what is noted is no number.
pub(super) fn noted(root: &Node) -> Result<Option<u32>> {
    let Some(text) = attribute::get(root, TOTAL)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Error::new(libc::EUCLEAN, format!("the number of tasks of the root is {text:?}"))),
    }
}

pub(super) fn note(root: &Node, number: Option<u32>) -> Result<()> {
    match number {
        Some(number) => attribute::must_set(root, TOTAL, &number.to_string()),
        None => attribute::remove(root, TOTAL),
    }
}

/// The number that shares are shares of.
pub(super) fn of(root: &Node) -> Result<u64> {
    match noted(root)? {
        Some(number) => Ok(number.into()),
        None => of_the_machine(),
    }
}

/// What the root group is limited to: not to what the machine takes, which the machine sees
/// to.
pub(super) fn wish(root: &Node) -> Result<Option<u64>> {
    Ok(noted(root)?.map(u64::from))
}

/// EINVAL: there are more tasks now.
pub(super) fn must_hold(root: &Group, number: u32) -> Result<()> {
    let used = usage::of(root)?;
    if used > number.into() {
        let why = format!("{number} is less than the {used} tasks that hierarchy {} has", root.hierarchy());
        return Err(Error::new(libc::EINVAL, why));
    }
    Ok(())
}

fn of_the_machine() -> Result<u64> {
    const FILE: &str = "/proc/sys/kernel/pid_max";
    let text = std::fs::read_to_string(FILE).map_err(|error| Error::os(&error, format_args!("reading {FILE}")))?;
    text.trim().parse().map_err(|_| Error::new(libc::EIO, format!("{FILE} has {text:?}")))
}
