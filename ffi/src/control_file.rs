//! The text interface.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cgf_core::{ControlFile, Error, Group};
use libc::{c_char, c_int, ssize_t};

use crate::arguments::{Buffer, Versioned, bytes, check_flags, object, utf8};
use crate::callback;
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{Failure, Result, guard};
use crate::subsystem::Program;

/// struct cgf_control_file: only the root group has the file.
pub const CGF_FILE_ROOT: u64 = 1;

/// A control file of a subsystem (cgf_subsystem_register): "max" of the
/// subsystem "members" is read and written as "members.max".
///
/// Of an array, every element has the same size. Later versions may add members
/// at the end, with zero for what was before.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_control_file {
    /// sizeof(struct cgf_control_file)
    pub size: usize,
    /// What follows the subsystem's name and the dot: at most 64 printable ASCII
    /// characters without a slash.
    pub name: *const c_char,
    /// Puts the file's text, UTF-8, lines that each end in a newline, into "buf",
    /// as much as "cap" allows, and returns the whole length in bytes, as
    /// snprintf(3) does; or -errno. A NUL is not needed. It is called again with
    /// more room if the length is not below "cap". At most 16 MiB (-EFBIG). NULL:
    /// the file can only be written (-EACCES).
    pub read:
        Option<unsafe extern "C" fn(state: *mut c_void, g: *const cgf_group, buf: *mut c_char, cap: usize) -> ssize_t>,
    /// Does what the text says, which comes without the newline at its end and
    /// has at most 4096 bytes; returns 0 or -errno. NULL: the file can only be
    /// read (-EACCES).
    pub write: Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group, text: *const c_char) -> c_int>,
    /// CGF_FILE_ROOT.
    pub flags: u64,
}

// SAFETY: numbers, pointers, and functions that may be NULL, without padding
// (`layout`), the size first.
unsafe impl Versioned for cgf_control_file {
    const LEAST: usize = size_of::<u64>() + 4 * size_of::<usize>();
}

type ReadCallback = unsafe extern "C" fn(*mut c_void, *const cgf_group, *mut c_char, usize) -> ssize_t;
type WriteCallback = unsafe extern "C" fn(*mut c_void, *mut cgf_group, *const c_char) -> c_int;

/// What a text has room for at first; most are a line.
const FIRST_ROOM: usize = 4096;
/// More than this is no text that somebody reads.
const MOST_ROOM: usize = 16 << 20;
/// How often a text may have outgrown the room that it asked for.
const TRIES: u32 = 16;

/// A control file that a program has registered. It has a name and flags that
/// have been checked.
pub(crate) struct ProgramFile {
    name: String,
    flags: u64,
    read: Option<ReadCallback>,
    write: Option<WriteCallback>,
}

impl ProgramFile {
    /// EINVAL: no name, or unknown flags.
    ///
    /// # Safety
    ///
    /// The name is NULL or a string.
    pub(crate) unsafe fn new(file: &cgf_control_file) -> Result<ProgramFile> {
        // SAFETY: NULL or a string, as the caller promises.
        let name = unsafe { utf8(file.name, "the name of a control file") }?.to_owned();
        check_flags(file.flags, CGF_FILE_ROOT)?;
        Ok(ProgramFile { name, flags: file.flags, read: file.read, write: file.write })
    }

    /// The same as the core has it. It keeps the program's state alive.
    pub(crate) fn bound(&self, program: &Arc<Program>) -> ControlFile {
        let mut file = ControlFile::new(&self.name);
        if let Some(read) = self.read {
            let program = Arc::clone(program);
            file = file.read(move |group| whole_text(read, program.state(), group));
        }
        if let Some(write) = self.write {
            let program = Arc::clone(program);
            file = file.write(move |group, text| {
                let text = CString::new(text).map_err(|_| Error::new(libc::EINVAL, "the text has a NUL in it"))?;
                // SAFETY: a callback of the program's, with its state, and a group
                // and a string that are there for the call.
                callback::answer(unsafe { write(program.state(), &mut cgf_group(group.clone()), text.as_ptr()) })
            });
        }
        if self.flags & CGF_FILE_ROOT != 0 { file.only_at_root() } else { file }
    }
}

