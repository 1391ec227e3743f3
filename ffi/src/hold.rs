//! A freeze that several share.

use cgf_core::{Deadline, Hold};
use libc::c_int;

use crate::arguments::{Out, null, object};
use crate::error::cgf_error;
use crate::freezer::options;
use crate::group::cgf_group;
use crate::guard::guard;

/// A share in keeping a group frozen.
///
/// Shares are counted across threads and processes. When the last one is given
/// back the group is thawed, unless it was frozen already before the first. A
/// holder that is killed gives its share back; if it was the last, the group
/// stays frozen until the next holder leaves or somebody thaws it. A share does
/// not keep others from thawing the group.
pub struct cgf_hold {
    // Named, because a function has the structure's own name.
    hold: Hold,
}

/// Freezes a group as cgf_freeze does, with the same "timeout_ms" and "flags",
/// for as long as this share or another one of anybody's is there.
///
/// Returns 0, and in "out" the share, to be given back with cgf_hold_release; or
///
///     -ETIMEDOUT  another holder comes or goes and does not get on with it
///     others as cgf_freeze; the share has been given back then
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hold(
    g: *mut cgf_group,
    timeout_ms: c_int,
    flags: u64,
    out: *mut *mut cgf_hold,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, out) = (object(g, "g")?, Out::new(out, "out")?);
            let options = options(Deadline::from_millis(timeout_ms), flags)?;
            out.put_new(cgf_hold { hold: group.0.hold_with(options)? });
            Ok(0)
        })
    }
}

/// Gives a share back, thaws the group if it was the last, and frees the share,
/// whatever it returns. In a forked child it only frees: the share is the
/// parent's.
///
/// Returns 0, or
///
///     -EINVAL  NULL
///     -ETIMEDOUT  another holder comes or goes and does not get on with it,
///              or the kernel did not let go, within the hierarchy's deadline
///     -ENODEV  the group was removed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hold_release(hold: *mut cgf_hold, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call; a
    // share comes from `put_new` and is released once.
    unsafe {
        guard(err, || {
            if hold.is_null() {
                return Err(null("hold"));
            }
            Box::from_raw(hold).hold.give_back()?;
            Ok(0)
        })
    }
}
