//! `cgf.Reference`.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// Holds a group alive: removing it raises `GroupBusy`, in every process. Made by
/// `Group.reference`.
///
/// It ends with `release`, with the `with` statement that it is used in, with
/// this object, and with the process that took it, also when that is killed. A
/// forked child has no share in it: what it does to its copy does nothing.
#[pyclass(frozen, module = "cgf")]
pub struct Reference {
    held: Mutex<Option<cgf::Reference>>,
}

impl From<cgf::Reference> for Reference {
    fn from(held: cgf::Reference) -> Reference {
        Reference { held: Mutex::new(Some(held)) }
    }
}

#[pymethods]
impl Reference {
    /// Let the group go. Doing it again does nothing.
    fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Raises RuntimeError: it was released.
    fn __enter__(slf: Py<Reference>) -> PyResult<Py<Reference>> {
        if slf.get().held.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(PyRuntimeError::new_err("the reference was released"));
        }
        Ok(slf)
    }

    /// Let the group go.
    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(&self, exc_type: &Bound<'_, PyAny>, exc_value: &Bound<'_, PyAny>, traceback: &Bound<'_, PyAny>) {
        let _ = (exc_type, exc_value, traceback);
        self.release();
    }
}
