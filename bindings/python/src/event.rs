//! What the engine tells, as a `cgf.Event`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::facade;
use crate::text::group_path;

pub fn event<'py>(py: Python<'py>, event: &cgf::Event) -> PyResult<Bound<'py, PyAny>> {
    let figures = PyDict::new(py);
    for (name, value) in &event.figures {
        figures.set_item(name, value)?;
    }
    let fields = (
        facade::event_kind(py, event.kind)?,
        group_path(&event.group),
        event.group_id,
        event.time.as_secs_f64(),
        event.pid,
        event.parent,
        event.status,
        event.other.as_ref().map(group_path),
        figures,
        event.message.as_deref(),
    );
    facade::event_class(py)?.call1(fields)
}
