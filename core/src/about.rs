//! What the library's own control files are, in words: `docs/files.md` is made of this, and
//! so cannot say anything else than the code.

use crate::control_file::{self, ControlFile};
use crate::subsystem;

/// What is said of a control file where it is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About {
    /// What it is, as a sentence without its full stop.
    pub meaning: &'static str,
    /// What its numbers count; empty if they count nothing.
    pub unit: &'static str,
    /// What a read gives and a write takes.
    pub format: &'static str,
    /// Who may write it; empty for a file that whoever may change the group may write.
    pub writers: &'static str,
    /// Beyond what every file may give: which errno, and when.
    pub errors: &'static [(&'static str, &'static str)],
    /// What is not the same on all backends; empty if all is.
    pub backends: &'static str,
}

/// A control file of the library's own, described.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileInfo {
    /// The subsystem that has to be bound for it; `None`: every group has it.
    pub subsystem: Option<&'static str>,
    /// Its name; in capitals what stands for something: `bc.RESOURCE.held`.
    pub name: String,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether the root group alone has it.
    pub only_at_root: bool,
    /// What it is.
    pub meaning: &'static str,
    /// What its numbers count; empty if they count nothing.
    pub unit: &'static str,
    /// What a read gives and a write takes.
    pub format: &'static str,
    /// Who may write it; empty for a file that nobody may.
    pub writers: &'static str,
    /// Beyond what every file may give ([`Group::read`](crate::Group::read),
    /// [`Group::write`](crate::Group::write)): which errno, and when.
    pub errors: &'static [(&'static str, &'static str)],
    /// What is not the same on all backends; empty if all is.
    pub backends: &'static str,
}

/// Every control file that the library itself has, by subsystem and name: the core's first.
pub fn files() -> Vec<FileInfo> {
    let own = subsystem::built_in().flat_map(|(name, subsystem)| {
        let files = subsystem.populate().into_iter().flat_map(move |file| file.described(name));
        files.map(move |file| info(Some(name), &file)).collect::<Vec<_>>()
    });
    let core = control_file::core_files().into_iter().map(|file| info(None, &file));
    let mut all: Vec<FileInfo> = core.chain(own).collect();
    all.sort_by(|one, other| (one.subsystem, &one.name).cmp(&(other.subsystem, &other.name)));
    all
}

fn info(subsystem: Option<&'static str>, file: &ControlFile) -> FileInfo {
    let About { meaning, unit, format, writers, errors, backends } = file.said();
    let writers = match writers {
        _ if !file.is_writable() => "",
        "" => "whoever may change the group",
        others => others,
    };
    FileInfo {
        subsystem,
        name: file.name().to_owned(),
        readable: file.is_readable(),
        writable: file.is_writable(),
        only_at_root: file.is_only_at_root(),
        meaning,
        unit,
        format,
        writers,
        errors,
        backends,
    }
}
