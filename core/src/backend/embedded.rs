//! No control groups: directories of our own, and SIGSTOP or ptrace.
//!
//! A group is a directory with three files that only its owner may touch:
//! `cgroup.procs`, the members; `freezer.state`, what was asked of it;
//! `freezer.stopped`, whom we stopped. A process is in the group whose
//! `cgroup.procs` names it, else in that of its nearest ancestor who is named
//! in one; a scan names the descendants it finds, so that they stay when their
//! parents have gone. A process spawned into a group begins a session, by which
//! its orphans are known even if nobody looked in time.
//!
//! An attached process takes along the children who were in no group. Those who
//! were in its former group, by descent, stay there, as with control groups.
//!
//! Nobody but us drives a freeze here: reading the state of a group that is
//! asked to freeze stops whoever has come to it meanwhile.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::stage::{Stage, Whom};
use super::{Admission, Attempt, Backend, BackendKind, Effort, Node, Outcome};
use crate::blocker::{Blocker, Evidence};
use crate::cpu_time::CpuTime;
use crate::deadline::{Deadline, Ended, Wait};
use crate::era::Era;
use crate::error::{Error, Result};
use crate::holder::Holder;
use crate::path::GroupPath;
use crate::process::{self, Process, Stat};
use crate::state::State;
use crate::sys::{self, Errno, dir::Dir};

use lock::Held;
use members::{Scan, Sessions};
use records::{Record, Roll, key_of};
use request::Request;
use still::Stillness;

mod admit;
mod cpu_time;
mod file;
mod freeze;
mod lock;
mod members;
pub(crate) mod numbers;
mod pass;
pub(crate) mod private;
mod records;
mod request;
mod stage;
mod still;
mod stopped;
mod tracer;

#[cfg(test)]
mod tests;

/// How the embedded backend stops a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMethod {
    /// SIGSTOP, which anybody with the same user id can undo by SIGCONT.
    Signal,
    /// ptrace, from a helper process with whose end the tasks run on. SIGCONT
    /// does not undo it.
    Ptrace,
}

/// A hierarchy in an ordinary directory.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// The topmost group around the hierarchy's root directory: they share one
    /// lock and one record, as a hierarchy may be opened at any of its groups.
    root: Node,
    /// The hierarchy's own root directory.
    own: Node,
    /// Whether these two are one.
    is_topmost: bool,
    stop: StopMethod,
    /// Whether it is noted what those had used who come and go.
    accounts: bool,
    era: Era,
    sessions: Sessions,
    holder: Holder,
}

impl Embedded {
    pub(crate) fn new(root: &Dir, stop: StopMethod) -> Result<Embedded> {
        let failed = |errno| Error::os(errno, "opening the hierarchy's root directory");
        if process::read("/proc/thread-self/children").is_err() {
            let why = "the kernel lists no children in /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)";
            return Err(Error::new(libc::EOPNOTSUPP, why));
        }
        let node = |dir| Node { dir, path: GroupPath::root() };
        let own = node(root.open_dir(".").map_err(failed)?);
        private::check(&own.dir)?;
        // In this order: whoever else begins it makes the file that tells first.
        let is_empty = own.dir.files().map_err(failed)?.is_empty() && own.dir.children().map_err(failed)?.is_empty();
        if !is_empty && !private::is_hierarchy(&own.dir)? {
            let why = "the directory is no cgroup, no hierarchy of the embedded backend, and not empty: not used";
            return Err(Error::new(libc::EINVAL, why));
        }
        records::begin_root(&own.dir).map_err(failed)?;
        let root = node(topmost(root)?);
        let is_topmost = root.dir.identity().map_err(failed)? == own.dir.identity().map_err(failed)?;
        Ok(Embedded {
            root,
            own,
            is_topmost,
            stop,
            accounts: false,
            era: Era::now()?,
            sessions: Sessions::default(),
            holder: Holder::this_process()?,
        })
    }
}

impl Backend for Embedded {
    fn kind(&self) -> BackendKind {
        BackendKind::Embedded
    }

    fn is_kernel_root(&self, _: &Node) -> bool {
        false
    }

    fn this_process(&self) -> Holder {
        self.holder
    }

