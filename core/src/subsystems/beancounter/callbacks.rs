//! What a program wants to be called for: a barrier that was crossed, a charge that
//! would be refused.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock, TryLockError};
use std::time::Duration;

use super::resource::Resource;
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hierarchy::Hierarchy;

type OnBarrier = Arc<dyn Fn(&Group, Resource, u64) + Send + Sync>;
type OnLimit = Arc<dyn Fn(&Group, Resource, u64) -> bool + Send + Sync>;

/// The functions of one handle on a hierarchy and its clones.
#[derive(Default)]
pub(super) struct Callbacks {
    barrier: RwLock<HashMap<Resource, OnBarrier>>,
    limit: RwLock<HashMap<Resource, OnLimit>>,
}

impl Hierarchy {
    /// Calls the function after a LIMIT charge took a group (the one given, which may be
    /// above the one that was charged) over its barrier, with the amount of the charge:
    /// once for each crossing, when the charge is made, with nothing locked (R6.2).
    ///
    /// It is for the charges through this handle, its clones and their groups. There is
    /// one function for each resource; the last one counts.
    ///
    /// # Errors
    ///
    /// ENOENT: no such resource. EOPNOTSUPP: the hierarchy is not bound to the
    /// beancounter. ECHILD: in a forked child.
    pub fn on_barrier(
        &self,
        resource: Resource,
        hit: impl Fn(&Group, Resource, u64) + Send + Sync + 'static,
    ) -> Result<()> {
        self.must_know(resource)?;
        let callbacks = &self.ledger().callbacks;
        exchange(&callbacks.barrier, resource, Arc::new(hit))
    }

    /// Calls the function before a charge is refused, with the group that refuses and the
    /// amount, with nothing locked. `true` says that something was freed, and the
    /// charge is tried once more (R6.2).
    ///
    /// Whose charges, and errors: as [`on_barrier`](Hierarchy::on_barrier).
    pub fn on_limit(
        &self,
        resource: Resource,
        hit: impl Fn(&Group, Resource, u64) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        self.must_know(resource)?;
        let callbacks = &self.ledger().callbacks;
        exchange(&callbacks.limit, resource, Arc::new(hit))
    }

    /// Tells of a crossing.
    pub(super) fn tell_of_barrier(&self, group: &Group, resource: Resource, amount: u64) {
        if let Ok(Some(hit)) = find(&self.ledger().callbacks.barrier, resource) {
            hit(group, resource, amount);
        }
    }

    /// Whether something was freed.
    pub(super) fn ask_at_limit(&self, group: &Group, resource: Resource, amount: u64) -> bool {
        match find(&self.ledger().callbacks.limit, resource) {
            Ok(Some(hit)) => hit(group, resource, amount),
            _ => false,
        }
    }
}

fn find<T: Clone>(functions: &RwLock<HashMap<Resource, T>>, resource: Resource) -> Result<Option<T>> {
    patiently(|| match functions.try_read() {
        Ok(functions) => Some(functions.get(&resource).cloned()),
        Err(TryLockError::Poisoned(functions)) => Some(functions.into_inner().get(&resource).cloned()),
        Err(TryLockError::WouldBlock) => None,
    })
}

/// The function that there was is the program's own to drop: not with the list locked.
fn exchange<T>(functions: &RwLock<HashMap<Resource, T>>, resource: Resource, function: T) -> Result<()> {
    let mut function = Some(function);
    let former = patiently(|| {
        let mut functions = match functions.try_write() {
            Ok(functions) => functions,
            Err(TryLockError::Poisoned(functions)) => functions.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        function.take().map(|function| functions.insert(resource, function))
    })?;
    drop(former);
    Ok(())
}

/// The lists are locked for a few instructions, by whoever registers: nobody else
/// waits for them, and not for long.
fn patiently<T>(mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let mut wait = Wait::until(Deadline::after(Duration::from_secs(1)));
    loop {
        if let Some(done) = attempt() {
            return Ok(done);
        }
        if wait.pause(Duration::from_micros(50)).is_err() {
            return Err(Error::new(libc::ETIMEDOUT, "a thread that registers a function does not get on with it"));
        }
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callbacks")
    }
}
