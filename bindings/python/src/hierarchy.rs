//! `cgf.Hierarchy`.

use std::ffi::OsString;
use std::path::PathBuf;

use cgf::{Options, StopMethod, WatchOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::beancounter::{barrier_hit, limit_hit};
use crate::callback::Function;
use crate::engine;
use crate::error::{Doing, OrRaise, os_error};
use crate::facade;
use crate::group::Group;
use crate::monitor::Monitor;
use crate::text::{Text, group_path, quoted};
use crate::timeout::Timeout;
use crate::watch::{Source, Watch};

/// A tree of groups with subsystems bound to it.
///
/// Opens the hierarchy `name`, and makes it if there is none. Whoever opens the
/// same name with the same subsystems shares it. It lasts until `unmount`, not
/// until this object goes.
///
/// name: one path component. With `root`, a label.
/// subsystems: what to bind, of "freezer", "signal", "beancounter" and what was
///     registered; none named: those that the hierarchy has, or the first two.
/// backend: "cgroup2", "cgroup1", "embedded", or "auto": the first that works.
/// root: open the groups at and below this existing directory instead.
/// state: the directory of the system that the hierarchy belongs to; within one
///     a subsystem is bound to one hierarchy at most.
/// deadline: seconds that remove, kill, spawn, attach and thaw may take.
/// stop: how the embedded backend stops a task, "signal" or "ptrace".
/// hold: with "parent", groups are made with a parent of their own, which is frozen
///     and thawed with them: who thaws such a group by the kernel's own file changes
///     nothing. Their paths need two names, "web/1".
/// flat: charges count in the group that is charged, and not in those above.
///
/// Raises `GroupBusy`: it exists with other subsystems or in another system, or
/// a subsystem is bound elsewhere in this one. `NotFound`: no such subsystem, or
/// no directory `root`. `NotPermitted`: the message names the directory.
/// `CgfError` with ENODEV: the backend is not there, the message says why; with
/// EINVAL: a name that is none, a word that is none, or `root` is not of the
/// chosen backend. What the `mount` of a subsystem raises.
///
/// A hierarchy that is bound to a subsystem which only another program has
/// registered can be looked at, frozen, killed and removed; `create`, `attach`,
/// `clone` and `spawn` raise `NotFound`.
///
/// May be used from several threads. In a forked child a handle from before the
/// fork raises `ForkedHandle`: open it again there.
#[pyclass(frozen, module = "cgf")]
pub struct Hierarchy {
    hierarchy: cgf::Hierarchy,
}

impl From<cgf::Hierarchy> for Hierarchy {
    fn from(hierarchy: cgf::Hierarchy) -> Hierarchy {
        Hierarchy { hierarchy }
    }
}

#[pymethods]
impl Hierarchy {
    #[new]
    #[pyo3(
        signature = (
            name, subsystems = Vec::new(), backend = "auto", root = None, state = None,
            deadline = DEADLINE, stop = "signal", hold = None, flat = false
        ),
        text_signature = "(name, subsystems=(), backend='auto', root=None, state=None, deadline=10.0, stop='signal', hold=None, flat=False)"
    )]
    #[allow(clippy::too_many_arguments, reason = "in Python they are named, and all but one have a default")]
    fn new(
        py: Python<'_>,
        name: Text,
        subsystems: Vec<String>,
        backend: &str,
        root: Option<Text>,
        state: Option<Text>,
        deadline: Timeout,
        stop: &str,
        hold: Option<&str>,
        flat: bool,
    ) -> PyResult<Hierarchy> {
        let mut options = options(py, &subsystems, backend, deadline, stop)?.flat(flat);
        options = match hold {
            None => options,
            Some("parent") => options.hold_by_parent(true),
            Some(_) => return Err(PyValueError::new_err(format!("hold={hold:?}: not \"parent\" or None"))),
        };
        if let Some(root) = root {
            options = options.root(absolute(root)?);
        }
        if let Some(state) = state {
            options = options.state(absolute(state)?);
        }
        let name = name.into_os_string();
        opened(py, || cgf::Hierarchy::open(name, &options))
    }

    /// Open the groups at and below an existing directory, whoever made it: a
    /// container of runc, crun, LXC or systemd. Nothing is written to it until
    /// something is asked for.
    ///
    /// Raises `NotFound`: no such directory. `CgfError` with EINVAL: it is not of
    /// the chosen backend. `NotPermitted`.
    #[staticmethod]
    #[pyo3(
        signature = (path, *, subsystems = Vec::new(), backend = "auto", deadline = DEADLINE, stop = "signal"),
        text_signature = "(path, *, subsystems=(), backend='auto', deadline=10.0, stop='signal')"
    )]
    fn adopt(
        py: Python<'_>,
        path: Text,
        subsystems: Vec<String>,
        backend: &str,
        deadline: Timeout,
        stop: &str,
    ) -> PyResult<Hierarchy> {
        let options = options(py, &subsystems, backend, deadline, stop)?;
        let path = absolute(path)?;
        opened(py, || cgf::Hierarchy::adopt(path, &options))
    }

    /// Open the group that a process is in as the root of a hierarchy: the first
    /// of cgroup version 2 and 1 where that is not the kernel's own root.
    ///
    /// Raises `NoSuchProcess`: there is none, or it is in no group but the
    /// kernel's root.
    #[staticmethod]
    #[pyo3(
        signature = (pid, *, subsystems = Vec::new(), backend = "auto", deadline = DEADLINE, stop = "signal"),
        text_signature = "(pid, *, subsystems=(), backend='auto', deadline=10.0, stop='signal')"
    )]
    fn adopt_group_of(
        py: Python<'_>,
        pid: i32,
        subsystems: Vec<String>,
        backend: &str,
        deadline: Timeout,
        stop: &str,
    ) -> PyResult<Hierarchy> {
        let options = options(py, &subsystems, backend, deadline, stop)?;
        opened(py, || cgf::Hierarchy::adopt_group_of(pid, &options))
    }

    /// Make a group, and those above it that are missing: `create("web/1")`.
    ///
    /// Raises `GroupExists`. `CgfError` with EINVAL or ENAMETOOLONG: no path for
    /// a group. `NotPermitted`. `GroupVanished`: the hierarchy has ended. After a
    /// failure nothing is left of what the call made, that of a subsystem's
    /// `create` too.
    fn create(&self, py: Python<'_>, path: Text) -> PyResult<Group> {
        Group::from_result(py, || self.hierarchy.create(path.0))
    }

    /// Open a group that exists; "/" is the root.
    ///
    /// Raises `NotFound`: there is none. Else as `create`.
    fn open(&self, py: Python<'_>, path: Text) -> PyResult<Group> {
        Group::from_result(py, || self.hierarchy.open_group(path.0))
    }

    /// Make a group below the one that a process is in, with that group's
    /// settings (the attributes of its subsystems, `notify_on_release`,
    /// `auto_delete`), and move the process into it as its first member; 0 is the
    /// caller.
    ///
    /// Raises as `create` and `Group.attach`, and what the `post_clone` of a
    /// subsystem raises. After a failure the process is where it was, and the
    /// group is gone.
    #[pyo3(signature = (name, pid = 0))]
    fn clone(&self, py: Python<'_>, name: Text, pid: i32) -> PyResult<Group> {
        let name = name.into_os_string();
        Group::from_result(py, || self.hierarchy.clone_group(pid, name))
    }

    /// The root group.
    #[getter]
    fn root(&self, py: Python<'_>) -> PyResult<Group> {
        Group::from_result(py, || Ok(self.hierarchy.root()))
    }

    /// The group that a process is in; 0 is the caller. A process that was never
    /// moved is in the root group.
    ///
    /// Raises `NoSuchProcess`: there is none, or it is outside of `root`.
    fn group_of(&self, py: Python<'_>, pid: i32) -> PyResult<Group> {
        Group::from_result(py, || self.hierarchy.group_of(pid))
    }

    /// The paths of all groups but the root, parents before their children.
    ///
    /// Raises `GroupVanished`: the hierarchy has ended.
    fn groups(&self, py: Python<'_>) -> PyResult<Vec<OsString>> {
        let paths = engine::call(py, || self.hierarchy.groups())?;
        Ok(paths.iter().map(group_path).collect())
    }

    /// End a hierarchy that has no groups but its root. One that was opened by
    /// `root` or `adopt` stays: it is somebody else's.
    ///
    /// Raises `GroupBusy`: it has groups, or processes in its root.
    /// `GroupVanished`: it has ended already.
    fn unmount(&self, py: Python<'_>) -> PyResult<()> {
        engine::call(py, || self.hierarchy.unmount())
    }

    /// Make a resource known by its name to all who use the hierarchy, and return its
    /// number: the same name has the same number for everybody.
    ///
    /// name: lower-case letters, digits and "_", a letter first, 32 at most.
    /// unit: what is counted, "bytes" for one. None: one that is known already, as the
    ///     standard ones are ("kmemsize", "privvmpages", "physpages", "numtasks",
    ///     "numfiles").
    /// on_barrier: called as `on_barrier(group, amount)` when a LIMIT charge of that
    ///     amount has taken that group over its barrier, once for each crossing.
    /// on_limit: called as `on_limit(group, amount)` before a charge is refused because
    ///     that group has no room; if it returns true, which says that something was
    ///     freed, the charge is tried once more.
    ///
    /// The callbacks are those of charges through this handle and the groups that it
    /// opens, in the thread that charges. They take the place of those before; None
    /// leaves them. What they raise goes to `sys.unraisablehook`.
    ///
    /// Raises `GroupExists` (a FileExistsError): it is known with another unit.
    /// `NotFound`: it is not known, and no unit was given. `CgfError` with EINVAL: no
    /// name for a resource, or none for a unit; with ENOSPC: no room for another; with
    /// EOPNOTSUPP: the hierarchy is not bound to "beancounter".
    #[pyo3(signature = (name, unit = None, *, on_barrier = None, on_limit = None))]
    fn register_resource(
        &self,
        py: Python<'_>,
        name: &str,
        unit: Option<&str>,
        on_barrier: Option<Function>,
        on_limit: Option<Function>,
    ) -> PyResult<u32> {
        let hierarchy = &self.hierarchy;
        engine::call(py, || {
            let resource = match unit {
                Some(unit) => hierarchy.register_resource(name, unit)?,
                None => hierarchy.resource(name)?,
            };
            if let Some(function) = on_barrier {
                hierarchy.on_barrier(resource, barrier_hit(function))?;
            }
            if let Some(function) = on_limit {
                hierarchy.on_limit(resource, limit_hit(function))?;
            }
            Ok(resource.number())
        })
    }

    /// All resources of the hierarchy, by number: a list of `ResourceInfo`.
    ///
    /// Raises `CgfError` with EOPNOTSUPP: the hierarchy is not bound to "beancounter".
    #[getter]
    fn resources<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let class = facade::beancounter_class(py, "ResourceInfo")?;
        let known = engine::call(py, || self.hierarchy.resources())?;
        known.iter().map(|info| class.call1((info.resource.number(), &info.name, &info.unit))).collect()
    }

    /// Begin to watch the hierarchy. What is there already is not told.
    ///
    /// tasks: also who is born, ends, comes and goes. Needs the proc connector, of
    ///     the whole machine's forks; where that cannot be had the groups are listed
    ///     again and again, and who lives shortly is not told of
    ///     (`Watch.lists_tasks`).
    /// listing: do so even where the proc connector could be had, not to be woken
    ///     by every fork of the machine.
    ///
    /// Raises `GroupVanished`: the hierarchy has ended. `NotPermitted`: a group
    /// cannot be read. `CgfError` with EMFILE: no descriptor left, or no inotify
    /// instance (`fs.inotify.max_user_instances`).
    #[pyo3(signature = (*, tasks = false, listing = false))]
    fn watch(&self, py: Python<'_>, tasks: bool, listing: bool) -> PyResult<Watch> {
        let options = WatchOptions::default().tasks(tasks).listing(listing);
        let watch: Box<dyn Source> = Box::new(engine::call(py, || self.hierarchy.watch(options))?);
        Ok(Watch::from(watch))
    }

    /// Begin to monitor the hierarchy: to watch it, and to do what its groups ask
    /// for when they are emptied.
    ///
    /// tasks, listing: as for `watch`. Forks and exits are also told if a subsystem
    ///     that is bound to the hierarchy has a `fork` or an `exit`.
    ///
    /// Raises as `watch`.
    #[pyo3(signature = (*, tasks = false, listing = false))]
    fn monitor(&self, py: Python<'_>, tasks: bool, listing: bool) -> PyResult<Py<Monitor>> {
        let options = WatchOptions::default().tasks(tasks).listing(listing);
        Monitor::create(py, engine::call(py, || self.hierarchy.monitor_with(options))?)
    }

    /// The name it was opened by.
    #[getter]
    fn name(&self) -> OsString {
        self.hierarchy.name().to_owned()
    }

    /// Who carries it: "cgroup2", "cgroup1" or "embedded".
    #[getter]
    fn backend(&self) -> &'static str {
        self.hierarchy.backend_kind().name()
    }

    /// Its root directory.
    #[getter]
    fn directory(&self) -> OsString {
        self.hierarchy.directory().as_os_str().to_owned()
    }

    /// The subsystems bound to it, sorted.
    #[getter]
    fn subsystems(&self) -> Vec<String> {
        self.hierarchy.subsystems().to_vec()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = quoted(py, self.hierarchy.name())?;
        let directory = self.hierarchy.directory().display();
        Ok(format!("<cgf.Hierarchy {name}: {} at {directory}>", self.backend()))
    }
}

