//! The path of a group within its hierarchy, and what a group may be called.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};

/// The longest name the kernel takes for one group (NAME_MAX).
const NAME_MAX: usize = 255;

/// What the library keeps to itself in a group is called so: the groups that it
/// makes for a moment, and the files that stand in for attributes.
pub(crate) const OWN_PREFIX: &str = "cgf.";

/// Where a group lies below its hierarchy's root: `web/1`, or nothing for the
/// root itself. Names are bytes; every one has passed the check of R1.3, so a
/// `GroupPath` never leads out of the hierarchy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPath {
    /// Without slashes at either end, without empty, `.` or `..` components.
    bytes: Vec<u8>,
}

impl GroupPath {
    /// The root of the hierarchy.
    pub fn root() -> GroupPath {
        GroupPath { bytes: Vec::new() }
    }

    /// Reads `web/1` or `/web/1`; `/` is the root.
    ///
    /// # Errors
    ///
    /// EINVAL: empty, an empty component, `.` or `..`, a NUL or newline, or a
    /// name that control files use. ENAMETOOLONG: a name of more than 255
    /// bytes, or a path of more than 4095 (R1.3).
    pub fn parse(text: impl AsRef<[u8]>) -> Result<GroupPath> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(Error::new(libc::EINVAL, "an empty group path; the root group is \"/\""));
        }
        if text.len() >= libc::PATH_MAX as usize {
            return Err(Error::new(libc::ENAMETOOLONG, "a group path of more than 4095 bytes"));
        }
        let inner = text.strip_prefix(b"/").unwrap_or(text);
        let inner = inner.strip_suffix(b"/").unwrap_or(inner);
        if inner.is_empty() {
            return Ok(GroupPath::root());
        }
        for name in inner.split(|&byte| byte == b'/') {
            check_name(name)?;
        }
        Ok(GroupPath { bytes: inner.to_owned() })
    }

    /// Whether this is the root of the hierarchy.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The path's bytes without a leading slash; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &OsStr {
        let last = self.bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        OsStr::from_bytes(last)
    }

    /// The path one step up; `None` for the root.
    pub fn parent(&self) -> Option<GroupPath> {
        if self.is_root() {
            return None;
        }
        let end = self.bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(GroupPath { bytes: self.bytes[..end].to_owned() })
    }

    /// The parents, nearest first, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = GroupPath> {
        std::iter::successors(self.parent(), GroupPath::parent)
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &GroupPath) -> bool {
        other.is_root()
            || self
                .bytes
                .strip_prefix(other.bytes.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// The path of a child whose name the kernel told us, so that it needs no
    /// check against what *we* would let a caller make.
    pub(crate) fn child(&self, name: &OsStr) -> GroupPath {
        let mut bytes = self.bytes.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        GroupPath { bytes }
    }

    /// The path of a group that lies below this one.
    pub(crate) fn join(&self, below: &GroupPath) -> GroupPath {
        let parts = [self.bytes.as_slice(), below.bytes.as_slice()];
        if parts.iter().any(|part| part.is_empty()) {
            GroupPath { bytes: parts.concat() }
        } else {
            GroupPath { bytes: parts.join(&b'/') }
        }
    }

    /// Whether this is a group of the library's own, made for a moment.
    pub(crate) fn is_passing(&self) -> bool {
        self.name().as_bytes().starts_with(OWN_PREFIX.as_bytes())
    }

    /// A path that the kernel told us, in `/proc/PID/cgroup` and the like.
    pub(crate) fn from_kernel(bytes: &[u8]) -> GroupPath {
        let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
        GroupPath { bytes: bytes.strip_suffix(b"/").unwrap_or(bytes).to_owned() }
    }

    /// The path as it is from `top`; `None` if it is not within.
    pub(crate) fn below(&self, top: &GroupPath) -> Option<GroupPath> {
        if !self.is_within(top) {
            return None;
        }
        Some(GroupPath::from_kernel(self.bytes.get(top.bytes.len()..)?))
    }

    pub(crate) fn components(&self) -> impl Iterator<Item = &OsStr> {
        self.bytes.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(OsStr::from_bytes)
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.bytes))
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.bytes).escape_debug())
    }
}

impl fmt::Debug for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Refuses what is no name for a group, on any backend (R1.3): what the kernel
/// would refuse, and what would hide or look like a control file.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    let wrong = |why: &str| {
        let shown = String::from_utf8_lossy(name);
        Err(Error::new(libc::EINVAL, format!("{:?} is no name for a group: {why}", shown)))
    };
    if name.len() > NAME_MAX {
        let why = format!("a group name of {} bytes; the kernel takes at most {NAME_MAX}", name.len());
        return Err(Error::new(libc::ENAMETOOLONG, why));
    }
    match name {
        b"" => return wrong("a component of the path is empty"),
        b"." | b".." => return wrong("a path never leads up"),
        _ => {}
    }
    if name.iter().any(|byte| matches!(byte, b'/' | b'\0' | b'\n')) {
        return wrong("it holds a slash, a NUL or a newline");
    }
    if is_control_file(name) {
        return wrong("control files are called so");
    }
    if name.ends_with(b" (deleted)") {
        return wrong("the kernel marks removed groups so");
    }
    if name.starts_with(OWN_PREFIX.as_bytes()) {
        return wrong("names that begin with \"cgf.\" are the library's own");
    }
    Ok(())
}

/// The core's files by name, a subsystem's by its prefix.
fn is_control_file(name: &[u8]) -> bool {
    const FILES: [&[u8]; 4] = [b"tasks", b"notify_on_release", b"release_agent", b"auto_delete"];
    const PREFIXES: [&[u8]; 5] = [b"bc.", b"cgroup.", b"cpuacct.", b"freezer.", b"signal."];
    FILES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> std::result::Result<String, i32> {
        GroupPath::parse(text).map(|path| path.to_string()).map_err(|error| error.errno())
    }

    /// R1.3
    #[test]
    fn paths_stay_beneath_the_root() {
        assert_eq!(parsed("web/1"), Ok("/web/1".into()));
        assert_eq!(parsed("/web/1/"), Ok("/web/1".into()));
        assert_eq!(parsed("/"), Ok("/".into()));
        for text in [
            "",
            "..",
            "web/..",
            "web/../x",
            ".",
            "web//1",
            "a\nb",
            "a\0b",
            "cgroup.procs",
            "tasks",
            "web/freezer.state",
            "web/cpuacct.time",
            "cgf.x",
        ] {
            assert_eq!(parsed(text), Err(libc::EINVAL), "{text:?}");
        }
        assert_eq!(parsed(&"n".repeat(255)), Ok(format!("/{}", "n".repeat(255))));
        assert_eq!(parsed(&"n".repeat(256)), Err(libc::ENAMETOOLONG));
    }

    #[test]
    fn within_compares_whole_names() {
        let path = |text: &str| GroupPath::parse(text).unwrap_or_else(|error| unreachable!("{error}"));
        assert!(path("web/1").is_within(&path("web")));
        assert!(path("web").is_within(&path("web")));
        assert!(path("web").is_within(&path("/")));
        assert!(!path("web2").is_within(&path("web")));
        assert!(!path("web").is_within(&path("web/1")));
    }

    #[test]
    fn parents_end_at_the_root() {
        let path = GroupPath::from_kernel(b"/a/b/c");
        let above: Vec<String> = path.ancestors().map(|path| path.to_string()).collect();
        assert_eq!(above, ["/a/b", "/a", "/"]);
        assert_eq!(path.name(), "c");
    }
}