/// Asks until there was room enough.
fn whole_text(read: ReadCallback, state: *mut c_void, group: &Group) -> cgf_core::Result<String> {
    let group = cgf_group(group.clone());
    let mut room = FIRST_ROOM;
    for _ in 0..TRIES {
        let mut text = vec![0_u8; room];
        // SAFETY: a callback of the program's, with its state, a group that is
        // there for the call, and as much room as it is told.
        let length = callback::length(unsafe { read(state, &group, text.as_mut_ptr().cast(), room) })?;
        // Where the program uses snprintf, a NUL has taken the last byte's place.
        if length < room {
            text.truncate(length);
            return String::from_utf8(text).map_err(|_| Error::new(libc::EINVAL, "its text is not UTF-8"));
        }
        if length > MOST_ROOM {
            return Err(Error::new(libc::EFBIG, format!("its text has {length} bytes; {MOST_ROOM} are the most")));
        }
        // Some more: it may have grown by the time that it is asked again.
        room = length + length / 4 + 1;
    }
    Err(Error::new(libc::EAGAIN, format!("its text did not fit in the room that it had asked for, {TRIES} times")))
}

/// Reads a control file, such as "freezer.state", and returns the whole length
/// of its text in bytes (R1.8). As much as "cap" allows is copied; a NUL follows
/// if there is room, that is if the length is below "cap". "buf" may be NULL if
/// "cap" is 0. Each call is one consistent answer; two calls may differ.
///
///     -EINVAL  NULL
///     -ENOENT  no such file, or its subsystem is not bound
///     -EACCES  it can only be written
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
///     others as the function that does the same
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_read(
    g: *const cgf_group,
    file: *const c_char,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, file, buffer) = (object(g, "g")?, bytes(file, "file")?, Buffer::new(buf, cap)?);
            Ok(buffer.fill_text(group.0.read(file_name(file)?)?.as_bytes()))
        })
    }
}

/// Writes a control file, with or without a newline at the end (R1.8). Writing
/// FROZEN to "freezer.state" asks and does not wait.
///
/// Returns 0, or
///
///     -ENOENT  no such file, or its subsystem is not bound
///     -EACCES  it can only be read
///     -EINVAL  not what the file takes
///     -E2BIG   more than 4096 bytes
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
///     others as the function that does the same; nothing is half-done
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_write(
    g: *mut cgf_group,
    file: *const c_char,
    text: *const c_char,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, file) = (object(g, "g")?, bytes(file, "file")?);
            let (file, text) = (file_name(file)?, utf8(text, "text")?);
            group.0.write(file, text)?;
            Ok(0)
        })
    }
}

/// Lists the control files that a group has, sorted: their names, each followed
/// by a newline. Returns the whole length in bytes; as much as "cap" allows is
/// copied, with a NUL after it if the length is below "cap". "buf" may be NULL if
/// "cap" is 0.
///
///     -EINVAL  NULL
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_control_files(
    g: *const cgf_group,
    buf: *mut c_char,
    cap: usize,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, buffer) = (object(g, "g")?, Buffer::new(buf, cap)?);
            let lines: String = group.0.control_files()?.iter().map(|name| format!("{name}\n")).collect();
            Ok(buffer.fill_text(lines.as_bytes()))
        })
    }
}

/// The names of control files are ASCII, so anything else names none.
fn file_name(name: &[u8]) -> Result<&str> {
    let none = || Failure::new(libc::ENOENT, format!("no control file {:?}", String::from_utf8_lossy(name)));
    std::str::from_utf8(name).map_err(|_| none())
}
