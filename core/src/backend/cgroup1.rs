//! Control groups version 1: the freezer controller, which never tells.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::tree::{Tree, Version};
use super::{Admission, Attempt, Backend, BackendKind, Effort, Node, Outcome, probe};
use crate::blocker::Blocker;
use crate::deadline::{Deadline, Ended, Wait};
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process::{self, Process};
use crate::subsystems::freezer::State;
use crate::sys::{
    self, Errno,
    dir::{Dir, read_short, write_once},
};

/// A hierarchy on the version 1 tree that has the freezer.
#[derive(Debug)]
pub(crate) struct Cgroup1 {
    tree: Tree,
}

impl Cgroup1 {
    pub(crate) fn new(root: &Dir) -> Result<Cgroup1> {
        Ok(Cgroup1 { tree: Tree::around(root, Version::OneFreezer)? })
    }
}

impl Backend for Cgroup1 {
    fn kind(&self) -> BackendKind {
        BackendKind::Cgroup1
    }

    fn is_kernel_root(&self, group: &Node) -> bool {
        let at_top = self.tree.above(&group.path).1.is_empty();
        at_top && matches!(group.dir.open_file("freezer.state", OFlags::RDONLY), Err(Errno::NOENT))
    }

    fn create(&self, parent: &Node, name: &OsStr) -> sys::Result<()> {
        parent.dir.mkdir(name, Mode::from_raw_mode(0o755))?;
        // A mere reader of the freeze file could hold up its lockers.
        match parent.dir.open_dir(name).and_then(|dir| dir.chmod("freezer.state", Mode::RUSR | Mode::WUSR)) {
            // Somebody was quick to remove it again.
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(errno) => {
                let _ = parent.dir.rmdir(name);
                Err(errno)
            }
        }
    }

    fn remove(&self, parent: &Node, group: &Node) -> sys::Result<()> {
        parent.dir.rmdir(group.path.name())
    }

    fn rename(&self, parent: &Node, group: &Node, to: &OsStr) -> sys::Result<()> {
        // kernfs does not know RENAME_NOREPLACE; it refuses a taken name itself.
        parent.dir.rename_in_kernfs(group.path.name(), to)
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

    fn admit(&self, group: &Node, process: &Process, _: Admission) -> Result<()> {
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
        "freezer.state"
    }

    fn freeze(&self, group: &Node, wait: &mut Wait<'_>, _with_caller: bool) -> Result<Attempt> {
        let failed = |errno| group.failed(errno, "freezing");
        let state = self.state_file(group)?;
        let is_asked = || self.is_asked(group);
        // THAWED says that nobody has asked; anything else may be for the sake
        // of a group above.
        let was_asked = read_state(&state).map_err(failed)? != State::Thawed && is_asked()?;
        if !was_asked {
            write_once(&state, b"FROZEN").map_err(failed)?;
        }
        let mut patience = Patience::new();
        let outcome = loop {
            // The kernel takes a request back in one step with the state that
            // it shows: FROZEN is never a word from before a thaw.
            match read_state(&state).map_err(failed)? {
                State::Frozen => break Outcome::Done,
                State::Freezing if is_asked()? => {}
                _ => break Outcome::Cancelled,
            }
            if let Err(ended) = patience.wait(wait) {
                break Outcome::Ended(ended);
            }
        };
        Ok(Attempt { was_asked, outcome })
    }

    fn thaw(&self, group: &Node, _: &mut Wait<'_>) -> Result<Outcome> {
        // The kernel lets every task go before the write returns.
        write_once(&self.state_file(group)?, b"THAWED").map_err(|errno| group.failed(errno, "thawing"))?;
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

    fn frozen_usec(&self, _: &Node) -> Result<Option<u64>> {
        Ok(None)
    }

    fn signal(&self, _: &Node, process: &Process, signal: i32) -> Result<()> {
        super::send(process, signal)
    }

    fn kill(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        if self.is_asked_above(group)? {
            return self.kill_below_frozen(group, wait);
        }
        self.hold_kill_release(group, wait)
    }
}

impl Cgroup1 {
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

    /// SIGKILL stays pending on a frozen task of version 1. So: hold the group
    /// still, so that nothing is born unseen; kill; let everything go, frozen
    /// children included, to die; freeze again what was frozen.
    ///
    /// A task that does not freeze (it waits for a dead file server, say) is no
    /// reason not to kill the others, so the hold is not waited for long.
    fn hold_kill_release(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let frozen = self.asked_within(group)?;
        let inside = self.holds_caller(group)?;
        let outcome = self.kill_in_rounds(group, wait, inside);
        // Also after a failure: what was frozen before is frozen again.
        for node in &frozen {
            put_state(&node.dir, "FROZEN")
                .map_err(|errno| node.failed(errno, "freezing again"))
                .or_else(gone_is_fine)?;
        }
        outcome
    }

    fn kill_in_rounds(&self, group: &Node, wait: &mut Wait<'_>, inside: bool) -> Result<Outcome> {
        loop {
            if !inside {
                let mut hold = Wait::until(Deadline::after(wait.deadline().at_most(Duration::from_millis(50))));
                self.freeze(group, &mut hold, false)?;
            }
            let killed = super::kill_listed(self, group);
            let released =
                group.walk(&mut |node| put_state(&node.dir, "THAWED").map_err(|errno| node.failed(errno, "thawing")));
            killed.and(released)?;
            // The dying need a moment; only who is still there after it, or was
            // born in a group that could not be held, needs another round.
            let round = Deadline::after(Duration::from_millis(20));
            while !round.passed() {
                if !self.is_populated(group)? {
                    return Ok(Outcome::Done);
                }
                if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                    return Ok(Outcome::Ended(ended));
                }
            }
        }
    }

    /// Below a frozen ancestor nothing can be let go in place: the victims are
    /// moved to a passing group beside the topmost frozen one, and die there.
    fn kill_below_frozen(&self, group: &Node, wait: &mut Wait<'_>) -> Result<Outcome> {
        let (top, above) = self.tree.above(&group.path);
        let mut beside = None;
        for path in above.iter().filter(|path| !path.is_root()) {
            let dir = top.open_dir(path.as_path()).map_err(|errno| group.failed(errno, "opening the groups above"))?;
            if read_state(
                &dir.open_file("freezer.state", OFlags::RDONLY)
                    .map_err(|errno| group.failed(errno, "reading freezer.state above"))?,
            ) != Ok(State::Thawed)
            {
                beside = path.parent();
            }
        }
        let Some(beside) = beside else {
            // The ancestor was thawed meanwhile.
            return self.hold_kill_release(group, wait);
        };
        let dying = Dying::create(top, &beside)?;
        loop {
            let mut move_error = None;
            group.walk(&mut |node| {
                for pid in self.procs(node)? {
                    let Some(process) = super::member(self, node, pid)? else { continue };
                    super::send(&process, libc::SIGKILL).or_else(gone_is_fine)?;
                    match put(&dying.dir, "cgroup.procs", pid) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => move_error = Some(refused(node, pid, errno)),
                    }
                }
                Ok(())
            })?;
            if let Some(error) = move_error {
                return Err(error.context("moving a process out of a frozen group to die"));
            }
            if !self.is_populated(group)? && dying.is_empty() {
                return Ok(Outcome::Done);
            }
            if let Err(ended) = wait.pause(Duration::from_millis(1)) {
                return Ok(Outcome::Ended(ended));
            }
        }
    }

