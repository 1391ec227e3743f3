//! The text interface: every group answers `read(name)` and `write(name, text)`.

use crate::error::{Error, Result};
use crate::group::Group;
use crate::state::State;
use crate::subsystems::freezer::FreezeOptions;

/// The longest text that any control file takes, as the kernel's own.
const LONGEST: usize = 4096;

/// One control file: what it is called and what it does.
struct ControlFile {
    name: &'static str,
    read: Option<fn(&Group) -> Result<String>>,
    write: Option<fn(&Group, &str) -> Result<()>>,
}

/// All there are, by name.
const FILES: [ControlFile; 7] = [
    ControlFile {
        name: "cgroup.procs",
        read: Some(|group| group.procs().map(lines)),
        write: Some(|group, text| group.attach(number(text)?)),
    },
    ControlFile {
        name: "freezer.frozen_usec",
        read: Some(|group| group.frozen_time().map(|time| format!("{}\n", time.as_micros()))),
        write: None,
    },
    ControlFile {
        name: "freezer.parent_freezing",
        read: Some(|group| group.is_parent_freezing().map(flag)),
        write: None,
    },
    ControlFile { name: "freezer.self_freezing", read: Some(|group| group.is_self_freezing().map(flag)), write: None },
    ControlFile {
        name: "freezer.state",
        read: Some(|group| group.state().map(|state| format!("{state}\n"))),
        write: Some(write_state),
    },
    ControlFile { name: "signal.kill", read: None, write: Some(|group, text| group.kill(number(text)?)) },
    ControlFile {
        name: "tasks",
        read: Some(|group| group.tasks().map(lines)),
        write: Some(|group, text| group.attach_task(number(text)?)),
    },
];

impl Group {
    /// The text of a control file: one consistent answer.
    ///
    /// # Errors
    ///
    /// ENOENT: no such file, or its subsystem is not bound. EACCES: it can only
    /// be written. Else what the operation behind it gives.
    pub fn read(&self, file: &str) -> Result<String> {
        let found = self.control_file(file)?;
        match found.read {
            Some(read) => read(self),
            None => Err(Error::new(libc::EACCES, format!("{file} can only be written"))),
        }
    }

    /// Writes a control file, with or without a newline at the end.
    ///
    /// # Errors
    ///
    /// ENOENT: no such file, or its subsystem is not bound. EACCES: it can only
    /// be read. EINVAL: not what the file takes. E2BIG: more than 4096 bytes.
    /// Else what the operation behind it gives; after any of them nothing is
    /// half-done.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let found = self.control_file(file)?;
        let Some(write) = found.write else {
            return Err(Error::new(libc::EACCES, format!("{file} can only be read")));
        };
        if text.len() > LONGEST {
            return Err(Error::new(libc::E2BIG, format!("{} bytes for {file}, which takes {LONGEST}", text.len())));
        }
        write(self, text.strip_suffix('\n').unwrap_or(text)).map_err(|error| error.context(file))
    }

    fn control_file(&self, name: &str) -> Result<&'static ControlFile> {
        self.backend()?;
        let owner = name.split_once('.').map(|(owner, _)| owner);
        let is_bound = match owner {
            Some(owner) if owner != "cgroup" => self.hierarchy().subsystems().iter().any(|bound| bound == owner),
            _ => true,
        };
        FILES
            .iter()
            .find(|file| file.name == name && is_bound)
            .ok_or_else(|| Error::new(libc::ENOENT, format!("{self} has no control file {name:?}")))
    }
}

/// Asks, and does not wait: whoever wants to wait calls freeze (R3.2).
fn write_state(group: &Group, text: &str) -> Result<()> {
    match text {
        "FROZEN" => match group.freeze_with(FreezeOptions::within(std::time::Duration::ZERO)) {
            Err(error) if error.errno() == libc::EBUSY && group.state()? != State::Thawed => Ok(()),
            other => other,
        },
        // RUNNING is the word of the first proposals.
        "THAWED" | "RUNNING" => group.thaw(),
        _ => Err(Error::new(libc::EINVAL, format!("{text:?} cannot be written; FROZEN and THAWED can"))),
    }
}

fn number(text: &str) -> Result<i32> {
    text.trim().parse().map_err(|_| Error::new(libc::EINVAL, format!("{text:?} is no number")))
}

fn lines(ids: Vec<i32>) -> String {
    ids.into_iter().map(|id| format!("{id}\n")).collect()
}

fn flag(set: bool) -> String {
    format!("{}\n", u8::from(set))
}
