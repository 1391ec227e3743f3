//! Charging and taking back, the long way: by transfers.
//!
//! A thread's slot has stock that was charged beforehand at every level, so the quick
//! way (`quick.rs`) changes that one slot. Here stock is given, and taken back from others
//! when somebody's charge needs it: a refusal comes only when nobody has any.

use super::account::{Held, Level, Levels, Standing, UNLIMITED};
use super::cell::{Memory, Word};
use super::holder::{Descriptor, Found};
use super::layout::{account, damaged, slot};
use super::transfer::{Helped, MARK_VERSION};
use super::value::{MOST_FAST, MOST_RESERVE, Number, Pool, STOCK, STOCK_BITS, Slot};
use super::{Account, Attempts, Bound, Counters, Crossed, Owner, Refused, mutated};
use crate::error::{Error, Result};
use std::sync::atomic::Ordering;

/// What comes of a look at one charge.
enum Look {
    /// It fits, and what it changes is in the transfer.
    Fits,
    /// It would if this one had no stock.
    Wants(Found, Level),
    /// It does not fit there, and nobody else has stock.
    Full(Level),
    /// Something else had to be done before.
    Again,
}

/// One charge.
struct Wanted {
    level: Level,
    /// The caller's slot; none for what the group is to keep.
    slot: Option<u32>,
    amount: i64,
    bound: Bound,
    /// Whether others' stock may be taken to be the caller's: once for each charge.
    may_take: bool,
}

/// What becomes of one holder's part of an account.
struct Part {
    /// The slot as it was; none for what the group keeps alone.
    found: Option<Found>,
    /// What the slot holds afterwards, and what it has in stock.
    used: i64,
    stock: i64,
    /// By how much more the group keeps.
    kept: i64,
}

