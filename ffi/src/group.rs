//! Groups: make, open, find, name, list, remove.

use std::os::fd::IntoRawFd;

use cgf_core::{Group, GroupPath, RemoveOptions};
use libc::{c_char, c_int, pid_t, ssize_t};

use crate::arguments::{Buffer, Out, bytes, check_flags, object, os_str};
use crate::error::cgf_error;
use crate::guard::{free, guard};
use crate::hierarchy::cgf_hierarchy;

/// A group of processes: a directory of its hierarchy.
///
/// The handle means this group, and not another that is made later under the
/// same path: after a removal everything gives -ENODEV. It keeps its hierarchy's
/// handle alive.
pub struct cgf_group(pub(crate) Group);

/// cgf_group_remove: kill the processes inside first.
pub const CGF_REMOVE_KILL: u64 = 1;
/// cgf_group_remove: remove the groups below too, children first.
pub const CGF_REMOVE_RECURSIVE: u64 = 2;

/// Makes a group, and those above it that are missing. "path" is "web/1" or
/// "/web/1".
///
/// Returns 0, and a handle in "out" to be freed with cgf_group_free; or
///
///     -EEXIST        there is one, or "path" is "/"
///     -EINVAL        no path for a group: empty, an empty component, "." or
///                    "..", a newline, or a name that control files use (R1.3)
///     -ENAMETOOLONG  a name of more than 255 bytes, a path of more than 4095
///     -EACCES        not permitted
///     -ENODEV        the hierarchy has ended
///     -ENOENT        the hierarchy is bound to a subsystem that is not
///                    registered here
///     -ECHILD        in a forked child
///     others         what the create of a subsystem gives (cgf_subsystem)
///
/// After a failure nothing is left of what the call made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_create(
    h: *mut cgf_hierarchy,
    path: *const c_char,
    out: *mut *mut cgf_group,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, path, out) = (object(h, "h")?, bytes(path, "path")?, Out::new(out, "out")?);
            out.put_new(cgf_group(hierarchy.0.create(path)?));
            Ok(0)
        })
    }
}

/// Makes a group below the one that a process is in, with that group's settings,
/// and moves the process into it as its first member (R1.5); 0 is the caller.
/// Settings are the attributes of its subsystems (cgf_attribute_set) and
/// "notify_on_release" and "auto_delete". "name" is one component.
///
/// Returns 0, and a handle in "out" to be freed with cgf_group_free; or
///
///     -ESRCH  no such process; with root=, one outside of that directory
///     others  as cgf_group_create and cgf_attach, and what the post_clone of a
///             subsystem gives
///
/// After a failure the process is where it was, and the group is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_clone(
    h: *mut cgf_hierarchy,
    pid: pid_t,
    name: *const c_char,
    out: *mut *mut cgf_group,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, name, out) = (object(h, "h")?, os_str(name, "name")?, Out::new(out, "out")?);
            out.put_new(cgf_group(hierarchy.0.clone_group(pid, name)?));
            Ok(0)
        })
    }
}

/// Opens a group that exists; "/" is the root group.
///
/// Returns 0, and a handle in "out" to be freed with cgf_group_free; or
///
///     -ENOENT  there is none
///     -ELOOP   a symbolic link is on the way
///     -EINVAL, -ENAMETOOLONG, -EACCES, -ENODEV, -ECHILD  as cgf_group_create
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_open(
    h: *mut cgf_hierarchy,
    path: *const c_char,
    out: *mut *mut cgf_group,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, path, out) = (object(h, "h")?, bytes(path, "path")?, Out::new(out, "out")?);
            out.put_new(cgf_group(hierarchy.0.open_group(path)?));
            Ok(0)
        })
    }
}

/// Opens the group that a process is in; 0 is the caller (R1.10). A process
/// that was never moved is in the root group.
///
/// Returns 0, and a handle in "out" to be freed with cgf_group_free; or
///
///     -ESRCH   no such process; with root=, one outside of that directory
///     -EINVAL  a negative number
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_of(
    h: *mut cgf_hierarchy,
    pid: pid_t,
    out: *mut *mut cgf_group,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, out) = (object(h, "h")?, Out::new(out, "out")?);
            out.put_new(cgf_group(hierarchy.0.group_of(pid)?));
            Ok(0)
        })
    }
}

