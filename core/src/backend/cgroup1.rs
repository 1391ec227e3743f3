//! Control groups version 1: the freezer controller, which never tells.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::OFlags;

use super::mirrors::Mirrors;
use super::stage::{KernelStage, Stage, Whom};
use super::tree::{self, Tree, Version};
use super::{Admission, Attempt, Backend, BackendKind, Effort, Node, Outcome, guard, probe};
use crate::blocker::Blocker;
use crate::cpu_time::CpuTime;
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::holder::Holder;
use crate::path::GroupPath;
use crate::process::{self, Process};
use crate::state::State;
use crate::sys::{
    self, Errno,
    dir::{Dir, read_short, write_once},
};

mod kill;

/// What asks a group to freeze.
const FREEZE_FILE: &str = "freezer.state";

/// After so long, and then ever more rarely, a group is asked to freeze once more.
///
/// The kernel looks at each task once when it is asked, and misses one that falls
/// asleep in vfork(2) that moment, whose child then freezes before it executes its
/// program: such a group would be FREEZING until it is thawed (Linux 6.18; of a shell
/// that does nothing but start programs, one freeze in a hundred). If somebody thaws the
/// group between our look and this, the freeze has come after the thaw.
const AGAIN: Duration = Duration::from_millis(20);

/// A hierarchy on the version 1 tree that has the freezer.
#[derive(Debug)]
pub(crate) struct Cgroup1 {
    tree: Tree,
    mirrors: Mirrors,
    holder: Holder,
}

impl Cgroup1 {
    pub(crate) fn new(root: &Dir) -> Result<Cgroup1> {
        let tree = Tree::that_freezes(root, &Version::One("freezer".into()), FREEZE_FILE)?;
        Ok(Cgroup1 { tree, mirrors: Mirrors::default(), holder: Holder::this_process()? })
    }
}

