//! One thing that has happened in a hierarchy.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use cgf_core::{Event, EventKind};
use libc::{c_char, c_int, pid_t, ssize_t};

use crate::arguments::{Buffer, Out, object};
use crate::error::shown;
use crate::group::absolute;
use crate::guard::{Failure, free, guard};

/// One thing that has happened (R1.12), from cgf_watch_next or cgf_monitor_next.
/// It never changes, needs neither the watch nor the hierarchy any more, and may
/// be used in any thread and after a fork.
///
/// None of its functions takes an "err": what fails is a NULL, or asking for what
/// an event of this kind does not have.
pub struct cgf_event {
    event: Event,
    boot_id: Arc<CStr>,
    figures: Vec<(CString, u64)>,
    message: CString,
}

/// cgf_event_kind: one that this header does not know; cgf_event_name has its
/// name.
pub const CGF_EVENT_OTHER: c_int = 0;
/// A group was made, or was given this name.
pub const CGF_EVENT_CREATED: c_int = 1;
/// A group was removed, or was given another name. The removal of the root group
/// ends the stream.
pub const CGF_EVENT_REMOVED: c_int = 2;
/// A process was born in the group: cgf_event_pid, by cgf_event_parent.
pub const CGF_EVENT_FORK: c_int = 3;
/// A process of the group ended: cgf_event_pid, and cgf_event_status where the
/// kernel told.
pub const CGF_EVENT_EXIT: c_int = 4;
/// A process came into the group that was alive already, from cgf_event_other if
/// that is in the hierarchy too.
pub const CGF_EVENT_ATTACHED: c_int = 5;
/// A process left the group alive, to cgf_event_other if that is in the hierarchy
/// too; else another hierarchy on the same kernel tree has it now, or no group at
/// all (R1.2).
pub const CGF_EVENT_LEFT: c_int = 6;
/// The last task has left, and there is no group below (R1.11).
pub const CGF_EVENT_EMPTY: c_int = 7;
/// A task has come to the group, or to one below, where none was.
pub const CGF_EVENT_POPULATED: c_int = 8;
/// Every task of the group has stopped.
pub const CGF_EVENT_FROZEN: c_int = 9;
/// The group runs again.
pub const CGF_EVENT_THAWED: c_int = 10;
/// The group runs although somebody holds it frozen: another one thawed it.
pub const CGF_EVENT_FOREIGN_THAW: c_int = 11;
/// The group was removed because it was empty (auto_delete): cgf_event_figure has
/// what it had counted. From a monitor only.
pub const CGF_EVENT_RELEASED: c_int = 12;
/// The release agent was started for the empty group: cgf_event_pid. From a
/// monitor only.
pub const CGF_EVENT_NOTIFIED: c_int = 13;
/// A monitor could not do what the group's emptiness called for:
/// cgf_event_message says why. It is not tried again.
pub const CGF_EVENT_RELEASE_FAILED: c_int = 14;
/// A resource went over its barrier.
pub const CGF_EVENT_BARRIER: c_int = 15;
/// A resource met its limit.
pub const CGF_EVENT_LIMIT: c_int = 16;
/// More has happened than was told; cgf_event_message says where it was lost.
/// Events that follow tell in what the hierarchy differs now from what was told
/// before.
pub const CGF_EVENT_LOST: c_int = 17;

/// What C calls each kind. The names are the core's, with the NUL that C needs.
const KINDS: [(EventKind, c_int, &CStr); 17] = [
    (EventKind::Created, CGF_EVENT_CREATED, c"created"),
    (EventKind::Removed, CGF_EVENT_REMOVED, c"removed"),
    (EventKind::Fork, CGF_EVENT_FORK, c"fork"),
    (EventKind::Exit, CGF_EVENT_EXIT, c"exit"),
    (EventKind::Attached, CGF_EVENT_ATTACHED, c"attached"),
    (EventKind::Left, CGF_EVENT_LEFT, c"left"),
    (EventKind::Empty, CGF_EVENT_EMPTY, c"empty"),
    (EventKind::Populated, CGF_EVENT_POPULATED, c"populated"),
    (EventKind::Frozen, CGF_EVENT_FROZEN, c"frozen"),
    (EventKind::Thawed, CGF_EVENT_THAWED, c"thawed"),
    (EventKind::ForeignThaw, CGF_EVENT_FOREIGN_THAW, c"foreign-thaw"),
    (EventKind::Released, CGF_EVENT_RELEASED, c"released"),
    (EventKind::Notified, CGF_EVENT_NOTIFIED, c"notified"),
    (EventKind::ReleaseFailed, CGF_EVENT_RELEASE_FAILED, c"release-failed"),
    (EventKind::Barrier, CGF_EVENT_BARRIER, c"barrier"),
    (EventKind::Limit, CGF_EVENT_LIMIT, c"limit"),
    (EventKind::Lost, CGF_EVENT_LOST, c"lost"),
];

impl cgf_event {
    pub(crate) fn new(event: Event, boot_id: Arc<CStr>) -> cgf_event {
        cgf_event {
            boot_id,
            figures: event.figures.iter().map(|(name, value)| (shown(name), *value)).collect(),
            message: shown(event.message.as_deref().unwrap_or_default()),
            event,
        }
    }

    fn kind(&self) -> (c_int, &'static CStr) {
        let known = KINDS.iter().find(|(kind, ..)| *kind == self.event.kind);
        known.map_or((CGF_EVENT_OTHER, c"other"), |(_, number, name)| (*number, name))
    }
}

