//! A group: a directory with processes in it.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, Node, passing};
use crate::deadline::Wait;
use crate::error::{Error, Result};
use crate::frozen_time;
use crate::hierarchy::Hierarchy;
use crate::path::{GroupPath, check_name};
use crate::sys::Errno;

/// A handle on one group of a [`Hierarchy`].
///
/// It holds the group's directory open, so it means this group and not another
/// that is made later under the same path: after a removal everything gives
/// ENODEV. Cheap to clone; may be used from several threads at once; in a
/// forked child everything but dropping it gives ECHILD.
#[derive(Clone)]
pub struct Group {
    hierarchy: Hierarchy,
    node: Arc<Node>,
}

/// What a removal may do besides removing an empty group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill the processes inside first.
    pub kill: bool,
    /// Remove the groups below too, children first.
    pub recursive: bool,
}

impl Group {
    pub(crate) fn create(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Group> {
        let backend = hierarchy.backend()?;
        if path.is_root() {
            return Err(Error::new(libc::EEXIST, "the root group is always there"));
        }
        let mut made: Vec<Node> = Vec::new();
        let result = create_each(backend, hierarchy.root_node(), path, &mut made);
        match result {
            Ok(node) => Ok(Group { hierarchy: hierarchy.clone(), node: Arc::new(node) }),
            Err(error) => {
                for node in made.iter().rev() {
                    // Best effort: somebody may have begun to use it already.
                    let _ = parent_of(hierarchy, node).map(|parent| backend.remove(&parent, node));
                }
                Err(error)
            }
        }
    }

    pub(crate) fn open(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Group> {
        hierarchy.backend()?;
        if path.is_root() {
            return Ok(hierarchy.root());
        }
        let root = hierarchy.root_node();
        match root.dir.open_dir(path.as_path()) {
            Ok(dir) => Ok(Group { hierarchy: hierarchy.clone(), node: Arc::new(Node { dir, path: path.clone() }) }),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                Err(Error::new(libc::ENOENT, format!("no group {path} in hierarchy {hierarchy}")))
            }
            Err(errno) => Err(Error::os(errno, format_args!("opening group {path} of hierarchy {hierarchy}"))),
        }
    }

    pub(crate) fn from_node(hierarchy: &Hierarchy, node: Arc<Node>) -> Group {
        Group { hierarchy: hierarchy.clone(), node }
    }

    /// Removes the group if it is empty.
    ///
    /// # Errors
    ///
    /// As [`remove_with`](Group::remove_with).
    pub fn remove(&self) -> Result<()> {
        self.remove_with(RemoveOptions::default())
    }

    /// Removes the group, with what the options allow, and returns when the
    /// directory is gone or the hierarchy's deadline has passed (R1.4).
    ///
    /// # Errors
    ///
    /// * EBUSY: it has processes or groups and the options do not allow for
    ///   them (nothing was done); or it could not be emptied in time
    ///   ([`Error::blockers`] names who is left). The root group always.
    /// * ENODEV: it was removed before. EACCES: not permitted. ECHILD: in a
    ///   forked child.
    pub fn remove_with(&self, options: RemoveOptions) -> Result<()> {
        let backend = self.backend()?;
        if self.node.path.is_root() {
            return Err(Error::new(libc::EBUSY, "the root group goes with its hierarchy (unmount)"));
        }
        let parent = parent_of(&self.hierarchy, &self.node)?;
        same_directory(&parent, &self.node)?;
        passing::sweep(backend, &self.node);
        if !options.recursive
            && let Some(child) = self.node.children()?.first()
        {
            let example = &child.path;
            return Err(Error::new(libc::EBUSY, format!("{self} has groups below it, {example} for one")));
        }
        let mut wait = Wait::until(self.hierarchy.deadline());
        if options.kill {
            self.kill(libc::SIGKILL)?;
        } else if backend.is_populated(&self.node)? {
            return Err(Error::new(libc::EBUSY, format!("{self} has processes: {}", self.first_members()?)));
        }
        self.remove_tree(backend, &parent, &self.node, options.recursive, &mut wait)
    }

    /// Gives the group another name in its parent, and returns a handle for it.
    /// This handle, and those of groups below, keep the old path: they are good
    /// for dropping.
    ///
    /// # Errors
    ///
    /// EEXIST: the name is taken. EOPNOTSUPP: cgroup v2, whose groups cannot be
    /// renamed. EBUSY: the root group. EINVAL, ENAMETOOLONG: no name for a
    /// group. ENODEV, EACCES, ECHILD as always.
    pub fn rename(&self, name: impl AsRef<OsStr>) -> Result<Group> {
        let backend = self.backend()?;
        let name = name.as_ref();
        check_name(name.as_bytes())?;
        let Some(above) = self.node.path.parent() else {
            return Err(Error::new(libc::EBUSY, "the root group has its hierarchy's name"));
        };
        let parent = parent_of(&self.hierarchy, &self.node)?;
        same_directory(&parent, &self.node)?;
        match backend.rename(&parent, &self.node, name) {
            Ok(()) => Group::open(&self.hierarchy, &above.child(name)),
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                Err(Error::new(libc::EEXIST, format!("renaming {self}: there is a {}", above.child(name))))
            }
            Err(Errno::OPNOTSUPP) => {
                Err(Error::new(libc::EOPNOTSUPP, format!("renaming {self}: cgroup version 2 cannot rename a group")))
            }
            Err(errno) => Err(self.node.failed(errno, "renaming")),
        }
    }