impl Backend for Cgroup1 {
    fn kind(&self) -> BackendKind {
        BackendKind::Cgroup1
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

    fn rename(&self, parent: &Node, group: &Node, to: &OsStr) -> sys::Result<()> {
        // kernfs does not know RENAME_NOREPLACE; it refuses a taken name itself.
        parent.dir.rename_in_kernfs(group.path.name(), to)?;
        self.mirrors.rename(&group.path, to).inspect_err(|_| {
            // All trees or none.
            let _ = parent.dir.rename_in_kernfs(to, group.path.name());
        })
    }

    fn procs(&self, group: &Node) -> Result<Vec<i32>> {
        let text = group.dir.read("cgroup.procs").map_err(|errno| group.failed(errno, "reading cgroup.procs"))?;
        Ok(process::numbers(&text))
    }

    fn tasks(&self, group: &Node) -> Result<Vec<i32>> {
        let text = group.dir.read("tasks").map_err(|errno| group.failed(errno, "reading tasks"))?;
        Ok(process::numbers(&text))
    }

    fn is_populated(&self, group: &Node) -> Result<bool> {
        let mut found = false;
        group.walk(&mut |node| {
            found = found || !self.tasks(node)?.is_empty();
            Ok(())
        })?;
        Ok(found)
    }

    fn locate(&self, pid: i32) -> Result<Option<GroupPath>> {
        self.tree.locate(pid)
    }

    fn holds_caller(&self, group: &Node) -> Result<bool> {
        Ok(self.tree.locate_caller()?.is_some_and(|path| path.is_within(&group.path)))
    }

    fn birth_group(&self, _: &Node) -> Option<OwnedFd> {
        None
    }

    fn span(&mut self, controllers: &[&str], make: bool) -> Result<()> {
        self.mirrors = Mirrors::of(&self.tree, controllers, make)?;
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
        if self.tree.has_controller(controller) {
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
        refused(group, id, errno)
    }

    fn take_over(&self, group: &Node, id: i32) -> Result<()> {
        self.mirrors.put(group, "tasks", id)?;
        put(&group.dir, "tasks", id).map_err(|errno| refused(group, id, errno))
    }

    fn admit(&self, group: &Node, process: &Process, _: Admission) -> Result<()> {
        self.mirrors.put(group, "cgroup.procs", process.pid())?;
        put(&group.dir, "cgroup.procs", process.pid()).map_err(|errno| refused(group, process.pid(), errno))
    }

    fn return_to_parent(&self, pid: i32) -> Result<()> {
        self.tree.return_to_parent(pid)
    }

    fn admit_task(&self, group: &Node, tid: i32) -> Result<()> {
        put(&group.dir, "tasks", tid).map_err(|errno| refused(group, tid, errno))
    }

    fn state(&self, group: &Node) -> Result<State> {
        match group.dir.open_file("freezer.state", OFlags::RDONLY) {
            Ok(file) => read_state(&file).map_err(|errno| group.failed(errno, "reading freezer.state")),
            Err(Errno::NOENT) if self.is_kernel_root(group) => Ok(State::Thawed),
            Err(errno) => Err(group.failed(errno, "reading freezer.state")),
        }
    }

    fn is_asked(&self, group: &Node) -> Result<bool> {
        self.flag(group, "freezer.self_freezing")
    }

    fn is_asked_above(&self, group: &Node) -> Result<bool> {
        self.flag(group, "freezer.parent_freezing")
    }

    fn freeze_file(&self) -> &'static str {
        FREEZE_FILE
    }

    fn freeze(&self, group: &Node, wait: &mut Wait<'_>, with_caller: bool) -> Result<Attempt> {
        let failed = |errno| group.failed(errno, "freezing");
        let held_caller = super::will_stop_caller(self, group, with_caller)?;
        let state = self.state_file(group)?;
        // THAWED says that nobody has asked, here or above.
        let was_thawed = read_state(&state).map_err(failed)? == State::Thawed;
        let was_asked = !was_thawed && self.is_asked(group)?;
        let passage = match held_caller {
            // It would stop with its passage.
            true => guard::look(self, group, &state).map(|()| None)?,
            false => Some(guard::enter(self, group, &state)?),
        };
        if !was_asked {
            write_once(&state, b"FROZEN").map_err(failed)?;
        }
        drop(passage);
        let outcome = self.wait_until_frozen(group, &state, was_thawed, wait);
        if outcome.is_err() && !was_asked {
            // Nothing is half-done after an error. A checkpoint that has begun since
            // did so on a frozen group.
            let _ = guard::enter(self, group, &state).map(|_passage| write_once(&state, b"THAWED"));
        }
        Ok(Attempt { was_asked, held_caller, outcome: outcome? })
    }

    fn thaw(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let state = self.state_file(group)?;
        // A killer freezes again what it found frozen: a thaw in between would be
        // lost. It ends soon, or dies and its lock with it. Where that cannot be
        // asked, for want of descriptors, the thaw is not refused for it.
        while matches!(self.is_being_killed(group, &state), Ok(true)) && wait.pause(Duration::from_millis(1)).is_ok() {}
        let _passage = guard::enter(self, group, &state)?;
        // The kernel lets every task go before the write returns.
        write_once(&state, b"THAWED").map_err(|errno| group.failed(errno, "thawing"))?;
        Ok(Outcome::Done)
    }

    fn blockers(&self, group: &Node, effort: Effort) -> Result<Vec<Blocker>> {
        const KIND: probe::Kind = probe::Kind {
            file: "tasks",
            // Conclusive. A task that the freezer caught asleep shows nothing
            // of it here: the probe decides.
            quiet_in: &["__refrigerator", "do_signal_stop", "ptrace_stop", "do_jobctl_trap"],
            is_frozen: |dir| Ok(read_state(&dir.open_file("freezer.state", OFlags::RDONLY)?)? == State::Frozen),
        };
        probe::blockers(self, group, &KIND, effort)
    }

    fn cpu_time(&self, group: &Node) -> Result<CpuTime> {
        let Some(dir) = self.controller_directory(group, super::CPU_ACCOUNTING)? else {
            let why = "CPU time is not counted: no kernel tree of version 1 has the controller cpuacct";
            return Err(Error::new(libc::ENODEV, why));
        };
        let number = |file: &str| {
            let failed = |errno| group.failed(errno, &format!("reading {file}"));
            let text = dir.read(file).map_err(failed)?;
            std::str::from_utf8(text.trim_ascii())
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| failed(Errno::IO))
        };
        let usage = number("cpuacct.usage")?;
        let [user, system] = match (number("cpuacct.usage_user"), number("cpuacct.usage_sys")) {
            (Ok(user), Ok(system)) => [user, system],
            // Before Linux 4.17 there are only these, in clock ticks.
            _ => {
                let text = dir.read("cpuacct.stat").map_err(|errno| group.failed(errno, "reading cpuacct.stat"))?;
                let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
                ["user", "system"].map(|name| process::value_of(&text, name).unwrap_or(0).saturating_mul(tick))
            }
        };
        Ok(CpuTime::of_nanoseconds(usage, user, system))
    }

    fn frozen_usec(&self, _: &Node) -> Result<Option<u64>> {
        Ok(None)
    }

