//! The compiled half of the Python package `cgf`.
//!
//! It turns Python's arguments into calls of the engine and the engine's errors
//! into exceptions, releases the interpreter while the engine works, takes it for
//! the callbacks of subsystems, and decides nothing. What is easier to say in Python (the
//! exceptions, `State`, `Process`, asyncio) is said there, in `python/cgf`.

mod attach;
mod attributes;
mod beancounter;
mod callback;
mod checkpoint;
mod criu;
mod descriptor;
mod doctor;
mod engine;
mod error;
mod event;
mod facade;
mod frozen;
mod group;
mod hierarchy;
mod monitor;
mod namespace;
mod reference;
mod signals;
mod subsystem;
mod text;
mod timeout;
mod watch;

#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::attach::Attach;
    #[pymodule_export]
    use crate::attributes::Attributes;
    #[pymodule_export]
    use crate::beancounter::Charged;
    #[pymodule_export]
    use crate::checkpoint::Checkpoint;
    #[pymodule_export]
    use crate::criu::{criu_dump, criu_restore};
    #[pymodule_export]
    use crate::doctor::doctor;
    #[pymodule_export]
    use crate::frozen::Frozen;
    #[pymodule_export]
    use crate::group::Group;
    #[pymodule_export]
    use crate::hierarchy::Hierarchy;
    #[pymodule_export]
    use crate::monitor::Monitor;
    #[pymodule_export]
    use crate::reference::Reference;
    #[pymodule_export]
    use crate::subsystem::{register, unregister};
    #[pymodule_export]
    use crate::watch::Watch;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
