//! `cgf rm`: the end of a group, or of a whole hierarchy.

use cgf::{Group, RemoveOptions};
use clap::Args;
use serde_json::json;

use super::{DONE, Json, about};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::target::Target;

/// Remove a group; without PATH, end the hierarchy
///
/// Only what is empty is removed, unless the flags say otherwise. Returns when
/// the directory is gone.
///
/// Errors: EBUSY: it has processes or groups below it, or was not emptied within
/// deadline= of -o (then those left are named).
///
/// JSON: {hierarchy, group}
///
/// Example: cgf rm jobs:web --kill -r && cgf rm jobs:
#[derive(Args)]
pub struct Rm {
    /// The group; without PATH the whole hierarchy
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// Kill the processes inside first, those in groups below too
    #[arg(long)]
    kill: bool,

    /// Remove the groups below too, children first
    #[arg(short, long)]
    recursive: bool,

    #[command(flatten)]
    pub json: Json,
}

impl Rm {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        let options = RemoveOptions { kill: self.kill, recursive: self.recursive };
        let removed = if group.path().is_root() { end(&group, options) } else { group.remove_with(options) };
        match removed {
            Ok(()) => {
                if self.json.json {
                    output.json(&about(&group, json!({})))?;
                }
                Ok(DONE)
            }
            Err(error) => {
                let refused = error.errno() == libc::EBUSY;
                let failure = Failure::from(error);
                Err(match self.missing_flags(&group) {
                    Some(flags) if refused => failure.remedy(flags),
                    _ => failure,
                })
            }
        }
    }

    /// Which flags would have let it go through.
    fn missing_flags(&self, group: &Group) -> Option<String> {
        let kill = !self.kill && group.is_populated().is_ok_and(|populated| populated);
        let recursive = !self.recursive && group.groups().is_ok_and(|below| !below.is_empty());
        match (kill, recursive) {
            (true, true) => Some("--kill -r ends its processes and removes the groups below".to_owned()),
            (true, false) => Some("--kill ends them first".to_owned()),
            (false, true) => Some("-r removes the groups below too".to_owned()),
            (false, false) => None,
        }
    }
}

/// Ends the hierarchy, with what the options allow.
pub fn end(root: &Group, options: RemoveOptions) -> cgf::Result<()> {
    let hierarchy = root.hierarchy();
    if options.recursive {
        for path in hierarchy.groups()?.iter().filter(|path| path.parent().is_some_and(|parent| parent.is_root())) {
            match hierarchy.open_group(path.as_bytes()) {
                Ok(group) => group.remove_with(options)?,
                // Removed since it was listed.
                Err(error) if error.errno() == libc::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
    }
    if options.kill && hierarchy.groups()?.is_empty() {
        root.kill(libc::SIGKILL)?;
    }
    hierarchy.unmount()
}
