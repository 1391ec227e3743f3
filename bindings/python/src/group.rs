//! `cgf.Group`.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use cgf::{AttachOptions, CheckpointOptions, FreezeOptions, RemoveOptions, Spawn};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::attributes::Attributes;
use crate::beancounter::{self, Amount, Amounts, Charged, Insistence, LIMIT, Named};
use crate::checkpoint::Checkpoint;
use crate::descriptor::{Identity, duplicate};
use crate::engine;
use crate::error::{Doing, OrRaise};
use crate::facade;
use crate::frozen::Frozen;
use crate::namespace::Kinds;
use crate::reference::Reference;
use crate::signals::{freeze_heeding_them, heeding_them};
use crate::text::{Text, group_path, quoted};
use crate::timeout::Timeout;

/// A group of processes. Made by `Hierarchy.create`, `open`, `root`, `group_of`.
///
/// It means this group and not another that is made later under the same path:
/// after a removal everything raises `GroupVanished`. Two handles are equal if
/// they mean the same group. May be used from several threads; in a forked child
/// everything raises `ForkedHandle`.
///
/// `group["freezer.state"]` is the text of a control file without the newline at
/// its end, and assigning writes it.
///
/// Calls that wait let other threads run. Of them `freeze` and `frozen` heed
/// Ctrl-C within about 50 ms; the others end within the hierarchy's deadline, and
/// the signal is handled then.
#[pyclass(frozen, mapping, module = "cgf")]
pub struct Group {
    pub(crate) group: cgf::Group,
    identity: Identity,
}

impl Group {
    /// What the engine finds or makes, the interpreter released meanwhile.
    pub fn from_result(py: Python<'_>, find: impl FnOnce() -> cgf::Result<cgf::Group> + Send) -> PyResult<Group> {
        Group::of(py, &engine::call(py, find)?)
    }

    /// A handle for Python. Of a group that was just removed, too.
    pub fn of(py: Python<'_>, group: &cgf::Group) -> PyResult<Group> {
        let identity = Identity::of(group.directory_fd().or_raise(py)?)?;
        Ok(Group { group: group.clone(), identity })
    }

    pub fn charge_named(&self, py: Python<'_>, named: &Named, amount: Amount, severity: Insistence) -> PyResult<()> {
        let group = &self.group;
        engine::call(py, || group.charge(named.find(group.hierarchy())?, amount.0, severity.0))
    }

    pub fn uncharge_named(&self, py: Python<'_>, named: &Named, amount: Amount) -> PyResult<()> {
        let group = &self.group;
        engine::call(py, || group.uncharge(named.find(group.hierarchy())?, amount.0))
    }
}

#[pymethods]
impl Group {
    /// Its path within the hierarchy: "/web/1"; "/" for the root group.
    #[getter]
    pub fn path(&self) -> OsString {
        group_path(self.group.path())
    }

