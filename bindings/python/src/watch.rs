//! `cgf.Watch`, and what a `cgf.Monitor` has from it.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cgf::{Deadline, Error};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::engine;
use crate::error::OrRaise;
use crate::event;
use crate::facade;
use crate::timeout::Timeout;

/// The events of a hierarchy, from the moment it was made on. Made by
/// `Hierarchy.watch`.
///
/// >>> import cgf
/// >>> jobs = cgf.Hierarchy("jobs")
/// >>> with jobs.watch() as watch:
/// ...     web = jobs.create("web")
/// ...     event = watch.next(timeout=5.0)
/// >>> event.kind, event.group
/// (<EventKind.CREATED: 'created'>, '/web')
/// >>> web.remove()
/// >>> jobs.unmount()
///
/// `for event in watch` waits for each event; `async for` does the same in an
/// asyncio event loop, in no thread of its own, and lets other tasks run between
/// any two events. Both end when the hierarchy has ended and everything was told,
/// and when the watch is closed, of which a waiting one takes notice within about
/// 100 ms. So does Ctrl-C.
///
/// Nobody has to wait all the time: the kernel keeps what happens, and when it has
/// kept too much, that is told as an event (`EventKind.LOST`). What came and went
/// between two looks may not be told at all. On cgroup1 and embedded, which give no
/// notice of most things, they are looked for every 10 to 80 ms.
///
/// May be used from several threads, and waited for in one at a time: `next` in
/// another one, or in a callback, raises RuntimeError. In a forked child it raises
/// `ForkedHandle`.
#[pyclass(frozen, subclass, module = "cgf")]
pub struct Watch {
    place: Mutex<Place>,
    fd: RawFd,
    boot_id: String,
    lists_tasks: bool,
    opener: u32,
}

/// Where events come from.
pub trait Source: AsFd + Send {
    fn next(&mut self, deadline: Deadline) -> cgf::Result<Option<cgf::Event>>;
    fn watch(&self) -> &cgf::Watch;
}

impl Source for cgf::Watch {
    fn next(&mut self, deadline: Deadline) -> cgf::Result<Option<cgf::Event>> {
        self.next(deadline)
    }

    fn watch(&self) -> &cgf::Watch {
        self
    }
}

/// Where the source is.
enum Place {
    Here(Box<dyn Source>),
    /// A call of `next` has it, and puts it back.
    InUse,
    Closed,
}

/// What a wait has led to.
pub enum Told {
    Event(cgf::Event),
    /// The time was up first.
    Nothing,
    /// There will be no more events, and what `next` raises for it.
    End(PyErr),
}

/// How long the engine waits before signals and `close` are heeded.
const SLICE: Duration = Duration::from_millis(100);

impl From<Box<dyn Source>> for Watch {
    fn from(source: Box<dyn Source>) -> Watch {
        Watch {
            fd: source.as_fd().as_raw_fd(),
            boot_id: source.watch().boot_id().to_owned(),
            lists_tasks: source.watch().lists_tasks(),
            opener: std::process::id(),
            place: Mutex::new(Place::Here(source)),
        }
    }
}

impl Watch {
    /// Waits until `deadline`. Ended by what the handler of a signal raises.
    pub fn wait(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Told> {
        let mut taken = match self.take(py)? {
            Some(taken) => taken,
            None => return Ok(Told::End(closed())),
        };
        loop {
            let slice = deadline.remaining().map_or(SLICE, |left| left.min(SLICE));
            match engine::call(py, || taken.next(slice)) {
                Ok(Some(event)) => return Ok(Told::Event(event)),
                Ok(None) => {}
                // With a cause, it is a callback's own.
                Err(error) if error.cause(py).is_none() && is_end(py, &error)? => return Ok(Told::End(error)),
                Err(error) => return Err(error),
            }
            py.check_signals()?;
            if self.is_closed() {
                return Ok(Told::End(closed()));
            }
            if deadline.passed() {
                return Ok(Told::Nothing);
            }
        }
    }

    /// `None`: it was closed.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Taken<'_>>> {
        let mut place = self.place();
        match std::mem::replace(&mut *place, Place::InUse) {
            Place::Here(source) => Ok(Some(Taken { watch: self, source: Some(source) })),
            Place::Closed => {
                *place = Place::Closed;
                Ok(None)
            }
            // Of a thread of the parent's, which the child does not have.
            Place::InUse if std::process::id() != self.opener => {
                drop(place);
                Err(Error::new(libc::ECHILD, "the watch was made before a fork")).or_raise(py)
            }
            Place::InUse => Err(PyRuntimeError::new_err("somebody else is waiting in next()")),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.place(), Place::Closed)
    }

