//! Holding a group alive.

use cgf_core::Reference;
use libc::c_int;

use crate::arguments::{Out, object};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{free, guard};

/// A group is held alive for as long as this is there (R1.7).
///
/// It ends when it is freed, and with the process that took it, also when that
/// is killed: a forked child has no share in it.
pub struct cgf_reference {
    // Named, because a function has the structure's own name.
    _reference: Reference,
}

/// Keeps a group from being removed through this library: -EBUSY for whoever
/// tries. (A bare rmdir(2) of the kernel's knows nothing of it.)
///
/// Returns 0, and in "out" the reference, to be freed with cgf_reference_free; or
///
///     -ENODEV     the group was removed, or is being
///     -ETIMEDOUT  somebody is about to remove it and does not get on with it,
///                 within the hierarchy's deadline
///     -EACCES     not permitted
///     -ECHILD     in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_reference(
    g: *mut cgf_group,
    out: *mut *mut cgf_reference,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, out) = (object(g, "g")?, Out::new(out, "out")?);
            out.put_new(cgf_reference { _reference: group.0.reference()? });
            Ok(0)
        })
    }
}

/// Gives a reference back and frees it. In a forked child it only frees: the
/// reference is the parent's. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_reference_free(r: *mut cgf_reference) {
    // SAFETY: NULL, or a reference that is not freed yet (the header's rule).
    unsafe { free(r) };
}