    /// Start a program in the group, so that it never runs outside of it.
    ///
    /// Takes the arguments of `subprocess.Popen` and returns a `Process`, which is
    /// one. Not supported, and a ValueError: preexec_fn, user, group,
    /// extra_groups, umask, process_group. With the embedded backend the program
    /// always begins a session (start_new_session).
    ///
    /// namespaces: kinds that the group is bound to (`ns.types`), as ("net",): the
    ///     group's, or, if nobody is in it, new ones. Not "pid" and "time".
    ///
    /// Raises `NotFound` (a FileNotFoundError), `NotPermitted` (a
    /// PermissionError), …: the program could not be executed, as from Popen.
    /// `GroupBusy`: the group is not THAWED, or was frozen meanwhile, so that the
    /// program could not start within the hierarchy's deadline. Any other: a
    /// subsystem refused, or failed to follow; nothing is left of the child.
    #[pyo3(signature = (args, **kwargs))]
    fn spawn<'py>(
        slf: &Bound<'py, Group>,
        args: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        facade::process_class(slf.py())?.call((slf, args), kwargs)
    }

    /// For `Process` alone: everything has been looked at and turned to bytes.
    #[pyo3(signature = (program, args, *, env, cwd, fds, close_fds, session, restore_signals, namespaces))]
    #[allow(clippy::too_many_arguments, reason = "Popen has them")]
    fn _start(
        &self,
        py: Python<'_>,
        program: Vec<u8>,
        args: Vec<Vec<u8>>,
        env: Option<Vec<(Vec<u8>, Vec<u8>)>>,
        cwd: Option<Vec<u8>>,
        fds: Vec<(RawFd, RawFd)>,
        close_fds: bool,
        session: bool,
        restore_signals: bool,
        namespaces: Kinds,
    ) -> PyResult<i32> {
        let text = OsString::from_vec;
        let mut args = args.into_iter().map(text);
        let mut spawn = Spawn::new(text(program))
            .arg0(args.next().unwrap_or_default())
            .args(args)
            .close_others(close_fds)
            .session(session)
            .restore_signals(restore_signals)
            .namespaces(namespaces.find(py)?);
        if let Some(env) = env {
            spawn = env.into_iter().fold(spawn.env_clear(), |spawn, (name, value)| spawn.env(text(name), text(value)));
        }
        if let Some(cwd) = cwd {
            spawn = spawn.current_dir(PathBuf::from(text(cwd)));
        }
        for (ours, number) in fds {
            spawn = spawn.fd(duplicate(ours)?, number);
        }
        let child = engine::call(py, || self.group.spawn(spawn))?;
        Ok(child.pid())
    }

    /// Bring the calling thread into the group's namespaces of these kinds, and into no
    /// others: `group.enter(("net",))`. What group it is in stays as it is.
    ///
    /// "mnt" takes the working directory along; it and "user" want a process of one
    /// thread. "pid" and "time" hold for children that the thread makes afterwards.
    ///
    /// Raises `CgfError` with EINVAL: the group is not bound to it, or the process has
    /// several threads. `NoSuchProcess`: nobody is in it. `NotPermitted`, `ForkedHandle`.
    fn enter(&self, py: Python<'_>, namespaces: Kinds) -> PyResult<()> {
        let kinds = namespaces.find(py)?;
        engine::call(py, || self.group.enter(kinds))
    }

    /// Move a process with all its threads into the group; 0 is the caller. Its
    /// children stay where they are.
    ///
    /// frozen: into a FROZEN group too, where it freezes.
    ///
    /// Raises `NoSuchProcess`. `GroupBusy`: the group is FROZEN, or cannot hold
    /// processes; a checkpoint holds it, or the group that the process is in, or one
    /// above either. `NotPermitted`: it is another user's, or we may not write to
    /// the group. `GroupVanished`. `NotFound`: a subsystem of the hierarchy is not
    /// registered here. Any other: a subsystem refused, or failed to follow; the
    /// process is where it was.
    #[pyo3(signature = (pid, *, frozen = false))]
    fn attach(&self, py: Python<'_>, pid: i32, frozen: bool) -> PyResult<()> {
        engine::call(py, || self.group.attach_with(pid, AttachOptions { frozen }))
    }

    /// Move one thread; 0 is the calling thread.
    ///
    /// Raises `CgfError` with EOPNOTSUPP where groups hold whole processes; the
    /// message says why. Else as `attach`.
    fn attach_task(&self, py: Python<'_>, tid: i32) -> PyResult<()> {
        engine::call(py, || self.group.attach_task(tid))
    }

    /// Move the process that a pidfd (`os.pidfd_open`) stands for: it cannot be
    /// mistaken for another that has its number by now.
    ///
    /// Raises OSError with EBADF: it is no pidfd. Else as `attach`.
    #[pyo3(signature = (fd, *, frozen = false))]
    fn attach_pidfd(&self, py: Python<'_>, fd: RawFd, frozen: bool) -> PyResult<()> {
        let pidfd = duplicate(fd)?;
        engine::call(py, || self.group.attach_pidfd(pidfd, AttachOptions { frozen }))
    }

    /// The processes in this very group, sorted. Those of groups below are not
    /// among them, nor what our pid namespace does not show.
    fn procs(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        engine::call(py, || self.group.procs())
    }

    /// The threads in this very group, as `procs`.
    fn tasks(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        engine::call(py, || self.group.tasks())
    }

    /// The paths of the groups below this one, parents before their children.
    fn groups(&self, py: Python<'_>) -> PyResult<Vec<OsString>> {
        let paths = engine::call(py, || self.group.groups())?;
        Ok(paths.iter().map(group_path).collect())
    }

    /// Freeze every task of the group and of the groups below, and return when
    /// the last one has stopped.
    ///
    /// timeout: seconds; 0 asks and looks once, None waits without limit.
    /// rollback: after a failure, give the group its former state back. Without
    ///     it, it stays FREEZING and freezes when the blocking tasks go.
    /// with_caller: allow a group that the caller is in. It stops with the rest;
    ///     the call returns when somebody else has thawed the group.
    ///
    /// Raises `FreezeTimeout`: not all had stopped in time, `.blockers` says
    /// which; or a checkpoint holds the group, or one above, and nothing was done.
    /// `CgfError` with ECANCELED: somebody thawed it meanwhile; with
    /// EDEADLK: the caller is in the group, nothing was frozen; with EINVAL: it is
    /// the kernel's own root. `GroupVanished`, `NotPermitted`. Ctrl-C ends the
    /// wait, the state kept or rolled back as after a timeout.
    #[pyo3(
        signature = (timeout = Timeout::seconds(5), *, rollback = false, with_caller = false),
        text_signature = "($self, timeout=5.0, *, rollback=False, with_caller=False)"
    )]
    fn freeze(&self, py: Python<'_>, timeout: Timeout, rollback: bool, with_caller: bool) -> PyResult<()> {
        let deadline = timeout.begin();
        freeze_heeding_them(py, |meanwhile| {
            let options = FreezeOptions::within(deadline).rollback(rollback).with_caller(with_caller);
            self.group.freeze_with(options.meanwhile(meanwhile))
        })
    }

    /// Let every task of the group go that nothing else holds. When it returns,
    /// none is stopped by this group any more. Thawing a thawed group succeeds;
    /// one whose parent is frozen goes on when the parent is thawed.
    ///
    /// Raises `DeadlinePassed`: the kernel did not let go within the hierarchy's
    /// deadline. `GroupBusy`: a checkpoint holds it, or a group above.
    /// `GroupVanished`, `NotPermitted`.
    fn thaw(&self, py: Python<'_>) -> PyResult<()> {
        engine::call(py, || self.group.thaw())
    }

    /// Keep the group frozen inside of a `with` statement.
    ///
    /// Counted across threads and processes: the last one out thaws, unless the
    /// group was frozen before the first one came. A holder that is killed gives
    /// its share back. It does not keep others from thawing the group.
    ///
    /// timeout: seconds to wait for the freeze; 0 asks once, None has no limit.
    ///
    /// Entering raises as `freeze`, and leaves nothing behind; leaving as `thaw`.
    #[pyo3(
        signature = (timeout = Timeout::seconds(5)),
        text_signature = "($self, timeout=5.0)"
    )]
    fn frozen(slf: Py<Group>, timeout: Timeout) -> Frozen {
        Frozen::new(slf, timeout)
    }

    /// Make the FROZEN group CHECKPOINTING, so that an image of it can be taken:
    ///
    ///     with group.checkpoint(root=pid) as checkpoint:
    ///         ...  # raises CheckpointTorn at the end if a task ran
    ///
    /// It begins at once, and ends with the statement, or with `checkpoint.end()`.
    /// Until then whoever freezes, thaws, kills, renames or removes the group, or
    /// moves something into it or out of it, through libcgf and from any process, has
    /// `GroupBusy` (or `FreezeTimeout`); so has who does that to a group below, and
    /// who kills or removes one above. What those do who write to the kernel's own
    /// files is found out.
    ///
    /// root: the process that is to be checkpointed with all its descendants, which
    ///     must all be in the group or below. None looks at nobody's family.
    /// timeout: seconds to wait for others who act upon the group; None is the
    ///     hierarchy's deadline.
    /// external: for a tool that must thaw the group to do its work, as CRIU does once
    ///     it has seized the tasks. Nothing is proved; this process may freeze and thaw
    ///     the group and act upon it, others may not; the end freezes it again.
    /// wakeups: on cgroup version 2 too, count how often each thread is woken, for
    ///     `Stillness.woken`.
    ///
    /// Raises `CgfError` with EINVAL: the group is THAWED, or the kernel's own root, or
    /// `root` is no process number; with EXDEV: not all of the family are in the group,
    /// `.blockers` are those who are not; with EDEADLK: the caller is in the group;
    /// with EOPNOTSUPP: the kernel does not count how often a thread runs, which is
    /// needed on cgroup version 1 and embedded. `GroupBusy`: it is FREEZING, or a
    /// checkpoint holds it or one above, or somebody acts upon it and does not get on
    /// with it. `NoSuchProcess`, `GroupVanished`, `NotPermitted`. The group is as
    /// before then.
    #[pyo3(
        signature = (root = None, *, timeout = None, external = false, wakeups = false),
        text_signature = "($self, root=None, *, timeout=None, external=False, wakeups=False)"
    )]
    fn checkpoint(
        slf: Bound<'_, Group>,
        root: Option<i32>,
        timeout: Option<Timeout>,
        external: bool,
        wakeups: bool,
    ) -> PyResult<Checkpoint> {
        let limit = timeout.map(|timeout| timeout.limit()).transpose()?;
        let group = &slf.get().group;
        let held = heeding_them(Doing::Else, slf.py(), |meanwhile| {
            let options = CheckpointOptions::default().external(external).wakeups(wakeups).meanwhile(meanwhile);
            group.checkpoint_with(
                root,
                match limit {
                    Some(limit) => options.within(limit),
                    None => options,
                },
            )
        })?;
        Ok(Checkpoint::new(slf.unbind(), held))
    }

    /// End somebody's checkpoint of this group by force, whichever process has it. The
    /// group is FROZEN then, or as its last holder left it (`frozen`); ending the
    /// checkpoint raises `CheckpointTorn`.
    ///
    /// Raises `NotFound`: no checkpoint holds the group itself. `GroupBusy`: somebody
    /// acts upon it and does not get on with it. `GroupVanished`, `NotPermitted`.
    fn break_checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        engine::call(py, || self.group.break_checkpoint())
    }

    /// What the group's tasks really do now: a `State`.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        facade::state(py, engine::call(py, || self.group.state())?)
    }

    /// Seconds that the group has been frozen or freezing in all, by itself or by
    /// a group above: the kernel's figure on cgroup version 2, else libcgf's.
    ///
    /// Raises `CgfError` with EOPNOTSUPP: cgroup version 2 before Linux 6.18.
    #[getter]
    fn frozen_time(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(engine::call(py, || self.group.frozen_time())?.as_secs_f64())
    }

    /// Whether a process that is not dead is in the group or below.
    #[getter]
    fn populated(&self, py: Python<'_>) -> PyResult<bool> {
        engine::call(py, || self.group.is_populated())
    }

    /// Send a signal to every process of the group and below, to each once; 0
    /// only checks. SIGKILL ends them all, also those born meanwhile and those in
    /// frozen groups, and returns when they are dead.
    ///
    /// Raises `GroupBusy`: after SIGKILL some were not dead by the hierarchy's
    /// deadline, `.blockers` says which; or a checkpoint holds the group, one above
    /// it or below, and no signal was sent. `CgfError` with EINVAL: no such signal.
    /// `NotPermitted`, `GroupVanished`.
    #[pyo3(signature = (sig = libc::SIGKILL), text_signature = "($self, sig=9)")]
    fn kill(&self, py: Python<'_>, sig: i32) -> PyResult<()> {
        engine::call(py, || self.group.kill(sig))
    }

    /// Remove the group, and return when it is gone.
    ///
    /// kill: kill the processes inside first.
    /// recursive: remove the groups below too, children first.
    ///
    /// Raises `GroupBusy`: it has processes or groups that the options do not
    /// allow for, and nothing was done; or it could not be emptied within the
    /// hierarchy's deadline, `.blockers` says by whom; or somebody holds a
    /// `reference`, or a checkpoint holds it, one above or one below. The root group
    /// always. `GroupVanished`: it was removed before. `NotPermitted`.
    #[pyo3(signature = (*, kill = false, recursive = false))]
    fn remove(&self, py: Python<'_>, kill: bool, recursive: bool) -> PyResult<()> {
        engine::call(py, || self.group.remove_with(RemoveOptions { kill, recursive }))
    }

    /// Give the group another name in its parent, and return a handle with the
    /// new path. This one keeps the old path: drop it.
    ///
    /// Raises `GroupExists`. `CgfError` with EOPNOTSUPP: cgroup version 2, which
    /// cannot; with EINVAL: no name for a group. `GroupBusy`: the root group;
    /// a checkpoint holds it, or one above.
    fn rename(&self, py: Python<'_>, name: Text) -> PyResult<Group> {
        Group::from_result(py, || self.group.rename(OsStr::from_bytes(&name.0)))
    }

    /// A new descriptor for the group's directory (O_PATH, close-on-exec), for a
    /// runtime that calls clone3(CLONE_INTO_CGROUP) itself. The caller closes it.
    fn directory_fd(&self, py: Python<'_>) -> PyResult<RawFd> {
        Ok(engine::call(py, || self.group.directory_fd())?.into_raw_fd())
    }

    /// A new descriptor (O_PATH, close-on-exec) for the group's directory in the
    /// kernel tree that has a controller, "pids" for one. The caller closes it.
    ///
    /// Raises `CgfError` with ENODEV: no tree of this hierarchy has it (name it in
    /// a subsystem's `controllers`), or the group was removed.
    fn controller_fd(&self, py: Python<'_>, controller: &str) -> PyResult<RawFd> {
        let fd = engine::call_while(Doing::Opening, py, || self.group.controller_fd(controller))?;
        Ok(fd.into_raw_fd())
    }

    /// Keep the group from being removed through libcgf: `GroupBusy` for whoever
    /// tries. (A bare rmdir(2) of the kernel's knows nothing of it.)
    ///
    /// Raises `GroupVanished`: it was removed, or is being. `DeadlinePassed`:
    /// somebody is about to remove it and does not get on with it within the
    /// hierarchy's deadline. `NotPermitted`.
    fn reference(&self, py: Python<'_>) -> PyResult<Reference> {
        Ok(Reference::from(engine::call(py, || self.group.reference())?))
    }

    /// What subsystems have noted on the group: `group.attributes["members.max"]`.
    #[getter]
    fn attributes(slf: Py<Group>) -> Attributes {
        Attributes::from(slf)
    }

    /// Charge so much of a resource to the group and to all groups above it, or, if one
    /// of them has no room for it, to none.
    ///
    /// The charge is this process's: its threads share it, it survives an exec, and it
    /// ends with the process, however that ends. It never waits.
    ///
    /// resource: "numfiles", any other name that the hierarchy knows, or its number.
    /// amount: at most 2**48; 0 succeeds.
    /// severity: with BARRIER refused beyond the barrier, with LIMIT beyond the limit,
    ///     with FORCE never.
    ///
    /// Raises `ChargeRefused` with ENOMEM, of "numfiles" with EMFILE: `.level` is the
    /// group that had no room. `NotFound`: no such resource. `CgfError` with EINVAL: an
    /// amount that no counter holds; with EOPNOTSUPP: the hierarchy is not bound to
    /// "beancounter"; with ENOSPC: no room for more counters. `GroupVanished`.
    #[pyo3(
        signature = (resource, amount, severity = LIMIT),
        text_signature = "($self, resource, amount, severity=cgf.Severity.LIMIT)"
    )]
    fn charge(&self, py: Python<'_>, resource: Named, amount: Amount, severity: Insistence) -> PyResult<()> {
        self.charge_named(py, &resource, amount, severity)
    }

    /// Take a charge back from the group and all groups above it: what this process
    /// holds, and then what the group keeps (`charge_kept`). Of more than that, the rest
    /// is not taken and counts in `Snapshot.underflow`.
    ///
    /// Raises as `charge`, but for `ChargeRefused`.
    fn uncharge(&self, py: Python<'_>, resource: Named, amount: Amount) -> PyResult<()> {
        self.uncharge_named(py, &resource, amount)
    }

    /// Charge several resources in one step, all of them or none:
    /// `charge_many({"numfiles": 3, "kmemsize": 4096})`. Nobody ever sees a part of it.
    ///
    /// Raises as `charge`; `ChargeRefused.resource` is the one there was no room for.
    #[pyo3(
        signature = (amounts, severity = LIMIT),
        text_signature = "($self, amounts, severity=cgf.Severity.LIMIT)"
    )]
    fn charge_many(&self, py: Python<'_>, amounts: Amounts, severity: Insistence) -> PyResult<()> {
        let group = &self.group;
        engine::call(py, || group.charge_many(&amounts.find(group.hierarchy())?, severity.0))
    }

    /// Take several charges back in one step, each as `uncharge` does.
    fn uncharge_many(&self, py: Python<'_>, amounts: Amounts) -> PyResult<()> {
        let group = &self.group;
        engine::call(py, || group.uncharge_many(&amounts.find(group.hierarchy())?))
    }

    /// Charge as much as there is room for, at most `amount`, and return how much that
    /// was. 0 counts as a refusal.
    ///
    /// Raises as `charge`, but for `ChargeRefused`.
    #[pyo3(
        signature = (resource, amount, severity = LIMIT),
        text_signature = "($self, resource, amount, severity=cgf.Severity.LIMIT)"
    )]
    fn charge_up_to(&self, py: Python<'_>, resource: Named, amount: Amount, severity: Insistence) -> PyResult<u64> {
        let group = &self.group;
        engine::call(py, || group.charge_up_to(resource.find(group.hierarchy())?, amount.0, severity.0))
    }

    /// Charge several resources in one step, as `charge_many`, for the group itself: the
    /// charges outlive this process, until somebody takes them back (`uncharge`, in any
    /// process). The group cannot be removed before: `GroupBusy`.
    ///
    /// Raises as `charge_many`.
    #[pyo3(
        signature = (amounts, severity = LIMIT),
        text_signature = "($self, amounts, severity=cgf.Severity.LIMIT)"
    )]
    fn charge_kept(&self, py: Python<'_>, amounts: Amounts, severity: Insistence) -> PyResult<()> {
        let group = &self.group;
        engine::call(py, || group.charge_kept(&amounts.find(group.hierarchy())?, severity.0))
    }

    /// Hold a charge inside of a `with` statement: `with group.charged("numfiles", 64):`.
    ///
    /// Entering raises as `charge`, leaving as `uncharge`.
    #[pyo3(
        signature = (resource, amount, severity = LIMIT),
        text_signature = "($self, resource, amount, severity=cgf.Severity.LIMIT)"
    )]
    fn charged(slf: Py<Group>, resource: Named, amount: Amount, severity: Insistence) -> Charged {
        Charged::new(slf, resource, amount, severity)
    }

    /// Set barrier and limit together; None is none. A limit below what is held lets
    /// nothing more in.
    ///
    /// Raises `CgfError` with EINVAL: a barrier above the limit, or more than 2**48.
    /// Else as `uncharge`.
    #[pyo3(signature = (resource, barrier, limit))]
    fn set_limits(
        &self,
        py: Python<'_>,
        resource: Named,
        barrier: Option<Amount>,
        limit: Option<Amount>,
    ) -> PyResult<()> {
        let group = &self.group;
        let (barrier, limit) = (barrier.map(|amount| amount.0), limit.map(|amount| amount.0));
        engine::call(py, || group.set_limits(resource.find(group.hierarchy())?, barrier, limit))
    }

    /// The figures of all resources, as they were at one instant: a `Snapshot`.
    ///
    /// Raises `CgfError` with EOPNOTSUPP: the hierarchy is not bound to "beancounter".
    /// `GroupVanished`.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = engine::call(py, || self.group.snapshot())?;
        beancounter::snapshot(py, &found)
    }

    /// What the group holds and may, by resource: `group.beancounters["numfiles"].limit = 100`.
    #[getter]
    fn beancounters(slf: Bound<'_, Group>) -> PyResult<Bound<'_, PyAny>> {
        facade::beancounter_class(slf.py(), "BeanCounters")?.call1((slf,))
    }

    /// For `BeanCounters` alone: the names of all resources.
    fn _resources(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let known = engine::call(py, || self.group.hierarchy().resources())?;
        Ok(known.into_iter().map(|resource| resource.name).collect())
    }

    /// For `BeanCounters` alone: whether there is such a resource.
    fn _has_resource(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        engine::call(py, || match self.group.hierarchy().resource(name) {
            Err(error) if error.errno() == libc::ENOENT => Ok(false),
            found => found.map(|_| true),
        })
    }

    /// The names of its control files, sorted.
    fn control_files(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        engine::call(py, || self.group.control_files())
    }

    /// The text of a control file, whole: "FROZEN\n".
    ///
    /// Raises `NotFound`: no such file, or its subsystem is not bound.
    /// `NotPermitted`: it can only be written. Else what its subsystem raises.
    fn read(&self, py: Python<'_>, file: &str) -> PyResult<String> {
        engine::call(py, || self.group.read(file))
    }

    /// Write a control file, with or without a newline at the end.
    ///
    /// Raises `NotFound`. `NotPermitted`: it can only be read. `CgfError` with
    /// EINVAL: not what the file takes; with E2BIG: more than 4096 bytes. Else
    /// what the operation behind it raises.
    fn write(&self, py: Python<'_>, file: &str, text: &str) -> PyResult<()> {
        engine::call(py, || self.group.write(file, text))
    }

    fn __getitem__(&self, py: Python<'_>, file: &str) -> PyResult<String> {
        let mut text = self.read(py, file)?;
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }

    fn __setitem__(&self, py: Python<'_>, file: &str, text: &str) -> PyResult<()> {
        self.write(py, file, text)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Group>().is_ok_and(|other| other.get().identity == self.identity)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.identity.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = quoted(py, &self.path())?;
        let hierarchy = quoted(py, self.group.hierarchy().name())?;
        Ok(format!("<cgf.Group {path} of {hierarchy}>"))
    }
}
