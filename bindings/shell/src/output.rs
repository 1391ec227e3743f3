//! Standard output: bytes as they are for programs, harmless text for people.

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::unix::ffi::OsStrExt;

use crate::failure::Failure;

/// Where a command writes to.
pub struct Output {
    stdout: BufWriter<Stdout>,
    terminal: bool,
}

impl Output {
    pub fn standard() -> Output {
        let stdout = io::stdout();
        Output { terminal: stdout.is_terminal(), stdout: BufWriter::new(stdout) }
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line.
    pub fn line(&mut self, text: impl AsRef<OsStr>) -> Result<(), Failure> {
        let text = text.as_ref();
        if self.terminal {
            // A name may hold what a terminal takes for commands.
            self.stdout.write_all(harmless(&text.to_string_lossy()).as_bytes())?;
        } else {
            self.stdout.write_all(text.as_bytes())?;
        }
        self.stdout.write_all(b"\n")?;
        Ok(())
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    /// One JSON value on a line.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        self.text(&format!("{value}\n"))
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }
}

/// The text without control characters: on one line, and no commands to a
/// terminal.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_a_terminal() {
        assert_eq!(harmless("web\x1b[2J\n"), "web\\u{1b}[2J\\n");
        assert_eq!(harmless("größer"), "größer");
    }
}
