//! Waits that Ctrl-C ends.

use std::ops::ControlFlow;

use cgf::Meanwhile;
use pyo3::prelude::*;

use crate::error::{Doing, OrRaise};

/// Freezes, as [`heeding_them`] does whatever it is.
pub fn freeze_heeding_them<T: Send>(
    py: Python<'_>,
    freeze: impl for<'a> FnOnce(&'a mut Meanwhile<'a>) -> cgf::Result<T> + Send,
) -> PyResult<T> {
    heeding_them(Doing::Freezing, py, freeze)
}

/// Calls the engine with the interpreter released. About every 50 ms the main thread
/// runs the handlers of signals that came; what one of them raises ends the wait
/// and is raised.
pub fn heeding_them<T: Send>(
    doing: Doing,
    py: Python<'_>,
    engine: impl for<'a> FnOnce(&'a mut Meanwhile<'a>) -> cgf::Result<T> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        let mut heed = |_| match Python::attach(|py| py.check_signals()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                raised = Some(error);
                ControlFlow::Break(())
            }
        };
        engine(&mut heed)
    });
    match raised {
        Some(error) => Err(error),
        None => result.or_raise_while(doing, py),
    }
}
