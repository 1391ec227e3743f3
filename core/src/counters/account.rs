//! Accounts: one resource in one group, with the same resource in the group above for
//! parent.
//!
//! They are found through buckets, and made and removed by transfers like everything else, so a
//! bucket's chain is whole at every instant.

use std::sync::atomic::Ordering;

use super::cell::{Cell, Memory, Offset, Word};
use super::holder::Descriptor;
use super::layout::{self, Layout, account, damaged};
use super::transfer::{Helped, Transfer};
use super::value::{Bucket, Link, Name, Number, Pool, Room, STOCK_BITS, Value};
use super::{Account, Attempts, Counters};
use crate::error::{Error, Result};

/// No limit. Charges are at most 2^48, so this is not reached by any sum that fits a counter.
pub(super) const UNLIMITED: i64 = 1 << 54;
/// The floor of an account without a barrier.
pub(super) const NO_BARRIER: i64 = -1;

/// An account and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) index: u32,
    pub(super) at: Offset,
}

/// An account as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) level: Level,
    pub(super) pool: Pool,
    /// The cell of the pool, with its tag.
    pub(super) pool_cell: u128,
    pub(super) limit: i64,
    /// What must stay free for the barrier's sake.
    pub(super) floor: i64,
    /// How much stock is given at once.
    pub(super) batch: i64,
}

impl Standing {
    /// What is held or in stock.
    pub(super) fn reserved(&self) -> i64 {
        self.limit.wrapping_sub(self.pool.free)
    }

    /// What is held for certain of what is reserved, when so many slots have stock:
    /// each has twice the batch at most.
    pub(super) fn surely(&self, reserved: i64, fast: u32) -> i64 {
        reserved.wrapping_sub(i64::from(fast) * 2 * self.batch).max(0)
    }
}

impl<M: Memory> Counters<M> {
    /// A number that no group was given before.
    pub(crate) fn new_group(&self) -> Result<u64> {
        let last = self.memory.word(layout::GROUPS).fetch_add(1);
        // A name has room for no more, and nobody has made so many.
        if last >= (1 << 52) - 1 { Err(damaged("there were too many groups")) } else { Ok(last + 1) }
    }

    /// The account of a resource in a group, if there is one.
    pub(crate) fn find(&self, group: u64, resource: u32) -> Result<Option<Account>> {
        let mut attempts = Attempts::new();
        loop {
            let helped = self.help()?;
            let found = self.search(group, resource)?;
            // Nothing is missing for good from a chain that changed meanwhile.
            if found.is_some() || self.is_current(helped) {
                return Ok(found.map(|found| Account { index: found.level.index, group }));
            }
            attempts.next()?;
        }
    }

    /// The account of a resource in the first of these groups, made if there is none,
    /// with those above it.
    pub(crate) fn account(&self, mine: &mut Descriptor, path: &[u64], resource: u32, batch: u8) -> Result<Account> {
        let Some((&group, above)) = path.split_first() else {
            return Err(Error::new(libc::EINVAL, "an account is some group's"));
        };
        if let Some(found) = self.find(group, resource)? {
            return Ok(found);
        }
        if path.len() > MOST_LEVELS {
            return Err(Error::new(
                libc::E2BIG,
                format!("a group more than {MOST_LEVELS} levels deep has no counters"),
            ));
        }
        // From the root down, so that a parent is there before its children.
        let mut parent = None;
        for &group in above.iter().rev() {
            parent = Some(self.one_account(mine, group, parent, resource, batch)?);
        }
        self.one_account(mine, group, parent, resource, batch)
    }

    fn one_account(
        &self,
        mine: &mut Descriptor,
        group: u64,
        parent: Option<Account>,
        resource: u32,
        batch: u8,
    ) -> Result<Account> {
        let mut attempts = Attempts::new();
        loop {
            let helped = self.help()?;
            if let Some(found) = self.search(group, resource)? {
                return Ok(Account { index: found.level.index, group });
            }
            if let Some(index) = self.make(mine, helped, Name { group, resource }, parent, batch)? {
                return Ok(Account { index, group });
            }
            attempts.next()?;
        }
    }

