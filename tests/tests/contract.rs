//! The contract table through every surface, on every backend.
//!
//! `CGF_DEMAND=1` makes a missing backend or surface a failure; without it they
//! are skipped, with the reason. `CGF_CASE=words` runs the cases whose title
//! has these words.

use std::path::Path;

use cgf::BackendKind;
use cgf_tests::driver::Surface;
use cgf_tests::{run, table};

fn contract(surface: Surface, backend: BackendKind) {
    let demanded = std::env::var_os("CGF_DEMAND").is_some();
    let missing = cgf::doctor().into_iter().find(|found| found.backend == backend).and_then(|found| found.trial.err());
    let missing = missing.map(|error| error.to_string()).or(surface.command().err());
    if let Some(why) = missing {
        assert!(!demanded, "{surface:?} on {backend} is demanded: {why}");
        eprintln!("skipped: {surface:?} on {backend}: {why}");
        return;
    }
    let cases = table::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("contract"));
    let (run, failures) = run::run_all(&cases, surface, backend);
    assert!(run > 0 || std::env::var_os("CGF_CASE").is_some(), "no case was run");
    assert!(failures.is_empty(), "{} of {run} cases failed:\n{}", failures.len(), failures.join("\n"));
    println!("{surface:?} on {backend}: {run} cases hold");
}

macro_rules! contract {
    ($($name:ident: $surface:ident on $backend:ident),* $(,)?) => {
        $(#[test] fn $name() { contract(Surface::$surface, BackendKind::$backend); })*
    };
}

contract! {
    rust_on_cgroup2: Rust on Cgroup2,
    rust_on_cgroup1: Rust on Cgroup1,
    rust_on_embedded: Rust on Embedded,
    c_on_cgroup2: C on Cgroup2,
    c_on_cgroup1: C on Cgroup1,
    c_on_embedded: C on Embedded,
    python_on_cgroup2: Python on Cgroup2,
    python_on_cgroup1: Python on Cgroup1,
    python_on_embedded: Python on Embedded,
}
