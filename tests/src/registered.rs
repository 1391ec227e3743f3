//! Subsystems of a test's own.

use cgf::{BackendKind, Hierarchy, Options, Subsystem};

use crate::backends::Own;
use crate::stage;

/// A new hierarchy on the backend, bound to the freezer, the signal and these.
pub fn bound_to(backend: BackendKind, subsystems: &str) -> Own {
    let options = format!("freezer,signal,{subsystems},backend={backend}");
    let opened = Options::parse(&options).and_then(|options| Hierarchy::open(stage::unique("test"), &options));
    Own(opened.unwrap_or_else(|error| unreachable!("{error}")))
}

/// Registers a subsystem for as long as a test runs.
pub struct Registered(String);

impl Registered {
    /// Until this is dropped.
    pub fn new(subsystem: impl Subsystem + 'static) -> Registered {
        let name = subsystem.name().to_owned();
        cgf::register(subsystem).unwrap_or_else(|error| unreachable!("{error}"));
        Registered(name)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        cgf::unregister(&self.0).unwrap_or_else(|error| unreachable!("{error}"));
    }
}
