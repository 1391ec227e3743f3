//! What a group's tasks do, in one word.

use std::fmt;

/// What a group's tasks do (R3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// They run.
    Thawed = 0,
    /// They were asked to stop, and at least one has not.
    Freezing = 1,
    /// None of them runs, on the kernel's own evidence at the time of asking.
    Frozen = 2,
    /// Frozen, and held so by a checkpoint.
    Checkpointing = 3,
}

impl State {
    /// The word in `freezer.state`.
    pub fn name(self) -> &'static str {
        match self {
            State::Thawed => "THAWED",
            State::Freezing => "FREEZING",
            State::Frozen => "FROZEN",
            State::Checkpointing => "CHECKPOINTING",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