impl<M: Memory> Counters<M> {
    /// Charges all or none.
    pub(crate) fn charge(
        &self,
        mine: &mut Descriptor,
        charges: &[(Account, u64)],
        bound: Bound,
        owner: Owner,
    ) -> std::result::Result<Crossed, Refused> {
        let mut attempts = Attempts::new();
        let mut crossed = Crossed::new();
        let mut may_take = true;
        'again: loop {
            if owner == Owner::Process {
                self.take_slots(mine, charges)?;
            }
            let helped = self.help()?;
            let retired = self.retired();
            mine.transfer.clear();
            crossed.clear();
            attempts.next()?;
            for (which, &(account, amount)) in charges.iter().enumerate() {
                let level = self.check(account)?;
                let slot = match owner {
                    Owner::Process => Some(self.own_slot(mine, account.index)?),
                    Owner::Group => None,
                };
                let wanted = Wanted { level, slot, amount: amount as i64, bound, may_take };
                match self.look(mine, helped, &wanted, |group| crossed.push((which, group)))? {
                    Look::Fits => {}
                    Look::Again => continue 'again,
                    Look::Wants(other, level) => {
                        self.drain(mine, helped, &other, Some(level))?;
                        may_take = false;
                        continue 'again;
                    }
                    Look::Full(level) => {
                        // At that instant nobody else had stock. Whoever lives now lived then; so if
                        // nobody's was given back since, no dead process held anything then.
                        if !self.is_current(helped) || !mutated(3) && self.retire_the_dead(mine)? {
                            continue 'again;
                        }
                        self.help()?;
                        if !mutated(6) && self.retired() != retired {
                            continue 'again;
                        }
                        return Err(Refused::Full { which, group: self.name(level).group });
                    }
                }
            }
            if self.publish(mine.index, helped, &mine.transfer)? {
                return Ok(crossed);
            }
        }
    }

    /// Charges as much as fits at every level, `amount` at most. How much that was.
    pub(crate) fn charge_up_to(
        &self,
        mine: &mut Descriptor,
        account: Account,
        amount: u64,
        bound: Bound,
    ) -> std::result::Result<(u64, Crossed), Refused> {
        let mut attempts = Attempts::new();
        let mut wanted = amount;
        loop {
            match self.charge(mine, &[(account, wanted)], bound, Owner::Process) {
                Ok(crossed) => return Ok((wanted, crossed)),
                Err(Refused::Full { .. }) => {}
                Err(failed) => return Err(failed),
            }
            // What is left was so at one instant; somebody may take it first, or give back.
            wanted = self.left(mine, account, bound)?.min(amount);
            if wanted == 0 {
                return Ok((0, Crossed::new()));
            }
            attempts.next()?;
        }
    }

    /// Takes back, all in one step: what the caller's process holds, then what the group
    /// keeps. What was more than that is not taken, and counted.
    pub(crate) fn uncharge(&self, mine: &mut Descriptor, charges: &[(Account, u64)]) -> Result<()> {
        let mut attempts = Attempts::new();
        'again: loop {
            self.take_slots(mine, charges)?;
            let helped = self.help()?;
            mine.transfer.clear();
            attempts.next()?;
            for &(account, amount) in charges {
                let level = self.check(account)?;
                let found = self.slot(self.own_slot(mine, account.index)?)?;
                let amount = amount as i64;
                let used = found.value.used().clamp(0, amount);
                let mut kept = 0;
                if used < amount {
                    if let Some(sibling) = self.sibling(mine, level.index)? {
                        self.move_here(mine, helped, found, &sibling)?;
                        continue 'again;
                    }
                    kept = self.number(level, account::KEPT).clamp(0, amount - used);
                }
                if used + kept < amount {
                    let underflows = self.number(level, account::UNDERFLOWS);
                    mine.transfer.set(level.at + account::UNDERFLOWS, Number(underflows.wrapping_add(1)))?;
                }
                if let Look::Again = self.look_back(mine, helped, level, found, (used, kept))? {
                    continue 'again;
                }
            }
            if self.publish(mine.index, helped, &mine.transfer)? {
                return Ok(());
            }
        }
    }

    /// Takes slots for these where the caller has none: that is a transfer for each, and
    /// comes before the one that charges.
    #[inline]
    fn take_slots(&self, mine: &mut Descriptor, charges: &[(Account, u64)]) -> Result<()> {
        charges.iter().try_for_each(|(account, _)| self.own_slot(mine, account.index).map(|_| ()))
    }

    /// Adds one charge to the transfer, if it fits everywhere.
    #[inline]
    fn look(
        &self,
        mine: &mut Descriptor,
        helped: Helped,
        wanted: &Wanted,
        mut crosses: impl FnMut(u64),
    ) -> Result<Look> {
        let Wanted { level, slot, amount, bound, may_take } = *wanted;
        let found = slot.map(|slot| self.slot(slot)).transpose()?;
        let value = found.map_or(Slot::EMPTY, |found| found.value);
        let mut levels = std::mem::take(&mut mine.levels);
        self.read_levels(level.index, &mut levels)?;
        // What the levels have to give; what the slot has in stock they gave before.
        let need = amount - value.credit();
        if need > 0 {
            for &Standing { level, pool, floor, .. } in levels.iter() {
                let after = pool.free.wrapping_sub(need);
                let others = i64::from(pool.fast) - i64::from(value.fast);
                let full = match bound {
                    Bound::Limit => after < 0,
                    Bound::Barrier => after < floor,
                    Bound::Never => false,
                };
                if full && (others <= 0 || mutated(2)) {
                    return Ok(Look::Full(level));
                }
                // Whoever has stock may charge it unseen: nobody has any beyond the barrier.
                if full || after < floor && others > 0 && !mutated(8) {
                    return match self.fast_below(level, slot)? {
                        Some(other) => Ok(Look::Wants(other, level)),
                        None if self.is_current(helped) => Err(damaged("somebody has stock, and it is nowhere")),
                        None => Ok(Look::Again),
                    };
                }
                // Nobody else has stock there now, so what is held is known.
                if bound == Bound::Limit && after < floor && pool.free.wrapping_add(value.credit()) >= floor {
                    crosses(self.name(level).group);
                }
            }
        }
        let part = match slot {
            None => Part { found: None, used: 0, stock: 0, kept: amount },
            Some(_) if need <= 0 => Part { found, used: value.used() + amount, stock: -need, kept: 0 },
            Some(slot) => {
                let stock = match self.share(mine, &levels, need, value.fast) {
                    Share::Stock(stock) => stock,
                    Share::Taken(level) if may_take => match self.fast_below(level, Some(slot))? {
                        Some(other) => return Ok(Look::Wants(other, level)),
                        None => 0,
                    },
                    Share::Taken(_) => 0,
                };
                if stock > 0 && !self.may_be_fast(mine, helped, slot)? {
                    return Ok(Look::Again);
                }
                Part { found, used: value.used().wrapping_add(amount), stock, kept: 0 }
            }
        };
        self.add(mine, level, &levels, &part)?;
        mine.levels = levels;
        Ok(Look::Fits)
    }

    /// How much stock a slot of somebody busy gets when the levels give so much already: a
    /// batch, or where that comes near a barrier all that is left, if nobody else has any;
    /// for whoever needs it takes it back. Beside others it is a share.
    ///
    /// Near a limit stock so goes from one to the other, each of whom charges the quick way
    /// in the meantime: that is less work than the long way each time (measured with two
    /// processes: an eighth).
    #[inline]
    fn share(&self, mine: &mut Descriptor, levels: &Levels, need: i64, was_fast: bool) -> Share {
        if !mine.is_busy() {
            return Share::Stock(0);
        }
        let shares = 2 * i64::from(self.descriptors().clamp(1, MANY));
        let mut stock = i64::MAX;
        let mut taken = None;
        for Standing { level, pool, floor, batch, .. } in levels.iter() {
            if pool.quiet > 0 || pool.fast >= MOST_FAST && !was_fast {
                return Share::Stock(0);
            }
            let left = pool.free.wrapping_sub(need).saturating_sub(*floor).max(0);
            let is_alone = pool.fast == u32::from(was_fast);
            let share = if is_alone { left } else { left / shares };
            if share == 0 && !is_alone {
                taken = Some(*level);
            }
            stock = stock.min(*batch).min(share);
        }
        match taken {
            Some(level) => Share::Taken(level),
            None => Share::Stock(stock),
        }
    }

    /// Adds to the transfer what a holder's part becomes, and what that is to the levels.
    #[inline]
    fn add(&self, mine: &mut Descriptor, level: Level, levels: &Levels, part: &Part) -> Result<()> {
        let before = part.found.map_or(Slot::EMPTY, |found| found.value);
        let stock = part.found.map_or(Stock::NONE, |found| self.own_stock(&found));
        if let Some(found) = part.found {
            let reserve = part.used.wrapping_add(part.stock);
            if part.used < 0 || reserve > MOST_RESERVE as i64 {
                return Err(too_much());
            }
            let fast = part.stock > 0;
            let after = Slot { stock: part.stock as u32, fast, reserve: reserve as u64 };
            mine.transfer.change(found.at + slot::VALUE, found.cell, after)?;
        }
        if part.kept != 0 {
            let kept = self.number(level, account::KEPT).wrapping_add(part.kept);
            if kept > MOST_RESERVE as i64 {
                return Err(too_much());
            }
            mine.transfer.set(level.at + account::KEPT, Number(kept))?;
        }
        let more = part.used + part.kept - before.used() + part.stock - before.credit();
        for standing in levels.iter() {
            let Standing { level, pool, .. } = *standing;
            let others = pool.fast.wrapping_sub(u32::from(before.fast));
            let fast = others.wrapping_add(u32::from(part.stock > 0));
            let free = pool.free.wrapping_sub(more);
            if free < -UNLIMITED {
                return Err(too_much());
            }
            let changed = Pool { free, fast, quiet: pool.quiet.saturating_sub(1) };
            mine.transfer.change(level.at + account::POOL, standing.pool_cell, changed)?;
            // Before this and after; what others have in stock they may hold or not.
            let reserved = standing.reserved();
            let after = reserved.wrapping_add(more).wrapping_sub(part.stock);
            let least = standing.surely((reserved - stock.most).min(after), others);
            self.mark(&mut mine.transfer, level, Held { most: (reserved - stock.least).max(after), least })?;
        }
        Ok(())
    }

    /// Adds to the transfer that a slot and the group hold less.
    #[inline]
    fn look_back(
        &self,
        mine: &mut Descriptor,
        helped: Helped,
        level: Level,
        found: Found,
        (used, kept): (i64, i64),
    ) -> Result<Look> {
        let mut levels = std::mem::take(&mut mine.levels);
        self.read_levels(level.index, &mut levels)?;
        let need = -used - kept - found.value.credit();
        let stock = match self.share(mine, &levels, need, found.value.fast) {
            Share::Stock(stock) => stock,
            // Who takes back needs none.
            Share::Taken(_) => 0,
        };
        if stock > 0 && !self.may_be_fast(mine, helped, found.slot)? {
            return Ok(Look::Again);
        }
        let part = Part { found: Some(found), used: found.value.used() - used, stock, kept: -kept };
        self.add(mine, level, &levels, &part)?;
        mine.levels = levels;
        Ok(Look::Fits)
    }

    /// Moves all that a slot of the same process holds into the caller's.
    fn move_here(&self, mine: &mut Descriptor, helped: Helped, here: Found, sibling: &Found) -> Result<()> {
        if sibling.value.fast {
            self.drain(mine, helped, sibling, None)?;
        } else if here.value.fast {
            self.drain(mine, helped, &here, None)?;
        } else {
            let reserve = here.value.used().wrapping_add(sibling.value.used());
            if reserve > MOST_RESERVE as i64 {
                return Err(too_much());
            }
            let transfer = &mut mine.transfer;
            transfer.clear();
            transfer.set(sibling.at + slot::VALUE, Slot::EMPTY)?;
            transfer.set(here.at + slot::VALUE, Slot { reserve: reserve as u64, ..Slot::EMPTY })?;
            self.publish(mine.index, helped, transfer)?;
        }
        Ok(())
    }

    /// Takes the stock of a slot back into the pools that it came from. `for_level` is
    /// where that is needed: it gives none for a while. `false`: something else came first.
    pub(super) fn drain(
        &self,
        mine: &mut Descriptor,
        helped: Helped,
        found: &Found,
        for_level: Option<Level>,
    ) -> Result<bool> {
        let levels = self.levels(found.account)?;
        let quiet = (4 * self.descriptors()).min(255) as u8;
        let transfer = &mut mine.transfer;
        transfer.clear();
        transfer.drain(found.at + slot::VALUE, found.version)?;
        for standing in levels.iter() {
            let Standing { level, pool, .. } = *standing;
            let others = pool.fast.wrapping_sub(1);
            let is_wanted = for_level.is_some_and(|wanted| wanted.index == level.index);
            let quiet = if is_wanted { quiet } else { pool.quiet };
            transfer.pool_out(level.at + account::POOL, Pool { free: pool.free, fast: others, quiet })?;
            // Only where the marks may move: how much stock it had is known when it is taken.
            let reserved = standing.reserved();
            if reserved > self.number(level, account::MOST) {
                transfer.most_out(level.at + account::MOST, reserved)?;
            }
            if standing.surely(reserved, pool.fast) < self.number(level, account::LEAST) {
                transfer.least_out(level.at + account::LEAST, standing.surely(reserved, others))?;
            }
        }
        self.publish(mine.index, helped, transfer)
    }

    /// How much could be charged at all levels, when nobody has stock.
    fn left(&self, mine: &mut Descriptor, account: Account, bound: Bound) -> Result<u64> {
        let mut attempts = Attempts::new();
        'again: loop {
            let slot = self.own_slot(mine, account.index)?;
            let helped = self.help()?;
            attempts.next()?;
            let credit = self.slot(slot)?.value.credit();
            let mut left = i64::MAX;
            for standing in self.levels(self.check(account)?.index)?.iter() {
                if let Some(other) = self.fast_below(standing.level, Some(slot))? {
                    self.drain(mine, helped, &other, Some(standing.level))?;
                    continue 'again;
                }
                let floor = if bound == Bound::Barrier { standing.floor } else { 0 };
                left = left.min(standing.pool.free.wrapping_sub(floor));
            }
            if self.is_current(helped) {
                return Ok(left.saturating_add(credit).max(0) as u64);
            }
        }
    }

    /// The stock that a slot of the caller's had since the last transfer.
    #[inline]
    fn own_stock(&self, found: &Found) -> Stock {
        if !found.value.fast {
            return Stock::NONE;
        }
        let now = i64::from(found.value.stock);
        let mark = |offset: usize| {
            let mark = self.memory.word(found.at + offset).load(Ordering::Relaxed);
            (mark >> STOCK_BITS == found.version & MARK_VERSION).then_some((mark & STOCK) as i64)
        };
        Stock {
            least: mark(slot::LEAST_STOCK).map_or(now, |least| least.min(now)),
            most: mark(slot::MOST_STOCK).map_or(now, |most| most.max(now)),
        }
    }
}

/// What of the stock is somebody's.
enum Share {
    Stock(i64),
    /// None, for others have it there, who may not need it any more.
    Taken(Level),
}

/// The least and the most stock that a slot had since it was given.
struct Stock {
    least: i64,
    most: i64,
}

impl Stock {
    const NONE: Stock = Stock { least: 0, most: 0 };
}

/// More threads than these are not counted on to want stock at the same time.
const MANY: u32 = 64;

fn too_much() -> Error {
    Error::new(libc::EOVERFLOW, "more than 2^50 of it would be held")
}
