//! Transfers: several cells changed as one, whoever is killed or stopped meanwhile.
//!
//! The commit word names the last transfer: its version, and the descriptor that says
//! what it writes. Changing that word is the transfer; writing the cells is work
//! that anybody can finish, and that everybody finishes who wants to go on.
//!
//! Invariant: whoever writes the commit word has seen the transfer before it finished.
//! So at most one is half-way, the one that the commit word names.

use std::sync::atomic::Ordering;

use super::Counters;
use super::cell::{Cell, Memory, Offset, VALUE, Word, tag, tagged};
use super::layout::{self, ENTRIES, damaged, descriptor, slot};
use super::value::{ASKED, Number, Pool, STOCK, STOCK_BITS, Slot, Value};
use super::{Attempts, mutated};
use crate::error::{Error, Result};

/// That the transfer which the commit word names was finished; only
/// [`Counters::help`] says so. What is read from now on is of that transfer or a later
/// one, and in the second case nothing that was derived from it can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Helped {
    commit: u64,
}

/// The cells that are to change, and how.
#[derive(Debug)]
pub(super) struct Transfer {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: Kind,
    at: Offset,
    value: u128,
    /// What the cell was, if that is known: it saves a look, and no more.
    was: Option<u128>,
}

/// What an entry does to its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Writes the value.
    Set,
    /// Takes the stock of a slot. The owner may change it until the instant that this
    /// is done, so what it was is known only then: `stock` stays as the record. The
    /// value is the version of the transfer that had given the stock. Always the first.
    Drain,
    /// The value, a pool, with the record of the drained slot added.
    PoolOut,
    /// At least the value, less the least stock that the drained slot had.
    MostOut,
    /// At most the value, less the most.
    LeastOut,
}

const KINDS: [Kind; 5] = [Kind::Set, Kind::Drain, Kind::PoolOut, Kind::MostOut, Kind::LeastOut];

