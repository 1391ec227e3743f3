//! Counters that processes share: exact when a process is killed at any instruction,
//! never stalled when one is stopped at any, and exact in what they refuse.
//!
//! One file is mapped by all processes that count in a hierarchy, the region. An
//! account is one resource in one group. What a thread has charged to it is in a slot
//! of the thread's own, with stock that was charged at every level beforehand. Charges that
//! the stock covers change that slot alone (`quick.rs`); all else is a transfer
//! (`transfer.rs`), which changes any number of cells as one.
//!
//! Invariants, when the last transfer is finished, for each account, summed over the slots
//! of it and of those below:
//!
//! * I1: free + what slots hold + what groups keep + stock of slots that are fast = limit.
//! * I2: the number of fast slots is the pool's `fast`.
//! * I3: a pool with fast slots has at least its floor free, so no stock crosses a barrier.
//! * I4: a slot becomes fast, and ceases to be, by a transfer.
//!
//! `docs/counters.md` has the argument. Read `cell.rs`, `transfer.rs`, `charge.rs`.
//!
//! Architecture Invariant: this is the mapping and the algorithm, and knows nothing of
//! hierarchies.

mod account;
mod cell;
mod charge;
mod figures;
mod holder;
mod layout;
mod liveness;
mod mapping;
mod names;
mod quick;
mod region;
mod seat;
mod transfer;
mod value;

pub(crate) use quick::{charge_again, charge_quickly, uncharge_again, uncharge_quickly};
pub(crate) use region::Region;
pub(crate) use seat::{charge_known, uncharge_known};

use crate::error::{Error, Result};
use cell::Memory;
use layout::Layout;

/// The largest amount of one charge, and the largest barrier and limit.
pub(crate) const MOST: u64 = 1 << 48;

/// The algorithm, over a memory.
#[derive(Debug)]
pub(crate) struct Counters<M> {
    memory: M,
    layout: Layout,
}

impl<M: Memory> Counters<M> {
    pub(crate) fn new(memory: M) -> Counters<M> {
        Counters { memory, layout: layout::STANDARD }
    }
}

/// The counters of one resource in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    index: u32,
    /// The number of its group, which tells it from a later one in the same place.
    group: u64,
}

impl Account {
    /// No account: no group has the number 0.
    const NONE: Account = Account { index: 0, group: 0 };
}

/// How far a charge may go.
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
    /// It does not fit: which of the charges, by its place in the list, and the number
    /// of the group whose bound it would pass. Failures are not counted here.
    Full { which: usize, group: u64 },
    /// ENODEV: a group was removed. ENOSPC: no room in the region. EOVERFLOW: more than a
    /// counter holds. E2BIG: too many levels and resources at once. EUCLEAN: damaged.
    /// ECHILD: in a forked child.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Failed(error)
    }
}

/// The groups (by number) whose barrier a charge up to the limit crossed, with the place of
/// the charge.
pub(crate) type Crossed = Vec<(usize, u64)>;

/// What an account shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) held: u64,
    pub(crate) maxheld: u64,
    pub(crate) minheld: u64,
    pub(crate) barrier: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) failcnt: u64,
    pub(crate) underflow: u64,
    /// Of what is held, what this very group keeps.
    pub(crate) kept: u64,
}

/// A count of rounds. Each that fails means that somebody else has gone on; only where
/// memory says what cannot be does it go on like this.
struct Attempts(u32);

impl Attempts {
    const MOST: u32 = 1 << 20;

    fn new() -> Attempts {
        Attempts(0)
    }

    /// So many that something should be done about it.
    fn are_many(&self) -> bool {
        self.0 > 8
    }

    fn next(&mut self) -> Result<()> {
        self.0 += 1;
        if self.0 <= Attempts::MOST {
            return Ok(());
        }
        let why = "others were quicker a million times in a row, or the counters are damaged";
        Err(Error::new(libc::EAGAIN, why))
    }
}

/// Whether the algorithm is to be wrong in this way, for a test that must notice.
#[cfg(not(test))]
const fn mutated(_: u8) -> bool {
    false
}

#[cfg(test)]
fn mutated(which: u8) -> bool {
    MUTATION.load(std::sync::atomic::Ordering::Relaxed) == which
}

#[cfg(test)]
static MUTATION: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

#[cfg(test)]
mod tests;

#[cfg(test)]
mod checks;
