//! Open-file-description locks: byte ranges of a file, owned by a descriptor.
//!
//! They end when the last copy of the descriptor is closed, a SIGKILL
//! included, and a thread or a library that opens and closes the same file
//! does not lose them, as with the older locks (fcntl(2), Linux 3.15).

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use super::{Errno, Result, last_errno};

/// How a byte is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Shared with other readers; the descriptor must be open for reading.
    Read,
    /// Alone; the descriptor must be open for writing.
    Write,
}

/// Locks one byte at once, or says by `false` that somebody else has it.
pub(crate) fn try_lock(file: impl AsFd, byte: u64, mode: Mode) -> Result<bool> {
    match command(file, libc::F_OFD_SETLK, kind(mode), byte) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives one byte back, for every process that shares the descriptor.
pub(crate) fn unlock(file: impl AsFd, byte: u64) -> Result<()> {
    command(file, libc::F_OFD_SETLK, libc::F_UNLCK, byte).map(drop)
}

/// Whether somebody else's lock of this byte would stand in the way.
pub(crate) fn is_locked(file: impl AsFd, byte: u64, mode: Mode) -> Result<bool> {
    command(file, libc::F_OFD_GETLK, kind(mode), byte).map(|found| found != libc::F_UNLCK)
}

/// Some bytes of a range that somebody else has locked so that such a lock of ours
/// would not be had: what one lock covers of it.
pub(crate) fn any_locked(file: impl AsFd, range: Range<u64>, mode: Mode) -> Result<Option<Range<u64>>> {
    let mut lock = request(kind(mode), range.clone())?;
    control(file, libc::F_OFD_GETLK, &mut lock)?;
    if libc::c_int::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let start = (lock.l_start as u64).max(range.start);
    // A length of 0 reaches to the end of all offsets.
    let end = if lock.l_len == 0 { range.end } else { (lock.l_start + lock.l_len) as u64 };
    Ok(Some(start..end.min(range.end)))
}

fn kind(mode: Mode) -> libc::c_int {
    match mode {
        Mode::Read => libc::F_RDLCK,
        Mode::Write => libc::F_WRLCK,
    }
}

fn command(file: impl AsFd, command: libc::c_int, kind: libc::c_int, byte: u64) -> Result<libc::c_int> {
    let mut lock = request(kind, byte..byte + 1)?;
    control(file, command, &mut lock)?;
    Ok(libc::c_int::from(lock.l_type))
}

fn request(kind: libc::c_int, range: Range<u64>) -> Result<libc::flock> {
    let start = libc::off_t::try_from(range.start).map_err(|_| Errno::INVAL)?;
    let length = libc::off_t::try_from(range.end.saturating_sub(range.start)).map_err(|_| Errno::INVAL)?;
    Ok(libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        // Must be zero for these commands.
        l_pid: 0,
    })
}

fn control(file: impl AsFd, command: libc::c_int, lock: &mut libc::flock) -> Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and
    // the kernel reads and writes `lock` only during the call.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}
