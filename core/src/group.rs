//! A group: a directory with processes in it.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use crate::attribute;
use crate::backend::{Backend, Node, guard, passing};
use crate::deadline::Wait;
use crate::error::{Error, Result};
use crate::frozen_time;
use crate::hierarchy::Hierarchy;
use crate::outer;
use crate::path::{GroupPath, check_name};
use crate::reference;
use crate::release;
use crate::subsystem;
use crate::subsystems::beancounter::{accounts::Accounts, removal};
use crate::subsystems::{namespace, numtasks};
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
    accounts: Arc<Accounts>,
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
        hierarchy.backend()?;
        let Some(above) = path.parent() else {
            return Err(Error::new(libc::EEXIST, "the root group is always there"));
        };
        match Group::open(hierarchy, &above) {
            Ok(parent) => parent.create_child(path.name()),
            Err(error) if error.is(libc::ENOENT) => Group::create_with_parents(hierarchy, path),
            Err(error) => Err(error),
        }
    }

    fn create_with_parents(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Group> {
        let mut made: Vec<Group> = Vec::new();
        let mut at = hierarchy.root();
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let child = match at.create_child(name) {
                Ok(child) => {
                    made.push(child.clone());
                    Ok(child)
                }
                Err(error) if error.is(libc::EEXIST) && names.peek().is_some() => {
                    Group::open(hierarchy, &at.path().child(name))
                }
                Err(error) => Err(error),
            };
            at = match child {
                Ok(child) => child,
                Err(error) => {
                    for group in made.iter().rev() {
                        // Best effort: somebody may have begun to use it already.
                        let _ = group.remove();
                    }
                    return Err(error);
                }
            };
        }
        Ok(at)
    }

    /// Makes a group right below this one.
    pub(crate) fn create_child(&self, name: &OsStr) -> Result<Group> {
        let backend = self.backend()?;
        let subsystems = self.hierarchy.every_subsystem()?;
        namespace::check_name(&self.hierarchy, name)?;
        let path = self.path().child(name);
        let dir = match backend.create(&self.node, name) {
            Ok(dir) => dir,
            Err(Errno::EXIST) => return Err(Error::new(libc::EEXIST, format!("there is a group {path} already"))),
            Err(errno) => return Err(self.node.failed(errno, &format!("making {path} below the directory"))),
        };
        let group = Group::from_node(&self.hierarchy, Arc::new(Node { dir, path }));
        if let Err(error) = group.inherit_from(self) {
            let _ = backend.remove(&self.node, &group.node);
            return Err(error);
        }
        for (at, subsystem) in subsystems.iter().enumerate() {
            if let Err(error) = subsystem::call(&**subsystem, "create", || subsystem.create(&group)) {
                if let Err(errno) = backend.remove(&self.node, &group.node)
                    && errno != Errno::NOENT
                {
                    // Somebody was quick to come into it. Who has made something of
                    // it hears of its end when it comes.
                    return Err(error.context(format_args!("{group} stays: {errno}")));
                }
                for subsystem in subsystems[..at].iter().rev() {
                    let _ = subsystem::call(&**subsystem, "destroy", || subsystem.destroy(&group));
                }
                return Err(error);
            }
        }
        Ok(group)
    }

    /// What a group has from its parent because it was made there.
    fn inherit_from(&self, parent: &Group) -> Result<()> {
        // Most groups have no attribute: one call tells.
        let attributes = attribute::all(&parent.node)?;
        release::inherit(&parent.node, &attributes, &self.node)?;
        frozen_time::inherit(&attributes, &self.node)
    }

    /// A child with this group's settings and the process in it.
    pub(crate) fn clone_for(&self, pid: i32, name: &OsStr) -> Result<Group> {
        check_name(name.as_bytes())?;
        let child = self.create_child(name)?;
        let settled = attribute::copy_settings(&self.node, &child.node)
            .and_then(|()| {
                self.hierarchy.known_subsystems().iter().try_for_each(|subsystem| {
                    subsystem::call(&**subsystem, "post_clone", || subsystem.post_clone(&child, self))
                })
            })
            .and_then(|()| child.attach(pid));
        match settled {
            Ok(()) => Ok(child),
            Err(error) => {
                // Somebody may have begun to use it already: then it stays.
                let _ = child.remove();
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
            Ok(dir) => Ok(Group::from_node(hierarchy, Arc::new(Node { dir, path: path.clone() }))),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                Err(Error::new(libc::ENOENT, format!("no group {path} in hierarchy {hierarchy}")))
            }
            Err(errno) => Err(Error::os(errno, format_args!("opening group {path} of hierarchy {hierarchy}"))),
        }
    }

    pub(crate) fn from_node(hierarchy: &Hierarchy, node: Arc<Node>) -> Group {
        Group::with_accounts(hierarchy, node, Arc::default())
    }

    pub(crate) fn with_accounts(hierarchy: &Hierarchy, node: Arc<Node>, accounts: Arc<Accounts>) -> Group {
        Group { hierarchy: hierarchy.clone(), node, accounts }
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
    ///   them, something is charged to it (the charges of those who are killed end with
    ///   them), somebody holds a [`reference`](Group::reference), or a checkpoint
    ///   holds it, one above or one below (R4.1; nothing was done); or it could not be emptied in time
    ///   ([`Error::blockers`] names who is left). The root group always.
    /// * ENODEV: it was removed before. EACCES: not permitted. ECHILD: in a
    ///   forked child.
    pub fn remove_with(&self, options: RemoveOptions) -> Result<()> {
        let backend = self.backend()?;
        if self.node.path.is_root() {
            return Err(Error::new(libc::EBUSY, "the root group goes with its hierarchy (unmount)"));
        }
        let parent = self.parent()?;
        same_directory(&parent.node, &self.node)?;
        let _passage = guard::end_all(backend, &self.node)?;
        passing::sweep(backend, &self.node);
        if !options.recursive
            && let Some(child) = self.node.children()?.next().transpose()?
        {
            let example = &child.path;
            return Err(Error::new(libc::EBUSY, format!("{self} has groups below it, {example} for one")));
        }
        // Asked again of each group right before it goes; this is so that
        // nothing is killed for a removal that is refused.
        self.node.walk(&mut |node| reference::refuse_if_held(backend, node))?;
        if options.kill {
            removal::refuse_if_kept(self)?
        } else {
            removal::refuse_if_held(self)?
        }
        let mut wait = Wait::until(self.hierarchy.deadline());
        if options.kill {
            self.kill_everybody()?;
            // What those held who are dead now is given back.
            removal::refuse_if_held(self)?;
        } else if backend.is_populated(&self.node)? {
            return Err(Error::new(libc::EBUSY, format!("{self} has processes: {}", self.first_members()?)));
        }
        let outer = outer::of(self)?;
        self.remove_below(&parent, options, &mut wait)?;
        outer.map_or(Ok(()), |outer| outer::remove(&outer))
    }

    /// Gives the group another name in its parent, and returns a handle for it.
    /// This handle, and those of groups below, keep the old path: they are good
    /// for dropping.
    ///
    /// # Errors
    ///
    /// EEXIST: the name is taken. EOPNOTSUPP: cgroup v2, whose groups cannot be
    /// renamed. EBUSY: the root group; a checkpoint holds it, one above or one below; somebody changes shares of tasks
    /// (`numtasks`) and does not get on with it. EINVAL, ENAMETOOLONG: no name for a
    /// group, such as a bare number where the hierarchy is bound to `namespace`. ENODEV, EACCES, ECHILD as always.
    pub fn rename(&self, name: impl AsRef<OsStr>) -> Result<Group> {
        let backend = self.backend()?;
        let name = name.as_ref();
        check_name(name.as_bytes())?;
        namespace::check_name(&self.hierarchy, name)?;
        let Some(above) = self.node.path.parent() else {
            return Err(Error::new(libc::EBUSY, "the root group has its hierarchy's name"));
        };
        let parent = self.parent()?;
        let _turn = numtasks::keep_names(&self.hierarchy)?;
        same_directory(&parent.node, &self.node)?;
        // Those below are found by another path afterwards.
        let _passage = guard::end_all(backend, &self.node)?;
        match backend.rename(&parent.node, &self.node, name) {
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
    /// On the embedded backend, in a hierarchy that is bound to `cpuacct`, this also notes what
    /// they have used, and what those had who are dead and not waited for.
    ///
    /// # Errors
    ///
    /// ENODEV: the group was removed. ECHILD: in a forked child.
    pub fn procs(&self) -> Result<Vec<i32>> {
        let backend = self.backend()?;
        let found = self.with_passing(&|node| backend.procs(node)).map(seen_and_sorted)?;
        // A figure: no reason to list nobody.
        let _ = backend.note_cpu_time(self.node());
        Ok(found)
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

    /// What a subsystem has noted on the group: `SUBSYSTEM.key`.
    ///
    /// # Errors
    ///
    /// EINVAL: not of a subsystem that the hierarchy is bound to. ENODEV: the
    /// group was removed. ECHILD: in a forked child.
    pub fn attribute(&self, name: &str) -> Result<Option<String>> {
        self.backend()?;
        let found = attribute::get(&self.node, self.attribute_name(name)?)?;
        attribute::must_be_there(&self.node)?;
        Ok(found)
    }

    /// Notes something on the group's directory, where every process sees it and
    /// with which it goes.
    ///
    /// # Errors
    ///
    /// E2BIG: more than 1024 bytes. ENOSPC: the kernel keeps no more (128
    /// attributes and 128 KiB a group). EACCES: nothing may be noted on it. Else
    /// as [`attribute`](Group::attribute).
    pub fn set_attribute(&self, name: &str, value: &str) -> Result<()> {
        self.backend()?;
        let name = self.attribute_name(name)?;
        if value.len() > attribute::LONGEST {
            let why = format!("{} bytes for {name}, which takes {}", value.len(), attribute::LONGEST);
            return Err(Error::new(libc::E2BIG, why));
        }
        attribute::must_set(&self.node, name, value)?;
        attribute::must_be_there(&self.node)
    }

    /// Takes a note off the group's directory, whether there is one or not.
    ///
    /// # Errors
    ///
    /// As [`attribute`](Group::attribute).
    pub fn remove_attribute(&self, name: &str) -> Result<()> {
        self.backend()?;
        attribute::remove(&self.node, self.attribute_name(name)?)?;
        attribute::must_be_there(&self.node)
    }

    /// A new descriptor (O_PATH, close-on-exec) for the group's directory in the
    /// kernel tree that has a controller, `pids` for one.
    ///
    /// # Errors
    ///
    /// ENODEV: no tree of this hierarchy has it, or the group was removed.
    /// EMFILE: no descriptor left. ECHILD: in a forked child.
    pub fn controller_fd(&self, controller: &str) -> Result<OwnedFd> {
        match self.backend()?.controller_directory(&self.node, controller)? {
            Some(directory) => {
                directory.path_fd().map_err(|errno| self.node.failed(errno, "opening the controller's directory"))
            }
            None => {
                let why = format!("no kernel tree of hierarchy {} has the controller {controller:?}", self.hierarchy);
                Err(Error::new(libc::ENODEV, why))
            }
        }
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

    #[inline]
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn backend(&self) -> Result<&dyn Backend> {
        self.hierarchy.backend()
    }

    /// The members of the group, those among them who are in a passing group at this moment,
    /// on the way in, or out and back. These are looked at before and after, so that nobody
    /// is missed who was on the way; only who goes out and comes back between two looks is.
    fn with_passing(&self, members: &dyn Fn(&Node) -> Result<Vec<i32>>) -> Result<Vec<i32>> {
        let passing = || {
            let mut found = Vec::new();
            for child in self.node.passing_children()? {
                match child.and_then(|child| members(&child)) {
                    // It is gone, and whoever was in it is where he was to go.
                    Err(error) if error.is(libc::ENODEV) || error.is(libc::ENOENT) => {}
                    other => found.extend(other?),
                }
            }
            Ok(found)
        };
        let mut found = passing()?;
        found.extend(members(&self.node)?);
        let after = passing()?;
        if !after.is_empty() {
            found.extend(members(&self.node)?);
        }
        found.extend(after);
        Ok(found)
    }

    fn attribute_name<'a>(&self, name: &'a str) -> Result<&'a str> {
        let owner = name.split_once('.').filter(|(_, key)| !key.is_empty()).map(|(owner, _)| owner);
        let is_word = name.len() <= 200 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        match owner {
            Some(owner) if is_word && self.hierarchy.subsystems().iter().any(|bound| bound == owner) => Ok(name),
            _ => {
                let why = format!("{name:?} is no attribute: SUBSYSTEM.key of one that the hierarchy is bound to is");
                Err(Error::new(libc::EINVAL, why))
            }
        }
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

    /// Removes this group, which was emptied, after those below it.
    fn remove_below(&self, parent: &Group, options: RemoveOptions, wait: &mut Wait<'_>) -> Result<()> {
        let backend = self.backend()?;
        loop {
            passing::sweep(backend, &self.node);
            for child in self.node.children()? {
                let child = child?;
                if !options.recursive {
                    let why = format!("group {} was made below {self} meanwhile", child.path);
                    return Err(Error::new(libc::EBUSY, why));
                }
                match Group::from_node(&self.hierarchy, Arc::new(child)).remove_below(self, options, wait) {
                    // Somebody else was quicker.
                    Err(error) if error.is(libc::ENODEV) => {}
                    other => other?,
                }
            }
            let remove = || backend.remove(&parent.node, &self.node);
            match reference::excluding(backend, &self.node, wait, remove)? {
                Ok(()) => return self.hierarchy.tell_all("destroy", |subsystem| subsystem.destroy(self)),
                Err(Errno::NOENT) => return Ok(()),
                // The last ones to leave are still on their way out, or a group
                // that the library itself needs for a moment is in there.
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(self.node.failed(errno, "removing the directory")),
            }
            if wait.pause(Duration::from_micros(200)).is_err() {
                let blockers = backend.blockers(&self.node, crate::backend::Effort::Glance)?;
                return Err(
                    Error::new(libc::EBUSY, format!("{self} could not be removed in time")).with_blockers(blockers)
                );
            }
            if options.kill && backend.is_populated(&self.node)? {
                // Somebody has come since the others were killed.
                self.kill_everybody()?;
            }
        }
    }

    /// The group one step up.
    fn parent(&self) -> Result<Group> {
        let above = self.path().parent().unwrap_or_else(GroupPath::root);
        Group::open(&self.hierarchy, &above)
            .map_err(|error| if error.is(libc::ENOENT) { self.node.vanished() } else { error })
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
        (Ok(_), Ok(_)) => Err(group.vanished()),
        (Err(errno), _) | (_, Err(errno)) => Err(group.failed(errno, "looking at the directory")),
    }
}

/// The kernel writes 0 for a process that our pid namespace does not show.
fn seen_and_sorted(mut ids: Vec<i32>) -> Vec<i32> {
    ids.retain(|&id| id > 0);
    ids.sort_unstable();
    ids.dedup();
    ids
}
