//! What the kernel gives, made safe: descriptors, locks, process creation.
//!
//! Architecture invariant: all of the core's `unsafe` is here and in
//! `counters`. Functions return the bare errno; the caller knows what it was
//! doing and says so in the error.

pub(crate) mod affinity;
pub(crate) mod connector;
pub(crate) mod cpu_clock;
pub(crate) mod dir;
pub(crate) mod fork;
pub(crate) mod helper;
pub(crate) mod lock;
pub(crate) mod namespace;
pub(crate) mod pidfd;
pub(crate) mod ptrace;
pub(crate) mod spawn;

pub(crate) use rustix::io::{Errno, Result};

/// What a libc call left in errno.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