    /// The process numbers in this very group, sorted, each once, as seen in
    /// the caller's pid namespace (R1.9). Processes of groups below are not
    /// among them.
    ///
    /// # Errors
    ///
    /// ENODEV: the group was removed. ECHILD: in a forked child.
    pub fn procs(&self) -> Result<Vec<i32>> {
        let backend = self.backend()?;
        self.with_passing(&|node| backend.procs(node)).map(seen_and_sorted)
    }

    /// The thread numbers in this very group, as [`procs`](Group::procs).
    ///
    /// # Errors
    ///
    /// As [`procs`](Group::procs).
    pub fn tasks(&self) -> Result<Vec<i32>> {
        let backend = self.backend()?;
        self.with_passing(&|node| backend.tasks(node)).map(seen_and_sorted)
    }

    /// How many processes of this very group the caller's pid namespace does
    /// not show. [`procs`](Group::procs) leaves them out.
    ///
    /// # Errors
    ///
    /// As [`procs`](Group::procs).
    pub fn unseen_procs(&self) -> Result<usize> {
        let listed = self.backend()?.procs(&self.node)?;
        Ok(listed.iter().filter(|&&pid| pid == 0).count())
    }

    /// Whether a task that is not dead is in the group or below.
    ///
    /// # Errors
    ///
    /// As [`procs`](Group::procs).
    pub fn is_populated(&self) -> Result<bool> {
        self.backend()?.is_populated(&self.node)
    }

    /// Every group below this one, parents before their children.
    ///
    /// # Errors
    ///
    /// As [`procs`](Group::procs).
    pub fn groups(&self) -> Result<Vec<GroupPath>> {
        self.backend()?;
        let mut paths = Vec::new();
        self.node.walk(&mut |node| {
            if node.path != self.node.path && !node.is_passing() {
                paths.push(node.path.clone());
            }
            Ok(())
        })?;
        Ok(paths)
    }

    /// A new descriptor for the group's directory (O_PATH, close-on-exec), for
    /// a runtime that calls clone3(CLONE_INTO_CGROUP) itself.
    ///
    /// # Errors
    ///
    /// EMFILE: no descriptor left. ECHILD: in a forked child.
    pub fn directory_fd(&self) -> Result<OwnedFd> {
        self.backend()?;
        self.node.dir.path_fd().map_err(|errno| self.node.failed(errno, "opening the directory"))
    }

    /// Its path within the hierarchy.
    pub fn path(&self) -> &GroupPath {
        &self.node.path
    }

