//! BeanCounters: what a group holds of each resource, and how much it may.

use crate::control_file::ControlFile;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::subsystem::Subsystem;

/// The beancounter, as hierarchies are bound to it.
pub(crate) struct BeanCounters;

impl Subsystem for BeanCounters {
    fn name(&self) -> &'static str {
        "beancounter"
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        Vec::new()
    }
}

/// Something that is counted, by its number in a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(u32);

impl Resource {
    /// Kernel memory, in bytes.
    pub const KMEMSIZE: Resource = Resource(0);
    /// Private virtual memory, in pages.
    pub const PRIVVMPAGES: Resource = Resource(1);
    /// Resident memory, in pages.
    pub const PHYSPAGES: Resource = Resource(2);
    /// Tasks.
    pub const NUMTASKS: Resource = Resource(3);
    /// Open files.
    pub const NUMFILES: Resource = Resource(4);

    /// The resource of a number; whether there is one shows when it is used.
    pub const fn from_number(number: u32) -> Resource {
        Resource(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// How hard a charge insists (R6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Refused if it would pass the barrier.
    Barrier,
    /// Refused if it would pass the limit.
    Limit,
    /// Never refused.
    Force,
}

/// A resource as a hierarchy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Which.
    pub resource: Resource,
    /// What it is called.
    pub name: String,
    /// What is counted: `bytes`, `pages`, `count`.
    pub unit: String,
}

/// The figures of one resource in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BeanCounter {
    /// Which resource.
    pub resource: Resource,
    /// What it is called.
    pub name: String,
    /// What is held now.
    pub held: u64,
    /// The most and the least that was held since the group was made, or since
    /// they were reset.
    pub maxheld: u64,
    /// The least.
    pub minheld: u64,
    /// Where BARRIER charges end; `None` is no barrier.
    pub barrier: Option<u64>,
    /// Where LIMIT charges end; `None` is no limit.
    pub limit: Option<u64>,
    /// How many charges this group has refused.
    pub failcnt: u64,
}

/// All figures of a group at one instant (R6.5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// One for each resource of the hierarchy, by number.
    pub counters: Vec<BeanCounter>,
    /// How often more was uncharged than was held.
    pub underflow: u64,
}

/// A charge that ends with this value.
#[must_use]
#[derive(Debug)]
pub struct Charged {
    group: Group,
    resource: Resource,
    amount: u64,
}

impl Drop for Charged {
    fn drop(&mut self) {
        let _ = self.group.uncharge(self.resource, self.amount);
    }
}

fn not_yet<T>() -> Result<T> {
    Err(Error::new(libc::ENOSYS, "not yet"))
}

impl Hierarchy {
    /// Makes a resource known by its name, in this hierarchy and to all who share it; the
    /// same name and unit give the same number. A standard one is found by its name.
    pub fn register_resource(&self, _name: &str, _unit: &str) -> Result<Resource> {
        not_yet()
    }

    /// The resource of a name. ENOENT.
    pub fn resource(&self, _name: &str) -> Result<Resource> {
        not_yet()
    }

    /// All resources of the hierarchy, by number.
    pub fn resources(&self) -> Result<Vec<ResourceInfo>> {
        not_yet()
    }

    /// Calls the function after a LIMIT charge of this process took a group (the one given)
    /// over its barrier. One function a resource in a process; the last one counts.
    pub fn on_barrier(
        &self,
        _resource: Resource,
        _hit: impl Fn(&Group, Resource, u64) + Send + Sync + 'static,
    ) -> Result<()> {
        not_yet()
    }

    /// Calls the function before a charge of this process is refused, with the group that refuses and
    /// the amount; `true` says that something was freed, and the charge is tried once more.
    pub fn on_limit(
        &self,
        _resource: Resource,
        _hit: impl Fn(&Group, Resource, u64) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        not_yet()
    }
}

impl Group {
    /// Charges the group and all above it; held by this process, and given back when it dies.
    pub fn charge(&self, _resource: Resource, _amount: u64, _severity: Severity) -> Result<()> {
        not_yet()
    }

    /// Takes a charge back: what this process holds first, then what the group keeps.
    pub fn uncharge(&self, _resource: Resource, _amount: u64) -> Result<()> {
        not_yet()
    }

    /// Several resources at once, all or none.
    pub fn charge_many(&self, _charges: &[(Resource, u64)], _severity: Severity) -> Result<()> {
        not_yet()
    }

    /// Several at once.
    pub fn uncharge_many(&self, _charges: &[(Resource, u64)]) -> Result<()> {
        not_yet()
    }

    /// As much as is available, `amount` at most; how much that was.
    pub fn charge_up_to(&self, _resource: Resource, _amount: u64, _severity: Severity) -> Result<u64> {
        not_yet()
    }

    /// As [`charge_many`](Group::charge_many), but owned by the group: it outlives this process.
    pub fn charge_kept(&self, _charges: &[(Resource, u64)], _severity: Severity) -> Result<()> {
        not_yet()
    }

    /// Charges, and takes it back when the value is dropped.
    pub fn charged(&self, resource: Resource, amount: u64, severity: Severity) -> Result<Charged> {
        self.charge(resource, amount, severity)?;
        Ok(Charged { group: self.clone(), resource, amount })
    }

    /// Sets barrier and limit together; `None` is none.
    pub fn set_limits(&self, _resource: Resource, _barrier: Option<u64>, _limit: Option<u64>) -> Result<()> {
        not_yet()
    }

    /// All figures of the group at one instant.
    pub fn snapshot(&self) -> Result<Snapshot> {
        not_yet()
    }
}
