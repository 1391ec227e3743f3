//! Hierarchies: open, look at, end.

use std::os::unix::ffi::OsStrExt;

use cgf_core::{Hierarchy, Options};
use libc::{c_char, c_int, pid_t, ssize_t};

use crate::arguments::{Buffer, Out, object, os_str};
use crate::error::cgf_error;
use crate::guard::{free, guard};

/// A tree of groups with subsystems bound to it.
pub struct cgf_hierarchy(pub(crate) Hierarchy);

/// Opens the hierarchy "name", and makes it if there is none. Whoever opens the
/// same name with the same subsystems shares it (R1.1).
///
/// "options" is a string as mount(8) takes it, "" for the defaults:
///
///     freezer, signal, beancounter, ...
///                                subsystems to bind, registered ones too
///                                (cgf_subsystem_register); none named: those
///                                that the hierarchy has, or the first two
///     backend=auto|cgroup2|cgroup1|embedded
///                                who carries the groups; auto takes the first
///                                for which a trial works (cgf_doctor), which
///                                makes a child process for a moment
///     root=DIR                   open the groups below an existing directory,
///                                whoever made it; the name is then a label
///     state=DIR                  the system that the hierarchy belongs to: in
///                                it a subsystem is bound to one hierarchy
///     deadline=MS                bounds remove, kill, spawn, attach and thaw,
///                                in milliseconds; 10000
///     stop=signal|ptrace         how the embedded backend stops a task
///     hold=parent                groups are made with a parent of their own,
///                                web for web/1, that is frozen with them: who
///                                thaws one by the kernel's file does nothing
///     flat                       charges count in the group that is charged,
///                                and not in those above (cgf_charge)
///
/// Returns 0, and a handle in "out" to be freed with cgf_hierarchy_free; or
///
///     -EINVAL  no name for a hierarchy; an unknown option, an empty or a
///              repeated token, a value that is none; root= is no cgroup of
///              the chosen backend, or a group of an embedded hierarchy
///     -ENOENT  an unknown subsystem, or no directory root=
///     -EBUSY   it exists with other subsystems, or in another system; or a
///              subsystem is bound to another hierarchy of the same system
///     -ENODEV  the chosen backend is not there
///     -EACCES  not permitted; the message names the directory
///     others   what the mount of a subsystem gives (cgf_subsystem)
///
/// A hierarchy that is bound to a subsystem which only another program has
/// registered can be looked at, frozen, killed and removed; what that subsystem
/// has a say in (create, attach, spawn) gives -ENOENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_open(
    name: *const c_char,
    options: *const c_char,
    out: *mut *mut cgf_hierarchy,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (name, options, out) = (os_str(name, "name")?, os_str(options, "options")?, Out::new(out, "out")?);
            out.put_new(cgf_hierarchy(Hierarchy::open(name, &Options::parse(options)?)?));
            Ok(0)
        })
    }
}

/// Opens the hierarchy "name" where it is, with options as cgf_hierarchy_open,
/// and makes nothing.
///
///     -ENOENT  there is none of that name, or not on the chosen backend
///     others as cgf_hierarchy_open
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_open_existing(
    name: *const c_char,
    options: *const c_char,
    out: *mut *mut cgf_hierarchy,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (name, options, out) = (os_str(name, "name")?, os_str(options, "options")?, Out::new(out, "out")?);
            out.put_new(cgf_hierarchy(Hierarchy::open_existing(name, &Options::parse(options)?)?));
            Ok(0)
        })
    }
}

/// Opens the group that a process is in as the root of a hierarchy, whoever made
/// it: a container of runc, crun, LXC or systemd. The first of cgroup v2 and v1
/// where that is not the kernel's own root. "options" as cgf_hierarchy_open.
///
/// Returns 0, and a handle in "out" to be freed with cgf_hierarchy_free; or
///
///     -ESRCH   no such process, or it is in no group but the kernel's root
///     others as cgf_hierarchy_open
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_of(
    pid: pid_t,
    options: *const c_char,
    out: *mut *mut cgf_hierarchy,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (options, out) = (os_str(options, "options")?, Out::new(out, "out")?);
            out.put_new(cgf_hierarchy(Hierarchy::adopt_group_of(pid, &Options::parse(options)?)?));
            Ok(0)
        })
    }
}

/// Which backend carries the hierarchy: "cgroup2", "cgroup1" or "embedded". The
/// string is constant. NULL for NULL. Works in a forked child too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_backend(h: *const cgf_hierarchy) -> *const c_char {
    // SAFETY: NULL, or a hierarchy that is not freed yet (the header's rule).
    let Some(hierarchy) = (unsafe { h.as_ref() }) else { return std::ptr::null() };
    // The core's names are Rust strings, without the NUL that C needs.
    match hierarchy.0.backend_kind().name() {
        "cgroup2" => c"cgroup2".as_ptr(),
        "cgroup1" => c"cgroup1".as_ptr(),
        "embedded" => c"embedded".as_ptr(),
        _ => c"".as_ptr(),
    }
}

/// Copies the path of the hierarchy's root directory, and returns its whole
/// length in bytes. As much as "cap" allows is copied; a NUL follows if there
/// is room, that is if the length is below "cap". "buf" may be NULL if "cap" is
/// 0. Works in a forked child too.
///
///     -EINVAL  NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_directory(
    h: *const cgf_hierarchy,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (hierarchy, buffer) = (object(h, "h")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill_text(hierarchy.0.directory().as_os_str().as_bytes()))
        })
    }
}

/// Ends a hierarchy that has no groups but its root. The handle is still to be
/// freed. A directory that was opened with root= stays: it is somebody else's.
///
/// Returns 0, or
///
///     -EBUSY   it has groups, or processes in its root
///     -ENODEV  it has ended already
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_unmount(h: *mut cgf_hierarchy, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(h, "h")?.0.unmount()?;
            Ok(0)
        })
    }
}

/// Frees the handle, not the hierarchy: that stays, with all its groups. Groups
/// opened through the handle go on working. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_hierarchy_free(h: *mut cgf_hierarchy) {
    // SAFETY: NULL, or a hierarchy that is not freed yet (the header's rule).
    unsafe { free(h) };
}
