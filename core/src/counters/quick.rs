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
use super::value::{STOCK, STOCK_BITS};
use crate::error::{Error, Result};
use crate::sys::fork::Origin;

/// Charges, if the thread has stock for it. `key` is what this process calls the account;
/// 0 is none. `false`: go the long way.
#[inline]
pub(crate) fn charge_quickly(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change(key, |low, _| (low & STOCK >= amount).then(|| low - amount))).unwrap_or(false)
}

/// Takes back, if that only fills the thread's stock, and not too much.
#[inline]
pub(crate) fn uncharge_quickly(key: u64, amount: u64) -> bool {
    let fits = |low: u64, most: u64| amount <= most && low & STOCK <= most - amount;
    QUICK.try_with(|quick| quick.change(key, |low, most| fits(low, most).then(|| low + amount))).unwrap_or(false)
}

/// What a thread remembers, for its own eyes.
struct Quick {
    /// The process that it is true in, not the children that it forks.
    origin: Cell<Option<Origin>>,
    places: [Place; PLACES],
}

const PLACES: usize = 64;

/// One slot.
struct Place {
    key: Cell<u64>,
    /// The low half of the slot.
    word: Cell<*const AtomicU64>,
    low: Cell<u64>,
    /// As much stock as it may have: no more than is held, and not too much.
    most: Cell<u64>,
    /// The marks of stock in the region, and the version that goes with them.
    marks: Cell<[*const AtomicU64; 2]>,
    version: Cell<u64>,
    least_seen: Cell<u64>,
    most_seen: Cell<u64>,
    /// How often the quick way is gone before a long one: who is drained meanwhile by
    /// somebody whom it always forestalls helps then.
    turns: Cell<u32>,
}

const TURNS: u32 = 256;

thread_local! {
    static QUICK: Quick = const {
        Quick {
            origin: Cell::new(None),
            places: [const {
                Place {
                    key: Cell::new(0),
                    word: Cell::new(ptr::null()),
                    low: Cell::new(0),
                    most: Cell::new(0),
                    marks: Cell::new([ptr::null(); 2]),
                    version: Cell::new(0),
                    least_seen: Cell::new(0),
                    most_seen: Cell::new(0),
                    turns: Cell::new(0),
                }
            }; PLACES],
        }
    };

    /// The descriptors that this thread has.
    static SEATS: Seats = const { Seats(RefCell::new(Vec::new())) };
}

impl Quick {
    #[inline]
    fn change(&self, key: u64, change: impl FnOnce(u64, u64) -> Option<u64>) -> bool {
        let place = self.place(key);
        if place.key.get() != key || self.origin.get() != Some(Origin::here()) {
            return false;
        }
        let low = place.low.get();
        let Some(new) = change(low, place.most.get()) else { return false };
        let turns = place.turns.get();
        if turns == 0 {
            return false;
        }
        place.turns.set(turns - 1);
        // SAFETY: the word is within a mapping that one of this thread's seats keeps; a
        // seat's places are forgotten before it goes.
        let word = unsafe { &*place.word.get() };
        if word.compare_exchange(low, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // It was drained.
            place.key.set(0);
            return false;
        }
        place.low.set(new);
        let stock = new & STOCK;
        if stock < place.least_seen.get() || stock > place.most_seen.get() {
            place.mark(stock);
        }
        true
    }

    fn place(&self, key: u64) -> &Place {
        // Handles are numbered from 1 on above 16 bits, resources below.
        &self.places[(key >> 16 ^ key.wrapping_mul(5)) as usize % PLACES]
    }

    fn forget(&self, which: impl Fn(&Place) -> bool) {
        self.places.iter().filter(|place| which(place)).for_each(|place| place.key.set(0));
    }
}

impl Place {
    /// Tells whoever drains the slot how much of its stock was used at most. After the
    /// charge: a thread that was killed in between has the last one in the slot itself.
    #[cold]
    fn mark(&self, stock: u64) {
        let [least, most] = self.marks.get();
        let (mark, seen) =
            if stock < self.least_seen.get() { (least, &self.least_seen) } else { (most, &self.most_seen) };
        seen.set(stock);
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
    let [word, least, most] = counters.quick_words(found.at);
    let most_stock = counters.most_stock(account)?.min(found.value.reserve);
    let _ = QUICK.try_with(|quick| {
        // One key for a slot: what is remembered of it is remembered once.
        quick.forget(|place| ptr::eq(place.word.get(), word));
        if !found.value.fast || key == 0 {
            return;
        }
        let origin = Origin::here();
        if quick.origin.replace(Some(origin)) != Some(origin) {
            quick.forget(|_| true);
        }
        let place = quick.place(key);
        let stock = u64::from(found.value.stock);
        place.word.set(word);
        place.low.set(found.value.low());
        place.most.set(most_stock);
        place.marks.set([least, most]);
        place.version.set(found.version);
        place.least_seen.set(stock);
        place.most_seen.set(stock);
        place.turns.set(TURNS);
        place.key.set(key);
    });
    Ok(())
}
