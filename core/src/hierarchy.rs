//! A tree of groups: which subsystems, who carries it, where its root lies.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::attribute;
use crate::backend::embedded::{Embedded, private};
use crate::backend::{Backend, BackendKind, Node, cgroup1::Cgroup1, cgroup2::Cgroup2, guard, tree};
use crate::bound::Bound;
use crate::deadline::{Deadline, Wait};
use crate::doctor;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::options::Options;
use crate::outer;
use crate::path::GroupPath;
use crate::place::{check_hierarchy_name, place};
use crate::reference;
use crate::subsystems::beancounter::accounts::Accounts;
use crate::subsystems::beancounter::ledger::{self, Ledger};
use crate::subsystems::beancounter::removal;
use crate::sys::{Errno, dir::Dir, fork::Origin};
use crate::system::System;

/// A hierarchy: a tree of groups with subsystems bound to it.
///
/// A handle is cheap to clone and may be used from several threads at once.
/// Dropping the last one forgets the handle, not the hierarchy. In a forked
/// child a handle made before the fork gives ECHILD for everything.
#[derive(Clone)]
pub struct Hierarchy(Arc<Inner>);

struct Inner {
    name: OsString,
    root: Arc<Node>,
    directory: PathBuf,
    backend: Box<dyn Backend>,
    bound: Bound,
    time_limit: std::time::Duration,
    hold_by_parent: bool,
    ledger: Ledger,
    /// What the root group's handles know of its counters.
    accounts: Arc<Accounts>,
    /// Somebody else's directory, opened by `root=`: nothing is recorded on it
    /// and it is not removed.
    adopted: bool,
    system: Option<System>,
    origin: Origin,
}

/// The subsystems of a hierarchy, on its root directory.
const SUBSYSTEMS: &str = "subsystems";
/// The state directory of the system that it belongs to, empty for none.
const SYSTEM: &str = "system";

impl Hierarchy {
    /// Opens the hierarchy `name`, and makes it if there is none.
    ///
    /// Whoever opens the same name with the same subsystems shares it (R1.1).
    /// With `backend=auto`, one that exists is opened where it is; a new one is
    /// carried by the first backend that passes a trial ([`doctor`](crate::doctor)),
    /// for which a child process is made for a moment. With `root=`, the name is
    /// a label.
    ///
    /// # Errors
    ///
    /// * EINVAL: a name that is none; `root=` is no cgroup of the chosen backend.
    /// * EBUSY: it exists with other subsystems, or in another system; or a
    ///   subsystem is bound to another hierarchy of the same system.
    /// * ENODEV: the chosen backend is not there. ENOENT: no directory `root=`.
    /// * EACCES: not permitted; the message names the directory.
    /// * What the `mount` of one of its subsystems gives.
    ///
    /// A hierarchy that is bound to a subsystem which only another program has
    /// registered can be looked at, frozen, killed and removed; what that
    /// subsystem has a say in (create, attach, spawn) gives ENOENT.
    pub fn open(name: impl AsRef<OsStr>, options: &Options) -> Result<Hierarchy> {
        let name = name.as_ref();
        check_hierarchy_name(name)?;
        if let Some(root) = options.root_directory() {
            return Hierarchy::adopt_as(name, root, options);
        }
        let kind = match options.chosen_backend() {
            Some(kind) => kind,
            None => match where_it_is(name, options) {
                Some(kind) => kind,
                None => doctor::first_that_works()?,
            },
        };
        Hierarchy::open_on(kind, name, options)
    }

    /// Opens the hierarchy `name` where it is, and makes nothing.
    ///
    /// # Errors
    ///
    /// ENOENT: there is none, or not on the chosen backend. Else as
    /// [`open`](Hierarchy::open).
    pub fn open_existing(name: impl AsRef<OsStr>, options: &Options) -> Result<Hierarchy> {
        let name = name.as_ref();
        check_hierarchy_name(name)?;
        if options.root_directory().is_some() {
            return Hierarchy::open(name, options);
        }
        match where_it_is(name, options) {
            Some(kind) => Hierarchy::open_on(kind, name, options),
            None => {
                let why = format!("there is no hierarchy {}; create makes one with its first group", name.display());
                Err(Error::new(libc::ENOENT, why))
            }
        }
    }

