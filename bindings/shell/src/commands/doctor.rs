//! `cgf doctor`: which backend works here, and why the others do not.

use clap::Args;
use serde_json::json;

use super::{DONE, Json, lossy};
use crate::failure::Failure;
use crate::output::Output;

/// Try every backend; say which works and why the others do not
///
/// Each backend makes a group, starts a process in it, freezes, thaws, kills and
/// removes it. Takes some milliseconds and leaves nothing. backend=auto takes the
/// first that works. Exit status 1: none does.
///
/// JSON: {auto, backends: [{backend, works, reason, place}]}; auto and reason may
/// be null; place is the directory in which each hierarchy has one by its name.
///
/// Example: cgf doctor
#[derive(Args)]
pub struct Doctor {
    #[command(flatten)]
    pub json: Json,
}

impl Doctor {
    pub fn run(self, output: &mut Output) -> Result<u8, Failure> {
        let findings = cgf::doctor();
        let auto = findings.iter().find(|finding| finding.trial.is_ok()).map(|finding| finding.backend);
        if self.json.json {
            let backends: Vec<_> = findings
                .iter()
                .map(|finding| {
                    json!({
                        "backend": finding.backend.name(),
                        "works": finding.trial.is_ok(),
                        "reason": finding.trial.as_ref().err().map(cgf::Error::message),
                        "place": finding.place.as_ref().ok().map(lossy),
                    })
                })
                .collect();
            output.json(&json!({ "auto": auto.map(cgf::BackendKind::name), "backends": backends }))?;
        } else {
            for finding in &findings {
                let name = finding.backend.name();
                match (&finding.trial, &finding.place) {
                    (Err(why), _) => output.line(format!("{name:<9} no     {why} ({})", why.name()))?,
                    (Ok(()), Err(why)) => output.line(format!("{name:<9} works  its place is unknown: {why}"))?,
                    (Ok(()), Ok(place)) => {
                        let chosen = if auto == Some(finding.backend) { "  (backend=auto takes this)" } else { "" };
                        output.line(format!("{name:<9} works  {}/NAME{chosen}", place.display()))?;
                    }
                }
            }
        }
        match auto {
            Some(_) => Ok(DONE),
            None => Err(Failure::new(libc::ENODEV, "ENODEV", "no backend works here")
                .remedy("each has its reason on standard output")),
        }
    }
}
