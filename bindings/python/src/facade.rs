//! What this half uses of the half that is written in Python.
//!
//! Imported when first used and not before: the Python half imports this one.

use cgf::State;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// An exception, or `Blocker`.
pub fn error_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("cgf._errors")?.getattr(name)
}

/// A member of `cgf.State`.
pub fn state(py: Python<'_>, state: State) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "cgf._state", "State")?.call1((state as i32,))
}

/// `cgf.Stillness`.
pub fn stillness_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("cgf._checkpoint")?.getattr("Stillness")
}

/// `cgf.Figures`, `cgf.Snapshot`, `cgf.ResourceInfo`, or `cgf.BeanCounters`.
pub fn beancounter_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("cgf._beancounter")?.getattr(name)
}

/// `cgf.Finding`.
pub fn finding_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("cgf._doctor")?.getattr("Finding")
}

/// `cgf.Process`.
pub fn process_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "cgf._process", "Process")
}

/// `cgf.Subsystem`.
pub fn subsystem_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "cgf._subsystem", "Subsystem")
}

/// A member of `cgf.EventKind`.
pub fn event_kind(py: Python<'_>, kind: cgf::EventKind) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "cgf._event", "EventKind")?.call1((kind.name(),))
}

/// `cgf.Event`.
pub fn event_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "cgf._event", "Event")
}

/// What `async for` goes through.
pub fn events_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "cgf._asyncio", "Events")
}
