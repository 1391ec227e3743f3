//! The compiled half of `cgf.criu`.

use cgf::criu::{self, DumpOptions, Leave, RestoreOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Doing;
use crate::group::Group;
use crate::signals::heeding_them;
use crate::text::Text;
use crate::timeout::Timeout;

/// For `cgf.criu.dump` alone.
#[pyfunction]
#[pyo3(signature = (group, images, *, root, leave, timeout, criu, args))]
#[allow(clippy::too_many_arguments, reason = "as many as its Python half has")]
pub fn criu_dump(
    py: Python<'_>,
    group: Py<Group>,
    images: Text,
    root: Option<i32>,
    leave: &str,
    timeout: Timeout,
    criu: Text,
    args: Vec<Text>,
) -> PyResult<()> {
    let leave = match leave {
        "kill" => Leave::Kill,
        "running" => Leave::Running,
        "frozen" => Leave::Frozen,
        _ => return Err(PyValueError::new_err(format!("leave={leave:?}; there are kill, running and frozen"))),
    };
    let deadline = timeout.begin();
    let group = &group.get().group;
    heeding_them(Doing::Checkpointing, py, |meanwhile| {
        let mut options =
            DumpOptions::within(deadline).leave(leave).program(criu.into_os_string()).meanwhile(meanwhile);
        if let Some(root) = root {
            options = options.root(root);
        }
        let options = args.into_iter().fold(options, |options, arg| options.arg(arg.into_os_string()));
        criu::dump(group, images.into_os_string(), options)
    })
}

/// For `cgf.criu.restore` alone.
#[pyfunction]
#[pyo3(signature = (group, images, *, timeout, criu, args))]
pub fn criu_restore(
    py: Python<'_>,
    group: Py<Group>,
    images: Text,
    timeout: Timeout,
    criu: Text,
    args: Vec<Text>,
) -> PyResult<i32> {
    let deadline = timeout.begin();
    let group = &group.get().group;
    heeding_them(Doing::Checkpointing, py, |meanwhile| {
        let options = RestoreOptions::within(deadline).program(criu.into_os_string()).meanwhile(meanwhile);
        let options = args.into_iter().fold(options, |options, arg| options.arg(arg.into_os_string()));
        criu::restore(group, images.into_os_string(), options)
    })
}