    /// The hierarchies that the caller can open by name, on the chosen backend
    /// or on all, sorted.
    pub fn all(options: &Options) -> Vec<(OsString, BackendKind)> {
        let mut found = Vec::new();
        for kind in candidates(options) {
            let Ok(above) = place(kind, options.state_directory().map(PathBuf::as_path)) else { continue };
            let Ok(directory) = Dir::open(&above) else { continue };
            found.extend(directory.children().unwrap_or_default().into_iter().map(|name| (name, kind)));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    /// Opens the groups at and below an existing directory, whoever made it: a
    /// container of runc, crun, LXC or systemd. Nothing is written to it until
    /// the caller asks for something.
    ///
    /// # Errors
    ///
    /// ENOENT: no such directory. EINVAL: it is no cgroup of the chosen backend,
    /// or no cgroup and no hierarchy of the embedded one (an empty directory
    /// becomes one with `backend=embedded`). EACCES: embedded, and the directory
    /// is another user's, or others may write to it.
    pub fn adopt(root: impl AsRef<Path>, options: &Options) -> Result<Hierarchy> {
        let root = root.as_ref();
        Hierarchy::adopt_as(root.as_os_str(), root, options)
    }

    /// Opens the group that a process is in, as the root of a hierarchy: the
    /// first of cgroup v2 and v1 where that is not the kernel's own root. 0 is
    /// the caller.
    ///
    /// # Errors
    ///
    /// ESRCH: no such process, or it is in no group but the kernel's root.
    /// EINVAL: a negative number.
    pub fn adopt_group_of(pid: i32, options: &Options) -> Result<Hierarchy> {
        use tree::{Mount, Version};
        let pid = crate::process::Process::open(pid)?.pid();
        let trees = [(Version::Two, BackendKind::Cgroup2), (Version::One("freezer".into()), BackendKind::Cgroup1)];
        for (version, kind) in trees {
            if options.chosen_backend().is_some_and(|chosen| chosen != kind) {
                continue;
            }
            let Ok(mount) = Mount::first(&version) else { continue };
            let found = match mount.group_of(&format!("/proc/{pid}/cgroup")) {
                Err(Errno::SRCH) => return Err(crate::process::no_such_process(pid)),
                other => other.map_err(|errno| Error::os(errno, format_args!("reading the cgroup of {pid}")))?,
            };
            if let Some(path) = found.filter(|path| !path.is_root()) {
                return Hierarchy::adopt(mount.point.join(path.as_path()), &options.clone().backend(kind));
            }
        }
        Err(Error::new(libc::ESRCH, format!("process {pid} is in no group but the kernel's own root")))
    }

    /// Ends a hierarchy that has no groups but its root. On an adopted
    /// directory it only checks that: the directory is somebody else's.
    ///
    /// # Errors
    ///
    /// EBUSY: it has groups, or processes in its root, or something is charged to that,
    /// or somebody holds a reference on it. ENODEV: it has ended
    /// already. ECHILD: in a forked child.
    pub fn unmount(&self) -> Result<()> {
        self.end()?;
        if self.0.adopted {
            return Ok(());
        }
        self.tell_all("unmount", |subsystem| subsystem.unmount(self))
    }

    fn end(&self) -> Result<()> {
        let backend = self.backend()?;
        let root = &self.0.root;
        crate::backend::passing::sweep(backend, root);
        if let Some(child) = root.children()?.next().transpose()? {
            let example = &child.path;
            return Err(Error::new(libc::EBUSY, format!("hierarchy {self} still has groups, {example} for one")));
        }
        if self.0.adopted {
            return Ok(());
        }
        let busy = || Error::new(libc::EBUSY, format!("hierarchy {self} has processes in its root group"));
        if backend.is_populated(root)? {
            return Err(busy());
        }
        removal::refuse_end_if_held(&self.root())?;
        let _passage = guard::end_all(backend, root)?;
        let mut wait = Wait::until(self.deadline());
        match reference::excluding(backend, root, &mut wait, || remove_root(backend, &self.0.directory, root))?? {
            Ok(()) => {}
            Err(Errno::BUSY) => return Err(busy()),
            Err(Errno::NOTEMPTY) => {
                let shown = self.0.directory.display();
                return Err(Error::new(libc::EBUSY, format!("{shown} holds something that is not the hierarchy's")));
            }
            Err(errno) => return Err(root.failed(errno, "removing the root directory")),
        }
        backend.ended();
        match &self.0.system {
            Some(system) => system.unbind(&self.0.directory),
            None => Ok(()),
        }
    }

    /// The name it was opened by.
    pub fn name(&self) -> &OsStr {
        &self.0.name
    }

    /// Who carries it.
    pub fn backend_kind(&self) -> BackendKind {
        self.0.backend.kind()
    }

    /// Its root directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// The subsystems bound to it, sorted.
    pub fn subsystems(&self) -> &[String] {
        self.0.bound.names()
    }

    /// Makes a group, and those above it that are missing.
    ///
    /// # Errors
    ///
    /// EEXIST: there is one, or, with `hold=parent`, its parent is there. EINVAL,
    /// ENAMETOOLONG: no path for a group ([`GroupPath::parse`]), nor a bare number where the
    /// hierarchy is bound to `namespace`. EACCES: not permitted. ENODEV: the hierarchy has
    /// ended. ENOENT: it is bound to a subsystem that is not registered here.
    /// ECHILD: in a forked child. What the `create` of a subsystem gives. After
    /// a failure nothing is left of what the call made.
    pub fn create(&self, path: impl AsRef<[u8]>) -> Result<Group> {
        let path = GroupPath::parse(path)?;
        if self.0.hold_by_parent { outer::create(self, &path) } else { Group::create(self, &path) }
    }

    /// Makes a group below the one that a process is in, with that group's
    /// settings, and moves the process into it as its first member (R1.5); 0 is
    /// the caller.
    ///
    /// Settings are the attributes of its subsystems and `notify_on_release` and
    /// `auto_delete`.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Hierarchy::create), of [`Group::attach`], and of the
    /// `post_clone` of a subsystem. After a failure the process is where it was,
    /// and the group is gone.
    pub fn clone_group(&self, pid: i32, name: impl AsRef<OsStr>) -> Result<Group> {
        self.group_of(pid)?.clone_for(pid, name.as_ref())
    }

    /// Opens a group that exists; `/` is the root.
    ///
    /// # Errors
    ///
    /// ENOENT: there is none. ELOOP: a symbolic link is on the way. Else as
    /// [`create`](Hierarchy::create).
    pub fn open_group(&self, path: impl AsRef<[u8]>) -> Result<Group> {
        Group::open(self, &GroupPath::parse(path)?)
    }

    /// The root group.
    pub fn root(&self) -> Group {
        Group::with_accounts(self, Arc::clone(&self.0.root), Arc::clone(&self.0.accounts))
    }

    /// The group that a process is in; 0 is the caller (R1.10).
    ///
    /// A process that was never moved is in the root group. With `root=`, a
    /// process outside of that directory is in no group.
    ///
    /// # Errors
    ///
    /// ESRCH: no such process, or outside of an adopted root. ECHILD: in a
    /// forked child.
    pub fn group_of(&self, pid: i32) -> Result<Group> {
        let process = crate::process::Process::open(pid)?;
        let found = self.backend()?.locate(process.pid())?;
        if !process.is_there() {
            return Err(crate::process::no_such_process(pid));
        }
        match found {
            Some(path) if path.is_root() => Ok(self.root()),
            Some(path) => Group::open(self, &path),
            None if self.home_of_others().is_some() => Ok(self.root()),
            None => Err(Error::new(
                libc::ESRCH,
                format!("process {} is outside of {}", process.pid(), self.0.directory.display()),
            )),
        }
    }

    /// Every group but the root, parents before their children.
    ///
    /// # Errors
    ///
    /// ENODEV: the hierarchy has ended. ECHILD: in a forked child.
    pub fn groups(&self) -> Result<Vec<GroupPath>> {
        self.root().groups()
    }

    pub(crate) fn backend(&self) -> Result<&dyn Backend> {
        if self.0.origin.is_here() {
            Ok(&*self.0.backend)
        } else {
            let why = "the handle was made before a fork; a child opens its own";
            Err(Error::new(libc::ECHILD, why))
        }
    }

    /// The group of whoever was never moved: the root, or none.
    pub(crate) fn home_of_others(&self) -> Option<GroupPath> {
        (!self.0.adopted).then(GroupPath::root)
    }

    pub(crate) fn root_node(&self) -> &Node {
        &self.0.root
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn bound(&self) -> &Bound {
        &self.0.bound
    }

    /// A deadline for one operation that begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.0.time_limit)
    }

    /// Opens or makes the hierarchy on a backend that was chosen.
    pub(crate) fn open_on(kind: BackendKind, name: &OsStr, options: &Options) -> Result<Hierarchy> {
        let above = place(kind, options.state_directory().map(PathBuf::as_path))?;
        let directory = above.join(name);
        let system = options.state_directory().map(|state| System::open(state)).transpose()?;
        let (root, is_new) = open_or_make(kind, &above, name)?;
        let mut backend = match carry(kind, &root, options) {
            Ok(backend) => backend,
            Err(error) => {
                if is_new {
                    let _ = rustix::fs::rmdir(&directory);
                }
                return Err(error);
            }
        };
        let root = Node { dir: root, path: GroupPath::root() };
        let settled = settle_record(&root, name, options).and_then(|subsystems| match &system {
            Some(system) => {
                let deadline = Deadline::after(options.time_limit());
                system.bind(&directory, name, &subsystems, deadline).map(|()| subsystems)
            }
            None => Ok(subsystems),
        });
        let spanned = settled
            .and_then(Bound::find)
            .and_then(|bound| backend.span(&bound.controllers(kind), true).map(|()| bound));
        let bound = match spanned {
            Ok(bound) => bound,
            Err(error) => {
                if is_new {
                    // Somebody may have begun to use it already: then it stays.
                    let _ = remove_root(&*backend, &directory, &root);
                }
                return Err(error);
            }
        };
        let hierarchy = Hierarchy(Arc::new(Inner {
            name: name.to_owned(),
            root: Arc::new(root),
            directory,
            backend,
            bound,
            time_limit: options.time_limit(),
            hold_by_parent: options.holds_by_parent(),
            ledger: Ledger::new(options),
            accounts: Arc::default(),
            adopted: false,
            system,
            origin: Origin::here(),
        }));
        hierarchy.tell_mounted().inspect_err(|_| {
            if is_new {
                // As above.
                let _ = hierarchy.end();
            }
        })?;
        Ok(hierarchy)
    }

    fn adopt_as(name: &OsStr, directory: &Path, options: &Options) -> Result<Hierarchy> {
        let failed =
            |errno: Errno| Error::os(errno, format_args!("opening the root directory {}", directory.display()));
        let root = Dir::open(directory).map_err(failed)?;
        let found = kind_of(&root)?;
        let kind = options.chosen_backend().unwrap_or(found);
        if kind != found {
            let why = format!("root={} is of {found}, not of {kind}", directory.display());
            return Err(Error::new(libc::EINVAL, why));
        }
        if kind == BackendKind::Embedded && options.chosen_backend().is_none() && !private::is_hierarchy(&root)? {
            let why = format!("{} is no cgroup, and no hierarchy of the embedded backend", directory.display());
            return Err(Error::new(libc::EINVAL, why));
        }
        let mut backend = carry(kind, &root, options)?;
        let bound = Bound::find(options.subsystems_of_a_new_hierarchy())?;
        backend.span(&bound.controllers(kind), false)?;
        let hierarchy = Hierarchy(Arc::new(Inner {
            name: name.to_owned(),
            root: Arc::new(Node { dir: root, path: GroupPath::root() }),
            directory: directory.to_owned(),
            backend,
            bound,
            time_limit: options.time_limit(),
            hold_by_parent: options.holds_by_parent(),
            ledger: Ledger::new(options),
            accounts: Arc::default(),
            adopted: true,
            system: None,
            origin: Origin::here(),
        }));
        hierarchy.tell_mounted()?;
        Ok(hierarchy)
    }
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.name.to_string_lossy())
    }
}

