//! Where everything is in a region.

use super::cell::Offset;
use crate::error::{Error, Result};

/// How much of each there can be. What is not used takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) buckets: u32,
    pub(super) resources: u32,
    pub(super) descriptors: u32,
    pub(super) accounts: u32,
    pub(super) slots: u32,
}

/// The layout of every region of this version.
pub(crate) const STANDARD: Layout =
    Layout { buckets: 1 << 16, resources: 1 << 16, descriptors: 1 << 12, accounts: 1 << 20, slots: 1 << 20 };

// Each on lines of its own: they are written at different times.
pub(super) const COMMIT: Offset = 0;
pub(super) const DONE: Offset = 128;
/// The last number that was given to a group.
pub(super) const GROUPS: Offset = 256;
/// One more than the highest descriptor that was ever used.
pub(super) const DESCRIPTORS: Offset = 264;
pub(super) const ACCOUNT_ROOM: Offset = 384;
pub(super) const SLOT_ROOM: Offset = 400;
/// How many resources are known besides the standard ones.
pub(super) const NAMED: Offset = 416;
/// How many slots of dead processes were given back.
pub(super) const RETIRED: Offset = 432;
const CONTROL: usize = 4096;

/// Entries that one transfer can have.
pub(super) const ENTRIES: usize = 256;
/// Slots that one thread can have stock in.
pub(super) const FAST_PLACES: usize = 128;

const BUCKET: usize = 16;
const RESOURCE: usize = 128;
const DESCRIPTOR: usize = 8192;
const ACCOUNT: usize = 160;
const SLOT: usize = 64;

/// Eight letters each: five of the name, two of the unit.
pub(super) const NAME_CELLS: usize = 5;
pub(super) const UNIT_CELLS: usize = 2;

/// The cells of an account, from its offset.
pub(super) mod account {
    pub(in super::super) const POOL: usize = 0;
    pub(in super::super) const LIMIT: usize = 16;
    /// What must stay free for a charge not to pass the barrier: limit - barrier.
    pub(in super::super) const FLOOR: usize = 32;
    pub(in super::super) const MOST: usize = 48;
    pub(in super::super) const LEAST: usize = 64;
    /// What the group itself holds.
    pub(in super::super) const KEPT: usize = 80;
    pub(in super::super) const FAILURES: usize = 96;
    pub(in super::super) const UNDERFLOWS: usize = 112;
    pub(in super::super) const NAME: usize = 128;
    pub(in super::super) const LINK: usize = 144;
}

/// The words and cells of a slot, from its offset.
pub(super) mod slot {
    pub(in super::super) const VALUE: usize = 0;
    pub(in super::super) const OWNER: usize = 16;
    /// The least stock that its owner had since the last transfer, and the most; with
    /// the low bits of that transfer's version.
    pub(in super::super) const LEAST_STOCK: usize = 32;
    pub(in super::super) const MOST_STOCK: usize = 40;
}

/// The words and cells of a descriptor, from its offset.
pub(super) mod descriptor {
    pub(in super::super) const HOLDER: usize = 0;
    pub(in super::super) const LIST: usize = 16;
    pub(in super::super) const VERSION: usize = 64;
    pub(in super::super) const COUNT: usize = 72;
    /// Three words each.
    pub(in super::super) const ENTRIES: usize = 128;
    pub(in super::super) const FAST: usize = ENTRIES + super::ENTRIES * 24;
}

const _: () = assert!(descriptor::FAST + FAST_PLACES * 8 <= DESCRIPTOR);

impl Layout {
    /// The bytes of the whole.
    pub(super) const fn length(&self) -> usize {
        self.slots_begin() + self.slots as usize * SLOT
    }

    /// What is used from the first: the words and cells that there is one of.
    pub(super) const fn first(&self) -> usize {
        CONTROL
    }

    const fn resources_begin(&self) -> Offset {
        CONTROL + self.buckets as usize * BUCKET
    }

    const fn descriptors_begin(&self) -> Offset {
        self.resources_begin() + self.resources as usize * RESOURCE
    }

    const fn accounts_begin(&self) -> Offset {
        self.descriptors_begin() + self.descriptors as usize * DESCRIPTOR
    }

    const fn slots_begin(&self) -> Offset {
        (self.accounts_begin() + self.accounts as usize * ACCOUNT).next_multiple_of(4096)
    }

    pub(super) fn bucket(&self, group: u64, resource: u32) -> Offset {
        // Fibonacci hashing: groups and resources have small numbers.
        let key = (group << 16 ^ u64::from(resource)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        CONTROL + ((key >> 32) as usize % self.buckets as usize) * BUCKET
    }

    pub(super) fn resource(&self, index: u32) -> Result<Offset> {
        place(self.resources_begin(), index, self.resources, RESOURCE)
    }

    #[inline]
    pub(super) fn descriptor(&self, index: u32) -> Result<Offset> {
        place(self.descriptors_begin(), index, self.descriptors, DESCRIPTOR)
    }

    #[inline]
    pub(super) fn account(&self, index: u32) -> Result<Offset> {
        place(self.accounts_begin(), index, self.accounts, ACCOUNT)
    }

    #[inline]
    pub(super) fn slot(&self, index: u32) -> Result<Offset> {
        place(self.slots_begin(), index, self.slots, SLOT)
    }

    /// Whether a cell can be there, as an entry of a transfer says.
    #[inline]
    pub(super) fn has_cell(&self, at: u64) -> bool {
        at.is_multiple_of(16) && at >= ACCOUNT_ROOM as u64 && at < self.length() as u64
    }

    /// Whether a slot can be there.
    pub(super) fn has_slot(&self, at: u64) -> bool {
        let begin = self.slots_begin() as u64;
        self.has_cell(at) && at >= begin && (at - begin).is_multiple_of(SLOT as u64)
    }

    /// The bytes of one record.
    pub(super) const RESOURCE: usize = RESOURCE;
    pub(super) const DESCRIPTOR: usize = DESCRIPTOR;
    pub(super) const ACCOUNT: usize = ACCOUNT;
    pub(super) const SLOT: usize = SLOT;
    pub(super) const BUCKET: usize = BUCKET;
}

/// An index may come from memory that somebody else wrote.
#[inline]
fn place(begin: Offset, index: u32, count: u32, size: usize) -> Result<Offset> {
    if index < count { Ok(begin + index as usize * size) } else { Err(damaged("an index is out of range")) }
}

/// What the region says cannot be.
pub(super) fn damaged(what: &str) -> Error {
    Error::new(libc::EUCLEAN, format!("the counters are damaged: {what}"))
}
