//! What becomes of a group that has been emptied: the release agent is told, or
//! the group removes itself (R1.11).
//!
//! Three attributes say what is wanted: `notify_on_release` and `auto_delete` on
//! a group, `release_agent` on the root. A fourth, `released`, says that the
//! emptiness was reported, or that there was nothing to report as nobody has
//! been in the group yet; whoever enters takes it away. So it matters to nobody
//! whether the monitor that reports is the one that saw the group emptied.
//!
//! One byte of the group's freeze file is locked for writing by who reports, and
//! for reading by who enters: a group is not reported as empty, nor removed,
//! while somebody is on the way into it.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode as Access, OFlags};

use crate::attribute;
use crate::backend::guard::{self, Passage};
use crate::backend::{Backend, BackendKind, Node};
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::frozen_time;
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::holder::WORKERS;
use crate::outer;
use crate::path::GroupPath;
use crate::reference;
use crate::subsystems::beancounter::{removal, snapshot::BeanCounter};
use crate::sys::Errno;
use crate::sys::lock::{self, Mode};
use crate::sys::spawn::{self, NotStarted, Plan};

const NOTIFY: &str = "notify_on_release";
pub(crate) const AUTO_DELETE: &str = "auto_delete";
const AGENT: &str = "release_agent";
pub(crate) const RELEASED: &str = "released";

/// The byte of a group's freeze file, above those of [`hold`](crate::hold).
const RELEASING: u64 = (1 << 40) + 5;

/// The longest path of an agent, in bytes.
const LONGEST_AGENT: usize = 4095;

/// Whether the release agent is to be told when the group has been emptied.
pub(crate) fn is_notifying(group: &Group) -> Result<bool> {
    is_wanted(group, NOTIFY)
}

/// EACCES: the group may not be marked.
pub(crate) fn set_notifying(group: &Group, notify: bool) -> Result<()> {
    switch(group, NOTIFY, notify)
}

/// Whether the group removes itself when it has been emptied, of which then no
/// agent is told.
pub(crate) fn is_auto_delete(group: &Group) -> Result<bool> {
    is_wanted(group, AUTO_DELETE)
}

/// EINVAL: the root group. EACCES: the group may not be marked.
pub(crate) fn set_auto_delete(group: &Group, auto_delete: bool) -> Result<()> {
    if group.path().is_root() && auto_delete {
        return Err(Error::new(libc::EINVAL, "the root group goes with its hierarchy (unmount)"));
    }
    switch(group, AUTO_DELETE, auto_delete)
}

/// The program that is told of emptied groups; empty for none.
pub(crate) fn agent(group: &Group) -> Result<String> {
    group.backend()?;
    let agent = attribute::get(group.hierarchy().root_node(), AGENT)?;
    attribute::must_be_there(group.node())?;
    Ok(agent.unwrap_or_default())
}

/// Empty: none. EINVAL: the path does not begin with a slash, or holds a NUL.
/// E2BIG: more than 4095 bytes. EACCES: the root group may not be marked.
pub(crate) fn set_agent(group: &Group, path: &str) -> Result<()> {
    group.backend()?;
    attribute::must_be_there(group.node())?;
    let root = group.hierarchy().root_node();
    if path.is_empty() {
        return attribute::remove(root, AGENT);
    }
    if path.len() > LONGEST_AGENT {
        return Err(Error::new(libc::E2BIG, format!("a release agent's path of {} bytes", path.len())));
    }
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::new(
            libc::EINVAL,
            format!("{path:?} is no path of a release agent: it begins with no slash"),
        ));
    }
    attribute::set(root, AGENT, path)?;
    proved(attribute::get(root, AGENT)?.as_deref() == Some(path), group)
}

/// A group was made in `parent`, which has these attributes: it notifies if its
/// parent does, and nobody has been in it yet. Its parent has been used by that.
pub(crate) fn inherit(parent: &Node, attributes: &[String], created: &Node) -> Result<()> {
    let has = |name: &str| attributes.iter().any(|attribute| attribute == name);
    if has(NOTIFY) && is_set(parent, NOTIFY)? {
        attribute::set(created, RELEASED, "1")?;
        attribute::set(created, NOTIFY, "1")?;
    }
    if has(RELEASED) { attribute::remove(parent, RELEASED) } else { Ok(()) }
}

