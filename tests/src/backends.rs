//! Which backends a test runs on.

use cgf::{BackendKind, Group, Hierarchy, Options, RemoveOptions, Result, Spawn};

use crate::stage;

/// Calls `test` on every backend that works here. One that does not is a
/// failure where all are demanded (`CGF_DEMAND`), else skipped with the reason.
pub fn on_each(test: impl Fn(BackendKind)) {
    on(&BackendKind::ALL, test);
}

/// The same for some of them.
pub fn on(kinds: &[BackendKind], test: impl Fn(BackendKind)) {
    for found in cgf::doctor().into_iter().filter(|found| kinds.contains(&found.backend)) {
        match found.trial {
            Ok(()) => test(found.backend),
            Err(why) => {
                assert!(std::env::var_os("CGF_DEMAND").is_none(), "{} is demanded: {why}", found.backend);
                eprintln!("skipped on {}: {why}", found.backend);
            }
        }
    }
}

/// A hierarchy of the test's own, which takes everything in it along when it
/// is dropped, also by a failed test.
pub struct Own(pub Hierarchy);

impl Own {
    /// A new one.
    pub fn new(backend: BackendKind) -> Result<Own> {
        let options = Options::default().backend(backend).deadline(std::time::Duration::from_secs(10));
        Hierarchy::open(stage::unique("test"), &options).map(Own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.0.subsystems().iter().any(|name| name == "beancounter") {
            give_back(&self.0);
        }
        for path in self.0.groups().unwrap_or_default() {
            if path.as_bytes().contains(&b'/') {
                continue;
            }
            let everything = RemoveOptions { kill: true, recursive: true };
            let removed = self.0.open_group(path.as_bytes()).and_then(|group| group.remove_with(everything));
            if let Err(error) = removed {
                eprintln!("left behind: {path}: {error}");
            }
        }
        if let Err(error) = self.0.unmount()
            && error.errno() != libc::ENODEV
        {
            eprintln!("left behind: {}: {error}", self.0.directory().display());
        }
    }
}

/// What a failed test has charged would keep the groups alive.
fn give_back(hierarchy: &Hierarchy) {
    let groups = hierarchy.groups().unwrap_or_default();
    let groups = groups.into_iter().filter_map(|path| hierarchy.open_group(path.as_bytes()).ok());
    for group in groups.chain([hierarchy.root()]) {
        for counter in group.snapshot().map(|snapshot| snapshot.counters).unwrap_or_default() {
            if counter.held > 0 && !counter.by_kernel {
                let _ = group.uncharge(counter.resource, counter.held);
            }
        }
    }
}

/// An actor in a group, in place.
pub fn start(group: &Group, part: &[&str]) -> i32 {
    let actor = stage::actor().unwrap_or_else(|why| unreachable!("{why}"));
    let child = group.spawn(Spawn::new(actor).args(part)).unwrap_or_else(|error| unreachable!("{error}"));
    stage::wait_until_ready(child.pid()).unwrap_or_else(|why| unreachable!("{why}"));
    child.pid()
}
