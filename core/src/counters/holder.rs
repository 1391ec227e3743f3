//! Who takes part: a descriptor for each thread, with the slots that it has charged.
//!
//! A descriptor is owned by a thread of a process, one after the other. Its owner is a
//! word of its own, changed by compare-and-swap, since without a descriptor nobody can
//! make a transfer; the list of slots is a cell and says of which owner it is. So when
//! a dead owner's descriptor is taken over, what is in its slots is nobody's until it
//! has been given back, and anybody may do that, even while the new owner is stopped.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::account::Levels;
use super::cell::{Cell, Memory, Offset, Word};
use super::layout::{self, FAST_PLACES, Layout, descriptor, slot};
use super::transfer::{Helped, Transfer};
use super::value::{GENERATIONS, List, Number, Owner, Room, Slot, Value};
use super::{Attempts, Counters, mutated};
use crate::error::{Error, Result};

/// A process, as everybody in its pid and time namespace sees it: 22 bits of its
/// number, 8 of the boot's id, and 34 of its start time, in ticks (five years). Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process(pub(crate) u64);

const PID_BITS: u32 = 22;

impl Process {
    pub(crate) fn new(pid: i32, boot: u8, start_time: u64) -> Process {
        Process(start_time << (PID_BITS + 8) | u64::from(boot) << PID_BITS | pid as u64 & ((1 << PID_BITS) - 1))
    }

    /// A few bits of the id of the boot that it ran in.
    pub(crate) fn boot(self) -> u8 {
        (self.0 >> PID_BITS) as u8
    }

    pub(crate) fn pid(self) -> i32 {
        (self.0 & ((1 << PID_BITS) - 1)) as i32
    }
}

/// A program that a process runs: it loses its mappings when it executes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) process: Process,
    /// Different after an exec; 31 bits.
    pub(crate) program: u32,
}

/// Who has a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    image: Image,
    /// No thread has it any more; what its slots hold is the process's still.
    left: bool,
    generation: u32,
}

impl Holder {
    #[inline]
    fn pack(self) -> u128 {
        u128::from(self.image.process.0)
            | u128::from(self.image.program & 0x7fff_ffff) << 64
            | u128::from(self.left) << 95
            | u128::from(self.generation) << 96
    }

    /// `None`: nobody.
    #[inline]
    fn unpack(bits: u128) -> Option<Holder> {
        if bits as u64 == 0 {
            return None;
        }
        let image = Image { process: Process(bits as u64), program: (bits >> 64 & 0x7fff_ffff) as u32 };
        Some(Holder { image, left: bits >> 95 & 1 != 0, generation: (bits >> 96) as u32 % GENERATIONS })
    }
}

/// A descriptor that the calling thread has.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(super) index: u32,
    at: Offset,
    holder: Holder,
    /// The slots that it has, by account.
    slots: HashMap<u32, Own>,
    /// The one that was asked for last, which is the next most of the time.
    last: Option<(u32, Own)>,
    /// In which slots it may have stock, as the region says too; and which is the next to give way.
    fast: Vec<Option<u32>>,
    next_fast: usize,
    pub(super) transfer: Transfer,
    /// Kept for its memory.
    pub(super) levels: Levels,
}

impl Descriptor {
    /// For the thread that ends.
    pub(crate) fn leave<M: Memory>(&self, counters: &Counters<M>) {
        let cell = counters.memory.cell(self.at + descriptor::HOLDER);
        let list = List::unpack(counters.memory.cell(self.at + descriptor::LIST).load());
        let to = match list.head {
            None => 0,
            Some(_) => Holder { left: true, ..self.holder }.pack(),
        };
        // Nobody else changes it while its owner lives.
        let _ = cell.compare_exchange(self.holder.pack(), to);
    }

    /// Whether the region says that it is the caller's still. It is not if the process
    /// was taken for dead: it was restored from an image, and has another start time.
    #[inline]
    pub(crate) fn is_held<M: Memory>(&self, counters: &Counters<M>) -> bool {
        counters.memory.cell(self.at + descriptor::HOLDER).load() == self.holder.pack()
    }

