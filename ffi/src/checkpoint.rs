//! A frozen group that nobody touches while an image is taken.

use std::time::Duration;

use cgf_core::{Checkpoint, CheckpointOptions, Deadline};
use libc::{c_int, c_long, pid_t, ssize_t};

use crate::arguments::{Buffer, Out, Versioned, check_flags, null, object, structure};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Result, guard};

/// cgf_checkpoint_begin_with: for a tool that must thaw the group to do its work,
/// as CRIU does once it has seized the tasks (R4.5). Nothing is proved: that is
/// left to the tool. This process may freeze and thaw the group, and act upon it;
/// others may not. The end freezes it again.
pub const CGF_CHECKPOINT_EXTERNAL: u64 = 1;
/// cgf_checkpoint_begin_with: on cgroup v2 too, count how often each thread is
/// woken, for cgf_checkpoint_woken. Elsewhere it is counted anyway.
pub const CGF_CHECKPOINT_WAKEUPS: u64 = 2;

/// How to hold a checkpoint, for cgf_checkpoint_begin_with. What is zero is as in
/// cgf_checkpoint_begin.
///
/// Later versions may add members at the end, with zero for what was before:
///
///     struct cgf_checkpoint_options options = { .size = sizeof(options) };
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_checkpoint_options {
    /// sizeof(struct cgf_checkpoint_options)
    pub size: usize,
    /// How long the begin may wait for others who act upon the group, in
    /// milliseconds: 0 as long as the hierarchy's deadline, a negative number
    /// without limit.
    pub timeout_ms: c_long,
    /// CGF_CHECKPOINT_EXTERNAL, CGF_CHECKPOINT_WAKEUPS.
    pub flags: u64,
}

// SAFETY: numbers without padding (`layout`), the size first.
unsafe impl Versioned for cgf_checkpoint_options {
    const LEAST: usize = size_of::<u64>() + 2 * size_of::<usize>();
}

/// A group is CHECKPOINTING for as long as this is there and its process lives.
///
/// If the process ends before cgf_checkpoint_end, also by SIGKILL, the group is
/// FROZEN and can be thawed by anybody (R4.3). A forked child has no share in it,
/// and keeps nobody out.
pub struct cgf_checkpoint {
    checkpoint: Checkpoint,
}

/// Makes a FROZEN group CHECKPOINTING, so that an image of it can be taken (R4.1).
/// Until the end, whoever freezes, thaws, kills, renames or removes it, or moves
/// something into it or out of it, through this library and from any process,
/// gets -EBUSY; so does who does that to a group below, and who kills or removes
/// one above. What those do who write to the kernel's own files is found out at
/// the end.
///
/// "root" is the process that is to be checkpointed with all its descendants,
/// which must all be in the group or below (R4.2). With 0 no family is looked at.
///
/// A group that is frozen by one above it alone is asked to freeze itself until
/// the end. On cgroup v2 the call takes 25 ms, in which the kernel may still tell
/// of what was before. Asynchronous input and output (io_uring, libaio) that was
/// begun before may change the memory of frozen tasks, and so may a process
/// outside that shares it: nobody tells of that.
///
/// Returns 0, and in "out" the checkpoint, to be ended with cgf_checkpoint_end; or,
/// with the group as it was,
///
///     -EINVAL  it is THAWED, or the kernel's own root group; "root" is negative
///     -EBUSY   it is FREEZING; a checkpoint holds it already, or one above; or
///              somebody acts upon it, or has its freeze file locked, and does not
///              get on with it: the message says who
///     -EXDEV   not all of the family are in the group; cgf_error_blockers names
///              those who are not (CGF_EVIDENCE_OUTSIDE)
///     -ESRCH   no process "root"
///     -EDEADLK the caller is in the group
///     -EOPNOTSUPP  the hierarchy is not bound to the freezer; or the kernel does
///              not count how often a thread runs, which is needed on cgroup v1 and
///              embedded
///     -EACCES  not permitted to freeze it, or to note on it who checkpoints it
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_checkpoint_begin(
    g: *mut cgf_group,
    root: pid_t,
    out: *mut *mut cgf_checkpoint,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe { guard(err, || begin(g, root, CheckpointOptions::default(), out)) }
}