    fn make(
        &self,
        mine: &mut Descriptor,
        helped: Helped,
        name: Name,
        parent: Option<Account>,
        batch: u8,
    ) -> Result<Option<u32>> {
        let room = Room::unpack(self.memory.cell(layout::ACCOUNT_ROOM).load());
        let (index, left) = match room.free {
            Some(index) => {
                let link = self.link(self.level(index)?);
                (index, Room { free: link.next, ..room })
            }
            None if room.next < self.layout.accounts => {
                self.memory.allocate(self.layout.account(room.next)?, Layout::ACCOUNT)?;
                (room.next, Room { next: room.next + 1, ..room })
            }
            None if self.is_current(helped) => {
                return Err(Error::new(libc::ENOSPC, "the hierarchy's counters have no room for another group"));
            }
            None => return Ok(None),
        };
        let at = self.layout.account(index)?;
        let bucket_at = self.layout.bucket(name.group, name.resource);
        let bucket = Bucket::unpack(self.memory.cell(bucket_at).load());
        let transfer = &mut mine.transfer;
        transfer.clear();
        transfer.set(layout::ACCOUNT_ROOM, left)?;
        transfer.set(at + account::POOL, Pool { free: UNLIMITED, fast: 0, quiet: 0 })?;
        transfer.set(at + account::LIMIT, Number(UNLIMITED))?;
        transfer.set(at + account::FLOOR, Number(NO_BARRIER))?;
        for zero in [account::MOST, account::LEAST, account::KEPT, account::FAILURES, account::UNDERFLOWS] {
            transfer.set(at + zero, Number(0))?;
        }
        transfer.set(at + account::NAME, name)?;
        let parent_index = parent.map(|parent| parent.index);
        transfer.set(at + account::LINK, Link { parent: parent_index, next: bucket.0, batch, children: 0 })?;
        transfer.set(bucket_at, Bucket(Some(index)))?;
        if let Some(parent) = parent {
            let above = self.check(parent)?;
            let link = self.link(above);
            transfer.set(above.at + account::LINK, Link { children: link.children + 1, ..link })?;
        }
        let made = self.publish(mine.index, helped, transfer)?;
        Ok(made.then_some(index))
    }

