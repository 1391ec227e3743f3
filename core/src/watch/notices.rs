//! Where the kernel says that there may be something new: inotify.
//!
//! A watch on a group's directory tells what is made and removed there, also by
//! mkdir(1), and which of its files somebody writes to. What the kernel itself
//! changes it tells of `cgroup.events` (version 2) to who watches that very
//! file, and of nothing else.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::backend::Node;
use crate::path::GroupPath;
use crate::sys::{Errno, Result, dir::Dir};

/// What a notice is about. None of them says what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A group was made, or has this name now.
    Made(GroupPath),
    /// A group was removed, or has this name no more.
    Gone(GroupPath),
    /// Somebody was moved here. (On the embedded backend: was added to the record.)
    Entered(GroupPath),
    /// Something else about the group.
    State(GroupPath),
    /// There were more than the kernel keeps.
    Lost,
}

/// What can be watched of one group.
#[derive(Debug)]
pub(super) struct Watched {
    directory: i32,
    events: Option<i32>,
}

#[derive(Debug)]
pub(super) struct Notices {
    inotify: OwnedFd,
    groups: HashMap<i32, GroupPath>,
    /// The directory around the hierarchy's root, and the root's name there:
    /// kernfs does not tell a directory of its own removal.
    above: Option<(i32, OsString)>,
}

/// The events of a file that tell that it has changed, also when the embedded
/// backend has put another in its place.
const CHANGED: ReadFlags = ReadFlags::MODIFY.union(ReadFlags::MOVED_TO).union(ReadFlags::ATTRIB);

impl Notices {
    pub(super) fn new() -> Result<Notices> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Notices { inotify, groups: HashMap::new(), above: None })
    }

    /// Best effort: who may not read the directory above learns of the
    /// hierarchy's end when it looks next.
    pub(super) fn watch_root(&mut self, directory: &Path) {
        let (Some(above), Some(name)) = (directory.parent(), directory.file_name()) else { return };
        let flags = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        let watch = Dir::open(above).and_then(|dir| self.add(dir.as_fd(), flags));
        self.above = watch.ok().map(|watch| (watch, name.to_owned()));
    }

    /// ENOSPC: the user has as many watches as `fs.inotify.max_user_watches`.
    pub(super) fn watch(&mut self, group: &Node) -> Result<Watched> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let directory = self.add(group.dir.as_fd(), flags)?;
        self.groups.insert(directory, group.path.clone());
        let events = match group.dir.open_file("cgroup.events", OFlags::PATH) {
            Ok(file) => match self.add(file.as_fd(), WatchFlags::MODIFY) {
                Ok(watch) => Some(watch),
                Err(errno) => {
                    self.forget(&Watched { directory, events: None });
                    return Err(errno);
                }
            },
            // Not version 2, or its root.
            Err(_) => None,
        };
        if let Some(events) = events {
            self.groups.insert(events, group.path.clone());
        }
        Ok(Watched { directory, events })
    }

    /// Fails for a directory that is gone: its watches went with it.
    pub(super) fn forget(&mut self, watched: &Watched) {
        for watch in [Some(watched.directory), watched.events].into_iter().flatten() {
            self.groups.remove(&watch);
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// What has come: at most one buffer full of it.
    pub(super) fn read(&mut self) -> Result<Vec<Notice>> {
        let mut notices = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    notices.extend(self.notice(event.wd(), event.events(), name));
                }
                Err(Errno::AGAIN) => return Ok(notices),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            if reader.is_buffer_empty() {
                return Ok(notices);
            }
        }
    }

    fn notice(&self, watch: i32, events: ReadFlags, name: Option<&OsStr>) -> Option<Notice> {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Some(Notice::Lost);
        }
        if let Some((above, root)) = &self.above
            && *above == watch
        {
            return (name == Some(root)).then(|| Notice::Gone(GroupPath::root()));
        }
        // Otherwise the last words of a watch that we have given back.
        let group = self.groups.get(&watch)?;
        let Some(name) = name else { return Some(Notice::State(group.clone())) };
        if events.contains(ReadFlags::ISDIR) {
            let child = group.child(name);
            // One of the library's own comes and goes with whom it holds for a
            // moment; they stay in this group.
            if child.is_passing() {
                return None;
            }
            return if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                Some(Notice::Made(child))
            } else if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                Some(Notice::Gone(child))
            } else {
                Some(Notice::State(child))
            };
        }
        if !events.intersects(CHANGED) {
            return None;
        }
        match name.as_bytes() {
            b"cgroup.procs" | b"cgroup.threads" | b"tasks" if events.contains(ReadFlags::MODIFY) => {
                Some(Notice::Entered(group.clone()))
            }
            b"freezer.state" | b"cgroup.freeze" | b"cgroup.events" | b"cgroup.kill" => {
                Some(Notice::State(group.clone()))
            }
            _ => None,
        }
    }

    fn add(&self, what: BorrowedFd<'_>, flags: WatchFlags) -> Result<i32> {
        // By the descriptor and not by its name: what was opened beneath the
        // hierarchy's root is what is watched.
        inotify::add_watch(&self.inotify, format!("/proc/self/fd/{}", what.as_raw_fd()), flags)
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
