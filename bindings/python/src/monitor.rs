//! `cgf.Monitor`.

use pyo3::prelude::*;

use crate::timeout::Timeout;
use crate::watch::{Source, Told, Watch};

/// A watch that acts: it starts the release agent for a group that has been
/// emptied and has `notify_on_release`, removes one that has `auto_delete`, and
/// calls the `fork` and `exit` of subsystems. Made by `Hierarchy.monitor`.
///
/// >>> import cgf
/// >>> class Log(cgf.Subsystem):
/// ...     '''Writes down who is born and who ends.'''
/// ...
/// ...     name = "log"
/// ...
/// ...     def __init__(self) -> None:
/// ...         self.lines: list[str] = []
/// ...
/// ...     def fork(self, group: cgf.Group, parent: int, child: int) -> None:
/// ...         self.lines.append(f"{group.path}: {parent} made {child}")
/// ...
/// ...     def exit(self, group: cgf.Group, pid: int) -> None:
/// ...         self.lines.append(f"{group.path}: {pid} ended")
/// >>> log = Log()
/// >>> cgf.register(log)
/// >>> jobs = cgf.Hierarchy("jobs", ["freezer", "signal", "log"])
/// >>> web = jobs.create("web")
/// >>> with jobs.monitor() as monitor:
/// ...     shell = web.spawn(["sh", "-c", "sleep 0.2; sleep 0.3; exit"])
/// ...     monitor.run(timeout=1.0)
/// >>> for line in log.lines[-5:]:
/// ...     print(line.replace(str(shell.pid), "the shell"))  # doctest: +ELLIPSIS
/// /web: the shell made ...
/// /web: ... ended
/// /web: the shell made ...
/// /web: ... ended
/// /web: the shell ended
/// >>> shell.wait()
/// 0
/// >>> web.remove()
/// >>> jobs.unmount()
/// >>> cgf.unregister("log")
///
/// Any number may run for a hierarchy, in any processes, and be killed at any
/// moment: every emptying is reported once. What was empty before the first one
/// came is reported when it comes.
///
/// It does all this in the thread that calls `next` or `run`, or goes through its
/// events, and only meanwhile. The agent is a child process of this one, which the
/// monitor waits for.
#[pyclass(frozen, extends = Watch, module = "cgf")]
pub struct Monitor;

impl Source for cgf::Monitor {
    fn next(&mut self, deadline: cgf::Deadline) -> cgf::Result<Option<cgf::Event>> {
        self.next(deadline)
    }

    fn watch(&self) -> &cgf::Watch {
        self.watch()
    }
}

impl Monitor {
    pub fn create(py: Python<'_>, monitor: cgf::Monitor) -> PyResult<Py<Monitor>> {
        let source: Box<dyn Source> = Box::new(monitor);
        Py::new(py, PyClassInitializer::from(Watch::from(source)).add_subclass(Monitor))
    }
}

#[pymethods]
impl Monitor {
    /// Monitor until the time is up, the hierarchy has ended, or the monitor is
    /// closed.
    ///
    /// timeout: seconds; None has no limit.
    ///
    /// Raises as `next`, but for an end. It can be called again after that.
    #[pyo3(signature = (timeout = Timeout::NONE), text_signature = "($self, timeout=None)")]
    fn run(slf: &Bound<'_, Monitor>, timeout: Timeout) -> PyResult<()> {
        let py = slf.py();
        let deadline = timeout.begin();
        loop {
            match slf.as_super().get().wait(py, deadline)? {
                Told::Event(_) if !deadline.passed() => py.check_signals()?,
                _ => return Ok(()),
            }
        }
    }
}
