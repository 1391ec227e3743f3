//! Where a hierarchy lives. One function, used by every surface.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::backend::BackendKind;
use crate::backend::tree::{Mount, Version};
use crate::error::{Error, Result};
use crate::path::{GroupPath, check_name};

/// The directory under which every hierarchy of the user has one by its name.
///
/// * cgroup2 and cgroup1: `cgf` under the mount for root; for anybody else
///   under the nearest delegated group, that is the highest one above the
///   caller's own, in an unbroken line, that the caller may make groups in.
/// * embedded: `hierarchies` in the state directory if one was named, else
///   `$XDG_RUNTIME_DIR/cgf`, else `/run/cgf` for root and `/tmp/cgf-UID` for
///   anybody else.
///
/// So the same name and user mean the same hierarchy, whoever asks.
///
/// # Errors
///
/// ENODEV: nothing of the kind is mounted. EACCES: no group is delegated to the
/// caller; the message says what was looked at.
pub fn place(kind: BackendKind, state: Option<&Path>) -> Result<PathBuf> {
    match kind {
        BackendKind::Cgroup2 => under_mount(&Version::Two, "cgroup.procs"),
        BackendKind::Cgroup1 => under_mount(&Version::One("freezer".into()), "cgroup.procs"),
        BackendKind::Embedded => Ok(match state {
            Some(state) => state.join("hierarchies"),
            None => runtime_directory().join("cgf"),
        }),
    }
}

/// The directory of the counters that hierarchies share between processes: `counters`
/// in the state directory if one was named, else `cgf-counters` in the user's own.
///
/// The environment has no say in it: a hierarchy of the kernel's is the same whatever
/// is in there, and so must its counters be.
pub(crate) fn counters(state: Option<&Path>) -> PathBuf {
    match state {
        Some(state) => state.join("counters"),
        None => directory_of_the_user().join("cgf-counters"),
    }
}

/// A hierarchy's name is one component of a path.
pub(crate) fn check_hierarchy_name(name: &OsStr) -> Result<()> {
    check_name(name.as_bytes()).map_err(|error| error.context("the hierarchy's name"))
}

fn under_mount(version: &Version, procs: &str) -> Result<PathBuf> {
    let mount = Mount::first(version)?;
    if rustix::process::geteuid().is_root() {
        return Ok(mount.point.join("cgf"));
    }
    let own = mount
        .group_of("/proc/self/cgroup")
        .map_err(|errno| Error::os(errno, "reading our own cgroup"))?
        .unwrap_or_else(GroupPath::root);
    let directory = |path: &GroupPath| mount.point.join(path.as_path());
    // Within a delegated subtree everything is ours; its top is the first of
    // the unbroken line that is not below something of somebody else's.
    let delegated =
        std::iter::once(own.clone()).chain(own.ancestors()).take_while(|path| is_ours(&directory(path), procs)).last();
    match delegated {
        Some(path) => Ok(directory(&path).join("cgf")),
        None => Err(Error::new(
            libc::EACCES,
            format!(
                "no group is delegated to us: we may not make groups in {} (systemd: Delegate=yes; \
                 by hand: chown the directory and its cgroup.procs)",
                directory(&own).display()
            ),
        )),
    }
}

/// Whether we may make groups in it and put processes there.
fn is_ours(directory: &Path, procs: &str) -> bool {
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    writable(directory) && writable(&directory.join(procs))
}

fn runtime_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && directory.is_absolute()
    {
        return directory;
    }
    directory_of_the_user()
}

fn directory_of_the_user() -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return PathBuf::from("/run");
    }
    let own = PathBuf::from(format!("/run/user/{}", user.as_raw()));
    if std::fs::metadata(&own).is_ok_and(|found| found.uid() == user.as_raw()) {
        return own;
    }
    // Anybody may have made this one before us: its owner is checked on opening.
    PathBuf::from(format!("/tmp/cgf-{}", user.as_raw()))
}
