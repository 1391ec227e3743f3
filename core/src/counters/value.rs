//! What cells hold: fields packed into 76 bits. Memory of zeros is an empty region.

/// A place in one of the arrays, or none. Kept as one more than it is.
pub(super) type Index = Option<u32>;

const INDEX_BITS: u32 = 24;

fn pack_index(index: Index) -> u128 {
    index.map_or(0, |index| u128::from(index) + 1) & mask(INDEX_BITS)
}

fn unpack_index(bits: u128) -> Index {
    ((bits & mask(INDEX_BITS)) as u32).checked_sub(1)
}

const fn mask(bits: u32) -> u128 {
    (1 << bits) - 1
}

/// What can be packed into a cell.
pub(super) trait Value: Copy {
    /// The bits of it, 76 at most.
    fn pack(self) -> u128;
    /// From bits, whatever they are.
    fn unpack(bits: u128) -> Self;
}

/// What a thread holds of an account.
///
/// While `fast` is set its owner may change `stock` alone, in the low half; so what
/// is held is a difference, and `reserve` stays as the last transfer left it. When a
/// slot was drained, `stock` is the record of what was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) stock: u32,
    pub(super) fast: bool,
    pub(super) reserve: u64,
}

/// Bits of stock.
pub(super) const STOCK_BITS: u32 = 25;
/// The stock in the low half of a slot.
pub(super) const STOCK: u64 = (1 << STOCK_BITS) - 1;
/// The bit that lets the owner charge alone.
pub(super) const FAST: u64 = 1 << STOCK_BITS;
/// The bit by which somebody who tries to drain the slot asks its owner to help.
pub(super) const ASKED: u64 = 1 << (STOCK_BITS + 1);
/// The most that a slot can hold.
pub(super) const MOST_RESERVE: u64 = (1 << 49) - 1;

impl Slot {
    pub(super) const EMPTY: Slot = Slot { stock: 0, fast: false, reserve: 0 };

    /// The low half of the cell.
    pub(super) fn low(self) -> u64 {
        self.pack() as u64
    }

    /// What is held.
    #[inline]
    pub(super) fn used(self) -> i64 {
        self.reserve as i64 - i64::from(self.stock)
    }

    /// What it has in stock for its owner.
    #[inline]
    pub(super) fn credit(self) -> i64 {
        if self.fast { i64::from(self.stock) } else { 0 }
    }
}

impl Value for Slot {
    #[inline]
    fn pack(self) -> u128 {
        u128::from(self.stock) & mask(STOCK_BITS)
            | u128::from(self.fast) << STOCK_BITS
            | (u128::from(self.reserve) & mask(49)) << 27
    }

    #[inline]
    fn unpack(bits: u128) -> Slot {
        Slot {
            stock: (bits & mask(STOCK_BITS)) as u32,
            fast: bits >> STOCK_BITS & 1 != 0,
            reserve: (bits >> 27 & mask(49)) as u64,
        }
    }
}

/// What an account has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// Up to the limit; below 0 where that was lowered or passed by force.
    pub(super) free: i64,
    /// How many slots here and below have stock.
    pub(super) fast: u32,
    /// For so many charges more no stock is given: somebody had to take it back.
    pub(super) quiet: u8,
}

/// The most slots with stock that an account can have below it.
pub(super) const MOST_FAST: u32 = (1 << 12) - 1;

impl Value for Pool {
    #[inline]
    fn pack(self) -> u128 {
        self.free as u128 & mask(56) | u128::from(self.quiet) << 56 | (u128::from(self.fast) & mask(12)) << 64
    }

    #[inline]
    fn unpack(bits: u128) -> Pool {
        Pool { free: signed(bits), fast: (bits >> 64 & mask(12)) as u32, quiet: (bits >> 56 & 0xff) as u8 }
    }
}

/// 56 bits with a sign.
#[inline]
fn signed(bits: u128) -> i64 {
    (bits as i64) << 8 >> 8
}

