//! Whoever sees to what groups ask for when they are emptied, and tells
//! subsystems of forks and exits.

use cgf_core::{Deadline, Monitor};
use libc::c_int;

use crate::arguments::{Out, object};
use crate::error::cgf_error;
use crate::event::cgf_event;
use crate::guard::{free, guard};
use crate::hierarchy::cgf_hierarchy;
use crate::stream::{Stream, options};

/// A watch that acts (R1.11): it starts the release agent for a group that has
/// been emptied and notifies, removes one with auto_delete, and calls the fork and
/// exit of the subsystems that are registered here (cgf_subsystem).
///
/// Any number may run for a hierarchy, in any processes, and be killed at any
/// moment: every emptying is reported once. What was empty before the first one
/// came is reported when it comes. A group that is entered again before its
/// emptiness was reported has not been empty.
///
/// It acts where cgf_monitor_next is called, and then only. The agent is a child
/// of the caller's, in a session of its own, with the group's path ("/web/1") as
/// its argument, HOME and PATH as its environment, and /dev/null as its input and
/// output. The monitor waits for it when it has ended; one that runs when the
/// monitor is freed is left to the caller.
pub struct cgf_monitor(Stream<Monitor>);

/// Begins to monitor a hierarchy. "flags" as cgf_watch_open; CGF_WATCH_TASKS is
/// implied if a subsystem of the hierarchy has a fork or an exit.
///
/// Returns a descriptor to poll as cgf_watch_open does, and a handle in "out" to
/// be freed with cgf_monitor_free. It is readable too when there is something to
/// do of which no event comes. Errors are those of cgf_watch_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_monitor_open(
    h: *mut cgf_hierarchy,
    flags: u64,
    out: *mut *mut cgf_monitor,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, out) = (object(h, "h")?, Out::new(out, "out")?);
            let stream = Stream::new(hierarchy.0.monitor_with(options(flags)?)?, Monitor::watch);
            let descriptor = stream.descriptor();
            out.put_new(cgf_monitor(stream));
            Ok(descriptor)
        })
    }
}

/// Gives the next event as cgf_watch_next does, after what it calls for was done:
/// of a fork and an exit the subsystems have been called, in this thread.
///
/// Returns 1, and an event in "out" to be freed with cgf_event_free; 0 if there
/// was none by then; or
///
///     -EBUSY   another thread waits for events of this monitor, or this is a
///              callback that the monitor has called
///     others   as cgf_watch_next, and what the fork or exit of a subsystem gives:
///              that event is lost then, the next call goes on behind it
///
/// What goes wrong with a release is no error, but CGF_EVENT_RELEASE_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_monitor_next(
    m: *mut cgf_monitor,
    timeout_ms: c_int,
    out: *mut *mut cgf_event,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (monitor, out) = (object(m, "m")?, Out::new(out, "out")?);
            monitor.0.next(out, |monitor| monitor.next(Deadline::from_millis(timeout_ms)))
        })
    }
}

/// As cgf_watch_lists_tasks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_monitor_lists_tasks(m: *const cgf_monitor, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe { guard(err, || Ok(object(m, "m")?.0.lists_tasks().into())) }
}

/// Ends a monitor and closes its descriptor. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_monitor_free(m: *mut cgf_monitor) {
    // SAFETY: NULL, or a monitor that is not freed yet (the header's rule).
    unsafe { free(m) };
}
