//! The quick way: the whole charge is one compare-and-swap on a line that no other
//! process writes.
//!
//! A thread remembers the slots that it has stock in, and their low halves as it left
//! them. Only the thread itself gives a slot stock again; so if the low half is still
//! what it remembers, nobody has drained the slot, and all levels were charged beforehand.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::Counters;
use super::cell::{Memory, Offset};
use super::holder::Descriptor;
use super::layout::slot;
use super::mapping::Mapping;
use super::region::Region;
use super::transfer::MARK_VERSION;
use super::value::{ASKED, FAST, STOCK, STOCK_BITS};
use crate::error::{Error, Result};
use crate::sys::fork::Origin;

/// Charges, if the thread has stock for it. `key` is what this process calls the account;
/// 0 is none. `false`: go the long way.
#[inline]
pub(crate) fn charge_quickly(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change(key, Way::Charge, amount)).unwrap_or(false)
}

/// Takes back, if that only fills the thread's stock, and not too much.
#[inline]
pub(crate) fn uncharge_quickly(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change(key, Way::Uncharge, amount)).unwrap_or(false)
}

#[derive(Clone, Copy)]
enum Way {
    Charge,
    Uncharge,
}

/// What a thread remembers, for its own eyes.
struct Quick {
    /// The process that it is true in, not the children that it forks.
    origin: Cell<Option<Origin>>,
    places: [Place; PLACES],
}

const PLACES: usize = 64;

/// The key of a place that remembers nothing: 0 is what callers have who know no key.
const NOBODY: u64 = u64::MAX;

/// One slot.
struct Place {
    key: Cell<u64>,
    /// The low half of the slot.
    word: Cell<*const AtomicU64>,
    /// What it is, as the last charge and the last uncharge left it for the other. Two, so
    /// that nothing need be stored when they take turns: a locked operation waits for
    /// the stores before it, which costs as much as the operation.
    low: [Cell<u64>; 2],
    /// As much stock as it may have: no more than is held, and not too much.
    most: Cell<u64>,
    /// The marks of stock in the region, and the version that goes with them.
    marks: Cell<[*const AtomicU64; 2]>,
    version: Cell<u64>,
    least_seen: Cell<u64>,
    most_seen: Cell<u64>,
}

thread_local! {
    static QUICK: Quick = const {
        Quick {
            origin: Cell::new(None),
            places: [const {
                Place {
                    key: Cell::new(NOBODY),
                    word: Cell::new(ptr::null()),
                    low: [const { Cell::new(0) }; 2],
                    most: Cell::new(0),
                    marks: Cell::new([ptr::null(); 2]),
                    version: Cell::new(0),
                    least_seen: Cell::new(0),
                    most_seen: Cell::new(0),
                }
            }; PLACES],
        }
    };

    /// The descriptors that this thread has.
    static SEATS: Seats = const { Seats(RefCell::new(Vec::new())) };
}

impl Quick {
    #[inline]
    fn change(&self, key: u64, way: Way, amount: u64) -> bool {
        let place = self.place(key);
        if place.key.get() != key || self.origin.get() != Some(Origin::here()) {
            return false;
        }
        let (expected, others) = match way {
            Way::Charge => (&place.low[0], &place.low[1]),
            Way::Uncharge => (&place.low[1], &place.low[0]),
        };
        let mut low = expected.get();
        // The second time with what was found the first time.
        for _ in 0..2 {
            let Some(new) = place.after(way, low, amount) else { return false };
            // SAFETY: the word is within a mapping that one of this thread's seats keeps;
            // a seat's places are forgotten before it goes.
            let word = unsafe { &*place.word.get() };
            match word.compare_exchange(low, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    if others.get() != new {
                        others.set(new);
                    }
                    place.see(new & STOCK);
                    return true;
                }
                // Drained, or somebody tries to.
                Err(found) if found & FAST == 0 || found & ASKED != 0 => {
                    place.key.set(NOBODY);
                    return false;
                }
                Err(found) => low = found,
            }
            expected.set(low);
        }
        false
    }

    #[inline]
    fn place(&self, key: u64) -> &Place {
        // Handles are numbered from 1 on above 16 bits, resources below.
        &self.places[(key >> 16 ^ key.wrapping_mul(5)) as usize % PLACES]
    }

    fn forget(&self, which: impl Fn(&Place) -> bool) {
        for place in self.places.iter().filter(|place| which(place)) {
            place.key.set(NOBODY);
            place.word.set(ptr::null());
        }
    }
}

impl Place {
    #[inline]
    fn after(&self, way: Way, low: u64, amount: u64) -> Option<u64> {
        let stock = low & STOCK;
        match way {
            Way::Charge => (amount <= stock).then(|| low - amount),
            Way::Uncharge => (amount <= self.most.get() && stock <= self.most.get() - amount).then(|| low + amount),
        }
    }

    #[inline]
    fn see(&self, stock: u64) {
        if stock < self.least_seen.get() {
            self.mark(0, &self.least_seen, stock);
        } else if stock > self.most_seen.get() {
            self.mark(1, &self.most_seen, stock);
        }
    }

