//! Times that a caller gives, in seconds.

use std::time::Duration;

use cgf::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How long a call may wait: seconds, 0 to ask once, `None` without limit.
#[derive(Clone, Copy)]
pub struct Timeout(Option<Duration>);

impl Timeout {
    /// Waits without limit.
    pub const NONE: Timeout = Timeout(None);

    pub const fn seconds(seconds: u64) -> Timeout {
        Timeout(Some(Duration::from_secs(seconds)))
    }

    /// The deadline of a call that begins now.
    pub fn begin(self) -> Deadline {
        Deadline::from(self.0)
    }

    /// For calls that heed no Ctrl-C and so must end by themselves.
    pub fn limit(self) -> PyResult<Duration> {
        self.0.ok_or_else(|| PyValueError::new_err("the deadline must be a number of seconds"))
    }
}

impl FromPyObject<'_, '_> for Timeout {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Timeout> {
        let Some(seconds) = given.extract::<Option<f64>>()? else { return Ok(Timeout(None)) };
        if seconds.is_nan() || seconds < 0.0 {
            let why = format!("a time of {seconds} seconds; 0 asks once, None waits without limit");
            return Err(PyValueError::new_err(why));
        }
        // Infinity, and what no clock can count, is no limit.
        Ok(Timeout(Duration::try_from_secs_f64(seconds).ok()))
    }
}
