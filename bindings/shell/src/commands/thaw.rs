//! `cgf thaw`: let a frozen group go on.

use clap::Args;

use super::DONE;
use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::target::Subject;

/// Let the tasks of a group go on
///
/// When it returns, no task is stopped by the group any more. A thawed group
/// stays thawed: no error. A group below a frozen one goes on when that is thawed.
///
/// Errors: ETIMEDOUT: not within deadline= of -o.
///
/// Example: cgf thaw jobs:web
#[derive(Args)]
pub struct Thaw {
    #[command(flatten)]
    subject: Subject,
}

impl Thaw {
    pub fn run(self, hierarchies: &Hierarchies) -> Result<u8, Failure> {
        self.subject.open(hierarchies)?.thaw()?;
        Ok(DONE)
    }
}
