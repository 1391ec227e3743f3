//! Control groups version 2: the kernel freezes and tells when it has.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;

use super::mirrors::Mirrors;
use super::stage::{KernelStage, Stage, Whom};
use super::suspects::suspects;
use super::tree::{self, Tree, Version};
use super::{Admission, Attempt, Backend, BackendKind, Effort, Node, Outcome, guard, probe};
use crate::blocker::Blocker;
use crate::cpu_time::CpuTime;
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::holder::Holder;
use crate::path::GroupPath;
use crate::process::{self, Process};
use crate::state::State;
use crate::sys::{
    self, Errno,
    dir::{Dir, read_short, write_once},
    pidfd,
    spawn::{self, Plan},
};

use patience::Patience;

mod patience;

/// A hierarchy on the tree of cgroup version 2.
#[derive(Debug)]
pub(crate) struct Cgroup2 {
    tree: Tree,
    this_process: Process,
    /// The cgroup id the caller had when it was last asked for, and where in
    /// the hierarchy that is. A v2 directory never changes its place, so the
    /// answer is good for as long as the id is the same.
    caller: Mutex<Option<(u64, Option<GroupPath>)>>,
    mirrors: Mirrors,
    holder: Holder,
}

/// A task that sleeps in one of these has nothing left to do before it counts
/// as frozen: the freezer's trap, a stop, a tracer's stop, and the wait for a
/// vfork child, which the kernel counts too (R3.4).
const QUIET_IN: &[&str] = &[
    "get_signal",
    "do_freezer_trap",
    "do_signal_stop",
    "ptrace_stop",
    "do_jobctl_trap",
    "kernel_clone",
    "wait_for_vfork_done",
];

/// What asks a group to freeze.
const FREEZE_FILE: &str = "cgroup.freeze";

/// Words of `cgroup.events`.
const POPULATED: &[u8] = b"populated 1";
const FROZEN: &[u8] = b"frozen 1";

impl Cgroup2 {
    pub(crate) fn new(root: &Dir) -> Result<Cgroup2> {
        Ok(Cgroup2 {
            tree: Tree::that_freezes(root, &Version::Two, FREEZE_FILE)?,
            this_process: Process::open(0)?,
            caller: Mutex::new(None),
            mirrors: Mirrors::default(),
            holder: Holder::this_process()?,
        })
    }
}

impl Backend for Cgroup2 {
    fn kind(&self) -> BackendKind {
        BackendKind::Cgroup2
    }

    fn is_kernel_root(&self, group: &Node) -> bool {
        self.tree.is_kernel_root(group, self.freeze_file())
    }

    fn this_process(&self) -> Holder {
        self.holder
    }

    fn whole_path(&self, path: &GroupPath) -> Result<GroupPath> {
        Ok(self.tree.below_mount(path))
    }

    fn each_above(&self, whole: &GroupPath, visit: &mut dyn FnMut(&Node, &File) -> Result<()>) -> Result<()> {
        self.tree.each_above(whole, self.freeze_file(), visit)
    }

    fn homes(&self, whom: Whom<'_>) -> Result<Vec<Node>> {
        self.tree.homes(whom)
    }

    fn movers_file(&self) -> Result<Option<File>> {
        self.tree.movers_file()
    }

    fn create(&self, parent: &Node, name: &OsStr) -> sys::Result<Dir> {
        tree::create(parent, name, self.freeze_file(), &self.mirrors)
    }

    fn remove(&self, parent: &Node, group: &Node) -> sys::Result<()> {
        parent.dir.rmdir(group.path.name())?;
        self.mirrors.remove(group);
        Ok(())
    }

    fn rename(&self, _: &Node, _: &Node, _: &OsStr) -> sys::Result<()> {
        Err(Errno::OPNOTSUPP)
    }

    fn procs(&self, group: &Node) -> Result<Vec<i32>> {
        match group.dir.read("cgroup.procs") {
            Ok(text) => Ok(process::numbers(&text)),
            // A threaded group lists threads only; its processes' first ones
            // are in the group that the threaded subtree hangs on.
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            Err(errno) => Err(group.failed(errno, "reading cgroup.procs")),
        }
    }

    fn tasks(&self, group: &Node) -> Result<Vec<i32>> {
        let text = group.dir.read("cgroup.threads").map_err(|errno| group.failed(errno, "reading cgroup.threads"))?;
        Ok(process::numbers(&text))
    }