    fn signal(&self, _: &Node, process: &Process, signal: i32) -> Result<()> {
        super::send(process, signal)
    }

    fn kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        self.take_turn_and_kill(group, wait)
    }
}

impl Cgroup1 {
    /// A thaw shows in the state in one step with the request that it takes back,
    /// so that FROZEN is never a word from before it: unless a group above
    /// freezes too. Where none did when we began (`is_alone`), that is not asked
    /// after again: were one to begin just as somebody thaws ours, the group
    /// would be frozen all the same, by that one.
    fn wait_until_frozen(&self, group: &Node, state: &File, is_alone: bool, wait: &mut Wait<'_>) -> Result<Outcome> {
        let failed = |errno| group.failed(errno, "freezing");
        let mut patience = Patience::new();
        let mut pause = AGAIN;
        let mut again = Deadline::after(pause);
        loop {
            match read_state(state).map_err(failed)? {
                State::Frozen if is_alone || self.is_asked(group)? => return Ok(Outcome::Done),
                State::Freezing if self.is_asked(group)? => {}
                _ => return Ok(Outcome::Cancelled),
            }
            if again.passed() {
                write_once(state, b"FROZEN").map_err(failed)?;
                pause *= 2;
                again = Deadline::after(pause);
            }
            if let Err(ended) = patience.wait(wait) {
                return Ok(Outcome::Ended(ended));
            }
        }
    }

    /// `freezer.state`, which the kernel's own root does not have (EINVAL).
    fn state_file(&self, group: &Node) -> Result<File> {
        group.dir.open_file("freezer.state", OFlags::RDWR).map_err(|errno| match errno {
            Errno::NOENT if self.is_kernel_root(group) => {
                Error::new(libc::EINVAL, "the kernel's own root group cannot be frozen")
            }
            errno => group.failed(errno, "opening freezer.state"),
        })
    }

    fn flag(&self, group: &Node, name: &str) -> Result<bool> {
        match group.dir.open_file(name, OFlags::RDONLY) {
            Ok(file) => is_one(&file).map_err(|errno| group.failed(errno, "reading the freezer's flags")),
            Err(Errno::NOENT) if self.is_kernel_root(group) => Ok(false),
            Err(errno) => Err(group.failed(errno, "reading the freezer's flags")),
        }
    }
}

fn put(dir: &Dir, file: &str, id: i32) -> sys::Result<()> {
    dir.write(file, id.to_string().as_bytes())
}

fn put_state(dir: &Dir, word: &str) -> sys::Result<()> {
    dir.write("freezer.state", word.as_bytes())
}

fn read_state(file: &File) -> sys::Result<State> {
    let mut buffer = [0; 256];
    match read_short(file, &mut buffer)?.trim_ascii() {
        b"THAWED" => Ok(State::Thawed),
        b"FREEZING" => Ok(State::Freezing),
        b"FROZEN" => Ok(State::Frozen),
        _ => Err(Errno::IO),
    }
}

fn is_one(file: &File) -> sys::Result<bool> {
    let mut buffer = [0; 256];
    Ok(read_short(file, &mut buffer)?.first() == Some(&b'1'))
}

fn refused(group: &Node, id: i32, errno: Errno) -> Error {
    match errno {
        Errno::SRCH => process::no_such_process(id),
        Errno::ACCESS | Errno::PERM => Error::new(
            libc::EACCES,
            format!("moving {id} into {}: not permitted; it belongs to another user", group.path),
        ),
        errno => group.failed(errno, &format!("moving {id} into the tasks")),
    }
}

/// Waiting for `freezer.state` to change, of which version 1 gives no notice.
///
/// Reading is what makes the kernel look, and it looks at every task: so a few
/// looks in a row for the small group that is frozen in microseconds, then
/// pauses that grow with the time already spent.
struct Patience {
    looks: u32,
    next: Duration,
}

impl Patience {
    const EAGER_LOOKS: u32 = 16;
    const LONGEST: Duration = Duration::from_millis(1);

    fn new() -> Patience {
        Patience { looks: 0, next: Duration::from_micros(20) }
    }

    fn wait(&mut self, wait: &mut Wait<'_>) -> Result<(), Ended> {
        self.looks += 1;
        if self.looks <= Patience::EAGER_LOOKS {
            wait.slice(Duration::ZERO)?;
            // Let a task that shares our CPU reach its freezing point.
            std::thread::yield_now();
            return Ok(());
        }
        wait.pause(self.next)?;
        self.next = (2 * self.next).min(Patience::LONGEST);
        Ok(())
    }
}