    /// Locked for a moment only, in which no Python code runs.
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source, for as long as somebody waits.
struct Taken<'a> {
    watch: &'a Watch,
    source: Option<Box<dyn Source>>,
}

impl Taken<'_> {
    fn next(&mut self, slice: Duration) -> cgf::Result<Option<cgf::Event>> {
        self.source.as_mut().map_or(Ok(None), |source| source.next(slice.into()))
    }
}

impl Drop for Taken<'_> {
    /// Puts it back; what was closed meanwhile is dropped, after the lock.
    fn drop(&mut self) {
        let mut place = self.watch.place();
        if matches!(*place, Place::InUse)
            && let Some(source) = self.source.take()
        {
            *place = Place::Here(source);
        }
    }
}

fn closed() -> PyErr {
    PyValueError::new_err("the watch was closed")
}

fn is_end(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    Ok(error.matches(py, facade::error_class(py, "GroupVanished")?)?)
}

#[pymethods]
impl Watch {
    /// The next event, None if there was none by then.
    ///
    /// timeout: seconds to wait; 0 asks once, None has no limit.
    ///
    /// Raises `GroupVanished`: the hierarchy has ended, and everything was told.
    /// ValueError: the watch is closed. RuntimeError: somebody else waits.
    /// `NotPermitted`: a group cannot be read any more. From a monitor also what
    /// the `fork` and `exit` of a subsystem raise, as `cgf.Subsystem` says: that
    /// event is lost, and the next call goes on with those after it.
    #[pyo3(signature = (timeout = Timeout::NONE), text_signature = "($self, timeout=None)")]
    fn next<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.wait(py, timeout.begin())? {
            Told::Event(told) => event::event(py, &told).map(Some),
            Told::Nothing => Ok(None),
            Told::End(error) => Err(error),
        }
    }

    fn __iter__(slf: Py<Watch>) -> Py<Watch> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.wait(py, Deadline::never())? {
            Told::Event(told) => event::event(py, &told).map(Some),
            Told::Nothing | Told::End(_) => Ok(None),
        }
    }

    fn __aiter__(slf: Bound<'_, Watch>) -> PyResult<Bound<'_, PyAny>> {
        facade::events_class(slf.py())?.call1((slf,))
    }

    /// A descriptor that can be read from when there may be an event, for
    /// `select` and the like. It is the watch's own.
    ///
    /// Raises ValueError: the watch is closed.
    fn fileno(&self) -> PyResult<RawFd> {
        if self.is_closed() { Err(closed()) } else { Ok(self.fd) }
    }

    /// End the watch. One that waits in another thread ends within about 100 ms.
    /// Doing it again does nothing.
    fn close(&self) {
        let was = std::mem::replace(&mut *self.place(), Place::Closed);
        drop(was);
    }

    fn __enter__(slf: Py<Watch>) -> Py<Watch> {
        slf
    }

    /// End the watch.
    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(&self, exc_type: &Bound<'_, PyAny>, exc_value: &Bound<'_, PyAny>, traceback: &Bound<'_, PyAny>) {
        let _ = (exc_type, exc_value, traceback);
        self.close();
    }

    /// This machine since it was booted: with `Event.group_id` it names a group
    /// among all of all machines.
    #[getter]
    fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Whether forks and exits are found by listing, because the proc connector
    /// cannot be had here or was not wanted: not all of them then.
    #[getter]
    fn lists_tasks(&self) -> bool {
        self.lists_tasks
    }
}