/// What the engine opens, and what its subsystems say to that.
fn opened(py: Python<'_>, open: impl FnOnce() -> cgf::Result<cgf::Hierarchy> + Send) -> PyResult<Hierarchy> {
    Ok(Hierarchy::from(engine::call_while(Doing::Opening, py, open)?))
}

const DEADLINE: Timeout = Timeout::seconds(10);

fn options(py: Python<'_>, subsystems: &[String], backend: &str, deadline: Timeout, stop: &str) -> PyResult<Options> {
    let mut options = Options::default().deadline(deadline.limit()?);
    for name in subsystems {
        options = options.subsystem(name).or_raise(py)?;
    }
    if backend != "auto" {
        options = options.backend(backend.parse::<cgf::BackendKind>().or_raise(py)?);
    }
    match stop {
        "signal" => Ok(options.stop(StopMethod::Signal)),
        "ptrace" => Ok(options.stop(StopMethod::Ptrace)),
        _ => Err(PyValueError::new_err(format!("stop={stop:?}: not one of \"signal\", \"ptrace\""))),
    }
}

/// The engine's directories do not move when the process changes its own.
fn absolute(path: Text) -> PyResult<PathBuf> {
    std::path::absolute(path.into_os_string()).map_err(|error| os_error(&error))
}
