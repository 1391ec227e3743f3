//! What is asked of a group: `freezer.state`, and who sees to it.

use rustix::fs::OFlags;

use super::file::{self, REQUEST};
use super::lock::write_at_start;
use super::tracer::{self, Tracer};
use crate::sys::{
    self, Errno,
    dir::{Dir, read_short},
};

/// What is asked of one group, apart from what is asked above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    None,
    /// Its processes are to be stopped, by whoever looks.
    Stop,
    /// This helper traces its processes. The request ends with the helper,
    /// since its tracees run on then.
    Trace(Tracer),
}

impl Request {
    pub(super) fn of(dir: &Dir) -> sys::Result<Request> {
        let file = match file::open(dir, REQUEST, OFlags::RDONLY) {
            // Not there: it is made when it is first written to.
            Err(Errno::NOENT) => return Ok(Request::None),
            other => other?,
        };
        if read_short(&file, &mut [0; 256])?.trim_ascii() != b"FROZEN" {
            return Ok(Request::None);
        }
        Ok(match tracer::read(dir)? {
            None => Request::Stop,
            Some(tracer) if tracer.is_alive() => Request::Trace(tracer),
            Some(_) => Request::None,
        })
    }

    pub(super) fn is_none(self) -> bool {
        self == Request::None
    }
}

/// In place: the file carries the locks of leases, so it is never replaced.
/// Both words have one length, so that a reader sees one or the other.
pub(super) fn ask(dir: &Dir, freeze: bool) -> sys::Result<()> {
    let word: &[u8] = if freeze { b"FROZEN\n" } else { b"THAWED\n" };
    write_at_start(&file::create(dir, REQUEST, OFlags::WRONLY)?, word)
}
