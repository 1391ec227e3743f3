//! The text interface: every group answers `read(name)` and `write(name, text)`.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::about::About;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::release;
use crate::subsystem::{self, Subsystem};

/// The longest text that any control file takes, as the kernel's own.
const LONGEST: usize = 4096;

type Read = Box<dyn Fn(&Group) -> Result<String> + Send + Sync>;
type Write = Box<dyn Fn(&Group, &str) -> Result<()> + Send + Sync>;
type Names = fn(&Group) -> Result<Vec<String>>;
type Pick = fn(&Group, &str) -> Result<Option<ControlFile>>;

/// A control file of a subsystem: what it is called and what it does.
///
/// ```
/// use cgf::{ControlFile, Error};
///
/// let max = ControlFile::new("max")
///     .read(|group| Ok(format!("{}\n", group.attribute("members.max")?.unwrap_or_default())))
///     .write(|group, text| group.set_attribute("members.max", text));
/// ```
#[must_use]
pub struct ControlFile {
    name: String,
    read: Option<Read>,
    write: Option<Write>,
    place: Place,
    family: Option<Family>,
    about: About,
}

/// Files of which there are as many as their subsystem says when it is asked. They are
/// called as it says.
struct Family {
    names: Names,
    pick: Pick,
    described: fn() -> Vec<ControlFile>,
}

/// Which groups have the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Everywhere,
    Root,
}

impl ControlFile {
    /// A file called `SUBSYSTEM.name`, which can be neither read nor written
    /// until it is said how.
    pub fn new(name: impl Into<String>) -> ControlFile {
        let about = About::default();
        ControlFile { name: name.into(), read: None, write: None, place: Place::Everywhere, family: None, about }
    }

    /// All files whose names begin so, as far as there are any: their names, the file of a
    /// name, and one of each kind for the documentation.
    pub(crate) fn family(prefix: &str, names: Names, pick: Pick, described: fn() -> Vec<ControlFile>) -> ControlFile {
        ControlFile { family: Some(Family { names, pick, described }), ..ControlFile::new(prefix) }
    }

    pub(crate) fn said(&self) -> About {
        self.about
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.read.is_some()
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.write.is_some()
    }

    pub(crate) fn is_only_at_root(&self) -> bool {
        self.place == Place::Root
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// It as a subsystem's: a family's names are whole already.
    fn owned_by(mut self, subsystem: &str) -> ControlFile {
        if self.family.is_none() {
            self.name = format!("{subsystem}.{}", self.name);
        }
        self
    }

    /// It, or one of each kind that it stands for, as the documentation lists them.
    pub(crate) fn described(self, subsystem: &str) -> Vec<ControlFile> {
        match &self.family {
            Some(family) => (family.described)(),
            None => vec![self.owned_by(subsystem)],
        }
    }

    /// What the documentation says of it.
    pub(crate) fn about(mut self, about: About) -> ControlFile {
        self.about = about;
        self
    }

    /// What a read answers: lines, each with a newline at its end.
    pub fn read(mut self, read: impl Fn(&Group) -> Result<String> + Send + Sync + 'static) -> ControlFile {
        self.read = Some(Box::new(read));
        self
    }

    /// What a write does. The text comes without the newline at its end, and has
    /// at most 4096 bytes.
    pub fn write(mut self, write: impl Fn(&Group, &str) -> Result<()> + Send + Sync + 'static) -> ControlFile {
        self.write = Some(Box::new(write));
        self
    }

    /// Only the root group has it.
    pub fn only_at_root(mut self) -> ControlFile {
        self.place = Place::Root;
        self
    }
}

impl fmt::Debug for ControlFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The files that the groups of a hierarchy have: the core's, and those of its
/// subsystems.
#[derive(Debug)]
pub(crate) struct ControlFiles(Vec<(ControlFile, Option<Arc<dyn Subsystem>>)>);

impl ControlFiles {
    /// EINVAL: a subsystem has a file twice, or one without a proper name.
    pub(crate) fn of(subsystems: &[Arc<dyn Subsystem>]) -> Result<ControlFiles> {
        let mut files: Vec<_> = core_files().into_iter().map(|file| (file, None)).collect();
        for subsystem in subsystems {
            let mut seen = HashSet::new();
            for file in subsystem::call(&**subsystem, "populate", || Ok(subsystem.populate()))? {
                let is_name =
                    !file.name.is_empty() && file.name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
                if !is_name || file.name.len() > 64 || !seen.insert(file.name.clone()) {
                    let why = format!(
                        "subsystem {}: {:?} is no name for a control file, or used twice",
                        subsystem.name(),
                        file.name
                    );
                    return Err(Error::new(libc::EINVAL, why));
                }
                files.push((file.owned_by(subsystem.name()), Some(Arc::clone(subsystem))));
            }
        }
        files.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Ok(ControlFiles(files))
    }

    fn of_group(&self, group: &Group) -> impl Iterator<Item = &(ControlFile, Option<Arc<dyn Subsystem>>)> {
        let is_root = group.path().is_root();
        self.0.iter().filter(move |(file, _)| is_root || file.place == Place::Everywhere)
    }