    fn is_populated(&self, group: &Node) -> Result<bool> {
        match self.events(group) {
            Ok(events) => says(&events, POPULATED).map_err(|errno| group.failed(errno, "reading cgroup.events")),
            Err(error) if error.is(libc::EINVAL) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn locate(&self, pid: i32) -> Result<Option<GroupPath>> {
        self.tree.locate(pid)
    }

    fn holds_caller(&self, group: &Node) -> Result<bool> {
        let within = |path: &Option<GroupPath>| path.as_ref().is_some_and(|path| path.is_within(&group.path));
        let Ok(id) = pidfd::cgroup_id(&self.this_process) else {
            return Ok(within(&self.tree.locate_caller()?));
        };
        let mut known = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((known_id, path)) if *known_id == id => Ok(within(path)),
            _ => {
                let path = self.tree.locate_caller()?;
                let inside = within(&path);
                *known = Some((id, path));
                Ok(inside)
            }
        }
    }

    fn birth_group(&self, group: &Node) -> Option<OwnedFd> {
        if self.mirrors.is_empty() { group.dir.path_fd().ok() } else { None }
    }

    fn span(&mut self, controllers: &[&str], make: bool) -> Result<()> {
        let present = self.tree.top().read("cgroup.controllers").unwrap_or_default();
        let elsewhere: Vec<&str> = controllers.iter().copied().filter(|name| !has_word(&present, name)).collect();
        self.mirrors = Mirrors::of(&self.tree, &elsewhere, make)?;
        Ok(())
    }

    fn is_spanning(&self) -> bool {
        !self.mirrors.is_empty()
    }

    fn ended(&self) {
        self.mirrors.end();
    }

    fn controller_directory(&self, group: &Node, controller: &str) -> Result<Option<Dir>> {
        let failed = |errno| group.failed(errno, "looking for the controller's directory");
        let present = group.dir.read("cgroup.controllers").map_err(failed)?;
        if has_word(&present, controller) {
            return group.dir.open_dir(".").map(Some).map_err(failed);
        }
        self.mirrors.directory(&group.path, controller).map_err(failed)
    }

    fn complete(&self, group: &Node) -> sys::Result<()> {
        self.mirrors.complete(group)
    }

    fn stage<'a>(&'a self, group: &'a Node, whom: Whom<'_>, deadline: Deadline) -> Result<Box<dyn Stage + 'a>> {
        KernelStage::enter(self, &self.tree, &self.mirrors, group, whom, deadline)
    }

    fn refusal(&self, group: &Node, id: i32, errno: Errno) -> Error {
        self.refused(group, id, errno)
    }

    fn take_over(&self, group: &Node, id: i32) -> Result<()> {
        self.mirrors.put(group, "cgroup.procs", id)?;
        group.dir.write("cgroup.procs", id.to_string().as_bytes()).map_err(|errno| self.refused(group, id, errno))
    }

    fn recount(&self, group: &Node) -> Result<()> {
        self.make_it_count(group)
    }

    fn admit(&self, group: &Node, process: &Process, _: Admission) -> Result<()> {
        let pid = process.pid();
        self.mirrors.put(group, "cgroup.procs", pid)?;
        group.dir.write("cgroup.procs", pid.to_string().as_bytes()).map_err(|errno| self.refused(group, pid, errno))
    }

    fn return_to_parent(&self, pid: i32) -> Result<()> {
        self.tree.return_to_parent(pid)
    }

    fn admit_task(&self, group: &Node, tid: i32) -> Result<()> {
        group.dir.write("cgroup.threads", tid.to_string().as_bytes()).map_err(|errno| match errno {
            Errno::OPNOTSUPP => Error::new(
                libc::EOPNOTSUPP,
                format!(
                    "cgroup version 2 moves one thread only within a threaded subtree, and {} is not in one",
                    group.path
                ),
            ),
            errno => self.refused(group, tid, errno),
        })
    }

    fn state(&self, group: &Node) -> Result<State> {
        let events = match self.events(group) {
            Err(error) if error.is(libc::EINVAL) => return Ok(State::Thawed),
            other => other?,
        };
        if says(&events, FROZEN).map_err(|errno| group.failed(errno, "reading cgroup.events"))? {
            let all = self.is_frozen_throughout(group, &events)?;
            return Ok(if all { State::Frozen } else { State::Freezing });
        }
        let asked = match self.is_asked(group) {
            // The file is its owner's alone (others could hold up its lockers).
            // Who may not read it sees FREEZING as THAWED, and FROZEN rightly.
            Err(error) if error.is(libc::EACCES) => false,
            other => other?,
        };
        let asked = asked || self.is_asked_above(group)?;
        Ok(if asked { State::Freezing } else { State::Thawed })
    }

    fn is_asked(&self, group: &Node) -> Result<bool> {
        match group.dir.open_file("cgroup.freeze", OFlags::RDONLY) {
            Ok(file) => asked(&file).map_err(|errno| group.failed(errno, "reading cgroup.freeze")),
            Err(Errno::NOENT) if self.is_kernel_root(group) => Ok(false),
            Err(errno) => Err(group.failed(errno, "reading cgroup.freeze")),
        }
    }

    fn is_asked_above(&self, group: &Node) -> Result<bool> {
        // What is above a delegated directory may be hidden from us; if it freezes,
        // cgroup.events says so in the end.
        self.may_be_asked_above(group, false)
    }

    fn freeze_file(&self) -> &'static str {
        FREEZE_FILE
    }

    fn freeze(&self, group: &Node, wait: &mut Wait<'_>, with_caller: bool) -> Result<Attempt> {
        let failed = |errno| group.failed(errno, "freezing");
        let held_caller = super::will_stop_caller(self, group, with_caller)?;
        let freeze = self.open_freeze_file(group)?;
        let was_asked = asked(&freeze).map_err(failed)?;
        let passage = match held_caller {
            // It would stop with its passage.
            true => guard::look(self, group, &freeze).map(|()| None)?,
            false => Some(guard::enter(self, group, &freeze)?),
        };
        if !was_asked {
            write_once(&freeze, b"1").map_err(failed)?;
        }
        drop(passage);
        // Opened while the tasks already stop.
        let outcome = self.events(group).and_then(|events| self.wait_until_frozen(group, &freeze, &events, wait));
        if outcome.is_err() && !was_asked {
            // Nothing is half-done after an error. A checkpoint that has begun since
            // did so on a frozen group.
            let _ = guard::enter(self, group, &freeze).map(|_passage| write_once(&freeze, b"0"));
        }
        Ok(Attempt { was_asked, held_caller, outcome: outcome? })
    }

    fn thaw(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let failed = |errno| group.failed(errno, "thawing");
        let freeze = self.open_freeze_file(group)?;
        let passage = guard::enter(self, group, &freeze)?;
        write_once(&freeze, b"0").map_err(failed)?;
        drop(passage);
        let events = self.events(group)?;
        let mut patience = Patience::new();
        loop {
            // Held by an ancestor: accepted, without effect for now (R3.6).
            // Frozen again by somebody: that came after our thaw.
            if !says(&events, FROZEN).map_err(failed)?
                || asked(&freeze).map_err(failed)?
                || self.may_be_asked_above(group, true)?
            {
                return Ok(Outcome::Done);
            }
            if let Err(ended) = patience.wait(&events, wait).map_err(failed)? {
                return Ok(Outcome::Ended(ended));
            }
        }
    }

    fn thaw_notice(&self, group: &Node) -> Result<Option<File>> {
        self.events(group).map(Some)
    }

    fn blockers(&self, group: &Node, effort: Effort) -> Result<Vec<Blocker>> {
        const KIND: probe::Kind = probe::Kind {
            file: "cgroup.procs",
            quiet_in: QUIET_IN,
            is_frozen: |dir| says(&dir.open_file("cgroup.events", OFlags::RDONLY)?, FROZEN),
        };
        let blockers = probe::blockers(self, group, &KIND, effort)?;
        if matches!(effort, Effort::Prove(_)) {
            group.walk(&mut |node| self.recount(node))?;
        }
        Ok(blockers)
    }

    fn frozen_usec(&self, group: &Node) -> Result<Option<u64>> {
        match group.dir.read("cgroup.stat.local") {
            Ok(text) => Ok(String::from_utf8_lossy(&text)
                .lines()
                .find_map(|line| line.strip_prefix("frozen_usec "))
                .and_then(|figure| figure.trim().parse().ok())),
            // Before Linux 6.18 the kernel did not count.
            Err(Errno::NOENT) if group.dir.read("cgroup.procs").is_ok() => Ok(None),
            Err(errno) => Err(group.failed(errno, "reading cgroup.stat.local")),
        }
    }

    fn cpu_time(&self, group: &Node) -> Result<CpuTime> {
        let text = group.dir.read("cpu.stat").map_err(|errno| group.failed(errno, "reading cpu.stat"))?;
        let [usage, user, system] = ["usage_usec", "user_usec", "system_usec"].map(|name| {
            let figure = process::value_of(&text, name).map(|usec| usec.saturating_mul(1000));
            figure.ok_or_else(|| Error::os(Errno::IO, format_args!("reading {name} of group {}", group.path)))
        });
        Ok(CpuTime::of_nanoseconds(usage?, user?, system?))
    }

    fn signal(&self, _: &Node, process: &Process, signal: i32) -> Result<()> {
        super::send(process, signal)
    }

    fn kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        match group.dir.write("cgroup.kill", b"1") {
            Ok(()) => {}
            Err(Errno::NOENT) if group.dir.read("cgroup.procs").is_ok() => {
                return self.kill_one_by_one(group, wait);
            }
            Err(errno) => return Err(group.failed(errno, "killing the processes")),
        }
        let events = self.events(group)?;
        let mut patience = Patience::new();
        loop {
            if !says(&events, POPULATED).map_err(|errno| group.failed(errno, "killing the processes"))? {
                return Ok(Outcome::Done);
            }
            if patience.is_long() {
                // A process whose first thread has ended is not reached by
                // cgroup.kill (seen on Linux 6.18).
                super::kill_listed(self, group)?;
            }
            match patience.wait(&events, wait).map_err(|errno| group.failed(errno, "killing the processes"))? {
                Ok(()) => {}
                Err(ended) => return Ok(Outcome::Ended(ended)),
            }
        }
    }
}