/// Lets somebody enter a group by `enter`. EBUSY: a checkpoint holds it, or one above.
pub(crate) fn using<T>(group: &Group, enter: impl FnOnce() -> Result<T>) -> Result<(T, Entered)> {
    let entering = begin_use(group)?;
    match entering.look().and_then(|()| enter()) {
        Ok(entered) => Ok((entered, Entered { group: group.clone(), was_released: entering.was_released })),
        Err(error) => {
            let was_refused = error.is(libc::EBUSY);
            entering.undo()?;
            if was_refused {
                guard::step_back();
            }
            Err(error)
        }
    }
}

/// Being on the way into a group. Dropped when one has arrived.
#[must_use = "the group may be released as empty once this is dropped"]
#[derive(Debug)]
pub(crate) struct Use {
    /// `None` where the freeze file may not be opened, or there is none: then
    /// there is no release either. A checkpoint does not begin while it is there.
    passage: Option<Passage<File>>,
    group: Group,
    was_released: bool,
}

/// Says that somebody is about to enter the group.
///
/// EBUSY: somebody reports it as empty, and does not get on with it.
pub(crate) fn begin_use(group: &Group) -> Result<Use> {
    let backend = group.backend()?;
    let node = group.node();
    let passage = match node.dir.open_file(backend.freeze_file(), OFlags::RDONLY) {
        Ok(file) => Some(Passage::announce(backend, node, file, WORKERS)?),
        Err(Errno::ACCESS | Errno::NOENT) => None,
        Err(errno) => return Err(node.failed(errno, "opening the freeze file")),
    };
    if let Some(passage) = &passage {
        let mut wait = Wait::until(group.hierarchy().deadline());
        let failed = |errno| node.failed(errno, "locking the freeze file");
        while !lock::try_lock(passage.file(), RELEASING, Mode::Read).map_err(failed)? {
            if wait.pause(Duration::from_micros(200)).is_err() {
                return Err(Error::new(libc::EBUSY, format!("{group} is being released by somebody")));
            }
        }
    }
    let was_released = attribute::get(node, RELEASED)?.is_some();
    let entering = Use { passage, group: group.clone(), was_released };
    if was_released {
        attribute::remove(node, RELEASED)?;
    }
    // Those above have a group below them, and so are not released now.
    let root = group.hierarchy().root_node();
    for path in node.path.ancestors().filter(|path| !path.is_root()) {
        if let Ok(dir) = root.dir.open_dir(path.as_path()) {
            attribute::remove(&Node { dir, path }, RELEASED)?;
        }
    }
    Ok(entering)
}

/// Somebody has come into a group, and may have to leave it again.
#[derive(Debug)]
pub(crate) struct Entered {
    group: Group,
    was_released: bool,
}

impl Entered {
    /// Has it leave by `leave`, as if it had never come: that is no emptying.
    pub(crate) fn undo(self, leave: impl FnOnce() -> Result<()>) -> Result<()> {
        let entering = begin_use(&self.group);
        // Whatever came of that: nobody stays who was refused.
        leave()?;
        let mut entering = entering?;
        entering.was_released |= self.was_released;
        entering.undo()
    }
}

impl Use {
    /// EBUSY: a checkpoint holds the group, or one above.
    fn look(&self) -> Result<()> {
        match &self.passage {
            Some(passage) => passage.look(self.group.backend()?, self.group.node()),
            None => Ok(()),
        }
    }

    /// Nobody came after all: the group is as before.
    pub(crate) fn undo(self) -> Result<()> {
        let node = self.group.node();
        if self.was_released && is_vacant(self.group.backend()?, node)? {
            attribute::set(node, RELEASED, "1")?;
        }
        Ok(())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        // Closing would not do: a child that was forked meanwhile has a copy.
        if let Some(passage) = &self.passage {
            let _ = lock::unlock(passage.file(), RELEASING);
        }
    }
}