/// Removes a group, and returns when it is gone or the hierarchy's deadline has
/// passed (R1.4). The handle is still to be freed.
///
/// "flags": CGF_REMOVE_KILL, CGF_REMOVE_RECURSIVE.
///
/// Returns 0, or
///
///     -EBUSY   it has processes or groups below that the flags do not cover;
///              or somebody has a reference on it (cgf_reference); or a checkpoint
///              holds it, one above or one below (R4.1); or not all were gone in
///              time (cgf_error_blockers); or it is the root group
///     -EINVAL  unknown flags
///     -ENODEV  it was removed before
///     -EACCES  not permitted
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_remove(g: *mut cgf_group, flags: u64, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let group = object(g, "g")?;
            check_flags(flags, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE)?;
            group.0.remove_with(RemoveOptions {
                kill: flags & CGF_REMOVE_KILL != 0,
                recursive: flags & CGF_REMOVE_RECURSIVE != 0,
            })?;
            Ok(0)
        })
    }
}

/// Gives a group another name in its parent. "g", like every handle of it and
/// of groups below it, keeps the old path and is only good for freeing; "out"
/// receives a handle for the new one.
///
/// Returns 0, and a handle in "out" to be freed with cgf_group_free; or
///
///     -EOPNOTSUPP    on cgroup v2, whose groups cannot be renamed
///     -EEXIST        the name is taken
///     -EINVAL, -ENAMETOOLONG  no name for a group (cgf_group_create)
///     -EBUSY         the root group; a checkpoint holds it, or one above (R4.1);
///                    somebody changes shares of tasks and does not get on
///     -ENODEV        the group was removed
///     -EACCES        not permitted
///     -ECHILD        in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_rename(
    g: *mut cgf_group,
    name: *const c_char,
    out: *mut *mut cgf_group,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, name, out) = (object(g, "g")?, os_str(name, "name")?, Out::new(out, "out")?);
            out.put_new(cgf_group(group.0.rename(name)?));
            Ok(0)
        })
    }
}

/// Copies a group's path within its hierarchy, "/web/1", or "/" for the root,
/// and returns its whole length in bytes. As much as "cap" allows is copied; a
/// NUL follows if there is room, that is if the length is below "cap". "buf" may
/// be NULL if "cap" is 0. Works in a forked child too.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_path(
    g: *const cgf_group,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, buffer) = (object(g, "g")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill_text(&absolute(group.0.path())))
        })
    }
}

/// Lists the groups below a group, parents before their children: their paths
/// as cgf_group_path gives them, each followed by a newline, which no path
/// contains. Returns the whole length in bytes; as much as "cap" allows is
/// copied, with a NUL after it if the length is below "cap". "buf" may be NULL
/// if "cap" is 0. Between two calls groups may come and go.
///
///     -EINVAL  NULL
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_list(
    g: *const cgf_group,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, buffer) = (object(g, "g")?, Buffer::new(buf, cap)?);
            let mut text = Vec::new();
            for path in group.0.groups()? {
                text.extend(absolute(&path));
                text.push(b'\n');
            }
            Ok(buffer.fill_text(&text))
        })
    }
}

/// A new descriptor for the group's directory, for a runtime that calls
/// clone3(CLONE_INTO_CGROUP) itself. O_PATH and O_CLOEXEC; the caller closes it.
///
/// Returns the descriptor, or
///
///     -EMFILE, -ENFILE  no descriptor is left
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_fd(g: *const cgf_group, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe { guard(err, || Ok(object(g, "g")?.0.directory_fd()?.into_raw_fd())) }
}

/// A new descriptor for the group's directory in the kernel tree that has a
/// controller, "pids" for one. O_PATH and O_CLOEXEC; the caller closes it.
///
/// Returns the descriptor, or
///
///     -ENODEV  no tree of this hierarchy has it, or the group was removed
///     -EMFILE, -ENFILE  no descriptor is left
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_controller_fd(
    g: *const cgf_group,
    controller: *const c_char,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            // What is no text is the name of no controller.
            let (group, controller) = (object(g, "g")?, bytes(controller, "controller")?);
            Ok(group.0.controller_fd(&String::from_utf8_lossy(controller))?.into_raw_fd())
        })
    }
}

/// Lists the processes of this very group (not of those below), sorted, each
/// once, as seen in the caller's pid namespace (R1.9). Copies the first "cap" of
/// them and returns how many there are. "buf" may be NULL if "cap" is 0.
///
///     -EINVAL  NULL
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_procs(
    g: *const cgf_group,
    buf: *mut pid_t,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, buffer) = (object(g, "g")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill(&group.0.procs()?))
        })
    }
}

/// Lists the threads of this very group, as cgf_procs lists its processes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_tasks(
    g: *const cgf_group,
    buf: *mut pid_t,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, buffer) = (object(g, "g")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill(&group.0.tasks()?))
        })
    }
}

/// Frees the handle, not the group: that stays, with what is in it. NULL is
/// allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_group_free(g: *mut cgf_group) {
    // SAFETY: NULL, or a group that is not freed yet (the header's rule).
    unsafe { free(g) };
}

/// The bytes of a path, from the root; the core shows it escaped.
pub(crate) fn absolute(path: &GroupPath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}
