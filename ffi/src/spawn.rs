//! Starting a program inside a group.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;

use cgf_core::{Child, Namespaces, Spawn};
use libc::{c_char, c_int, pid_t};

use crate::arguments::{Out, Versioned, check_flags, null, object, os_str, strings, structure};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Failure, Result, guard};

/// cgf_spawn_with: begin a session (setsid(2)). The embedded backend always does.
pub const CGF_SPAWN_SESSION: u64 = 1;
/// cgf_spawn_with: close in the child every descriptor above 2 that "fds" does
/// not give it.
pub const CGF_SPAWN_CLOSE_FDS: u64 = 2;
/// cgf_spawn_with: give SIGPIPE and SIGXFSZ their default action back if they
/// are ignored.
pub const CGF_SPAWN_RESTORE_SIGNALS: u64 = 4;

/// A descriptor of the caller's, and the number that the child gets it under.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_spawn_fd {
    /// The caller's; it stays open, and stays the caller's.
    pub from: c_int,
    /// The child's: 0, 1, 2 for the standard streams.
    pub to: c_int,
}

/// How to start a program, for cgf_spawn_with. What is zero is as in cgf_spawn.
///
/// Later versions may add members at the end, with zero for what was before:
///
///     struct cgf_spawn_options options = { .size = sizeof(options) };
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_spawn_options {
    /// sizeof(struct cgf_spawn_options)
    pub size: usize,
    /// How many "fds" there are.
    pub fd_count: usize,
    /// CGF_SPAWN_SESSION, CGF_SPAWN_CLOSE_FDS, CGF_SPAWN_RESTORE_SIGNALS.
    pub flags: u64,
    /// Descriptors for the child. May be NULL if "fd_count" is 0.
    pub fds: *const cgf_spawn_fd,
    /// The directory to start in; NULL: the caller's.
    pub cwd: *const c_char,
    /// The signals blocked in the child: signal n is bit n-1. NULL: those that
    /// the calling thread blocks.
    pub signal_mask: *const u64,
    /// Receives a pidfd of the child (pidfd_open(2), O_CLOEXEC), for the caller
    /// to close, on success only. NULL: none is wanted.
    pub pidfd: *mut c_int,
    /// CLONE_NEWNET and the like: the child is in the group's namespaces of these
    /// kinds, or, if nobody is in the group, in new ones that are the group's from
    /// then on (cgf_enter). 0: it has the caller's, which have to be the group's as
    /// far as that is bound to them. With CLONE_NEWNS a child that joins starts at the
    /// root of what the members see: "cwd" and the program, if they are relative, mean
    /// what they mean there.
    pub namespaces: u64,
}

// SAFETY: numbers and pointers without padding (`layout`), the size first.
unsafe impl Versioned for cgf_spawn_options {
    const LEAST: usize = size_of::<u64>() + 6 * size_of::<usize>();
}

/// Starts a program as a child of the caller, in the group before its first
/// instruction (R1.5). On cgroup v2 it is born there.
///
/// "file" is looked up in the child's PATH if it has no slash. "argv" and "envp"
/// end in NULL, as for execve(2); "argv" has at least the program's name. A NULL
/// "envp" is the caller's environ, which no other thread may change meanwhile.
/// Of a name that "envp" has twice, the last one counts. The child has the
/// caller's directory, the descriptors without O_CLOEXEC, and the calling
/// thread's signal mask. Waiting for it is the caller's: waitpid(2).
///
/// Returns 0, and the child's number in "pid"; or
///
///     -ENOENT, -EACCES, -ENOEXEC, ...  the program could not be executed: the
///              message names the step; nothing is left of the child
///     -EBUSY   the group is not THAWED, or was frozen meanwhile, so that the
///              program did not start within the hierarchy's deadline
///     -EINVAL  an empty "argv", or a line of "envp" without "="
///     -EAGAIN, -ENOMEM  no process could be made
///     -EMFILE, -ENFILE  no descriptor is left
///     -EPERM   the group is bound to namespaces, and the caller is not in them
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_spawn(
    g: *mut cgf_group,
    file: *const c_char,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    pid: *mut pid_t,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, pid) = (object(g, "g")?, Out::new(pid, "pid")?);
            pid.put(group.0.spawn(program(file, argv, envp)?)?.pid());
            Ok(0)
        })
    }
}

