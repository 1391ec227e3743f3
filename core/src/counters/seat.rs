//! Where a thread sits: the descriptors that it has, one in each region, until it ends.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use super::holder::Descriptor;
use super::mapping::Mapping;
use super::region::Region;
use super::{Account, Bound, Counters, Crossed, MOST, Owner, quick};
use crate::error::{Error, Result};
use crate::sys::fork::Origin;

/// The long way of a charge to an account that this thread has charged before: `key` is
/// enough to find it. `None`: it is not known, or the charge was not made; then ask
/// the [`Region`], who says why.
pub(crate) fn charge_known(key: u64, amount: u64, bound: Bound) -> Option<Crossed> {
    if amount > MOST {
        return None;
    }
    with_known(key, |counters, mine, account| {
        let crossed = counters.charge(mine, &[(account, amount)], bound, Owner::Process).ok()?;
        // What was charged was charged.
        let _ = quick::remember(counters, key, mine, account);
        Some(crossed)
    })
}

/// The same for taking back.
pub(crate) fn uncharge_known(key: u64, amount: u64) -> bool {
    if amount > MOST {
        return false;
    }
    let done = with_known(key, |counters, mine, account| {
        counters.uncharge(mine, &[(account, amount)]).ok()?;
        let _ = quick::remember(counters, key, mine, account);
        Some(())
    });
    done.is_some()
}

thread_local! {
    static SEATS: Seats = const { Seats { taken: RefCell::new(Vec::new()), known: [const { Cell::new(Known::NOTHING) }; PLACES] } };
}

struct Seats {
    taken: RefCell<Vec<Seat>>,
    known: [Cell<Known>; PLACES],
}

const PLACES: usize = 64;

/// An account by its key, and in which seat it is charged.
#[derive(Clone, Copy)]
struct Known {
    key: u64,
    seat: usize,
    account: Account,
}

impl Known {
    const NOTHING: Known = Known { key: 0, seat: 0, account: Account::NONE };
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

    /// Whether nobody took the process for dead, and its descriptor from it.
    fn is_held(&self) -> bool {
        self.descriptor.is_held(&self.counters)
    }

    fn leave(&self) {
        quick::forget(&self.counters);
        if self.is_ours() {
            self.descriptor.leave(&self.counters);
        }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        self.taken.get_mut().iter().for_each(Seat::leave);
    }
}

impl Seats {
    fn known(&self, key: u64) -> &Cell<Known> {
        &self.known[(key >> 16 ^ key.wrapping_mul(5)) as usize % PLACES]
    }

    /// The seat in a region, taken if there is none.
    fn seat(&self, taken: &mut Vec<Seat>, region: &Arc<Region>) -> Result<usize> {
        let is_this = |seat: &Seat| Arc::ptr_eq(&seat.counters, region.counters()) && seat.is_ours() && seat.is_held();
        if let Some(at) = taken.iter().position(is_this) {
            return Ok(at);
        }
        // Those that nobody has a handle on any more, those of before a fork, and those that
        // are somebody else's now.
        taken.retain(|seat| {
            let stays = seat.is_ours() && seat.region.strong_count() > 0 && seat.is_held();
            if !stays {
                seat.leave();
            }
            stays
        });
        self.known.iter().for_each(|known| known.set(Known::NOTHING));
        let descriptor = Box::new(region.counters().claim(region.image()?)?);
        let origin = Origin::here();
        let counters = Arc::clone(region.counters());
        taken.push(Seat { counters, region: Arc::downgrade(region), descriptor, origin });
        Ok(taken.len() - 1)
    }
}

impl Region {
    /// Does something with the calling thread's descriptor, which it gets if it has none.
    pub(super) fn with_descriptor<T>(
        self: &Arc<Region>,
        act: impl FnOnce(&Counters<Mapping>, &mut Descriptor) -> Result<T>,
    ) -> Result<T> {
        let ended = |_| Error::new(libc::ENOTRECOVERABLE, "the thread is ending: it can count no more");
        let seated = SEATS.try_with(|seats| {
            let Ok(mut taken) = seats.taken.try_borrow_mut() else {
                return Err(Error::new(
                    libc::EDEADLK,
                    "a signal handler cannot charge: it may have interrupted a charge",
                ));
            };
            let at = seats.seat(&mut taken, self)?;
            match taken.get_mut(at) {
                Some(seat) => {
                    let _pause = quick::pause();
                    act(&seat.counters, &mut seat.descriptor)
                }
                None => Err(Error::new(libc::ENOTRECOVERABLE, "a descriptor was lost")),
            }
        });
        seated.map_err(ended)?
    }

    /// Makes an account known to the calling thread by a key.
    pub(super) fn know(self: &Arc<Region>, key: u64, account: Account) {
        let _ = SEATS.try_with(|seats| {
            let Ok(taken) = seats.taken.try_borrow() else { return };
            let is_this = |seat: &Seat| Arc::ptr_eq(&seat.counters, self.counters());
            if let Some(seat) = taken.iter().position(is_this).filter(|_| key != 0) {
                seats.known(key).set(Known { key, seat, account });
            }
        });
    }
}

fn with_known<T>(key: u64, act: impl FnOnce(&Counters<Mapping>, &mut Descriptor, Account) -> Option<T>) -> Option<T> {
    let known = SEATS.try_with(|seats| {
        let known = seats.known(key).get();
        let mut taken = seats.taken.try_borrow_mut().ok()?;
        let seat = taken
            .get_mut(known.seat)
            .filter(|seat| known.key == key && key != 0 && seat.is_ours() && seat.is_held())?;
        let _pause = quick::pause();
        act(&seat.counters, &mut seat.descriptor, known.account)
    });
    known.ok().flatten()
}