impl Cgroup2 {
    /// Whether a group above was asked; `if_hidden` is the answer of one that is not
    /// ours to read.
    fn may_be_asked_above(&self, group: &Node, if_hidden: bool) -> Result<bool> {
        let (top, paths) = self.tree.above(&group.path);
        for path in paths.iter().filter(|path| !path.is_root()) {
            let above = top.open_dir(path.as_path()).and_then(|dir| dir.open_file("cgroup.freeze", OFlags::RDONLY));
            match above.and_then(|file| asked(&file)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Errno::ACCESS) if if_hidden => return Ok(true),
                Err(Errno::ACCESS) => {}
                Err(errno) => return Err(group.failed(errno, "reading cgroup.freeze above")),
            }
        }
        Ok(false)
    }

    fn wait_until_frozen(&self, group: &Node, freeze: &File, events: &File, wait: &mut Wait<'_>) -> Result<Outcome> {
        let failed = |errno| group.failed(errno, "freezing");
        let mut patience = Patience::new();
        loop {
            // Asked first, while the tasks still stop: for a group without children
            // the flag that is read next needs no second look.
            let is_leaf = group.dir.children().map_err(failed)?.is_empty();
            let says_frozen = says(events, FROZEN).map_err(failed)?;
            let frozen = says_frozen && (is_leaf || self.is_frozen_throughout(group, events)?);
            // Looked at after the events: a thaw between the two looks would
            // otherwise be taken for our success.
            if !asked(freeze).map_err(failed)? {
                return Ok(Outcome::Cancelled);
            }
            if frozen {
                return Ok(Outcome::Done);
            }
            if says_frozen {
                // It will not say so a second time: no event to wait for.
                patience.hurry();
            }
            if let Err(ended) = patience.wait(events, wait).map_err(failed)? {
                return Ok(Outcome::Ended(ended));
            }
        }
    }

    /// Whether `frozen 1` is true of a group and everything below it.
    ///
    /// The kernel takes it that a group has either tasks or children. For one
    /// with both, the flag follows whichever came last: when its children have
    /// all frozen it is set, whatever the group's own tasks do, and the other
    /// way round (kernel/cgroup/freezer.c, cgroup_propagate_frozen and
    /// cgroup_update_frozen; seen on Linux 6.18). So the flag is believed of a
    /// group without children, which is the common case and costs one fstat;
    /// of others, each child is asked and the own tasks are looked at.
    /// `events` is the group's `cgroup.events`, open.
    fn is_frozen_throughout(&self, group: &Node, events: &File) -> Result<bool> {
        let mut is_leaf = true;
        for child in group.every_child()? {
            let child = child?;
            is_leaf = false;
            if !self.is_frozen_throughout(&child, &self.events(&child)?)? {
                return Ok(false);
            }
        }
        if is_leaf {
            return says(events, FROZEN).map_err(|errno| group.failed(errno, "reading cgroup.events"));
        }
        Ok(suspects(self, group, QUIET_IN)?.is_empty())
    }

    /// Has the kernel count a group's own frozen tasks again.
    ///
    /// A probe group that its suspect has left is an empty frozen child, which
    /// makes the kernel set the flag of the group above, blocker or not (see
    /// [`is_frozen_throughout`](Cgroup2::is_frozen_throughout)); and that flag
    /// would be believed once the probe is gone. Any task that freezes in the
    /// group makes it count: one is born into it for that, and killed.
    fn make_it_count(&self, group: &Node) -> Result<()> {
        let says_frozen = || match self.events(group) {
            Ok(events) => says(&events, FROZEN).unwrap_or(false),
            Err(_) => false,
        };
        if !says_frozen() || suspects(self, group, QUIET_IN)?.is_empty() {
            return Ok(());
        }
        let Ok(directory) = group.dir.path_fd() else { return Ok(()) };
        // Where none can be made, the flag is right again as soon as any task
        // of the group comes, goes or freezes.
        let Ok(counted) = spawn::create(&Plan::nothing(), Some(directory.as_fd())) else { return Ok(()) };
        let settled = Deadline::after(Duration::from_millis(20));
        while says_frozen() && !settled.passed() {
            std::thread::sleep(Duration::from_micros(100));
        }
        drop(counted);
        Ok(())
    }

    /// `cgroup.events`, which the kernel's own root does not have (EINVAL).
    fn events(&self, group: &Node) -> Result<File> {
        self.own_file(group, "cgroup.events", OFlags::RDONLY)
    }

    fn open_freeze_file(&self, group: &Node) -> Result<File> {
        self.own_file(group, "cgroup.freeze", OFlags::RDWR)
    }

    fn own_file(&self, group: &Node, name: &str, flags: OFlags) -> Result<File> {
        group.dir.open_file(name, flags).map_err(|errno| match errno {
            Errno::NOENT if self.is_kernel_root(group) => {
                Error::new(libc::EINVAL, "the kernel's own root group cannot be frozen or killed")
            }
            errno => group.failed(errno, &format!("opening {name}")),
        })
    }

    fn refused(&self, group: &Node, id: i32, errno: Errno) -> Error {
        let path = &group.path;
        match errno {
            Errno::SRCH => process::no_such_process(id),
            Errno::BUSY => Error::new(
                libc::EBUSY,
                format!(
                    "{path} cannot take processes: it distributes controllers to its children \
                     (cgroup.subtree_control), so that processes must be in a leaf"
                ),
            ),
            Errno::OPNOTSUPP => Error::new(
                libc::EOPNOTSUPP,
                format!("{path} cannot take processes: it is in a threaded subtree or an invalid domain (cgroup.type)"),
            ),
            Errno::ACCESS => Error::new(
                libc::EACCES,
                format!(
                    "moving {id} into {path}: not permitted; a delegate must be able to write cgroup.procs of {path} \
                     and of the nearest group above both that and where {id} is now"
                ),
            ),
            errno => group.failed(errno, &format!("moving {id} into the cgroup.procs")),
        }
    }

    /// Before Linux 5.14 there is no `cgroup.kill`: hold still, then kill one
    /// by one. A task frozen by version 2 dies of SIGKILL without a thaw.
    fn kill_one_by_one(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let was_asked = self.is_asked(group)?;
        let inside = self.holds_caller(group)?;
        let freeze = self.open_freeze_file(group)?;
        let failed = |errno| group.failed(errno, "killing the processes");
        if !inside {
            write_once(&freeze, b"1").map_err(failed)?;
        }
        let outcome = loop {
            let killed = super::kill_listed(self, group);
            if !super::holds_others(self, group)? {
                break Ok(Outcome::Done);
            }
            if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                break killed.map(|_| Outcome::Ended(ended));
            }
        };
        if !was_asked {
            write_once(&freeze, b"0").map_err(failed)?;
        }
        if inside {
            super::kill_caller()?;
        }
        outcome
    }
}

fn has_word(text: &[u8], word: &str) -> bool {
    !word.is_empty() && text.split(u8::is_ascii_whitespace).any(|other| other == word.as_bytes())
}

fn says(events: &File, what: &[u8]) -> sys::Result<bool> {
    let mut buffer = [0; 256];
    let text = read_short(events, &mut buffer)?;
    Ok(text.split(|&byte| byte == b'\n').any(|line| line == what))
}

fn asked(freeze: &File) -> sys::Result<bool> {
    let mut buffer = [0; 256];
    Ok(read_short(freeze, &mut buffer)?.first() == Some(&b'1'))
}
