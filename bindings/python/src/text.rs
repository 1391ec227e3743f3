//! Paths and names: bytes for the engine, `str` for Python.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// A path or a name that a caller gives: `str`, `bytes` or `os.PathLike`.
///
/// Taken through `os.fsencode`, so that a name that is not UTF-8 makes the way
/// to Python and back unharmed (surrogateescape).
pub struct Text(pub Vec<u8>);

impl Text {
    pub fn into_os_string(self) -> OsString {
        OsString::from_vec(self.0)
    }
}

impl FromPyObject<'_, '_> for Text {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Text> {
        static FSENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let encoded = FSENCODE.import(given.py(), "os", "fsencode")?.call1((given,))?;
        Ok(Text(encoded.extract()?))
    }
}

/// A group's path as Python sees it: `/web/1`, and `/` for the root, so that
/// what comes out can be put in again.
pub fn group_path(path: &cgf::GroupPath) -> OsString {
    let mut text = vec![b'/'];
    text.extend_from_slice(path.as_bytes());
    OsString::from_vec(text)
}

/// A name for `__repr__`.
pub fn quoted(py: Python<'_>, name: &OsStr) -> PyResult<String> {
    Ok(name.into_pyobject(py)?.repr()?.to_string())
}
