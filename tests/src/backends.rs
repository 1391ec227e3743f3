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

/// An actor in a group, in place.
pub fn start(group: &Group, part: &[&str]) -> i32 {
    let actor = stage::actor().unwrap_or_else(|why| unreachable!("{why}"));
    let child = group.spawn(Spawn::new(actor).args(part)).unwrap_or_else(|error| unreachable!("{error}"));
    stage::wait_until_ready(child.pid()).unwrap_or_else(|why| unreachable!("{why}"));
    child.pid()
}
