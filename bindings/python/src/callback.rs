//! The way from the engine into Python: a callback, and what it raises.

use std::cell::RefCell;
use std::sync::Arc;

use cgf::{Error, Result};
use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// What a callback raised, and how the engine's error says it.
pub struct Raised {
    pub exception: PyErr,
    pub message: String,
}

/// What can be called; shared without the interpreter.
#[derive(Clone)]
pub struct Function(Arc<Py<PyAny>>);

impl Function {
    pub fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }
}

impl FromPyObject<'_, '_> for Function {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Function> {
        if given.is_callable() {
            return Ok(Function(Arc::new(given.to_owned().unbind())));
        }
        Err(PyTypeError::new_err(format!("{} cannot be called", given.repr()?)))
    }
}

thread_local! {
    /// What callbacks have raised in the call of the engine that this thread is
    /// in: an error of the engine cannot carry an exception. `None`: in no call.
    static RAISED: RefCell<Option<Vec<Raised>>> = const { RefCell::new(None) };
}

/// Runs a call of the engine, and tells what callbacks raised in it. A callback
/// may call the engine in its turn; what is raised there is that call's.
pub fn collecting<T>(engine: impl FnOnce() -> T) -> (T, Vec<Raised>) {
    let outer = RAISED.replace(Some(Vec::new()));
    let result = engine();
    (result, RAISED.replace(outer).unwrap_or_default())
}

/// Runs Python code for the engine.
///
/// An exception is an error: with its own errno if it is an OSError that has
/// one, else ENOTRECOVERABLE. ECANCELED: the interpreter has ended.
pub fn run<T>(callback: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    Python::try_attach(|py| callback(py).map_err(|exception| error(py, exception)))
        .unwrap_or_else(|| Err(Error::new(libc::ECANCELED, "the Python interpreter is ending")))
}

/// Calls a Python function.
///
/// A thread that runs Python code when the interpreter ends is ended by it, before
/// CPython 3.14: by pthread_exit, which unwinds. It must not unwind the engine, and
/// stays here until the process has ended; later versions let it hang themselves.
pub fn call<'py, A>(py: Python<'py>, function: &Bound<'py, PyAny>, arguments: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
{
    unsafe extern "C-unwind" {
        fn PyObject_CallObject(function: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject;
    }
    let arguments = arguments.into_pyobject(py)?;
    let guard = Hang;
    // SAFETY: the interpreter is ours (`py`), and both objects live until the call
    // has returned. CPython documents it with these types; the result is a new
    // reference, or null with an exception set. Where it unwinds, `guard` is the
    // first to be dropped and stops it: no frame is taken away.
    let returned = unsafe { PyObject_CallObject(function.as_ptr(), arguments.as_ptr()) };
    std::mem::forget(guard);
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(py, returned) }
}

/// Ends a thread by never going on.
struct Hang;

impl Drop for Hang {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

fn error(py: Python<'_>, exception: PyErr) -> Error {
    let (errno, message) = match refusal(py, &exception) {
        Some(refusal) => refusal,
        None => (libc::ENOTRECOVERABLE, described(py, &exception)),
    };
    let raised = Raised { exception, message: message.clone() };
    let nobodys = RAISED.with_borrow_mut(|calls| match calls {
        Some(calls) => {
            calls.push(raised);
            None
        }
        None => Some(raised),
    });
    if let Some(raised) = nobodys {
        raised.exception.write_unraisable(py, None);
    }
    Error::new(errno, message)
}

/// What an OSError says, if it says a number that is an errno.
fn refusal(py: Python<'_>, exception: &PyErr) -> Option<(i32, String)> {
    if !exception.is_instance_of::<PyOSError>(py) {
        return None;
    }
    let value = exception.value(py);
    let errno = value.getattr("errno").ok()?.extract().ok().filter(|errno| (1..4096).contains(errno))?;
    let mut message = value.getattr("strerror").ok()?.str().ok()?.to_string_lossy().into_owned();
    let file = value.getattr("filename").ok()?;
    if !file.is_none() {
        message = format!("{message}: {}", file.repr().ok()?.to_string_lossy());
    }
    Some((errno, message))
}

/// As the last line of a traceback.
fn described(py: Python<'_>, exception: &PyErr) -> String {
    let class = exception.get_type(py).qualname();
    let class = class.map_or_else(|_| "an exception".to_owned(), |name| name.to_string_lossy().into_owned());
    match exception.value(py).str() {
        Ok(said) if said.is_empty().unwrap_or(false) => class,
        Ok(said) => format!("{class}: {}", said.to_string_lossy()),
        Err(_) => class,
    }
}
