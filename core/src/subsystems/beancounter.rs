//! BeanCounters: what a group holds of each resource, and how much it may.
//!
//! What is here gives the counters (`core/src/counters/`) their meaning. A group has a number
//! in the region of its hierarchy, noted on its directory at first need, and for each
//! resource an account whose parent is that of the group above. Nothing here is locked, and
//! a charge waits for nobody.

pub(crate) mod accounts;
mod callbacks;
mod charge;
mod files;
mod kernel;
pub(crate) mod ledger;
pub(crate) mod removal;
pub(crate) mod resource;
mod sample;
pub(crate) mod snapshot;
mod stat;

use self::resource::Resource;
use crate::control_file::ControlFile;
use crate::counters::{self, Owner};
use crate::error::Result;
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::subsystem::Subsystem;

/// What it is called in options.
const NAME: &str = "beancounter";

/// The beancounter, as hierarchies are bound to it.
pub(crate) struct BeanCounters;

impl Subsystem for BeanCounters {
    fn name(&self) -> &'static str {
        NAME
    }

    fn controllers(&self) -> Vec<&str> {
        kernel::CONTROLLERS.to_vec()
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        files::all()
    }

    fn unmount(&self, hierarchy: &Hierarchy) -> Result<()> {
        removal::forget(&hierarchy.root());
        hierarchy.forget_counters()
    }

    fn destroy(&self, group: &Group) -> Result<()> {
        removal::forget(group);
        Ok(())
    }
}

/// How hard a charge insists (R6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Refused if it would pass the barrier, or the limit.
    Barrier,
    /// Refused if it would pass the limit.
    Limit,
    /// Never refused.
    Force,
}

/// A charge that ends with this value.
///
/// It is given back when this is dropped, and with the process; a forked child has no
/// share in it.
#[must_use = "dropping it takes the charge back"]
#[derive(Debug)]
pub struct Charged {
    group: Group,
    resource: Resource,
    amount: u64,
}

impl Drop for Charged {
    fn drop(&mut self) {
        // In a forked child, and of a group that has gone, there is nothing to take back.
        let _ = self.group.uncharge(self.resource, self.amount);
    }
}

impl Group {
    /// Charges the group and all above it (R6.3); held by this process, and given back when it
    /// dies, however that is. Never waits for anybody (R6.8).
    ///
    /// 0 is nothing, and succeeds.
    ///
    /// # Errors
    ///
    /// * ENOMEM, for files EMFILE: it does not fit; the message names the group that
    ///   refuses, whose `failcnt` has counted it. Nothing was charged.
    /// * EINVAL: more than 2^48. ENOENT: no such resource.
    /// * EOVERFLOW: with FORCE, more than a counter holds.
    /// * EOPNOTSUPP: the hierarchy is not bound to the beancounter. ENODEV: the group was
    ///   removed. ECHILD: in a forked child.
    /// * EDEADLK: in a signal handler that interrupted a charge.
    /// * At the first use of the counters by a process, what opening them gives: EACCES,
    ///   EROFS, ENOSPC (no room on the file system, or in the counters); EPERM, ELOOP, EUCLEAN:
    ///   the file is not ours, no file, or damaged; EXDEV: processes of another pid or
    ///   time namespace use it.
    #[inline]
    pub fn charge(&self, resource: Resource, amount: u64, severity: Severity) -> Result<()> {
        if counters::charge_quickly(self.accounts().key(resource), amount) {
            return Ok(());
        }
        self.charge_one(resource, amount, severity)
    }

    /// The quick way of [`charge`](Group::charge) alone: for callers whose own way would cost
    /// as much again. `false`: nothing was done, charge.
    #[doc(hidden)]
    #[inline(always)]
    pub fn charge_quickly(&self, resource: Resource, amount: u64) -> bool {
        counters::charge_quickly(self.accounts().key(resource), amount)
    }

    /// The same of [`uncharge`](Group::uncharge).
    #[doc(hidden)]
    #[inline(always)]
    pub fn uncharge_quickly(&self, resource: Resource, amount: u64) -> bool {
        counters::uncharge_quickly(self.accounts().key(resource), amount)
    }

    /// Takes a charge back: what this process holds first, then what the group keeps.
    ///
    /// What is more than that is not taken, and counts in `bc.underflow` (R6.4).
    ///
    /// # Errors
    ///
    /// As [`charge`](Group::charge), without the refusals.
    #[inline]
    pub fn uncharge(&self, resource: Resource, amount: u64) -> Result<()> {
        if counters::uncharge_quickly(self.accounts().key(resource), amount) {
            return Ok(());
        }
        self.uncharge_one(resource, amount)
    }

    /// Several resources at once, all or none, and never to be seen half-done (R6.4).
    ///
    /// # Errors
    ///
    /// As [`charge`](Group::charge). E2BIG: too many, for the depth of the group, for one
    /// step.
    pub fn charge_many(&self, charges: &[(Resource, u64)], severity: Severity) -> Result<()> {
        self.charge_all(charges, severity, Owner::Process)
    }

    /// Takes back several at once, as [`uncharge`](Group::uncharge).
    ///
    /// # Errors
    ///
    /// As [`charge_many`](Group::charge_many), without the refusals.
    pub fn uncharge_many(&self, charges: &[(Resource, u64)]) -> Result<()> {
        self.uncharge_all(charges)
    }

    /// Charges as much as is available, `amount` at most, and returns how much that was.
    /// Where nothing is, `failcnt` counts it.
    ///
    /// # Errors
    ///
    /// As [`charge`](Group::charge), without the refusals.
    pub fn charge_up_to(&self, resource: Resource, amount: u64, severity: Severity) -> Result<u64> {
        self.charge_what_fits(resource, amount, severity)
    }

    /// As [`charge_many`](Group::charge_many), but owned by the group: it outlives this process,
    /// until somebody takes it back. A group that keeps something is not removed.
    ///
    /// # Errors
    ///
    /// As [`charge_many`](Group::charge_many).
    pub fn charge_kept(&self, charges: &[(Resource, u64)], severity: Severity) -> Result<()> {
        self.charge_all(charges, severity, Owner::Group)
    }

    /// Charges, and takes it back when the value is dropped.
    ///
    /// # Errors
    ///
    /// As [`charge`](Group::charge).
    pub fn charged(&self, resource: Resource, amount: u64, severity: Severity) -> Result<Charged> {
        self.charge(resource, amount, severity)?;
        Ok(Charged { group: self.clone(), resource, amount })
    }
}
