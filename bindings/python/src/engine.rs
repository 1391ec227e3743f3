//! The way from Python into the engine: every call that may wait or run a
//! callback, with the interpreter released meanwhile.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::callback::{self, Raised};
use crate::error::{Doing, OrRaise};

/// Calls the engine.
///
/// What a callback raised is the cause of the exception that the call raises for
/// it. What is no `Exception`, KeyboardInterrupt above all, is raised itself.
pub fn call<T: Send>(py: Python<'_>, engine: impl FnOnce() -> cgf::Result<T> + Send) -> PyResult<T> {
    call_while(Doing::Else, py, engine)
}

/// As `call`, for something of which failures have a name of their own.
pub fn call_while<T: Send>(
    doing: Doing,
    py: Python<'_>,
    engine: impl FnOnce() -> cgf::Result<T> + Send,
) -> PyResult<T> {
    let (result, raised) = py.detach(|| callback::collecting(engine));
    let message = result.as_ref().err().map(|error| error.message().to_owned());
    let result = result.or_raise_while(doing, py);
    match message {
        _ if raised.is_empty() => result,
        Some(message) => result.map_err(|failed| with_cause(py, failed, &message, raised)),
        None => {
            report(py, raised);
            result
        }
    }
}

/// The exception to raise. What the engine passed over, such as that of a
/// `cancel_attach`, goes to `sys.unraisablehook`: nothing is swallowed.
fn with_cause(py: Python<'_>, failed: PyErr, message: &str, mut raised: Vec<Raised>) -> PyErr {
    let is_interrupt = |exception: &PyErr| !exception.is_instance_of::<PyException>(py);
    let cause = raised.iter().position(|one| message.contains(&one.message)).map(|at| raised.remove(at).exception);
    let interrupt = raised.iter().position(|one| is_interrupt(&one.exception)).map(|at| raised.remove(at).exception);
    report(py, raised);
    match cause {
        Some(cause) if is_interrupt(&cause) => return cause,
        Some(cause) => failed.set_cause(py, Some(cause)),
        None => {}
    }
    match interrupt {
        Some(interrupt) => {
            interrupt.set_context(py, Some(failed));
            interrupt
        }
        None => failed,
    }
}

fn report(py: Python<'_>, raised: Vec<Raised>) {
    for one in raised {
        one.exception.write_unraisable(py, None);
    }
}
