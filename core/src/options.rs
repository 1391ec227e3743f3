//! The mount-style options of a hierarchy, the same text on every surface.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::BackendKind;
use crate::backend::embedded::StopMethod;
use crate::error::{Error, Result};
use crate::subsystem::{self, BY_DEFAULT};

/// How a hierarchy is opened.
///
/// Made by hand or read from a string as mount(8) takes it:
/// `freezer,signal,backend=cgroup2,deadline=5000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    subsystems: Vec<String>,
    backend: Option<BackendKind>,
    root: Option<PathBuf>,
    state: Option<PathBuf>,
    deadline: Duration,
    stop: StopMethod,
    hold_by_parent: bool,
    flat: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            subsystems: Vec::new(),
            backend: None,
            root: None,
            state: None,
            deadline: Duration::from_secs(10),
            stop: StopMethod::Signal,
            hold_by_parent: false,
            flat: false,
        }
    }
}

impl Options {
    /// Reads the string form. Empty: everything by default.
    ///
    /// | token | meaning |
    /// |---|---|
    /// | `freezer`, `signal`, … | subsystems to bind; none named: those the hierarchy has, or these two |
    /// | `backend=auto`, `cgroup2`, `cgroup1`, `embedded` | who carries the groups |
    /// | `root=DIR` | open the groups below this existing directory |
    /// | `state=DIR` | the system the hierarchy belongs to |
    /// | `deadline=MS` | bounds remove, kill, spawn, attach and thaw; 10000 |
    /// | `stop=signal`, `ptrace` | how the embedded backend stops a task |
    /// | `flat` | charges count in their own group alone, and not in those above it |
    /// | `hold=parent` | groups are made with a parent of their own that is frozen with them |
    ///
    /// # Errors
    ///
    /// EINVAL: an unknown option, an empty or a repeated token, a value that is
    /// none. ENOENT: an unknown subsystem (R1.1).
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Options> {
        let text = text.as_ref().as_bytes();
        let mut options = Options::default();
        if text.is_empty() {
            return Ok(options);
        }
        let mut seen: Vec<&[u8]> = Vec::new();
        for token in text.split(|&byte| byte == b',') {
            let equals = token.iter().position(|&byte| byte == b'=');
            let (key, value) = match equals {
                Some(at) => (&token[..at], Some(OsStr::from_bytes(&token[at + 1..]))),
                None => (token, None),
            };
            let shown = String::from_utf8_lossy(key);
            if key.is_empty() {
                return Err(invalid(format!("{:?} has an empty token", String::from_utf8_lossy(text))));
            }
            if seen.contains(&key) {
                return Err(invalid(format!("{shown:?} is given twice")));
            }
            seen.push(key);
            match value {
                None if shown == "flat" => options.flat = true,
                None => options = options.subsystem(&shown)?,
                Some(value) if value.is_empty() => return Err(invalid(format!("{shown}= has no value"))),
                Some(value) => options.set(&shown, value)?,
            }
        }
        Ok(options)
    }

    /// Binds one subsystem more.
    ///
    /// # Errors
    ///
    /// ENOENT: there is none of that name, also registered in this process
    /// ([`register`](crate::register)). EINVAL: bound already, or empty.
    pub fn subsystem(mut self, name: &str) -> Result<Options> {
        if name.is_empty() {
            return Err(invalid("the name of a subsystem is empty"));
        }
        subsystem::find(name)?;
        if self.subsystems.iter().any(|bound| bound == name) {
            return Err(invalid(format!("{name:?} is given twice")));
        }
        self.subsystems.push(name.to_owned());
        self.subsystems.sort();
        Ok(self)
    }

    /// Says who carries the groups; the default takes the first that works.
    #[must_use]
    pub fn backend(mut self, kind: BackendKind) -> Options {
        self.backend = Some(kind);
        self
    }

    /// Opens the groups below an existing directory, whoever made it.
    #[must_use]
    pub fn root(mut self, directory: impl Into<PathBuf>) -> Options {
        self.root = Some(directory.into());
        self
    }

    /// Makes the hierarchy part of the system with this state directory, in
    /// which a subsystem is bound to one hierarchy at most.
    #[must_use]
    pub fn state(mut self, directory: impl Into<PathBuf>) -> Options {
        self.state = Some(directory.into());
        self
    }

