//! Other kernel trees that a hierarchy spans.
//!
//! On a hybrid host the controllers are spread over several trees: the freezer
//! in one, `pids` and `cpuset` each in a tree of version 1. The tree that freezes
//! holds the groups and what is noted on them; each of the others has the same
//! directories at the same paths, and the same processes in them.
//!
//! What we make in a mirror is marked (`user.cgf.mirror`) with the inode of the
//! group that it is for, and only what is marked is ever removed. A mark of a group
//! that is no more is a leftover: somebody removed the group behind our back. It
//! gives way to what comes. What is not marked is somebody else's.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode as Access, OFlags};

use super::Node;
use super::tree::{Home, Mount, Tree, Version};
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process;
use crate::sys::lock::{self, Mode};
use crate::sys::{self, Errno, dir::Dir};

/// The mirrors of one hierarchy; most have none.
#[derive(Debug, Default)]
pub(crate) struct Mirrors(Vec<Mirror>);

/// One other tree.
#[derive(Debug)]
struct Mirror {
    controllers: Vec<String>,
    tree: Tree,
    root: Dir,
}

impl Mirrors {
    /// Finds the trees of version 1 with these controllers, as far as there are
    /// any that we may use, and makes the hierarchy's root directory in each. If it may not
    /// be made, a tree without it is as if it were not there: nobody who is in the root
    /// would be in there.
    pub(crate) fn of(primary: &Tree, controllers: &[&str], make: bool) -> Result<Mirrors> {
        let base = primary.below_mount(&GroupPath::root());
        let mut mirrors: Vec<Mirror> = Vec::new();
        for controller in controllers {
            let version = Version::One((*controller).to_owned());
            let Some(mount) = Mount::all(&version)?.into_iter().next() else { continue };
            if let Some(known) = mirrors.iter_mut().find(|known| known.tree.is_on(&mount)) {
                known.controllers.push((*controller).to_owned());
                continue;
            }
            // The first tree has it itself.
            if primary.is_on(&mount) {
                continue;
            }
            let place = mount.point.join(base.as_path());
            let made = if make { std::fs::create_dir_all(&place) } else { Ok(()) };
            let root = match made {
                Ok(()) => Dir::open(&place).and_then(writable),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            };
            match root {
                Err(Errno::NOENT) if !make => {}
                Ok(root) => {
                    let tree = Tree::around(&root, &version)?;
                    mirrors.push(Mirror { controllers: vec![(*controller).to_owned()], tree, root });
                }
                // Delegated to us in one tree and not in the other: as if it
                // were not there, and whoever asks for it is told.
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {}
                Err(errno) => {
                    return Err(Error::os(errno, format_args!("making {}", place.display())));
                }
            }
        }
        Ok(Mirrors(mirrors))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a group in every tree, or in none. EEXIST: somebody else has one
    /// there.
    pub(super) fn create(&self, group: &Node) -> sys::Result<()> {
        for (at, mirror) in self.0.iter().enumerate() {
            if let Err(errno) = mirror.create(group) {
                self.0[..at].iter().for_each(|made| made.remove(group));
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Makes a group where it is missing.
    pub(super) fn complete(&self, group: &Node) -> sys::Result<()> {
        self.0.iter().try_for_each(|mirror| match mirror.open(&group.path) {
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => mirror.create(group),
            Err(errno) => Err(errno),
        })
    }

    /// Removes a group that is no more, and what may be left below it.
    pub(super) fn remove(&self, group: &Node) {
        self.0.iter().for_each(|mirror| mirror.remove(group));
    }

    pub(super) fn rename(&self, path: &GroupPath, to: &OsStr) -> sys::Result<()> {
        let above = path.parent().unwrap_or_else(GroupPath::root);
        for (at, mirror) in self.0.iter().enumerate() {
            let rename = |from: &OsStr, to: &OsStr| mirror.open(&above)?.rename_in_kernfs(from, to);
            let _turn = mirror.lock()?;
            mirror.clear_away(&above.child(to))?;
            if let Err(errno) = rename(path.name(), to) {
                for renamed in &self.0[..at] {
                    let _ = renamed.open(&above).and_then(|dir| dir.rename_in_kernfs(to, path.name()));
                }
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Removes the hierarchy's root directories.
    pub(super) fn end(&self) {
        for mirror in &self.0 {
            let Ok(_turn) = mirror.lock() else { continue };
            mirror.clear(&GroupPath::root());
            let Ok(location) = mirror.root.location() else { continue };
            let _ = rustix::fs::rmdir(&location);
            if let Some(above) = location.parent() {
                // The directory of all hierarchies, if this was the last.
                let _ = rustix::fs::rmdir(above);
            }
        }
    }

    /// Moves a process (by `cgroup.procs`) or a thread (by `tasks`) into a group
    /// in every tree. One that was made by the kernel's own means, or before the
    /// hierarchy spanned the tree, is made there.
    pub(super) fn put(&self, group: &Node, file: &str, id: i32) -> Result<()> {
        for mirror in &self.0 {
            let put = || mirror.open(&group.path)?.write(file, id.to_string().as_bytes());
            let moved = match put() {
                Err(Errno::NOENT) => mirror.create(group).and_then(|()| put()),
                other => other,
            };
            moved.map_err(|errno| match errno {
                Errno::SRCH => process::no_such_process(id),
                errno => {
                    let (path, tree) = (&group.path, mirror.controllers.join(","));
                    Error::os(errno, format_args!("moving {id} into {path} in the tree of {tree}"))
                }
            })?;
        }
        Ok(())
    }

    /// Where a process or thread is in each tree.
    pub(super) fn homes(&self, home: impl Fn(&Tree) -> sys::Result<Home>) -> sys::Result<Vec<Home>> {
        self.0.iter().map(|mirror| home(&mirror.tree)).collect()
    }

    pub(super) fn send_home(&self, homes: &[Home], file: &str, id: i32) -> sys::Result<()> {
        self.0.iter().zip(homes).try_for_each(|(mirror, home)| mirror.tree.send_home(home, file, id))
    }

    /// A group's directory in the tree that has the controller.
    pub(super) fn directory(&self, path: &GroupPath, controller: &str) -> sys::Result<Option<Dir>> {
        let has = |mirror: &&Mirror| mirror.controllers.iter().any(|one| one == controller);
        self.0.iter().find(has).map(|mirror| mirror.open(path)).transpose()
    }
}

impl Mirror {
    fn open(&self, path: &GroupPath) -> sys::Result<Dir> {
        if path.is_root() { self.root.open_dir(".") } else { self.root.open_dir(path.as_path()) }
    }

    /// Alone in making and removing groups here, for as long as that takes. Who
    /// was killed at it has given it back.
    fn lock(&self) -> sys::Result<File> {
        let file = self.root.open_file("cgroup.procs", OFlags::RDWR)?;
        let mut wait = Wait::until(Deadline::after(Duration::from_secs(10)));
        while !lock::try_lock(&file, TURN, Mode::Write)? {
            wait.pause(Duration::from_micros(200)).map_err(|_| Errno::TIMEDOUT)?;
        }
        Ok(file)
    }

    fn create(&self, group: &Node) -> sys::Result<()> {
        let _turn = self.lock()?;
        let path = &group.path;
        // Those above may have been made before the hierarchy spanned this tree.
        for above in path.ancestors().collect::<Vec<_>>().iter().rev().skip(1) {
            match self.make(above, "0") {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let mark = mark_of(group)?;
        match self.make(path, &mark) {
            Err(Errno::EXIST) if self.mark(path).as_deref() == Some(&mark) => Ok(()),
            Err(Errno::EXIST) => {
                self.clear_away(path)?;
                self.make(path, &mark)
            }
            made => made,
        }
    }

    fn make(&self, path: &GroupPath, mark: &str) -> sys::Result<()> {
        let parent = self.open(&path.parent().unwrap_or_else(GroupPath::root))?;
        parent.mkdir(path.name(), Access::from_raw_mode(0o755))?;
        let marked = parent.open_dir(path.name()).and_then(|dir| dir.set_xattr(MARK, mark.as_bytes()));
        marked.inspect_err(|_| {
            let _ = parent.rmdir(path.name());
        })
    }

    /// The inode of the group that a directory was made for; `None`: it is
    /// somebody else's.
    fn mark(&self, path: &GroupPath) -> Option<String> {
        let mark = self.open(path).and_then(|dir| dir.xattr(MARK)).ok().flatten()?;
        String::from_utf8(mark).ok()
    }

    /// Best effort: a leftover is in nobody's way.
    fn remove(&self, group: &Node) {
        let Ok(_turn) = self.lock() else { return };
        // Somebody may have made a group of the same name since.
        let is_its =
            mark_of(group).is_ok_and(|mark| self.mark(&group.path).is_some_and(|found| found == mark || found == "0"));
        if is_its {
            let _ = self.clear_away(&group.path);
        }
    }

    /// Removes a leftover with what is below it, and moves up who strayed into it.
    /// EEXIST: it is somebody else's.
    fn clear_away(&self, path: &GroupPath) -> sys::Result<()> {
        if self.mark(path).is_none() {
            return if self.open(path).is_ok() { Err(Errno::EXIST) } else { Ok(()) };
        }
        self.clear(path);
        self.rmdir(path)
    }

    /// Removes what is ours below a group, deepest first.
    fn clear(&self, path: &GroupPath) {
        let mut found = Vec::new();
        let mut queue = VecDeque::from([path.clone()]);
        while let Some(path) = queue.pop_front() {
            let children = self.open(&path).and_then(|dir| dir.children()).unwrap_or_default();
            queue.extend(children.iter().map(|name| path.child(name)).filter(|path| self.mark(path).is_some()));
            found.push(path);
        }
        for path in found.iter().skip(1).rev() {
            let _ = self.rmdir(path);
        }
    }

    fn rmdir(&self, path: &GroupPath) -> sys::Result<()> {
        let parent = self.open(&path.parent().unwrap_or_else(GroupPath::root))?;
        if let Ok(dir) = self.open(path) {
            super::passing::move_all(&dir, &parent, "tasks");
        }
        parent.rmdir(path.name())
    }
}

/// The attribute of a directory that we made in a mirror.
const MARK: &str = "user.cgf.mirror";

/// The byte of the root's `cgroup.procs` that makes and removes groups by turns.
const TURN: u64 = 1 << 40;

fn mark_of(group: &Node) -> sys::Result<String> {
    group.dir.identity().map(|(_, inode)| inode.to_string())
}

/// EACCES where we may not make groups and move processes.
fn writable(root: Dir) -> sys::Result<Dir> {
    for file in [".", "cgroup.procs"] {
        rustix::fs::accessat(&root, file, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS)?;
    }
    Ok(root)
}