    fn whole_path(&self, path: &GroupPath) -> Result<GroupPath> {
        if self.is_topmost {
            return Ok(path.clone());
        }
        let location = |node: &Node| {
            let location = node.dir.location();
            location.map(|path| GroupPath::from_kernel(path.as_os_str().as_bytes()))
        };
        let failed = |errno| Error::os(errno, "looking for the hierarchy's place in the one around it");
        let (top, own) = (location(&self.root).map_err(failed)?, location(&self.own).map_err(failed)?);
        let base = own.below(&top).ok_or_else(|| failed(Errno::XDEV))?;
        Ok(base.join(path))
    }

    fn each_above(&self, whole: &GroupPath, visit: &mut dyn FnMut(&Node, &File) -> Result<()>) -> Result<()> {
        let mut look = |above: &Node| match file::open(&above.dir, file::REQUEST, OFlags::RDONLY) {
            Ok(file) => visit(above, &file),
            Err(Errno::NOENT | Errno::ACCESS) => Ok(()),
            Err(errno) => Err(Error::os(errno, format_args!("opening freezer.state of group {}", above.path))),
        };
        for path in whole.ancestors() {
            if path.is_root() {
                return look(&self.root);
            }
            match self.root.dir.open_dir(path.as_path()) {
                Ok(dir) => look(&Node { dir, path })?,
                Err(Errno::NOENT | Errno::ACCESS) => {}
                Err(errno) => return Err(Error::os(errno, format_args!("opening group {path}"))),
            }
        }
        Ok(())
    }

    fn homes(&self, whom: Whom<'_>) -> Result<Vec<Node>> {
        let pid = match whom {
            Whom::Process(process) => process.pid(),
            Whom::Task(_) => return Err(whole_processes()),
        };
        let roll = Roll::read(&self.root)?;
        match members::locate(&roll, pid) {
            Ok(Some(page)) => Ok(vec![Node { dir: roll.dir(&self.root, page)?, path: roll.pages[page].path.clone() }]),
            Ok(None) => Ok(Vec::new()),
            Err(Errno::SRCH) => Err(process::no_such_process(pid)),
            Err(errno) => Err(Error::os(errno, format_args!("looking for the group of process {pid}"))),
        }
    }

    fn create(&self, parent: &Node, name: &OsStr) -> sys::Result<Dir> {
        let _held = self.lock().map_err(errno)?;
        parent.dir.mkdir(name, Mode::RWXU)?;
        let begun = parent.dir.open_dir(name).and_then(|dir| records::begin(&dir).map(|()| dir));
        begun.inspect_err(|_| {
            let _ = self.sweep(parent, name);
        })
    }

    fn remove(&self, parent: &Node, group: &Node) -> sys::Result<()> {
        let _held = self.lock().map_err(errno)?;
        if group.every_child().map_err(errno)?.next().is_some() {
            return Err(Errno::BUSY);
        }
        // Nobody is in it by descent from nobody: no need to look at the others.
        if !records::members(group).map_err(errno)?.is_empty() {
            let mut roll = Roll::read(&self.root).map_err(errno)?;
            let page = roll.find(group).map_err(errno)?;
            if self.holds_any(&mut roll, &[page], self.scan()).map_err(errno)? {
                return Err(Errno::BUSY);
            }
        }
        // Somebody's own file in there, or one that only is called like ours:
        // nothing is begun.
        let files = group.dir.files()?;
        let is_group = file::is_there(&group.dir, file::MEMBERS)?;
        if files.iter().any(|name| !is_group || !file::is_ours(name)) {
            return Err(Errno::BUSY);
        }
        let helper = tracer::read(&group.dir)?;
        // A figure: no reason to fail.
        let used = self.last_cpu_time_of(group).unwrap_or(None);
        self.sweep(parent, group.path.name())?;
        if let Some(used) = used {
            // Who is killed here loses a figure; the other way round it would count twice.
            let _ = cpu_time::inherit(&parent.dir, used);
        }
        // It ends when it finds the group gone.
        helper.into_iter().for_each(tracer::Tracer::poke);
        Ok(())
    }

