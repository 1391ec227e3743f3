//! What is held, exactly, and the bounds of it.
//!
//! While slots have stock, what is held is known to their owners alone. So whoever reads
//! takes the stock back first; the next charge of an owner gets it again.

use super::account::{Level, NO_BARRIER, UNLIMITED};
use super::cell::Memory;
use super::holder::Descriptor;
use super::layout::{account, damaged};
use super::transfer::Helped;
use super::value::{Number, Pool};
use super::{Account, Attempts, Counters, Figures, MOST};
use crate::error::{Error, Result};

impl<M: Memory> Counters<M> {
    /// The figures of these accounts at one instant, when no dead process holds any.
    pub(crate) fn read(&self, mine: &mut Descriptor, accounts: &[Account]) -> Result<Vec<Figures>> {
        // Who dies from now on dies afterwards.
        let mut attempts = Attempts::new();
        while self.retire_the_dead(mine)? {
            attempts.next()?;
        }
        'again: loop {
            attempts.next()?;
            let helped = self.help()?;
            for account in accounts {
                let level = self.check(*account)?;
                if self.is_drained(mine, helped, level, attempts.are_many())?.is_none() {
                    continue 'again;
                }
            }
            let look = || accounts.iter().map(|account| self.figures(*account)).collect::<Result<Vec<Figures>>>();
            let figures = look()?;
            // Failures are counted without a transfer: two looks that agree are one instant.
            if figures == look()? && self.is_current(helped) {
                return Ok(figures);
            }
        }
    }

    fn figures(&self, which: Account) -> Result<Figures> {
        let level = self.check(which)?;
        let number = |which| self.number(level, which).max(0) as u64;
        let limit = self.limit(level);
        let held = limit.wrapping_sub(self.pool(level).free).max(0) as u64;
        Ok(Figures {
            held,
            maxheld: number(account::MOST).max(held),
            minheld: number(account::LEAST).min(held),
            barrier: self.barrier(level).map(|barrier| barrier.max(0) as u64),
            limit: (limit != UNLIMITED).then_some(limit.max(0) as u64),
            failcnt: number(account::FAILURES),
            underflow: number(account::UNDERFLOWS),
            kept: number(account::KEPT),
        })
    }

    fn barrier(&self, level: Level) -> Option<i64> {
        match self.number(level, account::FLOOR) {
            NO_BARRIER => None,
            floor => Some(self.limit(level).wrapping_sub(floor)),
        }
    }

    /// Takes back the stock of one slot of an account or below; `quiet`: and gives none for
    /// a while, or who charges all the time would have it again at once. `Some`: there is none.
    fn is_drained(&self, mine: &mut Descriptor, helped: Helped, level: Level, quiet: bool) -> Result<Option<()>> {
        if self.pool(level).fast == 0 {
            return Ok(Some(()));
        }
        if let Some(other) = self.somebody_fast(level.index, None)? {
            self.drain(mine, helped, &other, quiet.then_some(level))?;
        } else if self.is_current(helped) {
            return Err(damaged("somebody has stock, and it is nowhere"));
        }
        Ok(None)
    }

    /// Changes barrier and limit in one step, or the one that is given; `Some(None)` is none.
    /// They may be below what is held.
    pub(crate) fn set_bounds(
        &self,
        mine: &mut Descriptor,
        which: Account,
        barrier: Option<Option<u64>>,
        limit: Option<Option<u64>>,
    ) -> Result<()> {
        if [barrier, limit].into_iter().flatten().flatten().any(|bound| bound > MOST) {
            return Err(Error::new(libc::EINVAL, format!("a barrier or a limit is at most {MOST}, or max")));
        }
        let mut attempts = Attempts::new();
        loop {
            attempts.next()?;
            let helped = self.help()?;
            let level = self.check(which)?;
            let pool = self.pool(level);
            let new_limit = match limit {
                Some(limit) => limit.map_or(UNLIMITED, |limit| limit as i64),
                None => self.limit(level),
            };
            let new_barrier = match barrier {
                Some(barrier) => barrier.map(|barrier| barrier as i64),
                None => self.barrier(level),
            };
            if new_barrier.is_some_and(|barrier| barrier > new_limit) {
                // What was there may be half of one transfer and half of the next.
                if self.is_current(helped) {
                    return Err(Error::new(libc::EINVAL, "the barrier is above the limit"));
                }
                continue;
            }
            let floor = new_barrier.map_or(NO_BARRIER, |barrier| new_limit.wrapping_sub(barrier));
            let free = pool.free.wrapping_add(new_limit).wrapping_sub(self.limit(level));
            // Nobody has stock beyond the barrier.
            if free < floor.max(0) && self.is_drained(mine, helped, level, attempts.are_many())?.is_none() {
                continue;
            }
            let transfer = &mut mine.transfer;
            transfer.clear();
            transfer.set(level.at + account::LIMIT, Number(new_limit))?;
            transfer.set(level.at + account::FLOOR, Number(floor))?;
            transfer.set(level.at + account::POOL, Pool { free, ..pool })?;
            if self.publish(mine.index, helped, transfer)? {
                return Ok(());
            }
        }
    }

    /// Takes back what the group itself keeps.
    pub(crate) fn give_up_kept(&self, mine: &mut Descriptor, which: Account) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            attempts.next()?;
            let helped = self.help()?;
            let level = self.check(which)?;
            let kept = self.number(level, account::KEPT);
            let transfer = &mut mine.transfer;
            transfer.clear();
            transfer.set(level.at + account::KEPT, Number(0))?;
            self.give_back(transfer, level.index, kept)?;
            if self.publish(mine.index, helped, transfer)? {
                return Ok(());
            }
        }
    }

    /// Makes the most and the least that was held what is held now.
    pub(crate) fn reset_marks(&self, mine: &mut Descriptor, which: Account) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            attempts.next()?;
            let helped = self.help()?;
            let level = self.check(which)?;
            if self.is_drained(mine, helped, level, attempts.are_many())?.is_none() {
                continue;
            }
            let held = self.limit(level).wrapping_sub(self.pool(level).free);
            let transfer = &mut mine.transfer;
            transfer.clear();
            transfer.set(level.at + account::MOST, Number(held))?;
            transfer.set(level.at + account::LEAST, Number(held))?;
            if self.publish(mine.index, helped, transfer)? {
                return Ok(());
            }
        }
    }

    /// Makes the count of failures 0.
    pub(crate) fn reset_failures(&self, mine: &mut Descriptor, which: Account) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            attempts.next()?;
            let helped = self.help()?;
            let level = self.check(which)?;
            let transfer = &mut mine.transfer;
            transfer.clear();
            transfer.set(level.at + account::FAILURES, Number(0))?;
            if self.publish(mine.index, helped, transfer)? {
                return Ok(());
            }
        }
    }
}
