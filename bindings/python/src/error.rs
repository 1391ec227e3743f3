//! The one place where an error of the engine becomes a Python exception.

use cgf::{Blocker, Error, Refusal};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::facade;
use crate::text::group_path;

/// What the caller asked for, where that decides what a failure is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Freezing,
    /// EEXIST is about files and processes, not groups.
    Checkpointing,
    /// Looking for a backend or a controller: ENODEV says that it is not there.
    Opening,
    Else,
}

/// For results of the engine: `?` after one of these raises.
pub trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
    fn or_raise_while(self, doing: Doing, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for cgf::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.or_raise_while(Doing::Else, py)
    }

    fn or_raise_while(self, doing: Doing, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error, doing).unwrap_or_else(|failed| failed))
    }
}

/// A failed system call of this crate's own, as Python would raise it.
pub fn os_error(error: &std::io::Error) -> PyErr {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    PyOSError::new_err((errno, error.kind().to_string()))
}

fn exception(py: Python<'_>, error: &Error, doing: Doing) -> PyResult<PyErr> {
    let name = if error.refusal().is_some() { "ChargeRefused" } else { class_name(error.errno(), doing) };
    let class = facade::error_class(py, name)?;
    let exception = class.call1((error.errno(), error.message()))?;
    if let Some(Refusal { level, resource, amount, held, bound, .. }) = error.refusal() {
        exception.setattr("level", group_path(level))?;
        exception.setattr("resource", resource)?;
        exception.setattr("amount", amount)?;
        exception.setattr("held", held)?;
        exception.setattr("bound", bound)?;
    }
    if !error.blockers().is_empty() {
        let blockers: Vec<_> = error.blockers().iter().map(|blocker| describe(py, blocker)).collect::<PyResult<_>>()?;
        exception.setattr("blockers", blockers)?;
    }
    Ok(PyErr::from_value(exception))
}

/// Named in `python/cgf/_errors.py`.
fn class_name(errno: i32, doing: Doing) -> &'static str {
    match errno {
        libc::EBUSY if doing == Doing::Freezing => "FreezeTimeout",
        libc::EBUSY => "GroupBusy",
        libc::ENODEV if doing != Doing::Opening => "GroupVanished",
        libc::ENOENT => "NotFound",
        libc::EEXIST if doing == Doing::Checkpointing => "AlreadyThere",
        libc::EEXIST => "GroupExists",
        libc::ENOTDIR => "NotADirectory",
        libc::ESRCH => "NoSuchProcess",
        libc::EACCES | libc::EPERM => "NotPermitted",
        libc::ESTALE => "CheckpointTorn",
        libc::ETIMEDOUT => "DeadlinePassed",
        libc::ECHILD => "ForkedHandle",
        _ => "CgfError",
    }
}

fn describe<'py>(py: Python<'py>, blocker: &Blocker) -> PyResult<Bound<'py, PyAny>> {
    let evidence = blocker.evidence.name();
    let Blocker { pid, tid, command, state, waits_in, .. } = blocker;
    facade::error_class(py, "Blocker")?.call1((*pid, *tid, command, *state, waits_in, evidence))
}