/// A number by itself: limits, marks, counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) i64);

impl Value for Number {
    #[inline]
    fn pack(self) -> u128 {
        self.0 as u128 & mask(56)
    }

    #[inline]
    fn unpack(bits: u128) -> Number {
        Number(signed(bits))
    }
}

/// Which account a record is; group 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) group: u64,
    pub(super) resource: u32,
}

impl Value for Name {
    #[inline]
    fn pack(self) -> u128 {
        u128::from(self.group) & mask(52) | (u128::from(self.resource) & mask(16)) << 52
    }

    #[inline]
    fn unpack(bits: u128) -> Name {
        Name { group: (bits & mask(52)) as u64, resource: (bits >> 52 & mask(16)) as u32 }
    }
}

/// Where an account belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The account of the same resource in the group above.
    pub(super) parent: Index,
    /// The next in the same bucket, or of those that are free.
    pub(super) next: Index,
    /// The logarithm of how much stock is given at once.
    pub(super) batch: u8,
    /// How many accounts have this one for parent.
    pub(super) children: u32,
}

impl Value for Link {
    #[inline]
    fn pack(self) -> u128 {
        pack_index(self.parent)
            | pack_index(self.next) << 24
            | (u128::from(self.batch) & mask(5)) << 48
            | (u128::from(self.children) & mask(23)) << 53
    }

    #[inline]
    fn unpack(bits: u128) -> Link {
        Link {
            parent: unpack_index(bits),
            next: unpack_index(bits >> 24),
            batch: (bits >> 48 & mask(5)) as u8,
            children: (bits >> 53 & mask(23)) as u32,
        }
    }
}

/// Whose a slot is, and of which account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) descriptor: Index,
    pub(super) account: u32,
    /// The owner's next slot, or the next of those that are free.
    pub(super) next: Index,
}

impl Value for Owner {
    #[inline]
    fn pack(self) -> u128 {
        pack_index(self.descriptor) | (u128::from(self.account) & mask(INDEX_BITS)) << 24 | pack_index(self.next) << 48
    }

    #[inline]
    fn unpack(bits: u128) -> Owner {
        Owner {
            descriptor: unpack_index(bits),
            account: (bits >> 24 & mask(INDEX_BITS)) as u32,
            next: unpack_index(bits >> 48),
        }
    }
}

/// The slots of a descriptor, and of which of its owners, one after the other, they
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) head: Index,
    pub(super) generation: u32,
}

/// Generations of a descriptor's owners.
pub(super) const GENERATIONS: u32 = 1 << 24;

impl Value for List {
    #[inline]
    fn pack(self) -> u128 {
        pack_index(self.head) | (u128::from(self.generation) & mask(24)) << 24
    }

    #[inline]
    fn unpack(bits: u128) -> List {
        List { head: unpack_index(bits), generation: (bits >> 24 & mask(24)) as u32 }
    }
}

/// What is free of an array: a list of records given back, and the first never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) free: Index,
    pub(super) next: u32,
}

impl Value for Room {
    #[inline]
    fn pack(self) -> u128 {
        pack_index(self.free) | (u128::from(self.next) & mask(32)) << 24
    }

    #[inline]
    fn unpack(bits: u128) -> Room {
        Room { free: unpack_index(bits), next: (bits >> 24 & mask(32)) as u32 }
    }
}

/// The first account of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket(pub(super) Index);

impl Value for Bucket {
    #[inline]
    fn pack(self) -> u128 {
        pack_index(self.0)
    }

    #[inline]
    fn unpack(bits: u128) -> Bucket {
        Bucket(unpack_index(bits))
    }
}

/// Eight letters of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letters(pub(super) [u8; 8]);

impl Value for Letters {
    #[inline]
    fn pack(self) -> u128 {
        u64::from_le_bytes(self.0).into()
    }

    #[inline]
    fn unpack(bits: u128) -> Letters {
        Letters((bits as u64).to_le_bytes())
    }
}
