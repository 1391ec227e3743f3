//! What a group holds and may hold: looked at, all at one instant, and set.

use super::kernel::Kernel;
use super::resource::{Resource, ResourceInfo};
use crate::attribute;
use crate::counters::{Account, Figures, MOST};
use crate::error::{Error, Result};
use crate::group::Group;

/// The figures of one resource in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BeanCounter {
    /// Which resource.
    pub resource: Resource,
    /// What it is called.
    pub name: String,
    /// What is counted: `bytes`, `pages`, `count`.
    pub unit: String,
    /// Whether the kernel enforces the limit: then it binds every program in the group, and
    /// `held` and `maxheld` are the kernel's figures. Otherwise it binds those who
    /// charge, and them alone (R6.11).
    pub by_kernel: bool,
    /// What is held now.
    pub held: u64,
    /// The most that was held since the group was first charged, or since it was reset.
    pub maxheld: u64,
    /// The least.
    pub minheld: u64,
    /// Where BARRIER charges end; `None` is no barrier but the limit.
    pub barrier: Option<u64>,
    /// Where LIMIT charges end; `None` is no limit.
    pub limit: Option<u64>,
    /// How many charges this group has refused.
    pub failcnt: u64,
}

/// All figures of a group at one instant (R6.5).
///
/// Those of the kernel's counters are read right after the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// One for each resource of the hierarchy, by number.
    pub counters: Vec<BeanCounter>,
    /// How often more was uncharged than was held.
    pub underflow: u64,
}

/// A group that nobody has charged.
const NOTHING: Figures =
    Figures { held: 0, maxheld: 0, minheld: 0, barrier: None, limit: None, failcnt: 0, underflow: 0, kept: 0 };

impl Group {
    /// All figures of the group at one instant (R6.5). What dead processes held is given
    /// back before.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: the hierarchy is not bound to the beancounter. ENODEV: the group was
    /// removed. ECHILD: in a forked child. Those of opening the counters as
    /// [`charge`](Group::charge).
    pub fn snapshot(&self) -> Result<Snapshot> {
        let known = self.hierarchy().resources()?;
        attribute::must_be_there(self.node())?;
        let figures = self.figures(&known)?;
        let underflow = figures.iter().fold(0, |sum: u64, one| sum.saturating_add(one.underflow));
        let counters = known.into_iter().zip(&figures).map(|(info, figures)| self.shown(info, figures));
        Ok(Snapshot { counters: counters.collect::<Result<_>>()?, underflow })
    }

    /// The figures of one resource.
    pub(super) fn counter(&self, resource: Resource) -> Result<BeanCounter> {
        attribute::must_be_there(self.node())?;
        let info = self.hierarchy().info(resource)?;
        let figures = self.figures(std::slice::from_ref(&info))?.first().copied().unwrap_or(NOTHING);
        self.shown(info, &figures)
    }

    fn figures(&self, resources: &[ResourceInfo]) -> Result<Vec<Figures>> {
        let mut figures = vec![NOTHING; resources.len()];
        let Some((books, number)) = self.standing_in_use()? else { return Ok(figures) };
        let find = || {
            let all = resources.iter().enumerate();
            let found = all.filter_map(|(place, info)| match books.region.find(number, info.resource.number()) {
                Ok(account) => account.map(|account| Ok((place, account))),
                Err(error) => Some(Err(error)),
            });
            found.collect::<Result<Vec<(usize, Account)>>>()
        };
        let read = |accounts: &[Account]| match accounts {
            [] => Ok(Vec::new()),
            some => books.region.read(some),
        };
        for (place, read) in together(find, read)? {
            figures[place] = read;
        }
        Ok(figures)
    }

