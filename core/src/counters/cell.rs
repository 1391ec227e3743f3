//! What the counters are made of: words, and cells that say which transfer wrote them.

use std::sync::atomic::Ordering;

use super::holder::Process;
use crate::error::Result;

/// Where something is in the region, in bytes from the end of its header.
pub(super) type Offset = usize;

/// The memory that processes share, and what can be known about them. The algorithm
/// is written over this, so that a model checker can stand in for the mapping.
pub(crate) trait Memory {
    /// 64 bits.
    type Word: Word;
    /// 128 bits.
    type Cell: Cell;

    /// The word at an offset within the region, a multiple of 8.
    fn word(&self, at: Offset) -> &Self::Word;

    /// The cell at an offset within the region, a multiple of 16.
    fn cell(&self, at: Offset) -> &Self::Cell;

    /// A fence.
    fn fence(&self, order: Ordering);

    /// Sees to it that these bytes can be written without a fault.
    fn allocate(&self, at: Offset, length: usize) -> Result<()>;

    /// Which of these processes are known to have ended. One that cannot be looked
    /// at may be there.
    fn dead(&self, processes: &[Process]) -> Vec<bool>;
}

/// 64 bits, changed as one.
pub(crate) trait Word {
    /// The value.
    fn load(&self, order: Ordering) -> u64;
    /// Changes the value.
    fn store(&self, value: u64, order: Ordering);
    /// Changes the value if it is `current`; else says what it is. Sequentially consistent.
    fn compare_exchange(&self, current: u64, new: u64) -> std::result::Result<u64, u64>;
    /// Adds, and says what it was.
    fn fetch_add(&self, value: u64) -> u64;
    /// The larger of the two.
    fn fetch_max(&self, value: u64) -> u64;
}

/// 128 bits, changed as one: 52 bits of tag above 76 bits of value.
///
/// The tag is the version of the transfer that wrote the cell last. It only grows,
/// so what was read before a cell was rewritten can never be mistaken for what is
/// there later, however long a reader was stopped in between (2^52 transfers are 14
/// years at ten million a second). What changes without a transfer keeps the tag and
/// is in the low 64 bits: the stock of a slot, and counts of failures.
pub(crate) trait Cell {
    /// All of it, as it was at one instant.
    fn load(&self) -> u128;
    /// The same for whoever publishes a transfer with what comes of it, or looks at the commit
    /// word afterwards: if that has not changed, the halves belong together. Of a
    /// cell that changes by transfers alone.
    fn look(&self) -> u128 {
        self.load()
    }
    /// Changes it if it is `current`; else says what it is. Acquires and releases.
    fn compare_exchange(&self, current: u128, new: u128) -> std::result::Result<(), u128>;
    /// Sets bits of the low half.
    fn set_low(&self, bits: u64);
}

/// Bits of a cell's value.
pub(super) const VALUE_BITS: u32 = 76;
/// The value of a cell without its tag.
pub(super) const VALUE: u128 = (1 << VALUE_BITS) - 1;

/// The version of the transfer that wrote a cell.
#[inline]
pub(super) fn tag(cell: u128) -> u64 {
    (cell >> VALUE_BITS) as u64
}

/// A value, as the transfer of this version writes it.
#[inline]
pub(super) fn tagged(value: u128, version: u64) -> u128 {
    value & VALUE | u128::from(version) << VALUE_BITS
}
