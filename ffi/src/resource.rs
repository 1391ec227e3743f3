//! Resources by name, and whoever wants to know when one runs short.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cgf_core::{Group, Resource};
use libc::{c_char, c_int};

use crate::arguments::{Out, Versioned, object, structure, utf8};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Result, guard};
use crate::hierarchy::cgf_hierarchy;

/// What a program wants to be told of a resource, for cgf_resource_register. Every
/// function may be NULL. Later versions may add functions at the end:
///
///     struct cgf_resource_callbacks callbacks = { .size = sizeof(callbacks) };
///
/// They are called in the thread that charges, in several at once, with no lock of the
/// library held, and may call back into it. The handle that they are given is borrowed:
/// good until they return, and not to be freed. They must return: no exception, longjmp
/// or pthread_exit may leave them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_resource_callbacks {
    /// sizeof(struct cgf_resource_callbacks)
    pub size: usize,
    /// What every callback gets first.
    pub state: *mut c_void,
    /// Called once, when other callbacks have taken their place, or the handle is freed
    /// and those of all groups that were opened through it.
    pub free: Option<unsafe extern "C" fn(state: *mut c_void)>,
    /// A CGF_LIMIT charge of that amount has taken a group over its barrier: once for
    /// each time that it is crossed (R6.2).
    pub barrier_hit: Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group, resource: u32, amount: u64)>,
    /// A charge is about to be refused, because this group has no room for the amount.
    /// Returns 1 if something was freed: then it is tried once more; else 0.
    pub limit_hit:
        Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group, resource: u32, amount: u64) -> c_int>,
}

// SAFETY: numbers, pointers, and functions that may be NULL, all of one width
// and so without padding (`layout`), the size first.
unsafe impl Versioned for cgf_resource_callbacks {
    const LEAST: usize = 5 * size_of::<usize>();
}

/// Makes a resource known by its name to all who use the hierarchy, now and later,
/// and gives its number: the same name has the same number for everybody (R6.1).
/// "unit" is what is counted, "bytes" for one. With NULL it is one that is known
/// already, as the standard ones are: "kmemsize", "privvmpages", "physpages",
/// "numtasks", "numfiles".
///
/// "callbacks" are of this handle, and of the groups that are opened through it; they
/// take the place of those before, and NULL leaves them. The structure is copied, "state"
/// excepted, which the library has from now on and gives back by "free". "number"
/// may be NULL.
///
/// Returns 0, or, with "state" still the caller's,
///
///     -EINVAL  no name for a resource, or none for a unit; a size that no version had
///     -E2BIG   the structure is larger than this library knows, and what it does
///              not know is not zero
///     -EEXIST  it is known with another unit
///     -ENOENT  no unit was given, and no such resource is known
///     -ENOSPC  no room for another one
///     -EOPNOTSUPP  the hierarchy is not bound to "beancounter"
///     -ENODEV  the hierarchy has ended
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_resource_register(
    h: *mut cgf_hierarchy,
    name: *const c_char,
    unit: *const c_char,
    callbacks: *const cgf_resource_callbacks,
    number: *mut u32,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call; the
    // functions are, for as long as the callbacks are there.
    unsafe {
        guard(err, || {
            let (hierarchy, name) = (&object(h, "h")?.0, utf8(name, "name")?);
            let callbacks = if callbacks.is_null() { None } else { Some(structure(callbacks, "callbacks")?) };
            let resource = match unit.is_null() {
                true => hierarchy.resource(name)?,
                false => hierarchy.register_resource(name, utf8(unit, "unit")?)?,
            };
            if let Some(callbacks) = callbacks {
                call(hierarchy, resource, callbacks)?;
            }
            if !number.is_null() {
                Out::new(number, "number")?.put(resource.number());
            }
            Ok(0)
        })
    }
}

/// Both at once, or neither: until then nobody is called, and the state is the caller's.
fn call(hierarchy: &cgf_core::Hierarchy, resource: Resource, given: cgf_resource_callbacks) -> Result<()> {
    let told = Arc::new(Told { given, is_called: AtomicBool::new(false) });
    let at_barrier = Arc::clone(&told);
    hierarchy.on_barrier(resource, move |group, resource, amount| at_barrier.barrier_hit(group, resource, amount))?;
    let at_limit = Arc::clone(&told);
    hierarchy.on_limit(resource, move |group, resource, amount| at_limit.limit_hit(group, resource, amount))?;
    told.is_called.store(true, Ordering::Release);
    Ok(())
}

/// Who is told.
struct Told {
    given: cgf_resource_callbacks,
    is_called: AtomicBool,
}

// SAFETY: the header asks for functions that may be called with the state by
// any thread, and by several at once.
unsafe impl Send for Told {}
// SAFETY: the same.
unsafe impl Sync for Told {}

impl Told {
    fn barrier_hit(&self, group: &Group, resource: Resource, amount: u64) {
        if let Some(hit) = self.given.barrier_hit
            && self.is_called.load(Ordering::Acquire)
        {
            // SAFETY: the program's function, with its state, and a handle that is there until it returns.
            unsafe { hit(self.given.state, &mut cgf_group(group.clone()), resource.number(), amount) };
        }
    }

    fn limit_hit(&self, group: &Group, resource: Resource, amount: u64) -> bool {
        let Some(hit) = self.given.limit_hit.filter(|_| self.is_called.load(Ordering::Acquire)) else { return false };
        // SAFETY: the program's function, with its state, and a handle that is there until it returns.
        unsafe { hit(self.given.state, &mut cgf_group(group.clone()), resource.number(), amount) == 1 }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(free) = self.given.free
            && *self.is_called.get_mut()
        {
            // SAFETY: with the state, once: whoever could call about it has gone.
            unsafe { free(self.given.state) };
        }
    }
}
