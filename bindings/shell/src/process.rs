//! A process as `/proc` shows it to an operator.

use std::fs;

/// What `cgf ps` prints about a process.
pub struct Process {
    pub pid: i32,
    /// The kernel's letter, `S` or `D` or `T` (proc_pid_stat(5)).
    pub state: char,
    /// The name the kernel has for it, at most 15 bytes.
    pub command: String,
    /// Empty for a kernel thread and a zombie.
    pub arguments: Vec<String>,
}

impl Process {
    /// `None`: it has gone.
    pub fn read(pid: i32) -> Option<Process> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let (command, state) = command_and_state(&stat)?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        let arguments = match line {
            [] => Vec::new(),
            line => line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
        };
        Some(Process { pid, state, command, arguments })
    }

    /// As ps(1) does it: the command line, or the name in brackets.
    pub fn command_line(&self) -> String {
        if self.arguments.is_empty() { format!("[{}]", self.command) } else { self.arguments.join(" ") }
    }

    /// Dead, though perhaps not yet waited for.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// The kernel function that a process waits in; empty where it runs, or where
/// we may not look.
pub fn waits_in(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}

fn command_and_state(stat: &[u8]) -> Option<(String, char)> {
    // The name may hold brackets and spaces itself; the last bracket ends it.
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let command = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    Some((command, char::from(*stat.get(close + 2)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest_of_its_line() {
        assert_eq!(command_and_state(b"42 (a) R (b) S 7 8"), Some(("a) R (b".into(), 'S')));
        assert_eq!(command_and_state(b"42 (a)"), None);
        assert_eq!(command_and_state(b""), None);
    }

    #[test]
    fn this_process_has_arguments() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::read(pid).unwrap();
        assert!(!process.arguments.is_empty() && !process.is_dead());
    }
}