    /// The hierarchy it is in.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn backend(&self) -> Result<&dyn Backend> {
        self.hierarchy.backend()
    }

    /// The members of the group, those among them whom somebody has in a probe
    /// group at this moment.
    fn with_passing(&self, members: &dyn Fn(&Node) -> Result<Vec<i32>>) -> Result<Vec<i32>> {
        let mut found = members(&self.node)?;
        for child in self.node.every_child()?.iter().filter(|child| child.is_passing()) {
            found.extend(members(child)?);
        }
        Ok(found)
    }

    fn first_members(&self) -> Result<String> {
        let mut members = Vec::new();
        let backend = self.backend()?;
        self.node.walk(&mut |node| {
            members.extend(backend.procs(node)?);
            Ok(())
        })?;
        let more = if members.len() > 5 { ", …" } else { "" };
        let shown: Vec<String> = members.iter().take(5).map(i32::to_string).collect();
        Ok(format!("{}{more}", shown.join(", ")))
    }

    fn remove_tree(
        &self,
        backend: &dyn Backend,
        parent: &Node,
        group: &Node,
        recursive: bool,
        wait: &mut Wait<'_>,
    ) -> Result<()> {
        loop {
            passing::sweep(backend, group);
            for child in group.children()? {
                if !recursive {
                    let why = format!("group {} was made below {self} meanwhile", child.path);
                    return Err(Error::new(libc::EBUSY, why));
                }
                self.remove_tree(backend, group, &child, recursive, wait)?;
            }
            match backend.remove(parent, group) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // The last ones to leave are still on their way out, or a group
                // that the library itself needs for a moment is in there.
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(group.failed(errno, "removing the directory")),
            }
            if wait.pause(Duration::from_micros(200)).is_err() {
                let blockers = backend.blockers(group, crate::backend::Effort::Glance)?;
                return Err(Error::new(libc::EBUSY, format!("group {} could not be removed in time", group.path))
                    .with_blockers(blockers));
            }
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.node.path)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({}:{})", self.hierarchy, self.node.path)
    }
}

/// ENODEV unless the group is still the one in its parent under its name: a
/// handle on a group that was removed must not remove its successor.
pub(crate) fn same_directory(parent: &Node, group: &Node) -> Result<()> {
    let there = parent.dir.open_dir(group.path.name()).and_then(|dir| dir.identity());
    match (there, group.dir.identity()) {
        (Ok(there), Ok(here)) if there == here => Ok(()),
        _ => Err(group.vanished()),
    }
}

fn parent_of(hierarchy: &Hierarchy, node: &Node) -> Result<Node> {
    let root = hierarchy.root_node();
    let path = node.path.parent().unwrap_or_else(GroupPath::root);
    let dir = if path.is_root() { root.dir.open_dir(".") } else { root.dir.open_dir(path.as_path()) };
    match dir {
        Ok(dir) => Ok(Node { dir, path }),
        Err(Errno::NOENT) => Err(node.vanished()),
        Err(errno) => Err(node.failed(errno, "opening the parent")),
    }
}

fn create_each(backend: &dyn Backend, root: &Node, path: &GroupPath, made: &mut Vec<Node>) -> Result<Node> {
    let mut at =
        Node { dir: root.dir.open_dir(".").map_err(|errno| root.failed(errno, "opening"))?, path: GroupPath::root() };
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        let child = at.path.child(name);
        let is_last = names.peek().is_none();
        let is_new = match backend.create(&at, name) {
            Ok(()) => true,
            Err(Errno::EXIST) if !is_last => false,
            Err(Errno::EXIST) => return Err(Error::new(libc::EEXIST, format!("there is a group {child} already"))),
            Err(errno) => return Err(at.failed(errno, &format!("making {child} below the directory"))),
        };
        let open = || match at.dir.open_dir(name) {
            Ok(dir) => Ok(Node { dir, path: child.clone() }),
            Err(errno) => Err(Error::os(errno, format_args!("opening group {child}"))),
        };
        let node = open()?;
        if is_new {
            made.push(open()?);
            frozen_time::inherit(backend, &node)?;
        }
        at = node;
    }
    Ok(at)
}

/// The kernel writes 0 for a process that our pid namespace does not show.
fn seen_and_sorted(mut ids: Vec<i32>) -> Vec<i32> {
    ids.retain(|&id| id > 0);
    ids.sort_unstable();
    ids.dedup();
    ids
}
