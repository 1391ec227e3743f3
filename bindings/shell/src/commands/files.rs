//! `cgf files`: which control files there are, and what they say.

use std::fmt::Write;

use cgf::FileInfo;
use clap::Args;
use serde_json::{Value, json};

use super::{DONE, Json, about};
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::output::Output;
use crate::target::Target;

/// List the control files; with an argument those that a group has
///
/// Without an argument: every file that the library has, by subsystem, with whether it
/// can be read (r) and written (w) and what it is; what is in capitals stands for a name.
/// With one: the names of the group's files, those of subsystems that other
/// programs have registered left out.
///
/// JSON: {files: [{subsystem, name, readable, writable, only_at_root, meaning, unit,
/// format, writers, errors: {ERRNO: when}, backends}]}, subsystem being null for those that every group
/// has, or {hierarchy, group, files: [name]}
///
/// Example: cgf files jobs:web
#[derive(Args)]
pub struct Files {
    /// The group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Option<Target>,

    #[command(flatten)]
    pub json: Json,
}

impl Files {
    pub fn run(self, hierarchies: &Hierarchies, output: &mut Output) -> Result<u8, Failure> {
        match &self.group {
            Some(target) => self.of_group(hierarchies, target, output),
            None => self.all(output),
        }
    }

    fn of_group(&self, hierarchies: &Hierarchies, target: &Target, output: &mut Output) -> Result<u8, Failure> {
        let group = hierarchies.group(target)?;
        let names = group.control_files()?;
        if self.json.json {
            output.json(&about(&group, json!({ "files": names })))?;
        } else {
            names.iter().try_for_each(|name| output.line(name))?;
        }
        Ok(DONE)
    }

    fn all(&self, output: &mut Output) -> Result<u8, Failure> {
        let files = cgf::files();
        if self.json.json {
            let files: Vec<Value> = files.iter().map(in_json).collect();
            output.json(&json!({ "files": files }))?;
            return Ok(DONE);
        }
        let width = files.iter().map(|file| file.name.len()).max().unwrap_or(0);
        output.line(format!("{:<width$}      MEANING", "FILE"))?;
        for file in files {
            output.line(row(&file, width))?;
        }
        Ok(DONE)
    }
}

fn row(file: &FileInfo, width: usize) -> String {
    let mark = |set, letter| if set { letter } else { '-' };
    let (r, w) = (mark(file.readable, 'r'), mark(file.writable, 'w'));
    let mut row = format!("{:<width$}  {r}{w}  {}", file.name, file.meaning);
    if !file.unit.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(row, " ({})", file.unit);
    }
    row
}

fn in_json(file: &FileInfo) -> Value {
    let errors: serde_json::Map<String, Value> =
        file.errors.iter().map(|(errno, when)| ((*errno).to_owned(), json!(when))).collect();
    json!({
        "subsystem": file.subsystem,
        "name": file.name,
        "readable": file.readable,
        "writable": file.writable,
        "only_at_root": file.only_at_root,
        "meaning": file.meaning,
        "unit": file.unit,
        "format": file.format,
        "writers": file.writers,
        "errors": errors,
        "backends": file.backends,
    })
}
