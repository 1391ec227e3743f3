//! The accounts of one group: its number in the region, those above it, and what a
//! handle remembers of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ledger::Books;
use super::removal;
use super::resource::{Resource, STANDARD};
use crate::attribute;
use crate::backend::Node;
use crate::counters::{Account, Region};
use crate::error::{Error, Result};
use crate::group::{Group, same_directory};
use crate::path::GroupPath;
use crate::remembered::{Known, Remembered};

/// What a handle on a group knows of its counters.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// A number that no other handle of this process has had.
    number: u64,
    standing: Known<Standing>,
    standard: [Known<Account>; STANDARD.len()],
    named: Remembered<HashMap<Resource, Account>>,
}

/// Where a group stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub books: Books,
    /// The number of the group, then those of the groups above it up to the root; of a
    /// flat hierarchy the first alone.
    pub path: Arc<[u64]>,
}

impl Default for Accounts {
    fn default() -> Accounts {
        static GIVEN: AtomicU64 = AtomicU64::new(1);
        Accounts {
            number: GIVEN.fetch_add(1, Ordering::Relaxed),
            standing: Known::default(),
            standard: Default::default(),
            named: Remembered::default(),
        }
    }
}

impl Accounts {
    /// What the quick way of a charge knows an account by; 0 is not known.
    #[inline]
    pub(super) fn key(&self, resource: Resource) -> u64 {
        let resource = u64::from(resource.number());
        if resource < 1 << 16 { self.number << 16 | resource } else { 0 }
    }
}

impl Accounts {
    /// The account of a resource and where its group stands, if both were looked up before.
    pub(super) fn known(&self, resource: Resource) -> Option<(Account, &Standing)> {
        let account = match self.standard.get(resource.number() as usize) {
            Some(known) => *known.get()?,
            None => self.named.look(|known| known.get(&resource).copied())?,
        };
        Some((account, self.standing.get()?))
    }

    fn note(&self, resource: Resource, account: Account) {
        match self.standard.get(resource.number() as usize) {
            Some(known) => known.note(account),
            None => self.named.note(|known| {
                known.insert(resource, account);
            }),
        }
    }
}

impl Group {
    /// Where the group stands, which is noted on it if nobody has yet.
    pub(super) fn standing(&self) -> Result<Standing> {
        if let Some(standing) = self.accounts().standing.get() {
            return Ok(standing.clone());
        }
        let books = self.hierarchy().books()?;
        let path = self.numbers(&books)?.into();
        let standing = Standing { books, path };
        self.accounts().standing.note(standing.clone());
        Ok(standing)
    }

    /// The counters and the group's number in them, if anybody has used any.
    pub(super) fn standing_in_use(&self) -> Result<Option<(Books, u64)>> {
        let Some(books) = self.hierarchy().books_in_use()? else { return Ok(None) };
        Ok(number(self.node(), &books.region)?.map(|number| (books, number)))
    }

    /// The account of a resource in this group, made if it is not there. ENOENT: no such
    /// resource. ENODEV: the group was removed.
    pub(super) fn account(&self, resource: Resource) -> Result<Account> {
        if let Some((account, _)) = self.accounts().known(resource) {
            return Ok(account);
        }
        let Standing { books, path } = self.standing()?;
        self.hierarchy().must_know(resource)?;
        // Its number is on the directory of one that was removed, too.
        attribute::must_be_there(self.node())?;
        let account = match books.region.account(&path, resource.number()) {
            // Groups that went behind our back may have left room.
            Err(error) if error.is(libc::ENOSPC) && removal::sweep(self.hierarchy(), &books)? => {
                books.region.account(&path, resource.number())?
            }
            other => other?,
        };
        self.accounts().note(resource, account);
        Ok(account)
    }

    /// The group at or above this one that has a number.
    pub(super) fn level(&self, number: u64) -> Result<Group> {
        let Standing { path, .. } = self.standing()?;
        match path.iter().position(|&level| level == number) {
            None | Some(0) => Ok(self.clone()),
            Some(at) => {
                let above = self.path().ancestors().nth(at - 1).unwrap_or_else(GroupPath::root);
                Group::open(self.hierarchy(), &above)
            }
        }
    }

    fn numbers(&self, books: &Books) -> Result<Vec<u64>> {
        let mut numbers = vec![number_or_new(self.node(), &books.region)?];
        if books.is_flat {
            return Ok(numbers);
        }
        let mut below: Option<Group> = None;
        for path in self.path().ancestors() {
            let group = Group::open(self.hierarchy(), &path).map_err(|error| self.or_vanished(error))?;
            // A handle whose group was renamed has a path that may be another's now.
            same_directory(group.node(), below.as_ref().unwrap_or(self).node())?;
            numbers.push(number_or_new(group.node(), &books.region)?);
            below = Some(group);
        }
        Ok(numbers)
    }

    fn or_vanished(&self, error: Error) -> Error {
        if error.is(libc::ENOENT) { self.node().vanished() } else { error }
    }
}

/// The number of a group in a region, if it was given one.
///
/// EUCLEAN: what is noted there is no number.
pub(super) fn number(group: &Node, region: &Arc<Region>) -> Result<Option<u64>> {
    let Some(text) = attribute::get(group, &record(region))? else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => {
            let why = format!("the number of group {} among the counters is {text:?}", group.path);
            Err(Error::new(libc::EUCLEAN, why))
        }
    }
}

fn number_or_new(group: &Node, region: &Arc<Region>) -> Result<u64> {
    if let Some(number) = number(group, region)? {
        return Ok(number);
    }
    // A directory that was removed takes notes still.
    attribute::must_be_there(group)?;
    attribute::set_new(group, &record(region), &region.new_group()?.to_string())?;
    // Somebody else's, if he was quicker.
    match number(group, region)? {
        Some(number) => Ok(number),
        None => Err(Error::new(libc::EACCES, format!("we may not note a number for counters on group {}", group.path))),
    }
}

/// The attribute is named for the region: one of a former region is never taken for
/// this one's, and two who come at once cannot undo each other's.
fn record(region: &Arc<Region>) -> String {
    format!("bc-{:x}", region.number())
}
