//! Which backend works here, and why the others do not.

use pyo3::prelude::*;

use crate::facade;

/// Try every backend: make a group, start a process in it, freeze, thaw, kill
/// and remove it. `backend="auto"` takes the first one for which that works.
///
/// Takes some milliseconds, makes a child process for each backend for a moment,
/// and leaves nothing behind. Returns a list of `Finding`, in the order in which
/// "auto" tries them.
#[pyfunction]
pub fn doctor(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let class = facade::finding_class(py)?;
    let findings = py.detach(cgf::doctor);
    findings
        .into_iter()
        .map(|finding| {
            let reason = finding.trial.err().map(|error| error.to_string());
            let place = finding.place.ok().map(std::path::PathBuf::into_os_string);
            class.call1((finding.backend.name(), place, reason))
        })
        .collect()
}