/// Starts a program as cgf_spawn does, with more to say about it.
///
///     -EINVAL  unknown flags; a size that is less than the first version's
///     -E2BIG   the structure is larger than this library knows, and what it
///              does not know is not zero
///     -EBADF   a descriptor that is not open, or a negative number
///     -EINVAL  "namespaces" that the group is not bound to, or CLONE_NEWPID or
///              CLONE_NEWTIME, which a process cannot change for itself
///     -EPERM   the child may not make or join them, or is not in those of the group
///     -EOPNOTSUPP  "namespaces", and the hierarchy is not bound to "namespace"
///     others as cgf_spawn
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_spawn_with(
    g: *mut cgf_group,
    file: *const c_char,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    options: *const cgf_spawn_options,
    pid: *mut pid_t,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, pid) = (object(g, "g")?, Out::new(pid, "pid")?);
            let options = structure(options, "options")?;
            let child = group.0.spawn(with(program(file, argv, envp)?, &options)?)?;
            pid.put(child.pid());
            hand_over(child, options.pidfd);
            Ok(0)
        })
    }
}

/// # Safety
///
/// `pidfd` is NULL, or can be written to.
unsafe fn hand_over(child: Child, pidfd: *mut c_int) {
    if !pidfd.is_null() {
        // SAFETY: not NULL, so it can be written to, as the caller promises.
        unsafe { pidfd.write(child.into_pidfd().into_raw_fd()) };
    }
}

/// # Safety
///
/// `file` is NULL or a string; `argv` and `envp` are NULL or arrays of strings
/// that end in NULL; all for as long as the value is used.
unsafe fn program(file: *const c_char, argv: *const *mut c_char, envp: *const *mut c_char) -> Result<Spawn> {
    // SAFETY: as the caller promises.
    let (file, argv) = unsafe { (os_str(file, "file")?, strings(argv, "argv")?) };
    let Some((name, arguments)) = argv.split_first() else {
        return Err(Failure::invalid("argv is empty; it begins with the program's name"));
    };
    let spawn = Spawn::new(file).arg0(name).args(arguments);
    if envp.is_null() {
        return Ok(spawn);
    }
    // SAFETY: not NULL, so an array, as the caller promises.
    let lines = unsafe { strings(envp, "envp") }?;
    lines.into_iter().try_fold(spawn.env_clear(), |spawn, line| {
        let bytes = line.as_bytes();
        match bytes.iter().position(|&byte| byte == b'=') {
            Some(at) => Ok(spawn.env(OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..]))),
            None => Err(Failure::invalid(format!("envp has {line:?}, which is not NAME=VALUE"))),
        }
    })
}

/// # Safety
///
/// The pointers in `options` are NULL or as the header says.
unsafe fn with(mut spawn: Spawn, options: &cgf_spawn_options) -> Result<Spawn> {
    let flags = options.flags;
    check_flags(flags, CGF_SPAWN_SESSION | CGF_SPAWN_CLOSE_FDS | CGF_SPAWN_RESTORE_SIGNALS)?;
    spawn = spawn
        .session(flags & CGF_SPAWN_SESSION != 0)
        .close_others(flags & CGF_SPAWN_CLOSE_FDS != 0)
        .restore_signals(flags & CGF_SPAWN_RESTORE_SIGNALS != 0);
    if !options.cwd.is_null() {
        // SAFETY: a string, as the caller promises.
        spawn = spawn.current_dir(unsafe { os_str(options.cwd, "options.cwd") }?);
    }
    spawn = spawn.namespaces(Namespaces::from_bits(options.namespaces)?);
    // SAFETY: NULL, or a 64-bit set, as the caller promises.
    if let Some(mask) = unsafe { options.signal_mask.as_ref() } {
        spawn = spawn.signal_mask(*mask);
    }
    if options.fds.is_null() && options.fd_count > 0 {
        return Err(null("options.fds"));
    }
    for index in 0..options.fd_count {
        // SAFETY: below `fd_count`, so there, as the caller promises.
        let fd = unsafe { options.fds.add(index).read() };
        spawn = give(spawn, fd)?;
    }
    Ok(spawn)
}

/// The core wants a descriptor of its own, so it gets a duplicate.
fn give(spawn: Spawn, fd: cgf_spawn_fd) -> Result<Spawn> {
    if fd.from < 0 || fd.to < 0 {
        let why = format!("options.fds has {} for {}, and no descriptor is negative", fd.from, fd.to);
        return Err(Failure::new(libc::EBADF, why));
    }
    // SAFETY: not -1; the caller lends it for the call, and a number that is
    // not open gives EBADF below.
    let ours = unsafe { BorrowedFd::borrow_raw(fd.from) };
    let duplicate = ours.try_clone_to_owned().map_err(|error| {
        Failure::new(error.raw_os_error().unwrap_or(libc::EBADF), format!("descriptor {}: {error}", fd.from))
    })?;
    Ok(spawn.fd(duplicate, fd.to))
}
