//! What shares a group may be given, and what they come to (R7.1, R7.2).

use super::shares::Shares;
use crate::error::{Error, Result};

/// What the groups below one have of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// The sum of what they are promised.
    pub min: u64,
    /// The most that one of them is allowed.
    pub max: u32,
}

/// What the shares of one group have to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    /// Of the group above: its divisor, and what its children have, this one among them.
    /// The root has none.
    pub above: Option<(u32, Given)>,
    pub below: Given,
}

impl Given {
    pub(super) fn and(self, child: Shares) -> Given {
        let min = self.min.saturating_add(child.min.unwrap_or(0).into());
        Given { min, max: self.max.max(child.max.unwrap_or(0)) }
    }
}

/// EINVAL: the shares do not fit, each by itself or together; why, in words.
pub(super) fn check(old: Shares, new: Shares, neighbours: Neighbours) -> Result<()> {
    let wrong = |why: String| Err(Error::new(libc::EINVAL, why));
    if let (Some(min), Some(max)) = (new.min, new.max)
        && min > max
    {
        return wrong(format!("min_shares={min} would be above max_shares={max}"));
    }
    match neighbours.above {
        // What it has as a group of another hierarchy is not changed here.
        None if (new.min, new.max) != (old.min, old.max) => {
            return wrong("the root group has no share of anything; total_numtasks is its number".into());
        }
        None => {}
        Some((divisor, given)) => {
            let quantity = |min: Option<u32>| u64::from(min.unwrap_or(0));
            let rise = quantity(new.min).saturating_sub(quantity(old.min));
            let unused = u64::from(divisor).saturating_sub(given.min);
            if rise > unused {
                let min = quantity(new.min);
                return wrong(format!(
                    "min_shares={min} is {rise} more than now, and of the {divisor} above it {unused} are left"
                ));
            }
            if let Some(max) = new.max
                && new.max != old.max
                && max > divisor
            {
                return wrong(format!("max_shares={max} of {divisor}"));
            }
        }
    }
    if new.divisor != old.divisor {
        let Given { min, max } = neighbours.below;
        let divisor = new.divisor;
        if u64::from(divisor) < min {
            return wrong(format!("child_shares_divisor={divisor}: the groups below have {min} as their min_shares"));
        }
        if divisor < max {
            return wrong(format!("child_shares_divisor={divisor}: a group below has max_shares={max}"));
        }
    }
    Ok(())
}

/// What a share of a parent's number comes to; `None`, don't care, of anything that is.
pub(super) fn count(share: Option<u32>, above: Option<u64>, divisor: u32) -> Option<u64> {
    // Both are below 2^31 by the rules; by whatever else, it is no more than it can be.
    u64::from(share?).saturating_mul(above?).checked_div(divisor.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7.2
    #[test]
    fn counts_are_whole_and_never_more_than_there_is() {
        assert_eq!(count(Some(5), Some(400), 100), Some(20));
        assert_eq!(count(Some(1), Some(99), 100), Some(0));
        assert_eq!(count(Some(33), Some(10), 100), Some(3));
        assert_eq!(count(None, Some(10), 100), None);
        assert_eq!(count(Some(3), None, 100), None);
        let most = i32::MAX as u32;
        assert_eq!(count(Some(most), Some(most.into()), most), Some(most.into()));
        assert_eq!(count(Some(most), Some(u64::MAX), 0), None);
    }
}
