//! `cgf get`: the text of a control file.

use clap::Args;
use serde_json::json;

use super::{DONE, Json, about};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::target::Target;

/// Print a control file
///
/// `cgf files` lists them, and what they say.
///
/// Errors: ENOENT: no such file, or its subsystem is not bound. EACCES: it can
/// only be written (signal.kill).
///
/// JSON: {hierarchy, group, file, text}
///
/// Example: cgf get jobs:web freezer.state
#[derive(Args)]
pub struct Get {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Target,

    /// The control file
    file: String,

    #[command(flatten)]
    pub json: Json,
}

impl Get {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        let group = hierarchies.group(&self.group)?;
        let text = group.read(&self.file)?;
        if self.json.json {
            let facts = json!({
                "file": self.file,
                "text": text,
            });
            output.json(&about(&group, facts))?;
        } else {
            output.text(&text)?;
        }
        Ok(DONE)
    }
}