    /// Bounds remove, kill, spawn, attach and thaw.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Options {
        self.deadline = deadline;
        self
    }

    /// How the embedded backend stops a task.
    #[must_use]
    pub fn stop(mut self, method: StopMethod) -> Options {
        self.stop = method;
        self
    }

    /// Makes each group with a parent of its own, which is frozen and thawed with it: who
    /// thaws the group by the kernel's own file then changes nothing. Its path needs two
    /// names, `web/1`; `web` is the parent, must not be there yet, and goes with it.
    #[must_use]
    pub fn hold_by_parent(mut self, hold: bool) -> Options {
        self.hold_by_parent = hold;
        self
    }

    /// Makes a charge count in its own group alone, and not in those above it (R6.3).
    /// Whoever opens the hierarchy later has it so, too.
    #[must_use]
    pub fn flat(mut self, flat: bool) -> Options {
        self.flat = flat;
        self
    }

    fn set(&mut self, key: &str, value: &OsStr) -> Result<()> {
        let word = value.to_string_lossy();
        match key {
            "backend" if word == "auto" => self.backend = None,
            "backend" => self.backend = Some(word.parse()?),
            // A path is bytes, whatever it looks like as text.
            "root" | "state" => {
                let path = PathBuf::from(value);
                if !path.is_absolute() {
                    return Err(invalid(format!("{key}={word}: the path must begin with a slash")));
                }
                *(if key == "root" { &mut self.root } else { &mut self.state }) = Some(path);
            }
            "deadline" => match word.parse() {
                Ok(ms) => self.deadline = Duration::from_millis(ms),
                Err(_) => return Err(invalid(format!("deadline={word}: not a number of milliseconds"))),
            },
            "stop" => {
                self.stop = match &*word {
                    "signal" => StopMethod::Signal,
                    "ptrace" => StopMethod::Ptrace,
                    _ => return Err(invalid(format!("stop={word}: not one of signal, ptrace"))),
                }
            }
            "hold" if word == "parent" => self.hold_by_parent = true,
            "hold" => return Err(invalid(format!("hold={word}: only parent can hold"))),
            _ => {
                let why = format!("unknown option {key}=; there are backend, root, state, deadline, stop, hold");
                return Err(invalid(why));
            }
        }
        Ok(())
    }

    /// The subsystems asked for, in order; empty if none was named.
    pub(crate) fn named_subsystems(&self) -> &[String] {
        &self.subsystems
    }

    /// Those asked for, or the library's own where none was named.
    pub(crate) fn subsystems_of_a_new_hierarchy(&self) -> Vec<String> {
        if self.subsystems.is_empty() { BY_DEFAULT.map(str::to_owned).to_vec() } else { self.subsystems.clone() }
    }

    pub(crate) fn chosen_backend(&self) -> Option<BackendKind> {
        self.backend
    }

    pub(crate) fn root_directory(&self) -> Option<&PathBuf> {
        self.root.as_ref()
    }

    pub(crate) fn state_directory(&self) -> Option<&PathBuf> {
        self.state.as_ref()
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.flat
    }

    pub(crate) fn holds_by_parent(&self) -> bool {
        self.hold_by_parent
    }

    pub(crate) fn stop_method(&self) -> StopMethod {
        self.stop
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(libc::EINVAL, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1.1
    #[test]
    fn tokens_are_known_single_and_not_empty() {
        let errno = |text: &str| Options::parse(text).unwrap_err().errno();
        for text in [",", "freezer,", ",freezer", "freezer,,signal", "freezer,freezer", "backend=", "backend=cgroup3"] {
            assert_eq!(errno(text), libc::EINVAL, "{text:?}");
        }
        for text in [
            "deadline=soon",
            "deadline=-1",
            "stop=gently",
            "hold=me",
            "speed=high",
            "root=here",
            "=x",
            "root=/a,root=/b",
        ] {
            assert_eq!(errno(text), libc::EINVAL, "{text:?}");
        }
        assert_eq!(errno("freezer,nosuch"), libc::ENOENT);
        let options = Options::parse("signal,freezer,backend=cgroup1,deadline=250,stop=ptrace,state=/s").unwrap();
        assert_eq!(options.named_subsystems(), ["freezer", "signal"]);
        assert_eq!(options.chosen_backend(), Some(BackendKind::Cgroup1));
        assert_eq!(options.time_limit(), Duration::from_millis(250));
        assert_eq!(Options::parse("").unwrap(), Options::default());
        assert!(Options::parse("flat,beancounter").unwrap().is_flat());
        assert_eq!(errno("flat=1"), libc::EINVAL);
    }
}