    fn find(&self, group: &Group, name: &str) -> Result<(Found<'_>, Option<&dyn Subsystem>)> {
        for (file, owner) in self.of_group(group) {
            match &file.family {
                None if file.name == name => return Ok((Found::Listed(file), owner.as_deref())),
                Some(family) if name.starts_with(&file.name) => {
                    if let Some(picked) = (family.pick)(group, name)? {
                        return Ok((Found::Picked(picked), owner.as_deref()));
                    }
                }
                _ => {}
            }
        }
        Err(Error::new(libc::ENOENT, format!("{group} has no control file {name:?}")))
    }
}

/// A file that somebody asked for by its name.
enum Found<'a> {
    Listed(&'a ControlFile),
    Picked(ControlFile),
}

impl Deref for Found<'_> {
    type Target = ControlFile;

    fn deref(&self) -> &ControlFile {
        match self {
            Found::Listed(file) => file,
            Found::Picked(file) => file,
        }
    }
}

impl Group {
    /// The names of its control files, sorted.
    ///
    /// # Errors
    ///
    /// ECHILD: in a forked child. What opening the hierarchy's counters gives, if it has any
    /// ([`charge`](Group::charge)).
    pub fn control_files(&self) -> Result<Vec<String>> {
        self.backend()?;
        let mut names = Vec::new();
        for (file, _) in self.hierarchy().control_files().of_group(self) {
            match &file.family {
                None => names.push(file.name.clone()),
                Some(family) => names.extend((family.names)(self)?),
            }
        }
        names.sort();
        Ok(names)
    }

    /// The text of a control file: one consistent answer.
    ///
    /// # Errors
    ///
    /// ENOENT: no such file, or its subsystem is not bound. EACCES: it can only
    /// be written. Else what the operation behind it gives.
    pub fn read(&self, file: &str) -> Result<String> {
        self.backend()?;
        let (found, owner) = self.hierarchy().control_files().find(self, file)?;
        match &found.read {
            Some(read) => called(owner, file, || read(self)),
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
        self.backend()?;
        let (found, owner) = self.hierarchy().control_files().find(self, file)?;
        let Some(write) = &found.write else {
            return Err(Error::new(libc::EACCES, format!("{file} can only be read")));
        };
        if text.len() > LONGEST {
            return Err(Error::new(libc::E2BIG, format!("{} bytes for {file}, which takes {LONGEST}", text.len())));
        }
        let text = text.strip_suffix('\n').unwrap_or(text);
        called(owner, file, || write(self, text)).map_err(|error| error.context(file))
    }
}

fn called<T>(owner: Option<&dyn Subsystem>, file: &str, operation: impl FnOnce() -> Result<T>) -> Result<T> {
    match owner {
        Some(owner) => subsystem::call(owner, file, operation),
        None => operation(),
    }
}

/// What every group has, whatever is bound to its hierarchy (R1.8).
pub(crate) fn core_files() -> Vec<ControlFile> {
    let switch =
        About { format: "0 or 1; any other number is 1", errors: &[("EINVAL", "no number")], ..About::default() };
    let list = About {
        format: "a number a line, sorted; takes one number, 0 for the writer",
        writers: "whoever may change the group, for processes of their own; root for all",
        ..About::default()
    };
    let mover: &[(&str, &str)] = &[
        ("EINVAL", "no number, or a kernel thread"),
        ("ESRCH", "no such process or thread"),
        ("EBUSY", "the group is frozen, or a checkpoint holds one of the two groups"),
        ("EACCES", "another user's process"),
    ];
    vec![
        ControlFile::new("auto_delete")
            .about(About { meaning: "Whether the group is removed when the last has left it", ..switch })
            .read(|group| release::is_auto_delete(group).map(flag))
            .write(|group, text| release::set_auto_delete(group, number::<u64>(text)? != 0)),
        ControlFile::new("notify_on_release")
            .about(About { meaning: "Whether the release agent is run when the last has left the group", ..switch })
            .read(|group| release::is_notifying(group).map(flag))
            .write(|group, text| release::set_notifying(group, number::<u64>(text)? != 0)),
        ControlFile::new("release_agent")
            .about(About {
                meaning: "The program that is run with a released group's path",
                format: "a path; empty for none",
                errors: &[("EINVAL", "does not begin with a slash"), ("E2BIG", "more than 4095 bytes")],
                ..About::default()
            })
            .read(|group| release::agent(group).map(|agent| format!("{agent}\n")))
            .write(release::set_agent)
            .only_at_root(),
        ControlFile::new("cgroup.procs")
            .about(About {
                meaning: "The processes in this very group; a write moves one with all its threads here",
                errors: mover,
                ..list
            })
            .read(|group| group.procs().map(lines))
            .write(|group, text| group.attach(number(text)?)),
        ControlFile::new("tasks")
            .about(About {
                meaning: "The threads in this very group; a write moves one here",
                errors: mover,
                backends: "single threads move on cgroup1, and within a threaded subtree of cgroup2; else EOPNOTSUPP",
                ..list
            })
            .read(|group| group.tasks().map(lines))
            .write(|group, text| group.attach_task(number(text)?)),
    ]
}

/// A number as people and kernels write it.
///
/// EINVAL: it is none, or none that fits.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| Error::new(libc::EINVAL, format!("{text:?} is no number")))
}

/// A switch as a file shows it.
pub(crate) fn flag(set: bool) -> String {
    format!("{}\n", u8::from(set))
}

fn lines(ids: Vec<i32>) -> String {
    ids.into_iter().map(|id| format!("{id}\n")).collect()
}