    /// Which program of which process.
    pub(super) fn image(&self) -> Image {
        self.holder.image
    }
}

/// A slot of the thread's own.
#[derive(Clone, Copy, Debug)]
struct Own {
    slot: u32,
    /// How often it went the long way.
    times: u32,
}

/// So often must a slot go the long way until it is given stock: who charges now and then
/// keeps none from others, and what was held at most is known exactly.
const SELDOM: u32 = 16;

impl Descriptor {
    /// Counts that the slot which was asked for last goes the long way. Whether it does often.
    #[inline]
    pub(super) fn is_busy(&mut self) -> bool {
        let Some((_, own)) = &mut self.last else { return false };
        own.times = own.times.saturating_add(1);
        own.times > SELDOM
    }

    #[inline]
    fn own(&mut self, account: u32) -> Option<u32> {
        if let Some((last, own)) = self.last {
            if last == account {
                return Some(own.slot);
            }
            self.slots.insert(last, own);
        }
        let own = *self.slots.get(&account)?;
        self.last = Some((account, own));
        Some(own.slot)
    }
}

#[cfg(test)]
impl Descriptor {
    /// As if all its slots had gone the long way often.
    pub(super) fn seem_busy(&mut self) {
        let last = self.last.as_mut().map(|(_, own)| own);
        self.slots.values_mut().chain(last).for_each(|own| own.times = SELDOM);
    }
}

/// A slot as it was found, with all that a change of it needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) slot: u32,
    pub(super) at: Offset,
    pub(super) account: u32,
    pub(super) value: Slot,
    pub(super) version: u64,
    /// The cell with its tag.
    pub(super) cell: u128,
}

impl<M: Memory> Counters<M> {
    /// A descriptor for the calling thread: one that a thread of the same process left,
    /// or that the process had before it executed another program, with what it holds;
    /// else a free one; else a dead process's.
    ///
    /// ENOSPC: all are in use by threads that live.
    pub(crate) fn claim(&self, image: Image) -> Result<Descriptor> {
        let known = self.descriptors();
        for index in 0..known {
            let Some(holder) = self.holder(index)? else { continue };
            let is_ours = holder.image.process == image.process;
            if is_ours && (holder.left || holder.image.program != image.program) {
                let mine = Holder { image, left: false, ..holder };
                if let Some(claimed) = self.take(index, holder.pack(), mine)? {
                    return Ok(claimed);
                }
            }
        }
        let dead = self.dead_among(0..known)?;
        let free = (0..known).filter(|index| matches!(self.holder(*index), Ok(None)));
        // Before another page is taken: what was given back, and what the dead left.
        let candidates = free.chain(dead.iter().map(|(index, _)| *index)).chain(known..self.layout.descriptors);
        for index in candidates {
            if let Some(claimed) = self.take_over(index, image)? {
                return Ok(claimed);
            }
        }
        let why = format!("{} threads are counting in this hierarchy already", self.layout.descriptors);
        Err(Error::new(libc::ENOSPC, why))
    }

    /// Takes a descriptor that is free, or whose owner is dead.
    fn take_over(&self, index: u32, image: Image) -> Result<Option<Descriptor>> {
        let at = self.layout.descriptor(index)?;
        self.memory.allocate(at, Layout::DESCRIPTOR)?;
        // So that the list is what the dead owner's last transfer made it.
        self.help()?;
        let was = self.memory.cell(at + descriptor::HOLDER).load();
        if let Some(holder) = Holder::unpack(was)
            && !self.is_dead(holder)
        {
            return Ok(None);
        }
        let list = List::unpack(self.memory.cell(at + descriptor::LIST).load());
        // Another than that of the list, so that what is in it is not taken for ours.
        let generation = (list.generation + 1) % GENERATIONS;
        self.take(index, was, Holder { image, left: false, generation })
    }