impl fmt::Debug for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hierarchy")
            .field("name", &self.0.name)
            .field("backend", &self.0.backend.kind())
            .field("directory", &self.0.directory)
            .finish()
    }
}

fn carry(kind: BackendKind, root: &Dir, options: &Options) -> Result<Box<dyn Backend>> {
    Ok(match kind {
        BackendKind::Cgroup2 => Box::new(Cgroup2::new(root)?),
        BackendKind::Cgroup1 => Box::new(Cgroup1::new(root)?),
        BackendKind::Embedded => Box::new(Embedded::new(root, options.stop_method())?),
    })
}

/// Where a hierarchy of this name exists already.
fn where_it_is(name: &OsStr, options: &Options) -> Option<BackendKind> {
    candidates(options).find(|kind| {
        let above = place(*kind, options.state_directory().map(PathBuf::as_path));
        above.is_ok_and(|above| above.join(name).is_dir())
    })
}

/// The backend that was chosen, or all, best first.
fn candidates(options: &Options) -> impl Iterator<Item = BackendKind> {
    let chosen = options.chosen_backend();
    BackendKind::ALL.into_iter().filter(move |kind| chosen.is_none_or(|chosen| chosen == *kind))
}

/// Which backend a directory belongs to, by its file system.
fn kind_of(root: &Dir) -> Result<BackendKind> {
    const CGROUP2: u64 = 0x6367_7270;
    const CGROUP1: u64 = 0x0027_e0eb;
    let found = rustix::fs::fstatfs(root).map_err(|errno| Error::os(errno, "looking at the root directory"))?;
    Ok(match found.f_type as u64 {
        CGROUP2 => BackendKind::Cgroup2,
        CGROUP1 => BackendKind::Cgroup1,
        _ => BackendKind::Embedded,
    })
}