    /// The groups of this subtree that are asked to freeze themselves.
    fn asked_within(&self, group: &Node) -> Result<Vec<Node>> {
        let mut asked = Vec::new();
        group.walk(&mut |node| {
            if self.is_asked(node)? {
                let dir = node.dir.open_dir(".").map_err(|errno| node.failed(errno, "opening the directory"))?;
                asked.push(Node { dir, path: node.path.clone() });
            }
            Ok(())
        })?;
        Ok(asked)
    }
}

/// A group that exists while others die in it.
struct Dying {
    parent: Dir,
    name: OsString,
    dir: Dir,
}

impl Dying {
    fn create(top: &Dir, beside: &GroupPath) -> Result<Dying> {
        let failed = |errno| {
            Error::os(
                errno,
                format_args!("making a group beside the frozen one, in {beside}, for the killed to die in"),
            )
        };
        let parent =
            if beside.is_root() { top.open_dir(".") } else { top.open_dir(beside.as_path()) }.map_err(failed)?;
        let name = OsString::from(probe::passing_name("dying"));
        parent.mkdir(&name, Mode::from_raw_mode(0o755)).map_err(failed)?;
        let dir = parent.open_dir(&name).map_err(failed)?;
        Ok(Dying { parent, name, dir })
    }

    fn is_empty(&self) -> bool {
        self.dir.read("tasks").is_ok_and(|text| text.is_empty())
    }
}

impl Drop for Dying {
    fn drop(&mut self) {
        // Fails while somebody has not died yet, whom no deadline could wait
        // for; the group stays then until the next removal sweeps it.
        let _ = self.parent.rmdir(&self.name);
    }
}

fn put(dir: &Dir, file: &str, id: i32) -> sys::Result<()> {
    dir.write(file, id.to_string().as_bytes())
}

fn put_state(dir: &Dir, word: &str) -> sys::Result<()> {
    dir.write("freezer.state", word.as_bytes())
}

fn gone_is_fine(error: Error) -> Result<()> {
    if error.is(libc::ESRCH) || error.is(libc::ENODEV) { Ok(()) } else { Err(error) }
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