    /// Removes an account that holds nothing and has none below it.
    ///
    /// EBUSY: it does, or has.
    pub(crate) fn remove(&self, mine: &mut Descriptor, which: Account) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let helped = self.help()?;
            let level = self.check(which)?;
            if let Some(slot) = self.fast_below(level, None)? {
                self.drain(mine, helped, &slot, None)?;
            } else if self.limit(level) - self.pool(level).free != 0 || self.link(level).children != 0 {
                let retired = self.retired();
                if self.is_current(helped)
                    && !self.retire_the_dead(mine)?
                    && self.help().is_ok()
                    && self.retired() == retired
                {
                    return Err(Error::new(libc::EBUSY, "it holds something"));
                }
            } else if self.unlink(mine, helped, level)? {
                return Ok(());
            }
            attempts.next()?;
        }
    }

    /// Whether there are accounts right below it.
    pub(crate) fn has_children(&self, which: Account) -> Result<bool> {
        Ok(self.link(self.level(which.index)?).children != 0)
    }

    fn unlink(&self, mine: &mut Descriptor, helped: Helped, level: Level) -> Result<bool> {
        let name = self.name(level);
        let Some(found) = self.search(name.group, name.resource)? else {
            return Ok(false);
        };
        let link = self.link(level);
        let room = Room::unpack(self.memory.cell(layout::ACCOUNT_ROOM).load());
        let transfer = &mut mine.transfer;
        transfer.clear();
        transfer.set(layout::ACCOUNT_ROOM, Room { free: Some(level.index), ..room })?;
        transfer.set(level.at + account::NAME, Name { group: 0, resource: 0 })?;
        transfer.set(level.at + account::LINK, Link { parent: None, next: room.free, batch: 0, children: 0 })?;
        // The one before it in the chain may be its parent: one cell is written once.
        let mut parent = None;
        if let Some(index) = link.parent {
            let above = self.level(index)?;
            let link = self.link(above);
            parent = Some((above, Link { children: link.children.wrapping_sub(1), ..link }));
        }
        match found.before {
            None => transfer.set(self.layout.bucket(name.group, name.resource), Bucket(link.next))?,
            Some(before) => match &mut parent {
                Some((above, changed)) if above.index == before.index => changed.next = link.next,
                _ => transfer.set(before.at + account::LINK, Link { next: link.next, ..self.link(before) })?,
            },
        }
        if let Some((above, changed)) = parent {
            transfer.set(above.at + account::LINK, changed)?;
        }
        self.publish(mine.index, helped, transfer)
    }

    /// Who is in a bucket's chain. What was found was there at some instant.
    fn search(&self, group: u64, resource: u32) -> Result<Option<Searched>> {
        let bucket_at = self.layout.bucket(group, resource);
        // A file with holes in it gets memory when it is read, too.
        self.memory.allocate(bucket_at, Layout::BUCKET)?;
        let mut next = Bucket::unpack(self.memory.cell(bucket_at).load()).0;
        let mut before = None;
        for _ in 0..self.layout.accounts {
            let Some(index) = next else { return Ok(None) };
            let level = self.level(index)?;
            if self.name(level) == (Name { group, resource }) {
                return Ok(Some(Searched { level, before }));
            }
            next = self.link(level).next;
            before = Some(level);
        }
        Err(damaged("a chain of accounts has no end"))
    }

    /// The numbers of the groups that have accounts, each once.
    pub(crate) fn groups(&self) -> Result<Vec<u64>> {
        let room = Room::unpack(self.memory.cell(layout::ACCOUNT_ROOM).load());
        let mut groups = Vec::new();
        for index in 0..room.next.min(self.layout.accounts) {
            groups.push(self.name(self.level(index)?).group);
        }
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|group| *group != 0);
        Ok(groups)
    }

    /// ENODEV: the account was removed.
    #[inline]
    pub(super) fn check(&self, which: Account) -> Result<Level> {
        let level = self.level(which.index)?;
        if self.name(level).group != which.group {
            return Err(Error::new(libc::ENODEV, "the group was removed"));
        }
        Ok(level)
    }

    #[inline]
    pub(super) fn level(&self, index: u32) -> Result<Level> {
        Ok(Level { index, at: self.layout.account(index)? })
    }

    /// An account and all above it.
    pub(super) fn levels(&self, index: u32) -> Result<Levels> {
        let mut levels = Levels::new();
        self.read_levels(index, &mut levels)?;
        Ok(levels)
    }

    #[inline]
    pub(super) fn read_levels(&self, index: u32, levels: &mut Levels) -> Result<()> {
        levels.0.clear();
        let mut next = Some(index);
        while let Some(index) = next {
            let level = self.level(index)?;
            let link = self.link(level);
            if levels.0.len() >= MOST_LEVELS {
                return Err(damaged("an account is above itself"));
            }
            let pool_cell = self.memory.cell(level.at + account::POOL).look();
            levels.0.push(Standing {
                level,
                pool: Pool::unpack(pool_cell),
                pool_cell,
                limit: self.limit(level),
                floor: self.number(level, account::FLOOR).max(0),
                batch: 1 << link.batch.min(STOCK_BITS as u8 - 2),
            });
            next = link.parent;
        }
        Ok(())
    }

    /// Whether an account is another or below it.
    pub(super) fn is_under(&self, index: u32, top: u32) -> Result<bool> {
        let mut next = Some(index);
        for _ in 0..MOST_LEVELS {
            let Some(index) = next else { return Ok(false) };
            if index == top {
                return Ok(true);
            }
            next = self.link(self.level(index)?).parent;
        }
        // Changed meanwhile, or damaged: whoever relies on it looks again.
        Ok(false)
    }

    /// A slot other than `but` with stock of an account or below; `None` for certain if
    /// nothing was changed meanwhile.
    pub(super) fn fast_below(&self, level: Level, but: Option<u32>) -> Result<Option<super::holder::Found>> {
        if self.pool(level).fast == 0 {
            return Ok(None);
        }
        self.somebody_fast(level.index, but)
    }

    /// Adds to a transfer that a slot without stock holds so much less.
    pub(super) fn give_back(&self, transfer: &mut Transfer, index: u32, used: i64) -> Result<()> {
        if used == 0 {
            return Ok(());
        }
        for standing in self.levels(index)?.iter() {
            let pool = standing.pool;
            let at = standing.level.at + account::POOL;
            transfer.change(at, standing.pool_cell, Pool { free: pool.free.wrapping_add(used), ..pool })?;
            let least = standing.surely(standing.reserved().wrapping_sub(used), pool.fast);
            self.mark(transfer, standing.level, Held { most: 0, least })?;
        }
        Ok(())
    }

    /// Adds to a transfer that an account held so much.
    #[inline]
    pub(super) fn mark(&self, transfer: &mut Transfer, level: Level, held: Held) -> Result<()> {
        let most = self.number(level, account::MOST);
        if held.most > most {
            transfer.set(level.at + account::MOST, Number(held.most))?;
        }
        let least = self.number(level, account::LEAST);
        if held.least < least {
            transfer.set(level.at + account::LEAST, Number(held.least.max(0)))?;
        }
        Ok(())
    }

    #[inline]
    pub(super) fn pool(&self, level: Level) -> Pool {
        Pool::unpack(self.memory.cell(level.at + account::POOL).look())
    }

    #[inline]
    pub(super) fn limit(&self, level: Level) -> i64 {
        self.number(level, account::LIMIT)
    }

    #[inline]
    pub(super) fn number(&self, level: Level, which: usize) -> i64 {
        Number::unpack(self.memory.cell(level.at + which).look()).0
    }

    #[inline]
    pub(super) fn link(&self, level: Level) -> Link {
        Link::unpack(self.memory.cell(level.at + account::LINK).look())
    }

    #[inline]
    pub(super) fn name(&self, level: Level) -> Name {
        Name::unpack(self.memory.cell(level.at + account::NAME).look())
    }

    /// Counts a failure. The tag stays: a transfer that makes the count 0 comes before
    /// or after, and both are right.
    pub(crate) fn count_failure(&self, which: Account) -> Result<()> {
        let mut attempts = Attempts::new();
        let level = self.level(which.index)?;
        let cell = self.memory.cell(level.at + account::FAILURES);
        loop {
            let now = cell.load();
            // After the load: a removal writes this cell too when the record is used again.
            self.check(which)?;
            if cell.compare_exchange(now, now.wrapping_add(1)).is_ok() {
                return Ok(());
            }
            attempts.next()?;
        }
    }

    /// One more than the last descriptor that was ever used.
    pub(super) fn descriptors(&self) -> u32 {
        let known = self.memory.word(layout::DESCRIPTORS).load(Ordering::Acquire);
        known.min(u64::from(self.layout.descriptors)) as u32
    }
}

/// An account in a chain, and the one before it.
struct Searched {
    level: Level,
    before: Option<Level>,
}

/// What was held at most and at least, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) most: i64,
    pub(super) least: i64,
}

/// No account is deeper: taking the stock of a slot back is one transfer, with a pool and two
/// marks for each level.
const MOST_LEVELS: usize = (layout::ENTRIES - 4) / 3;

/// Accounts from one up to the root's.
#[derive(Debug, Default)]
pub(super) struct Levels(Vec<Standing>);

impl Levels {
    pub(super) const fn new() -> Levels {
        Levels(Vec::new())
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Standing> {
        self.0.iter()
    }
}