/// What a look at a group has led to.
#[derive(Debug)]
pub(crate) enum Release {
    /// There is nothing to do.
    Nothing,
    /// Somebody enters the group, or reports it: look again soon.
    Later,
    /// The agent runs.
    Notified(i32, OwnedFd),
    /// The group has removed itself; the last that it had counted.
    Removed(Vec<(String, u64)>),
    /// It could not be reported.
    Failed(Error),
}

/// Looks whether a group is to be released, and does it. ENODEV: it is gone.
pub(crate) fn settle(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Release> {
    let backend = hierarchy.backend()?;
    if path.is_root() {
        return Ok(Release::Nothing);
    }
    let group = match Group::open(hierarchy, path) {
        Err(error) if error.is(libc::ENOENT) => return Ok(Release::Nothing),
        other => other?,
    };
    let node = group.node();
    let (notify, auto_delete) = (is_set(node, NOTIFY)?, is_set(node, AUTO_DELETE)?);
    if !notify && !auto_delete {
        return Ok(Release::Nothing);
    }
    let file = node.dir.open_file(backend.freeze_file(), OFlags::RDWR);
    let file = file.map_err(|errno| node.failed(errno, "opening the freeze file"))?;
    let turn = Turn { file };
    if !lock::try_lock(&turn.file, RELEASING, Mode::Write)
        .map_err(|errno| node.failed(errno, "locking the freeze file"))?
    {
        return Ok(Release::Later);
    }
    let was_released = attribute::get(node, RELEASED)?.is_some();
    if !is_vacant(backend, node)? {
        if was_released {
            // Somebody came by the kernel's own files.
            attribute::remove(node, RELEASED)?;
        }
        return Ok(Release::Nothing);
    }
    if was_released {
        return Ok(Release::Nothing);
    }
    if auto_delete {
        return remove(hierarchy, backend, &group, turn);
    }
    let agent = agent(&group)?;
    if agent.is_empty() {
        // The event of its emptiness is all there is to tell.
        attribute::set(node, RELEASED, "1")?;
        return Ok(Release::Nothing);
    }
    match start(&group, &agent, turn) {
        Ok((pid, pidfd)) => Ok(Release::Notified(pid, pidfd)),
        Err(error) if error.is(libc::ENODEV) || is_of_the_moment(&error) => Err(error),
        Err(error) => {
            // What cannot be reported today cannot be tomorrow: not again and
            // again.
            attribute::set(node, RELEASED, "1")?;
            Ok(Release::Failed(error))
        }
    }
}

/// Nobody else reports the group meanwhile, and nobody enters it: for as long as
/// it takes to look, and to remove it or to start a program.
struct Turn {
    file: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A child that another thread forks meanwhile has a copy of the
        // descriptor. The agent has one, too: it has begun by now, or failed.
        let _ = lock::unlock(&self.file, RELEASING);
    }
}

