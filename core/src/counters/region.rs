//! The counters of one hierarchy, as everybody else sees them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use super::holder::{Descriptor, Image, Process};
use super::layout::FAST_PLACES;
use super::mapping::Mapping;
use super::{Account, Bound, Counters, Crossed, Figures, MOST, Owner, Refused, quick};
use crate::error::{Error, Result};
use crate::process::{self, Stat};
use crate::remembered::Remembered;

/// The counters of one hierarchy.
#[derive(Debug)]
pub(crate) struct Region {
    counters: Arc<Counters<Mapping>>,
    /// The numbers of the first so many resources by name, which do not change.
    named: Remembered<HashMap<String, u32>>,
}

/// Those that this process has open: the same file is mapped once.
static OPEN: Mutex<Vec<Weak<Region>>> = Mutex::new(Vec::new());

impl Region {
    /// Maps the file, and makes it (0600, whole or not at all) if there is none.
    ///
    /// EUCLEAN: it is no such file, of another version, damaged or cut short. EPERM:
    /// another user's, or others may use it. ELOOP: a symbolic link. EXDEV: processes of
    /// another pid or time namespace use it. EOPNOTSUPP: no such machine. ENOSPC, EROFS,
    /// EACCES: as the file system has it.
    pub(crate) fn open(file: &Path) -> Result<Arc<Region>> {
        let mapping = Mapping::open(file)?;
        // Held for a few instructions; whoever is stopped within them, or was forked
        // meanwhile, makes us map the file twice, which only costs memory.
        let mut open = match OPEN.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Ok(Arc::new(Region::of(mapping))),
        };
        open.retain(|region| region.strong_count() > 0);
        let same = open.iter().filter_map(Weak::upgrade).find(|region| region.is(&mapping));
        Ok(same.unwrap_or_else(|| {
            let region = Arc::new(Region::of(mapping));
            open.push(Arc::downgrade(&region));
            region
        }))
    }

    fn of(mapping: Mapping) -> Region {
        Region { counters: Arc::new(Counters::new(mapping)), named: Remembered::default() }
    }

    /// Of the same process only: one that was forked has not got the mapping.
    fn is(&self, mapping: &Mapping) -> bool {
        self.counters.memory.is_same(mapping) && self.counters.memory.is_ours()
    }

    /// A number that no other region has.
    pub(crate) fn number(&self) -> u64 {
        self.counters.memory.number()
    }

    /// A number for a group, which was never given before; from 1.
    pub(crate) fn new_group(self: &Arc<Region>) -> Result<u64> {
        self.whole()?;
        self.counters.new_group()
    }

    /// The account of a resource in the first of these groups; the others are those
    /// above it, up to the root (none, if charges count in their own group alone). Made
    /// if there is none.
    ///
    /// ENOSPC: the region is full. ENODEV: a group was removed meanwhile.
    pub(crate) fn account(self: &Arc<Region>, path: &[u64], resource: u32) -> Result<Account> {
        if let Some(&group) = path.first()
            && let Some(found) = self.find(group, resource)?
        {
            return Ok(found);
        }
        let batch = self.batch(resource)?;
        self.with_descriptor(|counters, mine| counters.account(mine, path, resource, batch))
    }

    /// The account, if there is one.
    pub(crate) fn find(self: &Arc<Region>, group: u64, resource: u32) -> Result<Option<Account>> {
        self.whole()?;
        self.counters.find(group, resource)
    }

    /// Charges several accounts, all or none, each with all above it. Never waits. No account
    /// may be there twice. The quick way is gone next time for the account of which `key`
    /// is the process's name, if it is the only one.
    pub(crate) fn charge(
        self: &Arc<Region>,
        key: u64,
        charges: &[(Account, u64)],
        bound: Bound,
        owner: Owner,
    ) -> std::result::Result<Crossed, Refused> {
        check(charges)?;
        let charged = self.with_descriptor(|counters, mine| {
            let charged = counters.charge(mine, charges, bound, owner);
            // What was charged was charged.
            let _ = remember(counters, key, mine, charges);
            Ok(charged)
        });
        self.know_one(key, charges, owner);
        charged.map_err(Refused::Failed)?
    }

    fn know_one(self: &Arc<Region>, key: u64, charges: &[(Account, u64)], owner: Owner) {
        if let [(account, _)] = charges
            && owner == Owner::Process
        {
            self.know(key, *account);
        }
    }

    /// As much as fits, up to the amount; 0 as well. The group that has no more, if it
    /// is less.
    pub(crate) fn charge_up_to(
        self: &Arc<Region>,
        account: Account,
        amount: u64,
        bound: Bound,
    ) -> std::result::Result<(u64, Crossed), Refused> {
        check(&[(account, amount)])?;
        let charged = self.with_descriptor(|counters, mine| {
            let charged = counters.charge_up_to(mine, account, amount, bound);
            let _ = remember(counters, 0, mine, &[(account, amount)]);
            Ok(charged)
        });
        charged.map_err(Refused::Failed)?
    }

    /// Takes back, all in one step: first what this process holds, then what the group
    /// keeps. What was more than that is not taken and counts in `underflow`.
    pub(crate) fn uncharge(self: &Arc<Region>, key: u64, charges: &[(Account, u64)]) -> Result<()> {
        check(charges)?;
        self.with_descriptor(|counters, mine| {
            counters.uncharge(mine, charges)?;
            let _ = remember(counters, key, mine, charges);
            Ok(())
        })
    }

    /// Counts a refusal.
    pub(crate) fn count_failure(self: &Arc<Region>, account: Account) -> Result<()> {
        self.whole()?;
        self.counters.count_failure(account)
    }

    /// The figures of all of these at one instant, at which no dead process holds any.
    pub(crate) fn read(self: &Arc<Region>, accounts: &[Account]) -> Result<Vec<Figures>> {
        self.with_descriptor(|counters, mine| counters.read(mine, accounts))
    }

    /// Barrier and limit in one step, or the one that is given; `Some(None)` is none.
    ///
    /// EINVAL: the barrier above the limit, or above [`MOST`].
    pub(crate) fn set_bounds(
        self: &Arc<Region>,
        account: Account,
        barrier: Option<Option<u64>>,
        limit: Option<Option<u64>>,
    ) -> Result<()> {
        self.with_descriptor(|counters, mine| counters.set_bounds(mine, account, barrier, limit))
    }

    /// Takes back what the group itself keeps.
    pub(crate) fn give_up_kept(self: &Arc<Region>, account: Account) -> Result<()> {
        self.with_descriptor(|counters, mine| counters.give_up_kept(mine, account))
    }

    /// Makes maxheld and minheld what is held.
    pub(crate) fn reset_marks(self: &Arc<Region>, account: Account) -> Result<()> {
        self.with_descriptor(|counters, mine| counters.reset_marks(mine, account))
    }

    /// Makes failcnt 0.
    pub(crate) fn reset_failures(self: &Arc<Region>, account: Account) -> Result<()> {
        self.with_descriptor(|counters, mine| counters.reset_failures(mine, account))
    }

    /// Forgets a group, and gives the room of its accounts back.
    ///
    /// EBUSY: something is held there, or it has accounts below it.
    pub(crate) fn remove_group(self: &Arc<Region>, group: u64) -> Result<()> {
        self.with_descriptor(|counters, mine| {
            let mut accounts = Vec::new();
            for resource in 0..counters.resource_count() {
                accounts.extend(counters.find(group, resource)?);
            }
            // All of them first: a group that stays keeps what it has.
            for account in &accounts {
                let held = match counters.read(mine, &[*account]) {
                    // Somebody else removes it, too.
                    Err(error) if error.is(libc::ENODEV) => continue,
                    other => other?.first().map_or(0, |figures| figures.held),
                };
                if held > 0 || counters.has_children(*account)? {
                    return Err(Error::new(libc::EBUSY, "it holds something"));
                }
            }
            for account in accounts {
                match counters.remove(mine, account) {
                    // Somebody else removes it, too.
                    Err(error) if error.is(libc::ENODEV) => {}
                    other => other?,
                }
            }
            Ok(())
        })
    }

    /// The numbers of the groups that have accounts.
    pub(crate) fn groups(self: &Arc<Region>) -> Result<Vec<u64>> {
        self.whole()?;
        self.counters.groups()
    }

    /// The number of a resource by name; it gets one if it has none.
    ///
    /// EEXIST: it is counted in another unit. EINVAL: no name, or no unit. ENOSPC: no more
    /// can be known.
    pub(crate) fn register(self: &Arc<Region>, name: &str, unit: &str) -> Result<u32> {
        let is_word = |word: &str, most: usize| {
            let fits = (1..=most).contains(&word.len());
            fits && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        if !is_word(name, 40) || !is_word(unit, 16) {
            let why = "a resource has a name of at most 40 letters, digits, _ and -, and a unit of at most 16";
            return Err(Error::new(libc::EINVAL, format!("{name:?}, {unit:?}: {why}")));
        }
        let (found, others) = self.look_for(name)?;
        self.with_descriptor(|counters, mine| counters.register(mine, name, unit, found.unwrap_or(others)))
    }

    /// The number of a resource that is known by its name.
    pub(crate) fn resource_called(self: &Arc<Region>, name: &str) -> Result<Option<u32>> {
        self.look_for(name).map(|(found, _)| found)
    }

    /// The number of a name, and how many resources were looked through.
    fn look_for(self: &Arc<Region>, name: &str) -> Result<(Option<u32>, u32)> {
        self.whole()?;
        if let Some(number) = self.named.look(|named| named.get(name).copied()) {
            return Ok((Some(number), 0));
        }
        let from = self.named.look(|named| u32::try_from(named.len()).ok()).unwrap_or(0);
        let until = self.counters.resource_count();
        let mut found = None;
        for number in from..until {
            let Some((known, _)) = self.counters.resource(number)? else { break };
            if known == name {
                found = Some(number);
            }
            self.named.note(|named| {
                // In turn: that as many are known says which.
                if named.len() == number as usize {
                    named.insert(known, number);
                }
            });
        }
        Ok((found, until))
    }

    /// How many resources are known: their numbers are below that.
    pub(crate) fn resource_count(self: &Arc<Region>) -> Result<u32> {
        self.whole()?;
        Ok(self.counters.resource_count())
    }

    /// Name and unit of one, if there is one of that number.
    pub(crate) fn resource(self: &Arc<Region>, number: u32) -> Result<Option<(String, String)>> {
        self.whole()?;
        self.counters.resource(number)
    }

    /// Name and unit of all, by number.
    pub(crate) fn resources(self: &Arc<Region>) -> Result<Vec<(String, String)>> {
        self.whole()?;
        self.counters.resources()
    }

    pub(super) fn counters(&self) -> &Arc<Counters<Mapping>> {
        &self.counters
    }

    /// The program that runs in this process.
    pub(super) fn image(&self) -> Result<Image> {
        self.whole()?;
        let pid = process::this_process();
        let stat = Stat::of(pid).map_err(|errno| Error::os(errno, "looking at our own process"))?;
        Ok(Image {
            process: Process::new(pid, self.counters.memory.boot(), stat.start_time),
            program: super::mapping::this_program(),
        })
    }

    /// ECHILD: in a forked child, which has not got the mapping.
    fn whole(&self) -> Result<()> {
        if self.counters.memory.is_ours() {
            return Ok(());
        }
        Err(Error::new(libc::ECHILD, "the counters were opened before a fork; a child opens its own"))
    }

    /// The logarithm of how much stock is given at once: bytes come in larger numbers.
    fn batch(self: &Arc<Region>, resource: u32) -> Result<u8> {
        let Some((_, unit)) = self.resource(resource)? else {
            return Err(Error::new(libc::ENOENT, format!("no resource has the number {resource}")));
        };
        Ok(if unit == "bytes" { 16 } else { 6 })
    }
}

/// What the thread remembers of these slots is true no more: one is remembered under
/// its key, several under none.
fn remember(counters: &Counters<Mapping>, key: u64, mine: &Descriptor, charges: &[(Account, u64)]) -> Result<()> {
    let key = if charges.len() == 1 { key } else { 0 };
    charges.iter().try_for_each(|(account, _)| quick::remember(counters, key, mine, *account))
}

/// E2BIG: so many at once that the places for stock would not do. EINVAL: too much.
fn check(charges: &[(Account, u64)]) -> Result<()> {
    if charges.len() > MOST_AT_ONCE {
        return Err(Error::new(libc::E2BIG, format!("at most {MOST_AT_ONCE} resources are charged at once")));
    }
    if charges.iter().any(|(_, amount)| *amount > MOST) {
        return Err(Error::new(libc::EINVAL, format!("a charge is at most {MOST}")));
    }
    Ok(())
}

/// Half of the slots that one thread can have stock in: each of these may be one.
const MOST_AT_ONCE: usize = FAST_PLACES / 2;
