//! Waits that Ctrl-C ends.

use std::ops::ControlFlow;

use cgf::Meanwhile;
use pyo3::prelude::*;

use crate::error::{Doing, OrRaise};

/// Freezes, with the interpreter released. About every 50 ms the main thread
/// runs the handlers of signals that came; what one of them raises ends the
/// freeze and is raised.
pub fn freeze_heeding_them<T: Send>(
    py: Python<'_>,
    freeze: impl for<'a> FnOnce(&'a mut Meanwhile<'a>) -> cgf::Result<T> + Send,
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
        freeze(&mut heed)
    });
    match raised {
        Some(error) => Err(error),
        None => result.or_raise_while(Doing::Freezing, py),
    }
}
