//! `cgf.Attach`.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::group::Group;
use crate::text::{group_path, quoted};

/// Somebody coming into a group, as subsystems are told of it: how it was when
/// the callback was called.
#[pyclass(frozen, module = "cgf")]
pub struct Attach {
    /// Where it comes.
    #[pyo3(get)]
    group: Py<Group>,
    /// The process; 0 if it is not born yet.
    #[pyo3(get)]
    pid: i32,
    /// The threads that come: all of the process, or the one of
    /// `Group.attach_task`; 0 for that of a process not born yet.
    #[pyo3(get)]
    threads: Vec<i32>,
    /// Whether this is a program that is to be started in the group.
    #[pyo3(get)]
    is_birth: bool,
    /// Whether it may come into a frozen group, and freeze there.
    #[pyo3(get)]
    may_freeze: bool,
    from: Option<OsString>,
}

impl Attach {
    /// A copy: the engine's own is good for as long as the callback runs.
    pub fn of(py: Python<'_>, attach: &cgf::Attach<'_>) -> PyResult<Attach> {
        Ok(Attach {
            group: Py::new(py, Group::of(py, attach.group())?)?,
            pid: attach.pid(),
            threads: attach.threads().to_vec(),
            is_birth: attach.is_birth(),
            may_freeze: attach.may_freeze(),
            from: attach.from().map(group_path),
        })
    }
}

#[pymethods]
impl Attach {
    /// The path of the group where it is, or was, in this hierarchy; None:
    /// outside of it, or not born yet.
    #[getter]
    fn from_(&self) -> Option<OsString> {
        self.from.clone()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = quoted(py, &self.group.get().path())?;
        Ok(match self.is_birth {
            true => format!("<cgf.Attach of a program to {path}>"),
            false => format!("<cgf.Attach of process {} to {path}>", self.pid),
        })
    }
}