    fn shown(&self, info: ResourceInfo, figures: &Figures) -> Result<BeanCounter> {
        let mut counter = BeanCounter {
            resource: info.resource,
            name: info.name,
            unit: info.unit,
            by_kernel: false,
            held: figures.held,
            maxheld: figures.maxheld,
            minheld: figures.minheld,
            barrier: figures.barrier,
            limit: figures.limit,
            failcnt: figures.failcnt,
        };
        if let Some(kernel) = Kernel::of(self, info.resource)? {
            kernel.show(&mut counter)?;
        }
        Ok(counter)
    }

    /// Sets barrier and limit together; `None` is none. What is held already stays, and
    /// more is refused.
    ///
    /// Where the kernel has a controller for the resource (`by_kernel`), the limit is its
    /// limit from now on, and binds every program in the group.
    ///
    /// # Errors
    ///
    /// EINVAL: the barrier is above the limit, or one of them above 2^48. ENOENT: no such
    /// resource. EBUSY: the kernel could not bring the group's memory below the limit. EACCES:
    /// not permitted. ENODEV, EOPNOTSUPP, ECHILD, and those of opening the counters
    /// as [`charge`](Group::charge).
    pub fn set_limits(&self, resource: Resource, barrier: Option<u64>, limit: Option<u64>) -> Result<()> {
        self.change_limits(resource, Some(barrier), Some(limit))
    }

    /// Sets one of them, or both.
    pub(super) fn change_limits(
        &self,
        resource: Resource,
        barrier: Option<Option<u64>>,
        limit: Option<Option<u64>>,
    ) -> Result<()> {
        self.hierarchy().must_know(resource)?;
        attribute::must_be_there(self.node())?;
        for bound in [barrier, limit].into_iter().flatten().flatten() {
            if bound > MOST {
                return Err(Error::new(libc::EINVAL, format!("{bound} is above {MOST}, which is as far as bounds go")));
            }
        }
        let account = self.account(resource)?;
        let region = self.standing()?.books.region;
        let (Some(limit), Some(kernel)) = (limit, Kernel::of(self, resource)?) else {
            return region.set_bounds(account, barrier, limit);
        };
        let before = kernel.limit_before()?;
        let bounds = region.read(&[account])?.first().map(|figures| (figures.barrier, figures.limit));
        // First what may be refused: the kernel has no limit for a moment that nobody set.
        region.set_bounds(account, barrier, Some(limit))?;
        kernel.set_limit(limit).inspect_err(|_| {
            // As it was: a failure leaves nothing half-done.
            if let Some((barrier, limit)) = bounds {
                let _ = region.set_bounds(account, Some(barrier), Some(limit));
            }
            let _ = kernel.put_back(&before);
        })
    }
}

/// What is found, read at an instant at which nothing else was there: one that is made
/// meanwhile may be charged in one step with another. Each is made once, so this ends.
fn together<A: Copy + PartialEq, F>(
    find: impl Fn() -> Result<Vec<(usize, A)>>,
    read: impl Fn(&[A]) -> Result<Vec<F>>,
) -> Result<Vec<(usize, F)>> {
    let mut found = find()?;
    loop {
        let accounts: Vec<A> = found.iter().map(|(_, account)| *account).collect();
        let figures = read(&accounts)?;
        let now = find()?;
        if now == found {
            return Ok(found.into_iter().map(|(place, _)| place).zip(figures).collect());
        }
        found = now;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// R6.5
    #[test]
    fn what_comes_meanwhile_is_read_with_the_rest() {
        let looks = Cell::new(0);
        let find = || {
            looks.set(looks.get() + 1);
            Ok(if looks.get() == 1 { vec![(4, 'f')] } else { vec![(0, 'k'), (4, 'f')] })
        };
        // Both are charged in one step after the first look.
        let read = |accounts: &[char]| Ok(accounts.iter().map(|_| 3).collect());
        assert_eq!(together(find, read).unwrap(), [(0, 3), (4, 3)]);
        assert_eq!(together(|| Ok(Vec::<(usize, char)>::new()), read).unwrap(), []);
    }
}