fn remove(hierarchy: &Hierarchy, backend: &dyn Backend, group: &Group, turn: Turn) -> Result<Release> {
    let node = group.node();
    let mut figures = figures(backend, node);
    figures.extend(used(group));
    figures.extend(counted(group));
    let above = node.path.parent().unwrap_or_else(GroupPath::root);
    let parent = Group::open(hierarchy, &above)?;
    crate::group::same_directory(parent.node(), node)?;
    crate::backend::passing::sweep(backend, node);
    let outer = outer::of(group)?;
    let _passage = match guard::end_all(backend, node) {
        // A checkpoint holds it; the group goes when that ends.
        Err(error) if error.is(libc::EBUSY) => return Ok(Release::Later),
        other => other?,
    };
    // What is charged to it is given back some day; the group goes then.
    match removal::refuse_if_held(group) {
        Err(error) if error.is(libc::EBUSY) => return Ok(Release::Later),
        other => other?,
    }
    let mut at_once = Wait::until(Deadline::after(Duration::ZERO));
    let removed = match reference::excluding(backend, node, &mut at_once, || backend.remove(parent.node(), node)) {
        // Somebody holds it alive; the group goes when that one does.
        Err(error) if error.is(libc::EBUSY) => return Ok(Release::Later),
        other => other?,
    };
    match removed {
        Ok(()) => {
            // No lock of ours is held while a subsystem's callback runs.
            drop(turn);
            let told = hierarchy.tell_all("destroy", |subsystem| subsystem.destroy(group));
            let outer_too = outer.map_or(Ok(()), |outer| outer::remove(&outer));
            match told.and(outer_too) {
                Ok(()) => Ok(Release::Removed(figures)),
                Err(error) => Ok(Release::Failed(error)),
            }
        }
        // Somebody has come, or the last one to leave is still on its way out.
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(Release::Later),
        Err(errno @ (Errno::NOENT | Errno::NODEV)) => Err(node.failed(errno, "removing")),
        Err(errno) => {
            attribute::set(node, RELEASED, "1")?;
            Ok(Release::Failed(node.failed(errno, "removing the directory")))
        }
    }
}

/// Starts the agent as a child, which marks the group as released just before
/// its program begins, and holds the lock until then. A monitor that is killed
/// meanwhile leaves nothing done, or all of it.
fn start(group: &Group, agent: &str, turn: Turn) -> Result<(i32, OwnedFd)> {
    let node = group.node();
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| Error::new(libc::EINVAL, format!("release agent {agent:?} holds a NUL")))
    };
    check_owner(group.hierarchy().root_node())?;
    if !agent.starts_with('/') {
        return Err(Error::new(libc::EINVAL, format!("release agent {agent:?}: the path must begin with a slash")));
    }
    let path = [b"/", node.path.as_bytes()].concat();
    let program = text(agent.as_bytes())?;
    let nothing = || {
        let opened = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Access::empty());
        opened.map_err(|errno| Error::os(errno, "opening /dev/null"))
    };
    let dir = node.dir.open_dir(".").map_err(|errno| node.failed(errno, "opening the directory"))?;
    let (name, file) = attribute::names(RELEASED);
    let plan = Plan {
        candidates: vec![program.clone()],
        argv: vec![program, text(&path)?],
        envp: vec![c"HOME=/".to_owned(), c"PATH=/sbin:/bin:/usr/sbin:/usr/bin".to_owned()],
        cwd: Some(c"/".to_owned()),
        // What the host writes to its standard output is for others to read.
        fds: vec![(nothing()?, 0), (nothing()?, 1)],
        close_others: true,
        session: true,
        restore_signals: true,
        signal_mask: Some(0),
        namespaces: None,
        mark: Some(spawn::Mark { dir, attribute: text(name.as_bytes())?, file: text(file.as_bytes())? }),
    };
    let mut waiting =
        spawn::create(&plan, None).map_err(|errno| Error::os(errno, "making a process for the release agent"))?;
    let pid = waiting.pid();
    let deadline = group.hierarchy().deadline();
    let started = waiting.await_birth(deadline).and_then(|()| waiting.start(deadline));
    drop(turn);
    let failed = |why: String| Error::new(libc::ECANCELED, format!("release agent {agent:?} for {group}: {why}"));
    match started {
        Ok(pidfd) => Ok((pid, pidfd)),
        Err(NotStarted::Failed(step, errno)) => {
            Err(Error::os(errno, format_args!("release agent {agent:?} for {group}: {step}")))
        }
        Err(NotStarted::Late) => Err(failed("it did not start in time".to_owned())),
        Err(NotStarted::Stillborn) => Err(failed("somebody killed it before it could start".to_owned())),
    }
}