    fn take(&self, index: u32, was: u128, holder: Holder) -> Result<Option<Descriptor>> {
        let at = self.layout.descriptor(index)?;
        self.memory.word(layout::DESCRIPTORS).fetch_max(u64::from(index) + 1);
        if self.memory.cell(at + descriptor::HOLDER).compare_exchange(was, holder.pack()).is_err() {
            return Ok(None);
        }
        let mut claimed = Descriptor {
            index,
            at,
            holder,
            slots: HashMap::new(),
            last: None,
            fast: Vec::new(),
            next_fast: 0,
            transfer: Transfer::new(),
            levels: Levels::new(),
        };
        self.empty_leftovers(&mut claimed, index)?;
        for slot in self.slots_of(index, |_| true)? {
            claimed.slots.insert(slot.account, Own { slot: slot.slot, times: 0 });
        }
        claimed.fast = self.fast_places(index)?.collect();
        Ok(Some(claimed))
    }

    /// The slots that a descriptor may have stock in.
    fn fast_places(&self, index: u32) -> Result<impl Iterator<Item = Option<u32>>> {
        let at = self.layout.descriptor(index)? + descriptor::FAST;
        let place = move |place: usize| self.memory.word(at + place * 8).load(Ordering::Acquire) as u32;
        Ok((0..FAST_PLACES).map(move |number| place(number).checked_sub(1)))
    }

    fn holder(&self, index: u32) -> Result<Option<Holder>> {
        let at = self.layout.descriptor(index)?;
        Ok(Holder::unpack(self.memory.cell(at + descriptor::HOLDER).load()))
    }

    fn list(&self, index: u32) -> Result<List> {
        let at = self.layout.descriptor(index)?;
        Ok(List::unpack(self.memory.cell(at + descriptor::LIST).load()))
    }

    fn is_dead(&self, holder: Holder) -> bool {
        self.memory.dead(&[holder.image.process]).first().copied().unwrap_or(false)
    }

    /// Which descriptors are dead processes', and whose.
    fn dead_among(&self, indices: std::ops::Range<u32>) -> Result<Vec<(u32, Holder)>> {
        let mut holders = Vec::new();
        for index in indices {
            if let Some(holder) = self.holder(index)? {
                holders.push((index, holder));
            }
        }
        let mut processes: Vec<Process> = holders.iter().map(|(_, holder)| holder.image.process).collect();
        processes.sort_unstable_by_key(|process| process.0);
        processes.dedup();
        let dead = self.memory.dead(&processes);
        holders.retain(|(_, holder)| {
            let at = processes.binary_search_by_key(&holder.image.process.0, |process| process.0);
            at.ok().and_then(|at| dead.get(at)).copied().unwrap_or(false)
        });
        Ok(holders)
    }

    /// How many slots of dead processes were ever given back.
    #[inline]
    pub(super) fn retired(&self) -> i64 {
        Number::unpack(self.memory.cell(layout::RETIRED).load()).0
    }

    /// Gives back what dead processes held. Whether there was any.
    pub(super) fn retire_the_dead(&self, mine: &mut Descriptor) -> Result<bool> {
        let known = self.descriptors();
        let mut any = false;
        // What a dead owner left in a descriptor that another has taken over since.
        for index in 0..known {
            let list = self.list(index)?;
            let current = self.holder(index)?;
            if list.head.is_some()
                && index != mine.index
                && current.is_none_or(|holder| holder.generation != list.generation)
            {
                self.empty_leftovers(mine, index)?;
                any = true;
            }
        }
        for (index, holder) in self.dead_among(0..known)? {
            if index == mine.index {
                continue;
            }
            if self.list(index)?.head.is_some() {
                any = true;
                self.empty(mine, index, |counters| Ok(counters.holder(index)? == Some(holder)))?;
            }
            // Free, if nobody has taken it over.
            let at = self.layout.descriptor(index)?;
            let _ = self.memory.cell(at + descriptor::HOLDER).compare_exchange(holder.pack(), 0);
        }
        Ok(any)
    }

