//! What happens in a hierarchy.

use cgf_core::{Deadline, Watch};
use libc::c_int;

use crate::arguments::{Out, object};
use crate::error::cgf_error;
use crate::event::cgf_event;
use crate::guard::{free, guard};
use crate::hierarchy::cgf_hierarchy;
use crate::stream::{Stream, options};

/// The events of a hierarchy, from the moment the watch was made (R1.12).
///
/// Nothing runs behind it: while nobody calls cgf_watch_next the kernel keeps what
/// happens, and when it has kept too much, that is told as CGF_EVENT_LOST. What
/// came and went between two looks (a group frozen for a moment) may not be told
/// at all. On cgroup v1 and embedded the kernel gives no notice of most things:
/// they are looked for every 10 to 80 ms, or more rarely where a look takes more
/// than a twentieth of that. Memory is bounded by the number of groups and, with
/// CGF_WATCH_TASKS, of processes in them. It keeps what it needs of the
/// hierarchy's handle alive.
pub struct cgf_watch(Stream<Watch>);

/// cgf_watch_open, cgf_monitor_open: also who is born, ends, comes and goes. Needs
/// the proc connector, which tells of every fork on the machine; where that cannot
/// be had, groups are listed again and again, and a process that lives for less
/// than the time between two listings is not told of (cgf_watch_lists_tasks). With
/// the connector, too, one that came from outside of the hierarchy has to be there
/// still when cgf_watch_next looks: the kernel does not say to which group somebody
/// belonged who is gone. Its children are told of from then on, however brief.
pub const CGF_WATCH_TASKS: u64 = 1;
/// The same: find who is born and ends by listing even where the proc connector
/// could be had, so as not to be woken by every fork of the machine.
pub const CGF_WATCH_LISTING: u64 = 2;

/// Begins to watch a hierarchy. What is there already is not told. "flags":
/// CGF_WATCH_TASKS, CGF_WATCH_LISTING.
///
/// Returns a descriptor that poll(2) shows readable when there may be an event,
/// for cgf_watch_next to give. The watch owns it: it is only to be polled, and is
/// closed by cgf_watch_free, by which the handle in "out" is freed. Or
///
///     -EINVAL  unknown flags
///     -EMFILE  no descriptor is left, or no inotify instance
///              (fs.inotify.max_user_instances)
///     -ENODEV  the hierarchy has ended
///     -EACCES  a group cannot be read
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_watch_open(
    h: *mut cgf_hierarchy,
    flags: u64,
    out: *mut *mut cgf_watch,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, out) = (object(h, "h")?, Out::new(out, "out")?);
            let stream = Stream::new(hierarchy.0.watch(options(flags)?)?, |watch| watch);
            let descriptor = stream.descriptor();
            out.put_new(cgf_watch(stream));
            Ok(descriptor)
        })
    }
}

/// Gives the next event, in the order in which they were noticed. "timeout_ms"
/// bounds the wait in milliseconds: 0 looks once, a negative number waits without
/// limit.
///
/// Returns 1, and an event in "out" to be freed with cgf_event_free; 0 if there
/// was none by then; or
///
///     -ENODEV  the hierarchy has ended, and everything was told
///     -EBUSY   another thread waits for events of this watch
///     -EACCES  a group cannot be read any more
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_watch_next(
    w: *mut cgf_watch,
    timeout_ms: c_int,
    out: *mut *mut cgf_event,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (watch, out) = (object(w, "w")?, Out::new(out, "out")?);
            watch.0.next(out, |watch| watch.next(Deadline::from_millis(timeout_ms)))
        })
    }
}

/// Whether who is born and ends is found by listing, so that short lives are
/// missed: 1 with CGF_WATCH_LISTING, or where the proc connector cannot be had;
/// else 0, and without CGF_WATCH_TASKS. Works in a forked child too.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_watch_lists_tasks(w: *const cgf_watch, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe { guard(err, || Ok(object(w, "w")?.0.lists_tasks().into())) }
}

/// Ends a watch and closes its descriptor. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_watch_free(w: *mut cgf_watch) {
    // SAFETY: NULL, or a watch that is not freed yet (the header's rule).
    unsafe { free(w) };
}
