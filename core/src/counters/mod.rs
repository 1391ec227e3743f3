//! Counters that processes share: exact under SIGKILL, never stalled by SIGSTOP.
//!
//! This is the interface; `docs/counters.md` has the argument.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The largest amount of one charge, and the largest barrier or limit but none.
pub(crate) const MOST: u64 = 1 << 48;

/// The counters of one hierarchy, mapped.
#[derive(Debug)]
pub(crate) struct Region {
    number: u64,
}

/// The counters of one resource in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Where it is in the region.
    pub(super) index: u32,
    /// The number of its group, which tells it from a later one in the same place.
    pub(super) group: u64,
}

/// How hard a charge insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Barrier,
    Limit,
    Never,
}

/// Whose a charge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This process's: it ends with it.
    Process,
    /// The group's.
    Group,
}

/// Why a charge was not made.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It does not fit: which of the charges (by its place in the list), and the number of the group
    /// whose bound it would pass. The group's failcnt was not touched.
    Full { which: usize, group: u64 },
    /// Something else: ENODEV (a group is no more), ENOSPC (no room in the region), EOVERFLOW, EUCLEAN, ...
    Failed(Error),
}

/// What a charge did: the groups (number) whose barrier it crossed, with the place in the list of charges.
pub(crate) type Crossed = Vec<(usize, u64)>;

/// What is held, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) held: u64,
    pub(crate) maxheld: u64,
    pub(crate) minheld: u64,
    /// None: no barrier, no limit.
    pub(crate) barrier: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) failcnt: u64,
    pub(crate) underflow: u64,
}

fn not_yet<T>() -> Result<T> {
    Err(Error::new(libc::ENOSYS, "not yet"))
}

impl Region {
    /// Maps the file, and makes it (0600, complete or not at all) if there is none. The file stays mapped for
    /// as long as the process lives: the same file gives the same region.
    ///
    /// EUCLEAN: it is no such file, of another version, damaged or cut short. EPERM: another user's, or others may
    /// write to it. ELOOP: a symbolic link. EXDEV: processes of another pid or time namespace use it.
    /// ENOSPC, EROFS, EACCES: as the file system has it.
    pub(crate) fn open(_file: &Path) -> Result<Arc<Region>> {
        not_yet()
    }

    /// A number that no other region has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A number for a group, which was never given before (from 1).
    pub(crate) fn new_group(&self) -> Result<u64> {
        not_yet()
    }

    /// The account of a resource in the first of these groups, the others being those above it up to the
    /// root (only the first for a flat hierarchy). Made if it is not there. ENOSPC: the region is full.
    pub(crate) fn account(&self, _path: &[u64], _resource: u32) -> Result<Account> {
        not_yet()
    }

    /// The account, if there is one.
    pub(crate) fn find(&self, _group: u64, _resource: u32) -> Result<Option<Account>> {
        not_yet()
    }

    /// Charges several accounts of one group, all or none, each with all above it. Never waits.
    pub(crate) fn charge(
        &self,
        _charges: &[(Account, u64)],
        _bound: Bound,
        _owner: Owner,
    ) -> std::result::Result<Crossed, Refused> {
        Err(Refused::Failed(Error::new(libc::ENOSYS, "not yet")))
    }

    /// As much as fits, up to the amount; 0 as well.
    pub(crate) fn charge_up_to(
        &self,
        _account: Account,
        _amount: u64,
        _bound: Bound,
    ) -> std::result::Result<(u64, Crossed), Refused> {
        Err(Refused::Failed(Error::new(libc::ENOSYS, "not yet")))
    }

    /// Takes back, all in one step: first what this process holds, then what the group keeps. What was more
    /// than that is not taken and counts in `underflow` of its account.
    pub(crate) fn uncharge(&self, _charges: &[(Account, u64)]) -> Result<()> {
        not_yet()
    }

    /// Counts a refusal.
    pub(crate) fn count_failure(&self, _account: Account) -> Result<()> {
        not_yet()
    }

    /// All of these at one instant. Charges of dead processes have been given back.
    pub(crate) fn read(&self, _accounts: &[Account]) -> Result<Vec<Figures>> {
        not_yet()
    }

    /// Barrier and limit together. EINVAL: barrier above limit, or above `MOST`.
    pub(crate) fn set_bounds(&self, _account: Account, _barrier: Option<u64>, _limit: Option<u64>) -> Result<()> {
        not_yet()
    }

    /// Makes maxheld and minheld what is held.
    pub(crate) fn reset_marks(&self, _account: Account) -> Result<()> {
        not_yet()
    }

    /// Makes failcnt 0.
    pub(crate) fn reset_failures(&self, _account: Account) -> Result<()> {
        not_yet()
    }

    /// Forgets a group and gives its accounts' room back. EBUSY: something is held there (which resource).
    pub(crate) fn remove_group(&self, _group: u64) -> Result<()> {
        not_yet()
    }

    /// The groups that have accounts.
    pub(crate) fn groups(&self) -> Result<Vec<u64>> {
        not_yet()
    }

    /// The number of a resource by name; made if it is not there. Numbers 0 to 4 are the standard ones.
    /// EEXIST: known with another unit. EINVAL: no name. ENOSPC: 65,536 are known.
    pub(crate) fn register(&self, _name: &str, _unit: &str) -> Result<u32> {
        not_yet()
    }

    /// Name and unit of all, by number.
    pub(crate) fn resources(&self) -> Result<Vec<(String, String)>> {
        not_yet()
    }
}

/// The quick way: the whole charge as one atomic operation on a line of this thread's own, if the thread has
/// stock for it. `key` names the account for this process (handle and resource); `false`: go the long way.
pub(crate) fn charge_quickly(_key: u64, _amount: u64) -> bool {
    false
}

/// The same for taking back.
pub(crate) fn uncharge_quickly(_key: u64, _amount: u64) -> bool {
    false
}