    /// Tells whoever drains the slot how much of its stock was used at most, or how
    /// little. After the charge: if the thread is killed in between, the slot itself says it.
    #[cold]
    fn mark(&self, which: usize, seen: &Cell<u64>, stock: u64) {
        seen.set(stock);
        let mark = self.marks.get()[which];
        // SAFETY: as the word.
        unsafe { &*mark }.store((self.version.get() & MARK_VERSION) << STOCK_BITS | stock, Ordering::Relaxed);
    }
}

/// A thread's descriptor in a region.
struct Seat {
    counters: Arc<Counters<Mapping>>,
    /// As long as somebody has a handle on it.
    region: Weak<Region>,
    descriptor: Box<Descriptor>,
    origin: Origin,
}

impl Seat {
    /// Of this process, not of one that forked it.
    fn is_ours(&self) -> bool {
        self.origin.is_here()
    }

    fn leave(&self) {
        let _ = QUICK.try_with(|quick| quick.forget(|place| self.counters.memory.has(place.word.get())));
        if self.is_ours() {
            self.descriptor.leave(&self.counters);
        }
    }
}

struct Seats(RefCell<Vec<Seat>>);

impl Drop for Seats {
    fn drop(&mut self) {
        self.0.get_mut().iter().for_each(Seat::leave);
    }
}

impl Region {
    /// Does something with the calling thread's descriptor, which it gets if it has none.
    pub(super) fn with_descriptor<T>(
        self: &Arc<Region>,
        act: impl FnOnce(&Counters<Mapping>, &mut Descriptor) -> Result<T>,
    ) -> Result<T> {
        let ended = |_| Error::new(libc::ENOTRECOVERABLE, "the thread is ending: it can count no more");
        SEATS.try_with(|seats| self.seated(seats, act)).map_err(ended)?
    }

    fn seated<T>(
        self: &Arc<Region>,
        seats: &Seats,
        act: impl FnOnce(&Counters<Mapping>, &mut Descriptor) -> Result<T>,
    ) -> Result<T> {
        let Ok(mut seats) = seats.0.try_borrow_mut() else {
            return Err(Error::new(libc::EDEADLK, "a signal handler cannot charge: it may have interrupted a charge"));
        };
        let is_this = |seat: &Seat| Arc::ptr_eq(&seat.counters, self.counters()) && seat.is_ours();
        let at = match seats.iter().position(is_this) {
            Some(at) => at,
            None => {
                // Those that nobody has a handle on any more, and those of before a fork.
                seats.retain(|seat| {
                    let stays = seat.is_ours() && seat.region.strong_count() > 0;
                    if !stays {
                        seat.leave();
                    }
                    stays
                });
                let origin = Origin::here();
                let descriptor = Box::new(self.counters().claim(self.image()?)?);
                seats.push(Seat {
                    counters: Arc::clone(self.counters()),
                    region: Arc::downgrade(self),
                    descriptor,
                    origin,
                });
                seats.len() - 1
            }
        };
        match seats.get_mut(at) {
            Some(seat) => act(&seat.counters, &mut seat.descriptor),
            None => Err(Error::new(libc::ENOTRECOVERABLE, "a descriptor was lost")),
        }
    }
}

impl Counters<Mapping> {
    /// The low half of a slot, and its marks.
    fn quick_words(&self, slot: Offset) -> [*const AtomicU64; 3] {
        [slot::VALUE, slot::LEAST_STOCK, slot::MOST_STOCK].map(|word| ptr::from_ref(self.memory.word(slot + word)))
    }

    /// As much stock as a slot of an account may have.
    fn most_stock(&self, account: u32) -> Result<u64> {
        Ok(2 << self.link(self.level(account)?).batch.min(STOCK_BITS as u8 - 2))
    }
}

/// Remembers a slot of the calling thread's under a key, if it has stock.
pub(super) fn remember(counters: &Counters<Mapping>, key: u64, descriptor: &Descriptor, account: u32) -> Result<()> {
    let Some(found) = counters.slot_of(descriptor, account)? else { return Ok(()) };
    // What is remembered of a slot that lost its stock finds that out by itself.
    if !found.value.fast {
        return Ok(());
    }
    let [word, least, most] = counters.quick_words(found.at);
    let most_stock = counters.most_stock(account)?.min(found.value.reserve);
    let _ = QUICK.try_with(|quick| {
        let place = quick.place(key);
        // One key for a slot: what is remembered of it is remembered once.
        if ptr::eq(place.word.get(), word) {
            place.key.set(NOBODY);
        } else {
            quick.forget(|place| ptr::eq(place.word.get(), word));
        }
        if key == 0 {
            return;
        }
        let origin = Origin::here();
        if quick.origin.replace(Some(origin)) != Some(origin) {
            quick.forget(|_| true);
        }
        let stock = u64::from(found.value.stock);
        place.word.set(word);
        place.low.iter().for_each(|low| low.set(found.value.low()));
        place.most.set(most_stock);
        place.marks.set([least, most]);
        place.version.set(found.version);
        place.least_seen.set(stock);
        place.most_seen.set(stock);
        place.key.set(key);
    });
    Ok(())
}
