//! What was made is removed, also if a benchmark is killed.

use std::error::Error;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgf::{BackendKind, Hierarchy, Options, RemoveOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// For how long a group may refuse to go.
const LIMIT: Duration = Duration::from_secs(10);

/// A process that removes everything when this one ends, however it ends: it
/// waits for the end of its standard input, out of the terminal's reach.
pub struct Sweeper(Child);

impl Sweeper {
    /// The options are those by which the hierarchy is found.
    pub fn start(name: &str, options: &str) -> Result<Sweeper> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Sweeper(command.args(["sweep", name, options]).process_group(0).stdin(Stdio::piped()).spawn()?))
    }

    pub fn finish(&mut self) -> Result<()> {
        drop(self.0.stdin.take());
        if self.0.wait()?.success() { Ok(()) } else { Err("what was measured could not be removed".into()) }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // After a failure, which is what will be reported.
        let _ = self.finish();
    }
}

/// What the other process does: waits, and then removes all that has the name.
pub fn sweep(name: &str, options: &str) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let until = Instant::now() + LIMIT;
    for kind in BackendKind::ALL {
        let Ok(hierarchy) = Hierarchy::open_existing(name, &Options::parse(options)?.backend(kind)) else { continue };
        // Those below go first.
        for path in hierarchy.groups()?.into_iter().rev() {
            let group = hierarchy.open_group(path.as_bytes())?;
            // Somebody who ends just now may hold something still.
            while let Err(why) = group.remove_with(RemoveOptions { kill: true, recursive: true }) {
                if why.errno() != libc::EBUSY || Instant::now() > until {
                    return Err(why.into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        hierarchy.unmount()?;
    }
    Ok(())
}