/// Removes a hierarchy's root directory, and that of all hierarchies if it was
/// the last. The inner error is the kernel's refusal.
fn remove_root(backend: &dyn Backend, directory: &Path, root: &Node) -> Result<std::result::Result<(), Errno>> {
    let above = directory.parent().unwrap_or(Path::new("/"));
    let opened = Dir::open(above).map_err(|errno| Error::os(errno, format_args!("opening {}", above.display())))?;
    let parent = Node { dir: opened, path: GroupPath::root() };
    let dir = root.dir.open_dir(".").map_err(|errno| root.failed(errno, "opening the directory"))?;
    let name = directory.file_name().unwrap_or_default();
    let group = Node { dir, path: GroupPath::root().child(name) };
    crate::group::same_directory(&parent, &group)?;
    let removed = backend.remove(&parent, &group);
    if removed.is_ok() {
        let _ = rustix::fs::rmdir(above);
    }
    Ok(removed)
}

/// The hierarchy's root directory, and whether it had to be made.
fn open_or_make(kind: BackendKind, above: &Path, name: &OsStr) -> Result<(Dir, bool)> {
    if kind == BackendKind::Embedded {
        return private::open_or_make(above, name);
    }
    let directory = above.join(name);
    let failed = |errno: Errno| Error::os(errno, format_args!("making {}", directory.display()));
    let mode = 0o755;
    // Somebody who ends another hierarchy may take `above` away between our
    // making it and our using it: then it is made again.
    for _ in 0..100 {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(above);
        made.map_err(|error| Error::os(&error, format_args!("making {}", above.display())))?;
        let made = rustix::fs::mkdir(&directory, mode.into());
        match made {
            Ok(()) | Err(Errno::EXIST) => match Dir::open(&directory) {
                Ok(dir) => return Ok((dir, made.is_ok())),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            },
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(failed(Errno::NOENT))
}

/// Agrees with whoever else opened it on what the hierarchy is.
fn settle_record(root: &Node, name: &OsStr, options: &Options) -> Result<Vec<String>> {
    let wanted = options.subsystems_of_a_new_hierarchy();
    let state = options.state_directory().map(|path| path.display().to_string()).unwrap_or_default();
    let name = name.display();
    attribute::set_new(root, SYSTEM, &state)?;
    if let Some(recorded) = attribute::get(root, SYSTEM)?
        && recorded != state
    {
        let whose =
            if recorded.is_empty() { "a system of its own".to_owned() } else { format!("the system {recorded}") };
        return Err(Error::new(libc::EBUSY, format!("hierarchy {name} belongs to {whose}")));
    }
    attribute::set_new(root, SUBSYSTEMS, &wanted.join(","))?;
    let Some(recorded) = attribute::get(root, SUBSYSTEMS)? else { return Ok(wanted) };
    let bound: Vec<String> = recorded.split(',').map(str::to_owned).collect();
    if !options.named_subsystems().is_empty() && bound != wanted {
        let why = format!("hierarchy {name} is bound to {recorded}, not to {}", wanted.join(","));
        return Err(Error::new(libc::EBUSY, why));
    }
    ledger::settle_flatness(root, &bound, options)?;
    Ok(bound)
}
