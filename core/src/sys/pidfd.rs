//! Descriptors for processes: a number that cannot be recycled.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::{Errno, Result, last_errno};

/// A descriptor for the process `pid`; ESRCH if there is none. A thread that is
/// not its process's first gives EINVAL or, on newer kernels, ENOENT.
pub(crate) fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: takes two integers, returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else
    // knows its number. It fits: descriptors are ints.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends a signal to the process, never to one that was given its number.
/// Signal 0 only asks whether it is there.
pub(crate) fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open while borrowed; a null siginfo asks the
    // kernel to fill one in, as kill(2) would.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, no_info, 0) };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// The cgroup v2 id of the process (the inode of its cgroup's directory).
/// ENOTTY or EINVAL before Linux 6.13; ESRCH once the process was reaped.
pub(crate) fn cgroup_id(pidfd: impl AsFd) -> Result<u64> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_CGROUPID, ..PidfdInfo::default() };
    // SAFETY: the request's size is that of `info`, which the kernel fills
    // only during the call.
    let result = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    match result {
        0 if info.mask & PIDFD_INFO_CGROUPID != 0 => Ok(info.cgroup_id),
        0 => Err(Errno::OPNOTSUPP),
        _ => Err(last_errno()),
    }
}

/// `struct pidfd_info` of include/uapi/linux/pidfd.h in its first published
/// size, 64 bytes. The libc crate has it for no target yet.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 12],
}

const PIDFD_INFO_CGROUPID: u64 = 1 << 2;
/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::Ioctl = (3 << 30 | (size_of::<PidfdInfo>() as u64) << 16 | 0xFF << 8 | 11) as libc::Ioctl;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_request_is_the_kernels() {
        assert_eq!(PIDFD_GET_INFO, 0xC040_FF0B);
    }

    /// R5.3: a process that has gone is never mistaken for its successor.
    #[test]
    fn a_dead_process_takes_no_signal() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pidfd = open(child.id().try_into().unwrap()).unwrap();
        child.wait().unwrap();
        assert_eq!(send_signal(&pidfd, 0), Err(Errno::SRCH));
    }
}
