//! Whether somebody was moved into a group, by whichever hand.
//!
//! Who is moved out and in again, and may have run meanwhile, is among the members as
//! before. But it came by a write to one of the group's lists, and of those inotify
//! tells, whoever wrote and by whichever mount.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::backend::Node;
use crate::error::{Error, Result};
use crate::sys::Errno;

/// What is written to move somebody.
const LISTS: [&[u8]; 3] = [b"cgroup.procs", b"cgroup.threads", b"tasks"];

/// A watch for newcomers, from when it is made.
#[derive(Debug)]
pub(crate) struct Newcomers {
    inotify: OwnedFd,
}

impl Newcomers {
    /// To a group and those below. `None`: the user has as many watches as may be
    /// (`fs.inotify`), or there is no inotify.
    pub(crate) fn watch(group: &Node) -> Result<Option<Newcomers>> {
        let Ok(inotify) = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return Ok(None) };
        let mut is_complete = true;
        group.walk(&mut |node| {
            let directory = format!("/proc/self/fd/{}", node.dir.as_fd().as_raw_fd());
            match inotify::add_watch(&inotify, directory, WatchFlags::MODIFY | WatchFlags::ONLYDIR) {
                Ok(_) => {}
                Err(Errno::NOSPC | Errno::NOMEM | Errno::ACCESS) => is_complete = false,
                Err(errno) => return Err(node.failed(errno, "watching the directory")),
            }
            Ok(())
        })?;
        Ok(is_complete.then_some(Newcomers { inotify }))
    }

    /// Whether somebody has written to one of the lists.
    pub(crate) fn are_there(&self) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let is_list = event.file_name().is_some_and(|name| LISTS.contains(&name.to_bytes()));
                    // More than the kernel keeps: some of them may have been.
                    if is_list || event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                        return Ok(true);
                    }
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os(errno, "reading inotify")),
            }
        }
    }
}