/// Whether what failed may succeed in a moment: there was no descriptor, no memory
/// or no process left.
pub(crate) fn is_of_the_moment(error: &Error) -> bool {
    matches!(error.errno(), libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
}

/// EPERM: somebody else may have named the agent, and it would run as us.
fn check_owner(root: &Node) -> Result<()> {
    let found = rustix::fs::fstat(&root.dir).map_err(|errno| root.failed(errno, "looking at the directory"))?;
    let (owner, caller) = (found.st_uid, rustix::process::geteuid().as_raw());
    if (owner == caller || owner == 0) && found.st_mode & 0o022 == 0 {
        return Ok(());
    }
    let why = format!("no release agent is run: others than we and root (user {owner}) may have named it");
    Err(Error::new(libc::EPERM, why))
}

/// What a group has counted. For people and graphs: what cannot be had is not
/// among it.
fn figures(backend: &dyn Backend, node: &Node) -> Vec<(String, u64)> {
    let mut figures = Vec::new();
    if let Ok(frozen) = frozen_time::total(backend, node) {
        figures.push(("frozen_usec".to_owned(), u64::try_from(frozen.as_micros()).unwrap_or(u64::MAX)));
    }
    let text = node.dir.read("cpu.stat").unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some((name, value)) = line.split_once(' ')
            && name.ends_with("_usec")
            && let Ok(value) = value.trim().parse()
        {
            figures.push((name.to_owned(), value));
        }
    }
    figures
}

/// The CPU time that `cpuacct` counts, by the names that version 2 has for it; there it is
/// among the figures already.
fn used(group: &Group) -> Vec<(String, u64)> {
    if group.hierarchy().backend_kind() == BackendKind::Cgroup2 {
        return Vec::new();
    }
    let Ok(time) = group.cpu_time() else { return Vec::new() };
    let times = [("usage_usec", time.usage), ("user_usec", time.user), ("system_usec", time.system)];
    times.map(|(name, time)| (name.to_owned(), u64::try_from(time.as_micros()).unwrap_or(u64::MAX))).to_vec()
}

/// What the group's counters have come to, of the resources that it ever held.
fn counted(group: &Group) -> Vec<(String, u64)> {
    let counters = group.snapshot().map(|snapshot| snapshot.counters).unwrap_or_default();
    let counters = counters.into_iter().filter(|counter| counter.maxheld > 0 || counter.failcnt > 0);
    let figures = |counter: BeanCounter| {
        let name = counter.name;
        [(format!("bc.{name}.maxheld"), counter.maxheld), (format!("bc.{name}.failcnt"), counter.failcnt)]
    };
    counters.flat_map(figures).collect()
}

/// No task here or below, and no group below but the library's own.
pub(crate) fn is_vacant(backend: &dyn Backend, node: &Node) -> Result<bool> {
    Ok(node.children()?.next().is_none() && !backend.is_populated(node)?)
}

fn is_wanted(group: &Group, name: &str) -> Result<bool> {
    group.backend()?;
    let is_set = is_set(group.node(), name)?;
    attribute::must_be_there(group.node())?;
    Ok(is_set)
}

fn switch(group: &Group, name: &str, on: bool) -> Result<()> {
    let backend = group.backend()?;
    let node = group.node();
    attribute::must_be_there(node)?;
    if is_set(node, name)? == on {
        return Ok(());
    }
    if !on {
        attribute::remove(node, name)?;
        return proved(!is_set(node, name)?, group);
    }
    // What is empty when this is asked for is not reported: only what will have
    // been emptied. Who enters between the look and the mark is seen by the
    // second look, or by any monitor while it is inside.
    let was_wanted = is_set(node, NOTIFY)? || is_set(node, AUTO_DELETE)?;
    if !was_wanted && is_vacant(backend, node)? {
        attribute::set(node, RELEASED, "1")?;
        if !is_vacant(backend, node)? {
            attribute::remove(node, RELEASED)?;
        }
    }
    attribute::set(node, name, "1")?;
    proved(is_set(node, name)?, group)
}

fn proved(is_so: bool, group: &Group) -> Result<()> {
    match is_so {
        true => Ok(()),
        false => Err(Error::new(libc::EACCES, format!("{group} may not be marked by us"))),
    }
}

fn is_set(node: &Node, name: &str) -> Result<bool> {
    Ok(attribute::get(node, name)?.as_deref() == Some("1"))
}
