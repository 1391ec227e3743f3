//! Other kernel trees that a hierarchy spans.
//!
//! On a hybrid host the controllers are spread over several trees: the freezer
//! in one, `pids` and `cpuset` each in a tree of version 1. The tree that freezes
//! holds the groups and what is noted on them; each of the others has the same
//! directories at the same paths, and the same processes in them.
//!
//! What is found in a mirror and not in the first tree is a leftover: somebody
//! removed the group behind our back. It gives way to what comes.

use std::collections::VecDeque;
use std::ffi::OsStr;

use rustix::fs::Mode;

use super::tree::{Home, Mount, Tree, Version};
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process;
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
    /// any that we may use, and makes the hierarchy's root directory in each.
    pub(crate) fn of(primary: &Tree, controllers: &[&str]) -> Result<Mirrors> {
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
            let made = std::fs::create_dir_all(mount.point.join(base.as_path()));
            let root = match made {
                Ok(()) => Dir::open(&mount.point.join(base.as_path())),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            };
            match root {
                Ok(root) => {
                    let tree = Tree::around(&root, &version)?;
                    mirrors.push(Mirror { controllers: vec![(*controller).to_owned()], tree, root });
                }
                // Delegated to us in one tree and not in the other: as if it
                // were not there, and whoever asks for it is told.
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {}
                Err(errno) => {
                    let place = mount.point.join(base.as_path());
                    return Err(Error::os(errno, format_args!("making {}", place.display())));
                }
            }
        }
        Ok(Mirrors(mirrors))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a group in every tree, or in none. What has its name there already
    /// is a leftover.
    pub(super) fn create(&self, path: &GroupPath) -> sys::Result<()> {
        for (at, mirror) in self.0.iter().enumerate() {
            if let Err(errno) = mirror.create(path) {
                for made in &self.0[..at] {
                    made.remove(path);
                }
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Removes a group that is no more, and what may be left below it.
    pub(super) fn remove(&self, path: &GroupPath) {
        self.0.iter().for_each(|mirror| mirror.remove(path));
    }

    pub(super) fn rename(&self, path: &GroupPath, to: &OsStr) -> sys::Result<()> {
        let above = path.parent().unwrap_or_else(GroupPath::root);
        for (at, mirror) in self.0.iter().enumerate() {
            let rename = |from: &OsStr, to: &OsStr| mirror.open(&above)?.rename_in_kernfs(from, to);
            mirror.remove(&above.child(to));
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
    /// in every tree.
    pub(super) fn put(&self, path: &GroupPath, file: &str, id: i32) -> Result<()> {
        for mirror in &self.0 {
            let moved = mirror.open(path).and_then(|dir| dir.write(file, id.to_string().as_bytes()));
            moved.map_err(|errno| match errno {
                Errno::SRCH => process::no_such_process(id),
                errno => {
                    let tree = mirror.controllers.join(",");
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

    fn create(&self, path: &GroupPath) -> sys::Result<()> {
        let above = path.parent().unwrap_or_else(GroupPath::root);
        let make = || match self.open(&above) {
            Ok(parent) => parent.mkdir(path.name(), Mode::from_raw_mode(0o755)),
            // Made before the hierarchy spanned this tree.
            Err(Errno::NOENT) => {
                self.create(&above)?;
                self.open(&above)?.mkdir(path.name(), Mode::from_raw_mode(0o755))
            }
            Err(errno) => Err(errno),
        };
        match make() {
            Err(Errno::EXIST) => {
                self.remove(path);
                make()
            }
            made => made,
        }
    }

    fn remove(&self, path: &GroupPath) {
        self.clear(path);
        let above = path.parent().unwrap_or_else(GroupPath::root);
        // Best effort: a leftover is in nobody's way.
        let _ = self.open(&above).and_then(|parent| {
            self.empty(path, &parent);
            parent.rmdir(path.name())
        });
    }

    /// Removes what is below a group, deepest first.
    fn clear(&self, path: &GroupPath) {
        let mut found = Vec::new();
        let mut queue = VecDeque::from([path.clone()]);
        while let Some(path) = queue.pop_front() {
            let children = self.open(&path).and_then(|dir| dir.children()).unwrap_or_default();
            queue.extend(children.iter().map(|name| path.child(name)));
            found.push(path);
        }
        for path in found.iter().skip(1).rev() {
            if let Some(above) = path.parent()
                && let Ok(parent) = self.open(&above)
            {
                self.empty(path, &parent);
                let _ = parent.rmdir(path.name());
            }
        }
    }

    /// Moves up whoever strayed into a group that is no more.
    fn empty(&self, path: &GroupPath, to: &Dir) {
        if let Ok(dir) = self.open(path) {
            super::passing::move_all(&dir, to, "tasks");
        }
    }
}