    fn rename(&self, parent: &Node, group: &Node, to: &OsStr) -> sys::Result<()> {
        let _held = self.lock().map_err(errno)?;
        parent.dir.rename(group.path.name(), to)
    }

    fn procs(&self, group: &Node) -> Result<Vec<i32>> {
        Ok(self.members(group, Reach::Group)?.iter().map(|stat| stat.pid).collect())
    }

    fn tasks(&self, group: &Node) -> Result<Vec<i32>> {
        let mut tids = Vec::new();
        for stat in self.members(group, Reach::Group)? {
            match process::threads(stat.pid) {
                Ok(threads) => tids.extend(threads),
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(group.failed(errno, "listing the threads")),
            }
        }
        Ok(tids)
    }

    fn is_populated(&self, group: &Node) -> Result<bool> {
        // Nobody is in it by descent from nobody: no need to look at the others.
        if group.every_child()?.next().is_none() && records::members(group)?.is_empty() {
            return Ok(false);
        }
        let (mut roll, pages) = self.pages(group, Reach::Subtree)?;
        self.holds_any(&mut roll, &pages, Scan::without_lock(&self.root, &self.sessions))
    }

    fn locate(&self, pid: i32) -> Result<Option<GroupPath>> {
        let _held = self.lock_to_read()?;
        self.locate_unlocked(pid)
    }

    fn holds_caller(&self, group: &Node) -> Result<bool> {
        // Without the lock: what it would keep from changing under us may change
        // the moment after. Records are added to or replaced whole.
        Ok(self.locate_unlocked(process::this_process())?.is_some_and(|path| path.is_within(&group.path)))
    }

    fn birth_group(&self, _: &Node) -> Option<OwnedFd> {
        None
    }

    fn span(&mut self, controllers: &[&str], _: bool) -> Result<()> {
        self.accounts = controllers.contains(&super::CPU_ACCOUNTING);
        Ok(())
    }

    fn stage<'a>(&'a self, group: &'a Node, whom: Whom<'_>, _: Deadline) -> Result<Box<dyn Stage + 'a>> {
        match whom {
            Whom::Process(process) => self.visit(group, process),
            Whom::Task(_) => Err(whole_processes()),
        }
    }

    fn refusal(&self, group: &Node, id: i32, errno: Errno) -> Error {
        group.failed(errno, &format!("moving {id} into the records"))
    }

    fn take_over(&self, _: &Node, _: i32) -> Result<()> {
        // It makes no passing groups.
        Ok(())
    }

    fn admit(&self, group: &Node, process: &Process, how: Admission) -> Result<()> {
        self.take_in(group, process, how)
    }

    fn return_to_parent(&self, pid: i32) -> Result<()> {
        self.forget(pid)
    }

    fn admit_task(&self, _: &Node, _: i32) -> Result<()> {
        Err(whole_processes())
    }

    fn state(&self, group: &Node) -> Result<State> {
        self.drive(group)
    }

    fn is_asked(&self, group: &Node) -> Result<bool> {
        let request = Request::of(&group.dir).map_err(|errno| group.failed(errno, "reading freezer.state"))?;
        if request.is_none() && group.dir.is_removed() {
            return Err(group.vanished());
        }
        Ok(!request.is_none())
    }

    fn is_asked_above(&self, group: &Node) -> Result<bool> {
        if self.is_topmost {
            return self.is_asked_on_the_way_to(group);
        }
        let _held = self.lock_to_read()?;
        let roll = Roll::read(&self.root)?;
        match roll.pages[roll.find(group)?].path.parent() {
            Some(above) => Ok(!roll.request_for(&self.root, &above)?.is_none()),
            None => Ok(false),
        }
    }

    fn freeze_file(&self) -> &'static str {
        "freezer.state"
    }

    fn freeze(&self, group: &Node, wait: &mut Wait<'_>, with_caller: bool) -> Result<Attempt> {
        self.ask_and_stop(group, wait, with_caller)
    }

    fn thaw(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        self.let_go(group, wait)
    }

    fn blockers(&self, group: &Node, _: Effort) -> Result<Vec<Blocker>> {
        let mut blockers = Vec::new();
        for stat in self.members(group, Reach::Subtree)? {
            let pid = stat.pid;
            for tid in process::threads(pid).unwrap_or_default() {
                // A thread that has gone blocks nobody.
                let Ok(thread) = Stat::of_task(pid, tid) else { continue };
                if still::of_thread(pid, &thread) == Stillness::Moving {
                    blockers.push(Blocker {
                        pid,
                        tid,
                        command: thread.command,
                        state: char::from(thread.state),
                        waits_in: process::waits_in(pid, tid),
                        evidence: Evidence::State,
                    });
                }
            }
        }
        Ok(blockers)
    }

    fn frozen_usec(&self, _: &Node) -> Result<Option<u64>> {
        Ok(None)
    }

    fn cpu_time(&self, group: &Node) -> Result<CpuTime> {
        self.cpu_time_of(group)
    }

    fn note_cpu_time(&self, group: &Node) -> Result<()> {
        if self.accounts { self.note_cpu_time_of(group) } else { Ok(()) }
    }

    fn stopped(&self, group: &Node) -> Result<Vec<i32>> {
        let stopped = stopped::read(&group.dir);
        let stopped = stopped.map_err(|errno| group.failed(errno, "reading whom we stopped"))?;
        Ok(stopped.into_iter().filter_map(|((pid, _), ran)| ran.then_some(pid)).collect())
    }

    fn signal(&self, group: &Node, process: &Process, signal: i32) -> Result<()> {
        match signal {
            libc::SIGCONT | libc::SIGSTOP => self.signal_a_stop(group, process, signal),
            signal => super::send(process, signal),
        }
    }

    fn kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        self.stop_and_kill(group, wait)
    }
}

