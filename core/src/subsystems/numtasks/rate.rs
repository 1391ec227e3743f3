//! How many programs may be started in a group in how long (R7.3).

use super::tally;
pub(super) use super::tally::Rate;
use crate::error::{Error, Result};
use crate::group::Group;

/// Their attributes. They are settings, which a clone has of its parent's: with a dot.
pub(super) const BIRTHS: &str = "numtasks.forkrate";
pub(super) const SECONDS: &str = "numtasks.forkrate_interval";

/// The rate of a group. EUCLEAN: what is noted there is none.
pub(super) fn of(group: &Group) -> Result<Rate> {
    Ok(Rate { births: noted(group, BIRTHS)?, seconds: noted(group, SECONDS)? })
}

/// One of the two.
pub(super) fn noted(group: &Group, name: &str) -> Result<u64> {
    let by_default = if name == BIRTHS { i32::MAX as u64 } else { 1 };
    match group.attribute(name)?.filter(|text| !text.is_empty()) {
        None => Ok(by_default),
        Some(text) => match text.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(Error::new(libc::EUCLEAN, format!("{name} of {group} is {text:?}"))),
        },
    }
}

/// Sets one of them, and begins to count anew.
pub(super) fn set(group: &Group, name: &str, number: u32) -> Result<()> {
    group.set_attribute(name, &number.to_string())?;
    tally::update(group, tally::Tally::begin_window)
}