    /// Gives back what is in the list of a descriptor and not of its present owner.
    fn empty_leftovers(&self, mine: &mut Descriptor, index: u32) -> Result<()> {
        self.empty(mine, index, |counters| {
            let list = counters.list(index)?;
            Ok(counters.holder(index)?.is_none_or(|holder| holder.generation != list.generation))
        })
    }

    /// Gives back slot by slot, as long as they are `still` nobody's: looked at after
    /// the help, so that no transfer of a new owner comes between.
    fn empty(&self, mine: &mut Descriptor, index: u32, still: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let at = self.layout.descriptor(index)?;
        let mut attempts = Attempts::new();
        loop {
            let helped = self.help()?;
            if !mutated(4) && !still(self)? {
                return Ok(());
            }
            let list = self.list(index)?;
            let Some(first) = list.head else { return Ok(()) };
            let found = self.slot(first)?;
            if found.value.fast {
                self.drain(mine, helped, &found, None)?;
            } else {
                let owner = Owner::unpack(self.memory.cell(found.at + slot::OWNER).load());
                let room = Room::unpack(self.memory.cell(layout::SLOT_ROOM).load());
                let retired = self.retired();
                let transfer = &mut mine.transfer;
                transfer.clear();
                transfer.set(layout::RETIRED, Number(retired.wrapping_add(1)))?;
                self.give_back(transfer, found.account, found.value.used())?;
                transfer.set(found.at + slot::VALUE, Slot::EMPTY)?;
                transfer.set(found.at + slot::OWNER, Owner { descriptor: None, account: 0, next: room.free })?;
                transfer.set(layout::SLOT_ROOM, Room { free: Some(first), ..room })?;
                transfer.set(at + descriptor::LIST, List { head: owner.next, ..list })?;
                self.publish(mine.index, helped, transfer)?;
            }
            attempts.next()?;
        }
    }

    /// The slot of an index.
    #[inline]
    pub(super) fn slot(&self, index: u32) -> Result<Found> {
        let at = self.layout.slot(index)?;
        let cell = self.memory.cell(at + slot::VALUE).load();
        let owner = Owner::unpack(self.memory.cell(at + slot::OWNER).load());
        let version = super::cell::tag(cell);
        Ok(Found { slot: index, at, account: owner.account, value: Slot::unpack(cell), version, cell })
    }

