//! I1 to I3 of the module, looked at in one state.

use super::super::account::UNLIMITED;
use super::super::cell::Memory;
use super::super::layout::{self, account};
use super::super::value::{Owner, Room, Value};
use super::super::{Attempts, Counters, cell::Cell};
use crate::error::Result;

impl<M: Memory> Counters<M> {
    /// What is not as it must be, in a state in which no transfer is half-way.
    pub(crate) fn broken(&self) -> Result<Option<String>> {
        let mut attempts = Attempts::new();
        loop {
            attempts.next()?;
            let helped = self.help()?;
            let found = self.look_for_broken()?;
            if self.is_current(helped) {
                return Ok(found);
            }
        }
    }

    fn look_for_broken(&self) -> Result<Option<String>> {
        let room = |at| Room::unpack(self.memory.cell(at).load());
        for index in 0..room(layout::ACCOUNT_ROOM).next {
            let level = self.level(index)?;
            if self.name(level).group == 0 {
                continue;
            }
            let pool = self.pool(level);
            let mut sum = pool.free;
            let mut fast = 0;
            for slot in 0..room(layout::SLOT_ROOM).next {
                let slot = self.slot(slot)?;
                let owner = Owner::unpack(self.memory.cell(slot.at + layout::slot::OWNER).load());
                if owner.descriptor.is_some() && self.is_under(slot.account, index)? {
                    sum += slot.value.used() + slot.value.credit();
                    fast += u32::from(slot.value.fast);
                }
            }
            for other in 0..room(layout::ACCOUNT_ROOM).next {
                if self.name(self.level(other)?).group != 0 && self.is_under(other, index)? {
                    sum += self.number(self.level(other)?, account::KEPT);
                }
            }
            let limit = self.limit(level);
            if sum != limit {
                let difference = limit - sum;
                return Ok(Some(format!("I1: account {index}: {difference} are nowhere (unlimited {UNLIMITED})")));
            }
            if fast != pool.fast {
                return Ok(Some(format!("I2: account {index}: {fast} slots are fast, not {}", pool.fast)));
            }
            if fast > 0 && pool.free < self.number(level, account::FLOOR).max(0) {
                return Ok(Some(format!("I3: account {index}: {fast} fast slots beyond the barrier")));
            }
        }
        Ok(None)
    }
}
