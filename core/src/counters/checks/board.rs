//! What the workers of a storm have done for certain, and what they may have done.
//!
//! A worker raises the upper figure before it charges and lowers it after it has given back; the lower figure it
//! raises after it was granted something and lowers before it gives back. So at any instant what is held is between
//! the two, wherever the worker is stopped or killed. The figures of all workers are in one word, so that they can be
//! read at one instant.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub(super) const WORKERS: usize = 4;
pub(super) const RESOURCES: usize = 2;
const BITS: usize = 64 / WORKERS;

/// The most that one worker may hold.
pub(super) const MOST: u64 = (1 << BITS) - 1;

/// All workers' figures of one resource.
#[derive(Debug, Default)]
pub(super) struct Figure(AtomicU64);

#[derive(Debug, Default)]
pub(super) struct Resource {
    pub(super) lower: Figure,
    pub(super) upper: Figure,
    /// How many charges were begun.
    pub(super) starts: AtomicU64,
}

/// Memory that all of a storm share.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) resources: [Resource; RESOURCES],
    pub(super) done: [AtomicU64; WORKERS],
    pub(super) granted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Refusals of which it is certain that they were right.
    pub(super) judged: AtomicU64,
    pub(super) kept_lower: AtomicI64,
    pub(super) kept_upper: AtomicI64,
}

impl Figure {
    /// All of them after the change.
    pub(super) fn raise(&self, worker: usize, amount: u64) -> [u64; WORKERS] {
        let amount = amount << (BITS * worker);
        unpack(self.0.fetch_add(amount, Ordering::SeqCst) + amount)
    }

    pub(super) fn lower(&self, worker: usize, amount: u64) {
        self.0.fetch_sub(amount << (BITS * worker), Ordering::SeqCst);
    }

    pub(super) fn forget(&self, worker: usize) {
        self.0.fetch_and(!(MOST << (BITS * worker)), Ordering::SeqCst);
    }

    pub(super) fn all(&self) -> [u64; WORKERS] {
        unpack(self.0.load(Ordering::SeqCst))
    }
}

fn unpack(word: u64) -> [u64; WORKERS] {
    std::array::from_fn(|worker| word >> (BITS * worker) & MOST)
}

/// A board that forked children share.
pub(super) fn shared() -> &'static Board {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anybody uses.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Board>(), access, kind, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    // SAFETY: large enough, aligned to a page, zeroed, which is a valid board, and never unmapped.
    unsafe { &*start.cast::<Board>() }
}

/// Small numbers without order, the same for the same seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}
