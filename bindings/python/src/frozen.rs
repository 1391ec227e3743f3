//! `with group.frozen():`

use std::sync::{Mutex, PoisonError};

use cgf::{FreezeOptions, Hold};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::engine;
use crate::group::Group;
use crate::signals::freeze_heeding_them;
use crate::timeout::Timeout;

/// Keeps a group frozen inside of a `with` statement. Made by `Group.frozen`.
#[pyclass(frozen, module = "cgf")]
pub struct Frozen {
    group: Py<Group>,
    timeout: Timeout,
    /// One for each time it was entered. They are all alike, so that it matters
    /// to nobody which one is given back.
    holds: Mutex<Vec<Hold>>,
}

impl Frozen {
    pub fn new(group: Py<Group>, timeout: Timeout) -> Frozen {
        Frozen { group, timeout, holds: Mutex::new(Vec::new()) }
    }

    fn push(&self, hold: Hold) {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
    }

    fn pop(&self) -> Option<Hold> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

#[pymethods]
impl Frozen {
    /// Freeze the group, or join those who keep it frozen. Returns the group.
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<Group>> {
        let group = &self.group.get().group;
        let deadline = self.timeout.begin();
        let hold =
            freeze_heeding_them(py, |meanwhile| group.hold_with(FreezeOptions::within(deadline).meanwhile(meanwhile)))?;
        self.push(hold);
        Ok(self.group.clone_ref(py))
    }

    /// Give the share back: the last one out thaws.
    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, traceback);
        let py = exc_value.py();
        let Some(hold) = self.pop() else {
            return Err(PyRuntimeError::new_err("left without having been entered"));
        };
        let given_back = engine::call(py, || hold.give_back());
        if let Err(failed) = &given_back
            && !exc_value.is_none()
        {
            // As if raised by a statement: the first failure is not forgotten.
            failed.set_context(py, Some(PyErr::from_value(exc_value.clone())));
        }
        given_back
    }
}
