//! The quick way: the whole charge is one compare-and-swap on a line that no other
//! process writes.
//!
//! A thread remembers the slots that it has stock in, and their low halves as it left
//! them. Only the thread itself gives a slot stock again; so if the low half is still
//! what it remembers, nobody has drained the slot, and all levels were charged beforehand.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cell::{Memory, Offset};
use super::holder::Descriptor;
use super::layout::slot;
use super::mapping::Mapping;
use super::transfer::MARK_VERSION;
use super::value::{ASKED, FAST, STOCK, STOCK_BITS};
use super::{Account, Counters};
use crate::error::Result;
use crate::sys::fork::Origin;

/// Charges, if the thread has stock for it. `key` is what this process calls the account;
/// 0 is none. `false`: go the long way, which begins with [`charge_again`].
///
/// Nothing is called from here, and little is looked at: what a call leaves on the stack
/// has to be written before a locked operation can begin, and costs as much as that.
#[inline(always)]
pub(crate) fn charge_quickly(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change(key, Way::Charge, amount)).unwrap_or(false)
}

/// Takes back, if that only fills the thread's stock, and not too much.
#[inline(always)]
pub(crate) fn uncharge_quickly(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change(key, Way::Uncharge, amount)).unwrap_or(false)
}

/// Once more, with all that the quick way leaves out.
pub(crate) fn charge_again(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change_again(key, Way::Charge, amount)).unwrap_or(false)
}

/// The same for taking back.
pub(crate) fn uncharge_again(key: u64, amount: u64) -> bool {
    QUICK.try_with(|quick| quick.change_again(key, Way::Uncharge, amount)).unwrap_or(false)
}

#[derive(Clone, Copy)]
enum Way {
    Charge,
    Uncharge,
}

/// What a thread remembers, for its own eyes.
struct Quick {
    /// What tells a forked child that nothing of this is true in it, and what it said.
    page: Cell<&'static AtomicU64>,
    origin: Cell<u64>,
    uses_of_others: Cell<u32>,
    /// The first is that of the slot that was remembered last: where it is need not be
    /// worked out. It goes to one of the others when another is remembered.
    places: [Place; 1 + PLACES],
}

const PLACES: usize = 64;

/// The key of a place that remembers nothing: 0 is what callers have who know no key.
const NOBODY: u64 = u64::MAX;

/// What is looked at before there is a page; no key goes with it.
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

/// What is looked at during a pause: no process's origin.
static NO_WAY: AtomicU64 = AtomicU64::new(u64::MAX);

/// One slot.
struct Place {
    key: Cell<u64>,
    /// The low half of the slot.
    word: Cell<*const AtomicU64>,
    /// What it is, as the last charge and the last uncharge left it for the other. Two, so
    /// that nothing need be stored when they take turns: a locked operation waits for
    /// the stores before it, which costs as much as the operation.
    low: [Cell<u64>; 2],
    /// For how many changes more it is remembered for both, since they do not take turns.
    runs: Cell<u32>,
    /// As much stock as it may have: no more than is held, and not too much.
    most: Cell<u64>,
    /// The marks of stock in the region, and the version that goes with them.
    marks: Cell<[*const AtomicU64; 2]>,
    version: Cell<u64>,
    /// The stock was between these. So it may be again, and nothing need be marked.
    least_seen: Cell<u64>,
    range_seen: Cell<u64>,
}

/// Of so many changes of a slot in another place one brings it to the first.
const OFTEN: u32 = 64;

/// Charges without a turn after which it is tried whether they take turns.
const RUNS: u32 = 16;

thread_local! {
    static QUICK: Quick = const {
        Quick {
            page: Cell::new(&NO_PAGE),
            origin: Cell::new(0),
            uses_of_others: Cell::new(0),
            places: [const { Place::nobody() }; 1 + PLACES],
        }
    };
}