    /// The slots of a descriptor that are as wanted. What changes meanwhile is in one
    /// of its states, and at most so many are looked at as there are.
    pub(super) fn slots_of(&self, index: u32, wanted: impl Fn(&Found) -> bool) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut next = self.list(index)?.head;
        for _ in 0..self.layout.slots {
            let Some(at) = next else { break };
            let one = self.slot(at)?;
            next = Owner::unpack(self.memory.cell(one.at + slot::OWNER).load()).next;
            if wanted(&one) {
                found.push(one);
            }
        }
        Ok(found)
    }

    /// The caller's slot for an account; taken if it has none.
    ///
    /// ENOSPC: the region is full.
    pub(super) fn own_slot(&self, mine: &mut Descriptor, account: u32) -> Result<u32> {
        if let Some(slot) = mine.own(account) {
            return Ok(slot);
        }
        let mut attempts = Attempts::new();
        loop {
            let helped = self.help()?;
            let room = Room::unpack(self.memory.cell(layout::SLOT_ROOM).load());
            let list = self.list(mine.index)?;
            let (index, left) = match room.free {
                Some(index) => {
                    let at = self.layout.slot(index)?;
                    (index, Room { free: Owner::unpack(self.memory.cell(at + slot::OWNER).load()).next, ..room })
                }
                None if room.next < self.layout.slots => {
                    self.memory.allocate(self.layout.slot(room.next)?, Layout::SLOT)?;
                    (room.next, Room { next: room.next + 1, ..room })
                }
                None if self.is_current(helped) => {
                    attempts.next()?;
                    if self.retire_the_dead(mine)? {
                        continue;
                    }
                    return Err(Error::new(libc::ENOSPC, "the hierarchy's counters have no room for another holder"));
                }
                None => {
                    attempts.next()?;
                    continue;
                }
            };
            let at = self.layout.slot(index)?;
            let transfer = &mut mine.transfer;
            transfer.clear();
            transfer.set(layout::SLOT_ROOM, left)?;
            transfer.set(at + slot::VALUE, Slot::EMPTY)?;
            transfer.set(at + slot::OWNER, Owner { descriptor: Some(mine.index), account, next: list.head })?;
            let generation = mine.holder.generation;
            transfer.set(mine.at + descriptor::LIST, List { head: Some(index), generation })?;
            if self.publish(mine.index, helped, &mine.transfer)? {
                let own = Own { slot: index, times: 0 };
                mine.slots.insert(account, own);
                mine.last = Some((account, own));
                return Ok(index);
            }
            attempts.next()?;
        }
    }

    /// The caller's slot for an account, if it has one.
    pub(super) fn slot_of(&self, mine: &Descriptor, account: u32) -> Result<Option<Found>> {
        let last = mine.last.as_ref().filter(|(last, _)| *last == account).map(|(_, own)| own);
        last.or_else(|| mine.slots.get(&account)).map(|own| self.slot(own.slot)).transpose()
    }

    /// Sees to it that a slot of the caller's is among those that are looked through
    /// for stock. `false`: another had to give way by a transfer.
    pub(super) fn may_be_fast(&self, mine: &mut Descriptor, helped: Helped, index: u32) -> Result<bool> {
        if mine.fast.contains(&Some(index)) {
            return Ok(true);
        }
        let free = mine.fast.iter().position(Option::is_none);
        let place = free.unwrap_or(mine.next_fast);
        if let Some(other) = mine.fast.get(place).copied().flatten() {
            let other = self.slot(other)?;
            // It may be an entry of a former owner.
            if other.value.fast && mine.slots.get(&other.account).is_some_and(|own| own.slot == other.slot) {
                self.drain(mine, helped, &other, None)?;
                return Ok(false);
            }
        }
        mine.next_fast = (place + 1) % FAST_PLACES;
        if let Some(kept) = mine.fast.get_mut(place) {
            *kept = Some(index);
        }
        // Before the transfer that gives the stock: whoever sees that one sees this.
        let word = self.memory.word(mine.at + descriptor::FAST + place * 8);
        word.store(u64::from(index) + 1, Ordering::Release);
        Ok(true)
    }

    /// A slot with stock of an account, or of one below it, other than the one given.
    pub(super) fn somebody_fast(&self, account: u32, but: Option<u32>) -> Result<Option<Found>> {
        for index in 0..self.descriptors() {
            for slot in self.fast_places(index)?.flatten().filter(|slot| Some(*slot) != but) {
                let slot = self.slot(slot)?;
                if slot.value.fast && self.is_under(slot.account, account)? {
                    return Ok(Some(slot));
                }
            }
        }
        Ok(None)
    }

    /// A slot of the same account in which another thread of the caller's process, or
    /// one that left, holds something.
    pub(super) fn sibling(&self, mine: &Descriptor, account: u32) -> Result<Option<Found>> {
        for index in 0..self.descriptors() {
            let Some(holder) = self.holder(index)? else { continue };
            if index == mine.index || holder.image.process != mine.image().process {
                continue;
            }
            let holds = |slot: &Found| slot.account == account && (slot.value.fast || slot.value.used() > 0);
            // Of a former owner of the descriptor: not this process's.
            if self.list(index)?.generation != holder.generation {
                continue;
            }
            if let Some(found) = self.slots_of(index, holds)?.first() {
                return Ok(Some(*found));
            }
        }
        Ok(None)
    }
}
