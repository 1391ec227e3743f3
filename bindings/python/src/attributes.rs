//! `cgf.Attributes`.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use crate::engine;
use crate::group::Group;

/// What subsystems have noted on a group, by name: `"SUBSYSTEM.key"`. It is
/// `Group.attributes`.
///
/// Kept on the group's directory: every process sees it, and it goes with the
/// group. It cannot be listed.
///
/// Reading and deleting raise KeyError if the attribute is not set. All raise
/// `CgfError` with EINVAL: no name of a subsystem that the hierarchy is bound
/// to; `GroupVanished`, `ForkedHandle`. Setting raises `CgfError` with E2BIG:
/// more than 4096 bytes; with ENOSPC: the kernel keeps no more (128 attributes
/// and 128 KiB a group); `NotPermitted`: nothing may be noted on the group.
#[pyclass(frozen, mapping, module = "cgf")]
pub struct Attributes {
    group: Py<Group>,
}

impl From<Py<Group>> for Attributes {
    fn from(group: Py<Group>) -> Attributes {
        Attributes { group }
    }
}

impl Attributes {
    fn group(&self) -> &cgf::Group {
        &self.group.get().group
    }

    fn value(&self, py: Python<'_>, name: &str) -> PyResult<Option<String>> {
        engine::call(py, || self.group().attribute(name))
    }
}

#[pymethods]
impl Attributes {
    /// The value, or `default` if it is not set.
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.value(py, name)? {
            Some(value) => Ok(Some(value.into_pyobject(py)?.into_any())),
            None => Ok(default),
        }
    }

    fn __getitem__(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        self.value(py, name)?.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    fn __setitem__(&self, py: Python<'_>, name: &str, value: &str) -> PyResult<()> {
        engine::call(py, || self.group().set_attribute(name, value))
    }

    fn __delitem__(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.__getitem__(py, name)?;
        engine::call(py, || self.group().remove_attribute(name))
    }

    fn __contains__(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        Ok(self.value(py, name)?.is_some())
    }
}
