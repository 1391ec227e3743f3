//! What a command is about: `HIERARCHY:PATH`, or the group of a process.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use cgf::Group;
use clap::Args;

use crate::failure::Failure;
use crate::hierarchies::Hierarchies;

/// `HIERARCHY:PATH`; without a path the root group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub hierarchy: OsString,
    /// As the library takes it: `/` for the root group.
    pub path: Vec<u8>,
}

impl Target {
    pub fn is_root(&self) -> bool {
        self.path == b"/"
    }

    /// The group's name in messages and lists, in the form that is understood
    /// as an argument: `jobs:/web`.
    pub fn name(hierarchy: &std::ffi::OsStr, path: &cgf::GroupPath) -> OsString {
        let mut name = hierarchy.to_owned();
        name.push(":/");
        name.push(std::ffi::OsStr::from_bytes(path.as_bytes()));
        name
    }
}

impl From<OsString> for Target {
    fn from(text: OsString) -> Target {
        let mut hierarchy = text.into_vec();
        let mut path = Vec::new();
        if let Some(colon) = hierarchy.iter().position(|&byte| byte == b':') {
            path = hierarchy.split_off(colon + 1);
            hierarchy.pop();
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Target { hierarchy: OsString::from_vec(hierarchy), path }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.strip_prefix(b"/").unwrap_or(&self.path);
        write!(f, "{}:/{}", self.hierarchy.display(), String::from_utf8_lossy(path))
    }
}

/// A group by its name, or by a process that is in it.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// The group; without PATH the hierarchy's root group
    #[arg(value_name = "HIERARCHY:PATH")]
    group: Option<Target>,

    /// The group that this process is in, whoever made it (runc, systemd, …)
    ///
    /// The first of cgroup v2 and v1 (freezer) where that is not the kernel's root
    /// group. Everything else in that group is meant too.
    #[arg(long, value_name = "PID")]
    pub pid: Option<i32>,
}

impl Subject {
    pub fn open(&self, hierarchies: &Hierarchies) -> Result<Group, Failure> {
        match (&self.group, self.pid) {
            (Some(target), _) => hierarchies.group(target),
            (None, Some(pid)) => hierarchies.group_of(pid),
            (None, None) => Err(Failure::plain("neither a group nor a process was named")),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.group, self.pid) {
            (Some(target), _) => target.fmt(f),
            (None, pid) => write!(f, "--pid {}", pid.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let target = Target::from(OsString::from(text));
        (target.hierarchy.display().to_string(), String::from_utf8_lossy(&target.path).into_owned())
    }

    #[test]
    fn the_first_colon_ends_the_hierarchy() {
        assert_eq!(parsed("jobs:web/1"), ("jobs".into(), "web/1".into()));
        assert_eq!(parsed("jobs:a:b"), ("jobs".into(), "a:b".into()));
        assert_eq!(parsed("jobs:"), ("jobs".into(), "/".into()));
        assert_eq!(parsed("jobs"), ("jobs".into(), "/".into()));
        assert_eq!(parsed("jobs:/"), ("jobs".into(), "/".into()));
    }

    #[test]
    fn names_are_bytes() {
        let target = Target::from(OsString::from_vec(b"j\xff:w\xfe".to_vec()));
        assert_eq!((target.hierarchy.as_bytes(), target.path.as_slice()), (&b"j\xff"[..], &b"w\xfe"[..]));
    }
}