impl Transfer {
    pub(super) const fn new() -> Transfer {
        Transfer { entries: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    #[inline]
    pub(super) fn set(&mut self, at: Offset, value: impl Value) -> Result<()> {
        self.push(Kind::Set, at, value.pack(), None)
    }

    /// The same for a cell that was read.
    #[inline]
    pub(super) fn change(&mut self, at: Offset, was: u128, value: impl Value) -> Result<()> {
        self.push(Kind::Set, at, value.pack(), Some(was))
    }

    /// Takes the stock of a slot that was given by the transfer of this version.
    pub(super) fn drain(&mut self, slot: Offset, version: u64) -> Result<()> {
        self.push(Kind::Drain, slot, version.into(), None)
    }

    pub(super) fn pool_out(&mut self, at: Offset, pool: Pool) -> Result<()> {
        self.push(Kind::PoolOut, at, pool.pack(), None)
    }

    pub(super) fn most_out(&mut self, at: Offset, reserved: i64) -> Result<()> {
        self.push(Kind::MostOut, at, Number(reserved).pack(), None)
    }

    pub(super) fn least_out(&mut self, at: Offset, reserved: i64) -> Result<()> {
        self.push(Kind::LeastOut, at, Number(reserved).pack(), None)
    }

    #[inline]
    fn push(&mut self, kind: Kind, at: Offset, value: u128, was: Option<u128>) -> Result<()> {
        if self.entries.len() >= ENTRIES {
            let why = format!("too many levels and resources for one step: {ENTRIES} counters can change at once");
            return Err(Error::new(libc::E2BIG, why));
        }
        self.entries.push(Entry { kind, at, value, was });
        Ok(())
    }
}

/// The commit word: version above, descriptor in the low 12 bits.
const PUBLISHER_BITS: u32 = 12;

#[inline]
fn version_of(commit: u64) -> u64 {
    commit >> PUBLISHER_BITS
}

#[inline]
fn publisher_of(commit: u64) -> u32 {
    (commit & ((1 << PUBLISHER_BITS) - 1)) as u32
}

impl<M: Memory> Counters<M> {
    /// Finishes the transfer that the commit word names. It was finished already, most
    /// of the time.
    #[inline]
    pub(super) fn help(&self) -> Result<Helped> {
        let commit = self.memory.word(layout::COMMIT).load(Ordering::SeqCst);
        self.finish(commit)?;
        Ok(Helped { commit })
    }

    /// Whether nothing was changed by a transfer since.
    #[inline]
    pub(super) fn is_current(&self, helped: Helped) -> bool {
        mutated(6) || self.memory.word(layout::COMMIT).load(Ordering::SeqCst) == helped.commit
    }

    /// Makes a transfer, if there was none since `helped`; all that it says must have
    /// been computed from cells read after that. `publisher` is the caller's own
    /// descriptor.
    #[inline]
    pub(super) fn publish(&self, publisher: u32, helped: Helped, transfer: &Transfer) -> Result<bool> {
        let at = self.layout.descriptor(publisher)?;
        let word = |offset: usize| self.memory.word(at + offset);
        let version = version_of(helped.commit) + 1;
        // A seqlock: whoever copies the entries while they change sees that in the
        // version. They are no longer needed: the last transfer of this descriptor was
        // finished, by us or by whoever wrote the commit word after it.
        word(descriptor::VERSION).store(0, Ordering::Relaxed);
        self.memory.fence(Ordering::Release);
        word(descriptor::COUNT).store(transfer.entries.len() as u64, Ordering::Relaxed);
        for (place, entry) in transfer.entries.iter().enumerate() {
            let entry_at = descriptor::ENTRIES + place * 24;
            word(entry_at).store(entry.at as u64 | entry.kind as u64, Ordering::Relaxed);
            word(entry_at + 8).store(entry.value as u64, Ordering::Relaxed);
            word(entry_at + 16).store((entry.value >> 64) as u64, Ordering::Relaxed);
        }
        word(descriptor::VERSION).store(version, Ordering::Release);
        let commit = version << PUBLISHER_BITS | u64::from(publisher);
        // The instant at which the transfer happens.
        if self.memory.word(layout::COMMIT).compare_exchange(helped.commit, commit).is_err() {
            return Ok(false);
        }
        // It is made, whatever comes of this; what is damaged the next to help will say.
        let _ = self.write_all(version, transfer.entries.iter().copied().map(Ok));
        Ok(true)
    }

    /// Writes the cells of a transfer that was committed. On return, if the commit word
    /// is still this one, each of them has its tag or a later one.
    fn finish(&self, commit: u64) -> Result<()> {
        let version = version_of(commit);
        if self.memory.word(layout::DONE).load(Ordering::Acquire) >= version {
            return Ok(());
        }
        let at = self.layout.descriptor(publisher_of(commit))?;
        let word = |offset: usize| self.memory.word(at + offset);
        // The publisher has gone on, so this one is finished.
        if word(descriptor::VERSION).load(Ordering::Acquire) != version {
            return Ok(());
        }
        let count = word(descriptor::COUNT).load(Ordering::Relaxed) as usize;
        if count > ENTRIES {
            return Err(damaged("a transfer is too long"));
        }
        let copy = |place: usize| {
            let entry_at = descriptor::ENTRIES + place * 24;
            let half = |offset| u128::from(word(entry_at + offset).load(Ordering::Relaxed));
            (word(entry_at).load(Ordering::Relaxed), half(8) | half(16) << 64)
        };
        // Most have no more than these: no memory need be asked for.
        let mut few = [(0, 0); 16];
        let mut many = Vec::new();
        let entries = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, (0, 0));
                &mut many[..]
            }
        };
        for (place, entry) in entries.iter_mut().enumerate() {
            *entry = copy(place);
        }
        self.memory.fence(Ordering::Acquire);
        if !mutated(5) && word(descriptor::VERSION).load(Ordering::Relaxed) != version {
            return Ok(());
        }
        self.write_all(version, entries.iter().map(|&(place, value)| self.entry(place, value)))
    }

    /// An entry as a descriptor says it: whoever wrote that may have been anybody.
    fn entry(&self, place: u64, value: u128) -> Result<Entry> {
        let kind = KINDS.get((place & 15) as usize).ok_or_else(|| damaged("a transfer of no known kind"))?;
        let at = place & !15;
        let is_there = if *kind == Kind::Drain { self.layout.has_slot(at) } else { self.layout.has_cell(at) };
        if !is_there {
            return Err(damaged("a transfer to nowhere"));
        }
        Ok(Entry { kind: *kind, at: at as Offset, value, was: None })
    }

    #[inline]
    fn write_all(&self, version: u64, entries: impl Iterator<Item = Result<Entry>>) -> Result<()> {
        let mut drained = None;
        for entry in entries {
            let entry = entry?;
            if entry.kind == Kind::Drain {
                drained = Some(entry);
            }
            if !self.write(entry, version, drained)? {
                return Ok(());
            }
        }
        // A hint that saves the work. Whoever was stopped here may set it back; it is
        // never above what is true.
        self.memory.word(layout::DONE).store(version, Ordering::Release);
        Ok(())
    }

    /// Writes one cell, unless it has been. `false`: the transfer was finished long ago.
    #[inline]
    fn write(&self, entry: Entry, version: u64, drained: Option<Entry>) -> Result<bool> {
        let cell = self.memory.cell(entry.at);
        let mut attempts = Attempts::new();
        let mut now = entry.was.unwrap_or_else(|| cell.load());
        loop {
            if tag(now) == version || !mutated(1) && tag(now) > version {
                return Ok(true);
            }
            let value = match entry.kind {
                Kind::Set => entry.value,
                Kind::Drain => {
                    let slot = Slot::unpack(now);
                    Slot { fast: mutated(7), ..slot }.pack()
                }
                Kind::PoolOut | Kind::MostOut | Kind::LeastOut => {
                    let Some(drained) = drained else { return Err(damaged("a transfer out of no slot")) };
                    let Some(taken) = self.taken_from(drained, version) else { return Ok(false) };
                    taken.value(entry, now)
                }
            };
            match cell.compare_exchange(now, tagged(value, version)) {
                Ok(()) => return Ok(true),
                Err(other) => now = other,
            }
            // The slot's owner may always be quicker: not when it is asked to help, too.
            if entry.kind == Kind::Drain && tag(now) < version {
                cell.set_low(ASKED);
                now = cell.load();
            }
            attempts.next()?;
        }
    }

    /// What the slot had that this transfer drained; `None` if a later one wrote it.
    fn taken_from(&self, drained: Entry, version: u64) -> Option<Taken> {
        let record = self.memory.cell(drained.at).load();
        if tag(record) != version {
            return None;
        }
        let stock = i64::from(Slot::unpack(record).stock);
        // A mark of an earlier time has another version. Its owner may have been stopped before it set the
        // mark of its last charge; the record says the same.
        let mark = |offset: usize| {
            let mark = self.memory.word(drained.at + offset).load(Ordering::Relaxed);
            (mark >> STOCK_BITS == drained.value as u64 & MARK_VERSION).then_some((mark & STOCK) as i64)
        };
        Some(Taken {
            stock,
            least: mark(slot::LEAST_STOCK).map_or(stock, |least| least.min(stock)),
            most: mark(slot::MOST_STOCK).map_or(stock, |most| most.max(stock)),
        })
    }
}

/// The bits of a version that a mark of stock has beside it.
pub(super) const MARK_VERSION: u64 = (1 << (64 - STOCK_BITS)) - 1;

/// What a slot had until it was drained.
struct Taken {
    stock: i64,
    least: i64,
    most: i64,
}

impl Taken {
    fn value(&self, entry: Entry, now: u128) -> u128 {
        let was = Number::unpack(now & VALUE).0;
        let reserved = Number::unpack(entry.value).0;
        match entry.kind {
            Kind::PoolOut => {
                let pool = Pool::unpack(entry.value);
                Pool { free: pool.free.wrapping_add(self.stock), ..pool }.pack()
            }
            Kind::MostOut => Number(was.max(reserved.wrapping_sub(self.least))).pack(),
            _ => Number(was.min(reserved.wrapping_sub(self.most).max(0))).pack(),
        }
    }
}