impl Quick {
    #[inline(always)]
    fn change(&self, key: u64, way: Way, amount: u64) -> bool {
        let place = &self.places[0];
        // One branch for both.
        let differ = place.key.get() ^ key | self.page.get().load(Ordering::Relaxed) ^ self.origin.get();
        if differ != 0 || amount > STOCK {
            return false;
        }
        let [expected, others] = place.expected(way);
        let low = expected.get();
        let new = match way {
            Way::Charge => low.wrapping_sub(amount),
            Way::Uncharge => low.wrapping_add(amount),
        };
        let stock = match way {
            Way::Charge => (low & STOCK).wrapping_sub(amount),
            Way::Uncharge => (low & STOCK) + amount,
        };
        if stock.wrapping_sub(place.least_seen.get()) > place.range_seen.get() {
            return false;
        }
        // SAFETY: the word is within a mapping that one of this thread's seats keeps;
        // a seat's places are forgotten before it goes.
        let word = unsafe { &*place.word.get() };
        if word.compare_exchange(low, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        if others.get() != new {
            others.set(new);
            if place.runs.get() > 0 {
                place.runs.set(place.runs.get() - 1);
                expected.set(new);
            }
        }
        true
    }

    /// The same for any place, with what the slot is now, and with marks.
    fn change_again(&self, key: u64, way: Way, amount: u64) -> bool {
        let place = self.place(key);
        if place.key.get() != key || self.page.get().load(Ordering::Relaxed) != self.origin.get() {
            return false;
        }
        let [expected, others] = place.expected(way);
        // SAFETY: as above.
        let word = unsafe { &*place.word.get() };
        let mut low = expected.get();
        // The second time with what was found the first time.
        for _ in 0..2 {
            let Some(new) = place.after(way, low, amount) else { return false };
            match word.compare_exchange(low, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    others.set(new);
                    if place.runs.get() > 0 {
                        place.runs.set(place.runs.get() - 1);
                        expected.set(new);
                    }
                    place.see(new & STOCK);
                    self.promote(place);
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
            place.runs.set(RUNS);
        }
        false
    }

    /// Where a key is, or would be but for the first place.
    fn place(&self, key: u64) -> &Place {
        if self.places[0].key.get() == key { &self.places[0] } else { self.usual_place(key) }
    }

    fn usual_place(&self, key: u64) -> &Place {
        // Handles are numbered from 1 on above 16 bits, resources below.
        &self.places[1 + (key >> 16 ^ key.wrapping_mul(5)) as usize % PLACES]
    }

    /// The first place, whoever had it being moved.
    fn make_room(&self) -> &Place {
        let first = &self.places[0];
        if first.key.get() != NOBODY {
            self.usual_place(first.key.get()).become_like(first);
        }
        first
    }

    /// Whoever is used often gets the first place; not at once, as several may take turns.
    fn promote(&self, place: &Place) {
        let uses = self.uses_of_others.get();
        self.uses_of_others.set(uses.wrapping_add(1));
        if uses.is_multiple_of(OFTEN) && !ptr::eq(place, &self.places[0]) {
            let moved = Place::nobody();
            moved.become_like(place);
            place.key.set(NOBODY);
            place.word.set(ptr::null());
            self.make_room().become_like(&moved);
        }
    }

    fn forget(&self, which: impl Fn(&Place) -> bool) {
        for place in self.places.iter().filter(|place| which(place)) {
            place.key.set(NOBODY);
            place.word.set(ptr::null());
        }
    }
}

impl Place {
    const fn nobody() -> Place {
        Place {
            key: Cell::new(NOBODY),
            word: Cell::new(ptr::null()),
            low: [const { Cell::new(0) }; 2],
            runs: Cell::new(0),
            most: Cell::new(0),
            marks: Cell::new([ptr::null(); 2]),
            version: Cell::new(0),
            least_seen: Cell::new(0),
            range_seen: Cell::new(0),
        }
    }

    /// What this way remembers, and the other.
    #[inline(always)]
    fn expected(&self, way: Way) -> [&Cell<u64>; 2] {
        match way {
            Way::Charge => [&self.low[0], &self.low[1]],
            Way::Uncharge => [&self.low[1], &self.low[0]],
        }
    }

    fn become_like(&self, other: &Place) {
        self.key.set(other.key.get());
        self.word.set(other.word.get());
        self.low.iter().zip(&other.low).for_each(|(low, other)| low.set(other.get()));
        self.runs.set(other.runs.get());
        self.most.set(other.most.get());
        self.marks.set(other.marks.get());
        self.version.set(other.version.get());
        self.least_seen.set(other.least_seen.get());
        self.range_seen.set(other.range_seen.get());
    }

    fn after(&self, way: Way, low: u64, amount: u64) -> Option<u64> {
        let stock = low & STOCK;
        match way {
            Way::Charge => (amount <= stock).then(|| low - amount),
            Way::Uncharge => (amount <= self.most.get() && stock <= self.most.get() - amount).then(|| low + amount),
        }
    }

    fn see(&self, stock: u64) {
        let (least, most) = (self.least_seen.get(), self.least_seen.get() + self.range_seen.get());
        if stock < least {
            self.least_seen.set(stock);
            self.range_seen.set(most - stock);
            self.mark(0, stock);
        } else if stock > most {
            self.range_seen.set(stock - least);
            self.mark(1, stock);
        }
    }

    /// Tells whoever drains the slot how much of its stock was used at most, or how
    /// little. After the charge: if the thread is killed in between, the slot itself says it.
    fn mark(&self, which: usize, stock: u64) {
        let mark = self.marks.get()[which];
        // SAFETY: as the word.
        unsafe { &*mark }.store((self.version.get() & MARK_VERSION) << STOCK_BITS | stock, Ordering::Relaxed);
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

/// Makes the calling thread go no quick way until this is dropped, or a slot is remembered
/// anew: a signal handler that interrupts the long way must not change a slot under it.
pub(super) fn pause() -> Pause {
    let was = QUICK.try_with(|quick| quick.page.replace(&NO_WAY)).unwrap_or(&NO_PAGE);
    Pause { was }
}

/// Ends the pause.
pub(super) struct Pause {
    was: &'static AtomicU64,
}

impl Drop for Pause {
    fn drop(&mut self) {
        let _ = QUICK.try_with(|quick| {
            if ptr::eq(quick.page.get(), &NO_WAY) {
                quick.page.set(self.was);
            }
        });
    }
}

/// Forgets what the calling thread remembers of a region.
pub(super) fn forget(counters: &Counters<Mapping>) {
    // At the end of the thread there is nothing left to forget.
    let _ = QUICK.try_with(|quick| quick.forget(|place| counters.memory.has(place.word.get())));
}

/// Remembers a slot of the calling thread's under a key, if it has stock.
pub(super) fn remember(
    counters: &Counters<Mapping>,
    key: u64,
    descriptor: &Descriptor,
    account: Account,
) -> Result<()> {
    let Some(found) = counters.slot_of(descriptor, account.index)? else { return Ok(()) };
    // What is remembered of a slot that lost its stock finds that out by itself.
    if !found.value.fast {
        return Ok(());
    }
    // A removed group's place in the region may be another's by now, with a slot of ours.
    let key = if counters.check(account).is_ok() { key } else { 0 };
    let [word, least, most] = counters.quick_words(found.at);
    let most_stock = counters.most_stock(account.index)?.min(found.value.reserve);
    let _ = QUICK.try_with(|quick| {
        // One key for a slot: what is remembered of it is remembered once.
        quick.forget(|place| ptr::eq(place.word.get(), word));
        if key == 0 {
            return;
        }
        let (page, origin) = Origin::page();
        if quick.origin.replace(origin) != origin {
            quick.forget(|_| true);
        }
        quick.page.set(page);
        let stock = u64::from(found.value.stock);
        let place = quick.make_room();
        place.word.set(word);
        place.low.iter().for_each(|low| low.set(found.value.low()));
        place.runs.set(0);
        place.most.set(most_stock);
        place.marks.set([least, most]);
        place.version.set(found.version);
        place.least_seen.set(stock);
        place.range_seen.set(0);
        place.key.set(key);
    });
    Ok(())
}
