//! A line that tells a waiting operator that something goes on.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Shorter waits are over before anybody wonders.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

/// One line on standard error, rewritten in place, and gone in the end. Nothing
/// where no person looks at it.
pub struct Progress {
    doing: String,
    limit: String,
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub fn new(doing: impl Into<String>, limit: Option<Duration>) -> Progress {
        let limit = limit.map_or(String::new(), |limit| format!(" of {:.1} s", limit.as_secs_f64()));
        Progress { doing: doing.into(), limit, terminal: io::stderr().is_terminal(), shown: false }
    }

    /// Still waiting, for so long by now.
    pub fn beat(&mut self, waited: Duration) {
        if self.terminal && waited >= SHOWN_AFTER {
            self.shown = true;
            say(&format!("\r\x1b[Kcgf: {}: {:.1} s{}", self.doing, waited.as_secs_f64(), self.limit));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            say("\r\x1b[K");
        }
    }
}

/// A terminal that cannot be written to is no reason to fail.
fn say(text: &str) {
    let mut stderr = io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