/// What kind of thing has happened: CGF_EVENT_CREATED and so on.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_kind(e: *const cgf_event) -> c_int {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { guard(std::ptr::null_mut(), || Ok(object(e, "e")?.kind().0)) }
}

/// The same as one word, as cgf(1) prints it: "created", "foreign-thaw", ... The
/// string is constant. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_name(e: *const cgf_event) -> *const c_char {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { e.as_ref() }.map_or(c"".as_ptr(), |event| event.kind().1.as_ptr())
}

/// Copies the path of the group that it happened to, "/" for what is about the
/// whole hierarchy, and returns its whole length in bytes, as cgf_group_path does.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_group(e: *const cgf_event, buf: *mut c_char, cap: usize) -> ssize_t {
    // SAFETY: NULL, or an event that is not freed yet, and room for `cap` bytes
    // (the header's rule).
    unsafe {
        guard(std::ptr::null_mut(), || {
            let (event, buffer) = (object(e, "e")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill_text(&absolute(&event.event.group)))
        })
    }
}

/// The same for the other end of a move within the hierarchy (CGF_EVENT_ATTACHED,
/// CGF_EVENT_LEFT).
///
///     -ENODATA  the event has none
///     -EINVAL   NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_other(e: *const cgf_event, buf: *mut c_char, cap: usize) -> ssize_t {
    // SAFETY: NULL, or an event that is not freed yet, and room for `cap` bytes
    // (the header's rule).
    unsafe {
        guard(std::ptr::null_mut(), || {
            let (event, buffer) = (object(e, "e")?, Buffer::new(buf, cap)?);
            let other = event.event.other.as_ref().ok_or_else(|| missing("other group"))?;
            Ok(buffer.fill_text(&absolute(other)))
        })
    }
}

/// Which process, as seen in the caller's pid namespace; it may have gone. 0 where
/// the event is about none.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_pid(e: *const cgf_event) -> pid_t {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { guard(std::ptr::null_mut(), || Ok(object(e, "e")?.event.pid.unwrap_or_default())) }
}

/// The process that forked (CGF_EVENT_FORK), where it is known; else 0.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_parent(e: *const cgf_event) -> pid_t {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { guard(std::ptr::null_mut(), || Ok(object(e, "e")?.event.parent.unwrap_or_default())) }
}

/// How the process ended (CGF_EVENT_EXIT): a status for WIFEXITED and the like
/// (waitpid(2)).
///
///     -ENODATA  the kernel did not tell, or it is no end
///     -EINVAL   NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_status(e: *const cgf_event) -> c_int {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { guard(std::ptr::null_mut(), || object(e, "e")?.event.status.ok_or_else(|| missing("status"))) }
}

/// When it happened, in nanoseconds of CLOCK_BOOTTIME: since the machine was
/// booted, sleep included. Of a fork and an exit by the kernel's clock where the
/// kernel told, else when it was noticed. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_time(e: *const cgf_event) -> u64 {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    let time = unsafe { e.as_ref() }.map(|event| event.event.time.as_nanos());
    time.map_or(0, |nanoseconds| u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// The inode of the group's directory (on cgroup v2 the cgroup's id), 0 if it was
/// gone before it could be asked for. With cgf_event_boot_id it names the group
/// among all of all machines. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_group_id(e: *const cgf_event) -> u64 {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { e.as_ref() }.map_or(0, |event| event.event.group_id)
}

/// This machine since it was booted, as /proc/sys/kernel/random/boot_id has it.
/// Owned by the event: good until that is freed. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_boot_id(e: *const cgf_event) -> *const c_char {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { e.as_ref() }.map_or(c"".as_ptr(), |event| event.boot_id.as_ptr())
}

/// One of the event's figures, counted from 0: of CGF_EVENT_RELEASED
/// "frozen_usec" (microseconds) and, on cgroup v2, those of "cpu.stat" that end in
/// "_usec". The name in "name" is owned by the event: good until that is freed.
///
/// Returns 0, or
///
///     -ENODATA  it has not so many
///     -EINVAL   NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_figure(
    e: *const cgf_event,
    index: usize,
    name: *mut *const c_char,
    value: *mut u64,
) -> c_int {
    // SAFETY: NULL, or an event that is not freed yet, and places that can be
    // written to (the header's rule).
    unsafe {
        guard(std::ptr::null_mut(), || {
            let (event, name, value) = (object(e, "e")?, Out::new(name, "name")?, Out::new(value, "value")?);
            let figure = event.figures.get(index).ok_or_else(|| missing("such figure"))?;
            name.put(figure.0.as_ptr());
            value.put(figure.1);
            Ok(0)
        })
    }
}

/// Of a loss or a failure: a sentence about it, else "". UTF-8, owned by the
/// event: good until that is freed. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_message(e: *const cgf_event) -> *const c_char {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { e.as_ref() }.map_or(c"".as_ptr(), |event| event.message.as_ptr())
}

/// Frees an event. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_event_free(e: *mut cgf_event) {
    // SAFETY: NULL, or an event that is not freed yet (the header's rule).
    unsafe { free(e) };
}

fn missing(what: &str) -> Failure {
    Failure::new(libc::ENODATA, format!("the event has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::KINDS;

    #[test]
    fn kinds_are_numbered_from_one_and_named_as_the_core_names_them() {
        for ((kind, number, name), expected) in KINDS.iter().zip(1..) {
            assert_eq!((*number, name.to_bytes()), (expected, kind.name().as_bytes()));
        }
    }
}
