//! Where the sets of groups are kept, and what is around a group.
//!
//! Where a tree of the kernel's has the controller, in its files. Else in attributes of the
//! group, and the library itself puts the threads on their processors. Exclusive flags are
//! attributes everywhere: the kernel's own take a directory above that is exclusive, too,
//! and `cgf`, in which all hierarchies lie, would take what it has from everybody else.

use super::Kind;
use super::kernel::Kernel;
use super::list::List;
use super::machine;
use super::rules::{Change, Named, Settings, beginning};
use crate::attribute;
use crate::backend::{Backend, BackendKind, Node, embedded};
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::path::GroupPath;
use crate::sys::Errno;

/// The groups of one hierarchy as far as their sets go.
pub(super) struct Sets<'a> {
    hierarchy: &'a Hierarchy,
    backend: &'a dyn Backend,
}

/// Who holds a group to its sets.
#[derive(Debug)]
pub(super) enum Keeper {
    Kernel(Kernel),
    Library,
    /// The group was made by other means in the tree of its processes alone.
    Missing,
}

/// Says on the root which directory of the kernel's was begun with what is above it.
const BEGUN: &str = "cpuset-begun";
/// Says on a group that one right below it may be exclusive.
const DIVIDED: &str = "cpuset-divided";

impl<'a> Sets<'a> {
    pub(super) fn of(hierarchy: &'a Hierarchy) -> Result<Sets<'a>> {
        Ok(Sets { hierarchy, backend: hierarchy.backend()? })
    }

    pub(super) fn keeper(&self, group: &Node) -> Result<Keeper> {
        let found = self.backend.controller_directory(group, super::NAME);
        // Before an answer is taken from what has only the group's path by now.
        attribute::must_be_there(group)?;
        match found {
            Ok(Some(dir)) => Ok(Kernel::of(dir).map_or(Keeper::Library, Keeper::Kernel)),
            Ok(None) => Ok(Keeper::Library),
            Err(error) if error.is(libc::ENODEV) => Ok(Keeper::Missing),
            Err(error) => Err(error),
        }
    }

    /// The same, and makes what is missing in the kernel's tree.
    pub(super) fn whole_keeper(&self, group: &Node) -> Result<Keeper> {
        match self.keeper(group)? {
            Keeper::Missing => {
                self.backend.complete(group).map_err(|errno| group.failed(errno, "making its directory for cpuset"))?;
                self.begin(group)?;
                self.keeper(group)
            }
            keeper => Ok(keeper),
        }
    }

    /// What holds for the tasks of a group.
    pub(super) fn in_effect(&self, group: &Node) -> Result<Settings> {
        let keeper = self.keeper(group)?;
        let mut settings = match &keeper {
            Keeper::Kernel(kernel) => kernel.in_effect().map_err(|errno| failed(group, errno))?,
            _ => {
                let [cpus, mems] = [own_note(group, Kind::Cpus)?, own_note(group, Kind::Mems)?];
                match (cpus, mems) {
                    (Some(cpus), Some(mems)) => Settings { cpus, mems, ..Settings::default() },
                    (cpus, mems) => {
                        let above = self.above(group, &keeper)?;
                        let (cpus, mems) = (cpus.unwrap_or(above.cpus), mems.unwrap_or(above.mems));
                        Settings { cpus, mems, ..Settings::default() }
                    }
                }
            }
        };
        self.add_flags(group, &mut settings)?;
        Ok(settings)
    }

    /// What was set on a group itself: nothing, where it has what is above it.
    pub(super) fn own(&self, group: &Node) -> Result<Settings> {
        let mut settings = Settings::default();
        for kind in Kind::BOTH {
            let own = match &self.keeper(group)? {
                Keeper::Kernel(kernel) => {
                    settings.set_exclusive(kind, kernel.is_exclusive(kind).map_err(|errno| failed(group, errno))?);
                    kernel.own(kind).map_err(|errno| failed(group, errno))?
                }
                Keeper::Library | Keeper::Missing => own_note(group, kind)?,
            };
            settings.set_list(kind, own.unwrap_or_default());
        }
        self.add_flags(group, &mut settings)?;
        Ok(settings)
    }

    /// What the group above has; above the hierarchy's root, what the kernel gives, or the
    /// whole machine.
    pub(super) fn above(&self, group: &Node, keeper: &Keeper) -> Result<Settings> {
        if let Some(parent) = self.parent(group)? {
            return self.in_effect(&parent);
        }
        if let Keeper::Kernel(kernel) = keeper
            && let Some(above) = kernel.above()
        {
            let mut settings = above.in_effect().map_err(|errno| failed(group, errno))?;
            if self.is_first(group)? {
                settings.cpu_exclusive = true;
                settings.mem_exclusive = true;
            }
            return Ok(settings);
        }
        let (cpus, mems) = (machine::there(Kind::Cpus)?, machine::there(Kind::Mems)?);
        Ok(Settings { cpus, mems, cpu_exclusive: true, mem_exclusive: true })
    }

    /// Refuses what the groups around do not allow.
    pub(super) fn check(&self, group: &Node, keeper: &Keeper, kind: Kind, after: &Settings) -> Result<()> {
        let before = match keeper {
            Keeper::Kernel(_) => self.own(group)?,
            // What was set nowhere is held, too.
            Keeper::Library | Keeper::Missing => self.in_effect(group)?,
        };
        let above = self.above(group, keeper)?;
        let below = self.each_below(group, None)?;
        let beside = match self.parent(group)? {
            Some(parent) if after.is_exclusive(kind) || is_divided(&parent)? => {
                self.each_below(&parent, Some(group))?
            }
            _ => Vec::new(),
        };
        let (path, below, beside) = (&group.path, &below[..], &beside[..]);
        let change = Change { kind, path, before: &before, after, above: &above, below, beside };
        change.check(&|| self.backend.is_populated(group))
    }

    pub(super) fn set_list(&self, group: &Node, keeper: &Keeper, kind: Kind, list: &List) -> Result<()> {
        match keeper {
            Keeper::Kernel(kernel) => kernel.set(kind, list).map_err(|errno| failed(group, errno)),
            Keeper::Library | Keeper::Missing => {
                let text = if list.is_empty() { EMPTY.to_owned() } else { list.to_string() };
                attribute::must_set(group, kind.file_note(), &text)?;
                attribute::must_be_there(group)
            }
        }
    }

    /// The list that a group without the kernel's controller was told; `None`: none, and it has what
    /// is above it.
    pub(super) fn told(&self, group: &Node, kind: Kind) -> Result<Option<List>> {
        own_note(group, kind)
    }

    /// From now on such a group has what is above it.
    pub(super) fn tell_nothing(&self, group: &Node, kind: Kind) -> Result<()> {
        attribute::remove(group, kind.file_note())?;
        attribute::must_be_there(group)
    }

    pub(super) fn set_exclusive(&self, group: &Node, keeper: &Keeper, kind: Kind, exclusive: bool) -> Result<()> {
        if let (true, Some(parent)) = (exclusive, self.parent(group)?) {
            // First, so that nobody is made beside it who does not look.
            attribute::must_set(&parent, DIVIDED, "1")?;
        }
        if let Keeper::Kernel(kernel) = keeper {
            kernel.set_exclusive(kind, exclusive).map_err(|errno| failed(group, errno))?;
        }
        attribute::must_set(group, kind.exclusive_note(), if exclusive { "1" } else { "0" })?;
        attribute::must_be_there(group)
    }

    /// Gives the root of a new hierarchy what is above it. One that was opened by `root=` is
    /// somebody else's.
    pub(super) fn begin_root(&self) -> Result<()> {
        let root = self.hierarchy.root_node();
        if self.hierarchy.home_of_others().is_none() {
            return Ok(());
        }
        let Keeper::Kernel(kernel) = self.keeper(root)? else { return Ok(()) };
        let inode = kernel.inode().map_err(|errno| failed(root, errno))?.to_string();
        let is_begun = || attribute::get(root, BEGUN).map(|begun| begun.as_ref() == Some(&inode));
        if is_begun()? {
            return Ok(());
        }
        // One after the other: what is written meanwhile is not to be written over.
        let _turn = super::turn::take(self.hierarchy)?;
        if !is_begun()? {
            kernel.begin().map_err(|errno| failed(root, errno))?;
            attribute::set(root, BEGUN, &inode)?;
        }
        Ok(())
    }

    /// Gives a new group what its parent has, but for what somebody beside it has for itself
    /// alone. What was given already stays.
    pub(super) fn begin(&self, group: &Node) -> Result<()> {
        let keeper = self.keeper(group)?;
        let Some(parent) = self.parent(group)? else { return Ok(()) };
        let is_set = |own: &Settings| !own.cpus.is_empty() && !own.mems.is_empty();
        if matches!(keeper, Keeper::Kernel(_)) && !is_divided(&parent)? && is_set(&self.own(group)?) {
            // The kernel has copied it.
            return Ok(());
        }
        let _turn = super::turn::take(self.hierarchy)?;
        let above = self.in_effect(&parent)?;
        let beside = if is_divided(&parent)? { self.each_below(&parent, Some(group))? } else { Vec::new() };
        for kind in Kind::BOTH {
            let list = beginning(kind, &above, &beside);
            let stays = match &keeper {
                // On version 2 it has what is above it without being told.
                Keeper::Kernel(kernel) => {
                    kernel.own(kind).map_err(|errno| failed(group, errno))?.is_none_or(|own| own == list)
                }
                Keeper::Library | Keeper::Missing => own_note(group, kind)?.is_some(),
            };
            if !stays {
                self.set_list(group, &keeper, kind, &list)?;
            }
        }
        Ok(())
    }

    /// The group one step up; that of another hierarchy, where an embedded one was opened
    /// at one of its groups.
    fn parent(&self, group: &Node) -> Result<Option<Node>> {
        let opening = |errno| group.failed(errno, "opening what is above the directory");
        let root = &self.hierarchy.root_node().dir;
        match group.path.parent() {
            Some(path) if path.is_root() => Ok(Some(Node { dir: root.open_dir(".").map_err(opening)?, path })),
            Some(path) => Ok(Some(Node { dir: root.open_dir(path.as_path()).map_err(opening)?, path })),
            None if self.backend.kind() == BackendKind::Embedded => {
                Ok(embedded::above(&group.dir)?.map(|dir| Node { dir, path: GroupPath::root() }))
            }
            None => Ok(None),
        }
    }

    /// Every group right below one, but for one of them.
    fn each_below(&self, group: &Node, but: Option<&Node>) -> Result<Vec<Named>> {
        let identity =
            |node: &Node| node.dir.identity().map_err(|errno| node.failed(errno, "looking at the directory"));
        let but = but.map(identity).transpose()?;
        let mut found = Vec::new();
        for child in group.children()? {
            let child = child?;
            if Some(identity(&child)?) == but {
                continue;
            }
            match self.own(&child) {
                Ok(own) => found.push((child.path, own)),
                // Removed since it was listed.
                Err(error) if error.is(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Whether nothing of the hierarchy, or of one around it, is above: the first group has
    /// all that is there, and has it for itself alone until somebody says otherwise.
    fn is_first(&self, group: &Node) -> Result<bool> {
        match self.backend.kind() {
            BackendKind::Embedded => Ok(self.parent(group)?.is_none()),
            _ => Ok(group.path.is_root() && self.hierarchy.home_of_others().is_some()),
        }
    }

    fn add_flags(&self, group: &Node, settings: &mut Settings) -> Result<()> {
        for kind in Kind::BOTH {
            let exclusive = match attribute::get(group, kind.exclusive_note())?.as_deref() {
                Some(noted) => noted == "1",
                None => group.path.is_root() && self.is_first(group)?,
            };
            if exclusive {
                settings.set_exclusive(kind, true);
            }
        }
        Ok(())
    }
}

/// How an attribute says that a group has nothing, where none says that it has what is above.
const EMPTY: &str = "none";

fn own_note(group: &Node, kind: Kind) -> Result<Option<List>> {
    let Some(text) = attribute::get(group, kind.file_note())? else { return Ok(None) };
    if text == EMPTY {
        return Ok(Some(List::default()));
    }
    // What is no list was written by somebody else: as if it were not there.
    Ok(List::read(&text))
}

fn is_divided(group: &Node) -> Result<bool> {
    attribute::get(group, DIVIDED).map(|divided| divided.is_some())
}

/// A refusal by the kernel, which knows more than we: of directories beside ours, and of
/// what others do.
fn failed(group: &Node, errno: Errno) -> Error {
    let why = match errno {
        Errno::ACCESS => "not permitted, or not what the directory above has",
        Errno::BUSY => "a directory below has it",
        Errno::INVAL => "not there, or a directory beside it has it for itself alone",
        Errno::NOSPC => "it has tasks, or needs what it does not have",
        errno => return group.failed(errno, "using the kernel's cpuset files"),
    };
    Error::new(errno.raw_os_error(), format!("the kernel refuses it for group {}: {why}", group.path))
}