impl Embedded {
    /// Without the lock and without the others' records, for whoever makes one
    /// of ten thousand groups: a request is one word in one file.
    fn is_asked_on_the_way_to(&self, group: &Node) -> Result<bool> {
        for above in group.path.ancestors() {
            let dir =
                if above.is_root() { self.root.dir.open_dir(".") } else { self.root.dir.open_dir(above.as_path()) };
            let request = dir.and_then(|dir| Request::of(&dir));
            if !request.map_err(|errno| group.failed(errno, "reading what is asked above"))?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// For as long as an operation without a deadline of its own waits.
    fn lock(&self) -> Result<Held> {
        lock::take(&self.root, &self.era, self.holder, Deadline::never())
    }

    fn lock_until(&self, deadline: Deadline) -> Result<Held> {
        lock::take(&self.root, &self.era, self.holder, deadline)
    }

    /// Who may only read goes without: what it finds may be a moment old.
    fn lock_to_read(&self) -> Result<Option<Held>> {
        match self.lock() {
            Err(error) if error.is(libc::EACCES) || error.is(libc::EPERM) || error.is(libc::EROFS) => Ok(None),
            other => other.map(Some),
        }
    }

    fn locate_unlocked(&self, pid: i32) -> Result<Option<GroupPath>> {
        let roll = Roll::read(&self.root)?;
        match members::locate(&roll, pid) {
            Ok(Some(page)) => {
                let top = &roll.pages[roll.find(&self.own)?].path;
                Ok(roll.pages[page].path.below(top))
            }
            Ok(None) => Ok(None),
            Err(Errno::SRCH) => Err(process::no_such_process(pid)),
            Err(errno) => Err(Error::os(errno, format_args!("looking for the group of process {pid}"))),
        }
    }

    fn scan(&self) -> Scan<'_> {
        Scan::new(&self.root, &self.sessions)
    }

    fn pages(&self, group: &Node, reach: Reach) -> Result<(Roll, Vec<usize>)> {
        let _held = self.lock_to_read()?;
        let roll = Roll::read(&self.root)?;
        let pages = match reach {
            Reach::Group => vec![roll.find(group)?],
            Reach::Subtree => roll.subtree(group)?,
        };
        Ok((roll, pages))
    }

    /// The living processes of a group, looked for without the lock: there may
    /// be ten thousand.
    fn members(&self, group: &Node, reach: Reach) -> Result<Vec<Stat>> {
        if matches!(reach, Reach::Group) && records::members(group)?.is_empty() {
            return Ok(Vec::new());
        }
        let (mut roll, pages) = self.pages(group, reach)?;
        let mut scan = Scan::without_lock(&self.root, &self.sessions);
        let mut found = Vec::new();
        scan.visit(&mut roll, &pages, &mut |_, members| {
            found.extend(members.iter().map(|member| member.stat.clone()));
            Ok(())
        })?;
        let findings = scan.into_findings(&roll);
        if !(findings.new.is_empty() && findings.dead.is_empty())
            && let Ok(Some(_held)) = self.lock_to_read()
        {
            // A precaution for later: without it the list is as good.
            let _ = Roll::read(&self.root).and_then(|mut now| now.adopt(&self.root, &roll, findings));
        }
        Ok(found)
    }

    fn holds_any(&self, roll: &mut Roll, pages: &[usize], mut scan: Scan<'_>) -> Result<bool> {
        let is_alive =
            |record: &Record| Stat::of(record.key.0).is_ok_and(|stat| key_of(&stat) == record.key && stat.is_alive());
        // Most often the first one recorded is still there.
        if pages.iter().any(|&page| roll.pages[page].records.iter().any(is_alive)) {
            return Ok(true);
        }
        let mut found = false;
        scan.visit(roll, pages, &mut |_, members| {
            found |= !members.is_empty();
            Ok(())
        })?;
        Ok(found)
    }

    /// Removes a group's directory with our own files in it.
    fn sweep(&self, parent: &Node, name: &OsStr) -> sys::Result<()> {
        let dir = parent.dir.open_dir(name)?;
        // Whoever wants a lock on the request makes that file if it is not there,
        // and does not hold our lock yet: it may come back between the two steps.
        for _ in 0..SWEEPS {
            let mut files = dir.files()?;
            // The file that tells a group goes last.
            files.sort_by_key(|name| name == file::MEMBERS);
            for ours in files.iter().filter(|name| file::is_ours(name)).filter_map(|name| name.to_str()) {
                match dir.unlink(ours) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            match parent.dir.rmdir(name) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                other => return other,
            }
        }
        // It stays a group.
        records::begin(&dir)?;
        Err(Errno::BUSY)
    }
}

/// How often a file that comes back is removed again.
const SWEEPS: usize = 100;

/// The topmost of the groups that a group's directory lies in.
fn topmost(root: &Dir) -> Result<Dir> {
    let failed = |errno| Error::os(errno, "looking for the groups above the hierarchy's root directory");
    let mut top = root.open_dir(".").map_err(failed)?;
    while let Some(above) = above(&top)? {
        top = above;
    }
    Ok(top)
}

/// The group that a group's directory lies in, if it is the same user's: what others write
/// there is not about us.
pub(crate) fn above(group: &Dir) -> Result<Option<Dir>> {
    let failed = |errno| Error::os(errno, "looking for the groups above the hierarchy's root directory");
    let above = match group.location().and_then(|path| Dir::open(&path.join(".."))) {
        Ok(above) => above,
        // Not ours to look at: then not our group either.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let is_above = above.identity().map_err(failed)? != group.identity().map_err(failed)?
        && records::are_in(&above).map_err(failed)?
        && private::are_one_owners(&above, group)?;
    Ok(is_above.then_some(above))
}

fn whole_processes() -> Error {
    let why = "the embedded backend groups whole processes: SIGSTOP stops all threads of one";
    Error::new(libc::EOPNOTSUPP, why)
}

/// Which groups an operation is about.
#[derive(Clone, Copy)]
enum Reach {
    Group,
    Subtree,
}

fn errno(error: Error) -> Errno {
    Errno::from_raw_os_error(error.errno())
}

/// How long to wait before the next look: longer with every one.
struct Patience {
    next: Duration,
}

impl Patience {
    const LONGEST: Duration = Duration::from_millis(2);

    fn new() -> Patience {
        Patience { next: Duration::from_micros(20) }
    }

    fn wait(&mut self, wait: &mut Wait<'_>) -> std::result::Result<(), Ended> {
        wait.pause(self.next)?;
        self.next = (2 * self.next).min(Patience::LONGEST);
        Ok(())
    }
}