/// Begins a checkpoint as cgf_checkpoint_begin does, with more to say about it.
///
///     -EINVAL  unknown flags; a size that is less than the first version's
///     -E2BIG   the structure is larger than this library knows, and what it
///              does not know is not zero
///     others as cgf_checkpoint_begin
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_checkpoint_begin_with(
    g: *mut cgf_group,
    root: pid_t,
    options: *const cgf_checkpoint_options,
    out: *mut *mut cgf_checkpoint,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let options = wanted(&structure(options, "options")?)?;
            begin(g, root, options, out)
        })
    }
}

/// Says whether no task of the group could execute anything, and its members are
/// the same, since the checkpoint began (R4.4), without ending it. With
/// CGF_CHECKPOINT_EXTERNAL, only whether it goes on.
///
/// A signal to a frozen task, which wakes it for a moment in the kernel, does no
/// harm. On cgroup v1 and embedded a thaw in which no task ran is not seen.
///
/// Returns 0, or
///
///     -ESTALE  a task ran, or could, or came or left: cgf_error_blockers names the
///              first one, and its "evidence" says which. Or somebody has ended the
///              checkpoint by force
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_checkpoint_verify(c: *const cgf_checkpoint, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(c, "c")?.checkpoint.verify()?;
            Ok(0)
        })
    }
}

/// Says what cgf_checkpoint_verify does, and copies the threads that were woken
/// for a moment and could execute nothing of their own, the first "cap" of them:
/// on cgroup v2, with CGF_CHECKPOINT_WAKEUPS. "buf" may be NULL if "cap" is 0.
///
/// Returns how many there are, or fails as cgf_checkpoint_verify.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_checkpoint_woken(
    c: *const cgf_checkpoint,
    buf: *mut pid_t,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (checkpoint, buffer) = (object(c, "c")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill(checkpoint.checkpoint.verify()?.woken()))
        })
    }
}

/// Ends a checkpoint, says what cgf_checkpoint_verify does, and frees the
/// checkpoint, whatever it returns. The group is FROZEN then, or as its last
/// holder left it who went away meanwhile (cgf_hold). In a forked child it only
/// frees: the checkpoint is the parent's.
///
/// Returns 0: the image is one of a group that was still. Or
///
///     -EINVAL  NULL
///     others as cgf_checkpoint_verify; with CGF_CHECKPOINT_EXTERNAL, as cgf_freeze
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_checkpoint_end(c: *mut cgf_checkpoint, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call; a
    // checkpoint comes from `put_new` and is ended once.
    unsafe {
        guard(err, || {
            if c.is_null() {
                return Err(null("c"));
            }
            Box::from_raw(c).checkpoint.end()?;
            Ok(0)
        })
    }
}

/// Ends somebody's checkpoint of this group by force, whichever process has it.
/// The group is FROZEN then, or as its last holder left it (cgf_hold); who had the
/// checkpoint gets -ESTALE when it ends it.
///
/// Returns 0, or
///
///     -ENOENT  no checkpoint holds the group itself
///     -EBUSY   somebody acts upon it, and does not get on with it
///     -ENODEV  the group was removed
///     -EACCES  not permitted to freeze it
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_checkpoint_break(g: *mut cgf_group, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.break_checkpoint()?;
            Ok(0)
        })
    }
}

/// # Safety
///
/// `g` is NULL or a group, and `out` is NULL or can be written to, for the call.
unsafe fn begin(
    g: *mut cgf_group,
    root: pid_t,
    options: CheckpointOptions<'_>,
    out: *mut *mut cgf_checkpoint,
) -> Result<c_int> {
    // SAFETY: as the caller promises.
    let (group, out) = unsafe { (object(g, "g")?, Out::new(out, "out")?) };
    let root = (root != 0).then_some(root);
    out.put_new(cgf_checkpoint { checkpoint: group.0.checkpoint_with(root, options)? });
    Ok(0)
}

fn wanted(options: &cgf_checkpoint_options) -> Result<CheckpointOptions<'static>> {
    let flags = options.flags;
    check_flags(flags, CGF_CHECKPOINT_EXTERNAL | CGF_CHECKPOINT_WAKEUPS)?;
    let wanted = CheckpointOptions::default()
        .external(flags & CGF_CHECKPOINT_EXTERNAL != 0)
        .wakeups(flags & CGF_CHECKPOINT_WAKEUPS != 0);
    Ok(match u64::try_from(options.timeout_ms) {
        Ok(0) => wanted,
        Ok(ms) => wanted.within(Duration::from_millis(ms)),
        Err(_) => wanted.within(Deadline::never()),
    })
}
