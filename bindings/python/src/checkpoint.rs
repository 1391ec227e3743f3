//! `with group.checkpoint() as checkpoint:`

use std::sync::{Mutex, MutexGuard, PoisonError};

use cgf::Error;
use pyo3::prelude::*;

use crate::engine;
use crate::facade;
use crate::group::Group;

/// A group is CHECKPOINTING for as long as this lasts. Made by `Group.checkpoint`.
///
/// It ends with `end`, or with the `with` statement that it is used in. Both raise
/// `CheckpointTorn` if a task ran, could run, came or left meanwhile: `.blockers` is
/// the first one. It ends too, without a word, with this object and with the process
/// that began it, also when that is killed: then the group is FROZEN. A forked child
/// has no share in it: there everything raises `ForkedHandle`, and ends nothing.
///
/// Asynchronous input and output that was begun before (io_uring) may change the
/// memory of frozen tasks, and so may a process outside that shares it: nobody tells
/// of that.
#[pyclass(frozen, module = "cgf")]
pub struct Checkpoint {
    group: Py<Group>,
    held: Mutex<Option<cgf::Checkpoint>>,
    beginner: u32,
}

impl Checkpoint {
    pub fn new(group: Py<Group>, held: cgf::Checkpoint) -> Checkpoint {
        Checkpoint { group, held: Mutex::new(Some(held)), beginner: std::process::id() }
    }

    /// Never waited for with the interpreter held: who has it may be at work. In a
    /// forked child nobody may be there any more who would let it go.
    fn held(&self) -> cgf::Result<MutexGuard<'_, Option<cgf::Checkpoint>>> {
        if std::process::id() != self.beginner {
            return Err(Error::new(libc::ECHILD, "the checkpoint was begun before a fork"));
        }
        Ok(self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self) -> cgf::Result<Option<cgf::Checkpoint>> {
        Ok(self.held()?.take())
    }
}

#[pymethods]
impl Checkpoint {
    /// The group.
    #[getter]
    fn group(&self, py: Python<'_>) -> Py<Group> {
        self.group.clone_ref(py)
    }

    /// Whether the group has been still since the checkpoint began, without ending
    /// it: a `Stillness`. With `external`, only whether the checkpoint goes on.
    ///
    /// Raises `CheckpointTorn`: a task ran, could run, came or left; or somebody has
    /// ended the checkpoint by force. `CgfError` with EINVAL: it has ended.
    /// `GroupVanished`, `ForkedHandle`.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        describe(py, &engine::call(py, || self.held()?.as_ref().ok_or_else(has_ended)?.verify())?)
    }

    /// End the checkpoint, and say what `verify` does. The group is FROZEN then, or
    /// as its last holder left it who went away meanwhile (`Group.frozen`).
    ///
    /// Raises as `verify`; with `external`, also as `Group.freeze`. The checkpoint
    /// has ended all the same.
    fn end<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        describe(py, &engine::call(py, || self.take()?.ok_or_else(has_ended)?.end())?)
    }

    /// Raises `CgfError` with EINVAL: it has ended.
    fn __enter__(slf: Bound<'_, Checkpoint>) -> PyResult<Bound<'_, Checkpoint>> {
        let this = slf.get();
        engine::call(slf.py(), || this.held()?.as_ref().map(drop).ok_or_else(has_ended))?;
        Ok(slf)
    }

    /// End the checkpoint if it has not ended yet, and raise what `end` raises; after
    /// an exception in the body, that one goes on, with a note of the other.
    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, traceback);
        let py = exc_value.py();
        let ended = engine::call(py, || self.take()?.map_or(Ok(()), |held| held.end().map(drop)));
        match ended {
            Err(failed) if !exc_value.is_none() => {
                note(&failed, exc_value);
                Ok(())
            }
            other => other,
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let is_over = py.detach(|| self.held().is_ok_and(|held| held.is_none()));
        let group = self.group.bind(py).repr()?;
        Ok(format!("<cgf.Checkpoint of {group}{}>", if is_over { ", ended" } else { "" }))
    }
}

/// Says of an exception that goes on what else has failed.
fn note(failed: &PyErr, exception: &Bound<'_, PyAny>) {
    let py = exception.py();
    let noted = failed.value(py).str().and_then(|text| {
        let text = format!("the checkpoint failed too: {}", text.to_string_lossy());
        exception.call_method1("add_note", (text,))
    });
    if noted.is_err() {
        // Before Python 3.11 there are no notes.
        failed.clone_ref(py).write_unraisable(py, None);
    }
}

fn has_ended() -> Error {
    Error::new(libc::EINVAL, "the checkpoint has ended")
}

fn describe<'py>(py: Python<'py>, stillness: &cgf::Stillness) -> PyResult<Bound<'py, PyAny>> {
    facade::stillness_class(py)?.call1((stillness.woken().to_vec(),))
}
