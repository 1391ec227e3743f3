//! A mounted cgroup tree: where it lies, and which group of it a process is in.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Node;
use super::mirrors::Mirrors;
use super::stage::Whom;
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process::{self, no_such_process};
use crate::sys::{self, Errno, dir::Dir};

/// A mount of a cgroup file system (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Which cgroup shows there, as `/proc/PID/cgroup` names it.
    root: GroupPath,
    /// What the tree is mounted with: the controllers of a version 1 tree among
    /// it.
    options: Vec<String>,
    is_version_2: bool,
}

/// Which tree a hierarchy needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The one tree of version 2.
    Two,
    /// The tree of version 1 that has this controller.
    One(String),
}

impl Mount {
    /// The mounts of this version, as the process sees them.
    pub(crate) fn all(version: &Version) -> Result<Vec<Mount>> {
        let text = process::read("/proc/self/mountinfo").map_err(|errno| Error::os(errno, "reading the mounts"))?;
        Ok(text.split(|&byte| byte == b'\n').filter_map(parse_mount).filter(|mount| mount.is(version)).collect())
    }

    /// Where hierarchies by name go if nothing says otherwise: the first mount.
    pub(crate) fn first(version: &Version) -> Result<Mount> {
        Mount::all(version)?.into_iter().next().ok_or_else(|| {
            let what = match version {
                Version::Two => "cgroup version 2 is not mounted".to_owned(),
                Version::One(controller) => format!("the {controller} of cgroup version 1 is not mounted"),
            };
            Error::new(libc::ENODEV, what)
        })
    }

    fn is(&self, version: &Version) -> bool {
        match version {
            Version::Two => self.is_version_2,
            Version::One(controller) => !self.is_version_2 && self.options.contains(controller),
        }
    }

    /// Whether what is mounted lies above our cgroup namespace: the mount is from
    /// outside of it, and `/proc/PID/cgroup` names groups by another root.
    fn is_beyond_namespace(&self) -> bool {
        self.root.components().any(|name| name == "..")
    }

    /// The cgroup of a process as a path below the mount; `None` if it lies
    /// outside of what is mounted. ESRCH.
    pub(crate) fn group_of(&self, proc_file: &str) -> sys::Result<Option<GroupPath>> {
        Ok(self.group_in(&process::read(proc_file)?))
    }

    /// The same, from the text of `/proc/PID/cgroup`.
    fn group_in(&self, text: &[u8]) -> Option<GroupPath> {
        let line = text.split(|&byte| byte == b'\n').find_map(|line| self.path_in(line));
        // No line: the controller was bound elsewhere since; not our tree.
        line.map(GroupPath::from_kernel).and_then(|path| path_below(&path, &self.root))
    }

    /// The path in a line of `/proc/PID/cgroup`, if the line is this tree's.
    fn path_in<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = |word: &[u8]| self.options.iter().any(|option| option.as_bytes() == word);
        let is_line = match self.is_version_2 {
            true => id == b"0",
            // All controllers in a line are of one tree: one tells which.
            false => controllers.split(|&byte| byte == b',').next().is_some_and(is_ours),
        };
        is_line.then(|| path.strip_suffix(b" (deleted)").unwrap_or(path))
    }
}

/// The tree that carries one hierarchy.
#[derive(Debug)]
pub(crate) struct Tree {
    mount: Mount,
    top: Dir,
    /// The hierarchy's root directory, below the mount.
    base: GroupPath,
    /// `/proc/TID/cgroup` of the thread that opened the hierarchy, held open:
    /// looking it up costs more than reading it, before every freeze.
    opener: Option<(rustix::process::Pid, File)>,
    /// The hierarchy's root directory and those above it, nearest first, and their
    /// freeze files: opening them costs more than looking at their locks, which
    /// everybody does who acts upon a group.
    roots: Vec<(Node, File)>,
}

/// Where a process or a thread was before it was moved, below the mount.
#[derive(Debug)]
pub(crate) struct Home {
    path: GroupPath,
    /// Threads of it that were elsewhere than the first one (version 1).
    strayed: Vec<(i32, GroupPath)>,
}

impl Home {
    /// Whether it, or its first thread that has not ended, was in this group.
    pub(crate) fn is_at(&self, whole: &GroupPath) -> bool {
        self.path == *whole
    }
}

/// Which groups the calling thread is in.
const CALLER: &str = "/proc/thread-self/cgroup";

impl Tree {
    /// The tree that holds the directory `root`. EINVAL: it is in none.
    pub(crate) fn around(root: &Dir, version: &Version) -> Result<Tree> {
        let location = root.location().map_err(|errno| Error::os(errno, "finding the hierarchy's root"))?;
        let mount = Mount::all(version)?
            .into_iter()
            .filter(|mount| location.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.as_os_str().len());
        let Some(mount) = mount else {
            let why = format!("{} is in no mounted cgroup tree of the kind", location.display());
            return Err(Error::new(libc::EINVAL, why));
        };
        let below = location.strip_prefix(&mount.point).unwrap_or(Path::new(""));
        let base = GroupPath::from_kernel(below.as_os_str().as_bytes());
        let top = Dir::open(&mount.point)
            .map_err(|errno| Error::os(errno, format_args!("opening {}", mount.point.display())))?;
        let opener = match version {
            // Its callers are known by their cgroup's id.
            Version::Two => None,
            Version::One(_) => File::open(CALLER).ok().map(|file| (rustix::thread::gettid(), file)),
        };
        Ok(Tree { mount, top, base, opener, roots: Vec::new() })
    }

    /// The same for the tree whose groups are frozen by the file of this name.
    pub(crate) fn that_freezes(root: &Dir, version: &Version, freeze_file: &str) -> Result<Tree> {
        let mut tree = Tree::around(root, version)?;
        for path in std::iter::once(tree.base.clone()).chain(tree.base.ancestors()) {
            tree.roots.extend(open_to_look(&tree.top, path, freeze_file)?);
        }
        Ok(tree)
    }

    /// Whether a group is the root of all: at the top, and without the file that
    /// would freeze it.
    pub(crate) fn is_kernel_root(&self, group: &Node, freeze_file: &str) -> bool {
        let at_top = self.above(&group.path).1.is_empty();
        at_top && matches!(group.dir.open_file(freeze_file, OFlags::RDONLY), Err(Errno::NOENT))
    }

    /// The group of a process, below the hierarchy's root; `None` if outside.
    pub(crate) fn locate(&self, pid: i32) -> Result<Option<GroupPath>> {
        if self.mount.is_beyond_namespace() {
            return self.search("cgroup.procs", pid);
        }
        match self.group_in(&format!("/proc/{pid}/cgroup")) {
            Err(Errno::SRCH) => Err(no_such_process(pid)),
            Err(errno) => Err(Error::os(errno, format_args!("reading the cgroup of {pid}"))),
            Ok(found) => Ok(found),
        }
    }

    /// The group of the calling thread, below the hierarchy's root.
    pub(crate) fn locate_caller(&self) -> Result<Option<GroupPath>> {
        if self.mount.is_beyond_namespace() {
            return match self.mount.is_version_2 {
                true => self.search("cgroup.procs", process::this_process()),
                false => self.search("tasks", rustix::thread::gettid().as_raw_nonzero().get()),
            };
        }
        let mut text = [0; 4096];
        if let Some((thread, file)) = &self.opener
            && *thread == rustix::thread::gettid()
            // Another thread by the same number reads ESRCH here. The kernel makes
            // this file in one piece: what does not fill the space is all of it.
            && let Ok(length) = rustix::io::pread(file, &mut text[..], 0)
            && length < text.len()
        {
            return Ok(self.below_base(self.mount.group_in(&text[..length])));
        }
        self.group_in(CALLER).map_err(|errno| Error::os(errno, "reading our own cgroup"))
    }

    /// The directory at the top of the mount, and the path below it of every
    /// group above `path`, nearest first, beyond the hierarchy's root too.
    pub(crate) fn above(&self, path: &GroupPath) -> (&Dir, Vec<GroupPath>) {
        (&self.top, self.below_mount(path).ancestors().collect())
    }

    /// Every group above one, whose path is below the mount, with its freeze file.
    pub(crate) fn each_above(
        &self,
        whole: &GroupPath,
        freeze_file: &str,
        visit: &mut dyn FnMut(&Node, &File) -> Result<()>,
    ) -> Result<()> {
        for path in whole.ancestors() {
            if self.base.is_within(&path) {
                // The same for every group of the hierarchy.
                let above = |node: &Node| node.path != *whole && whole.is_within(&node.path);
                let roots = self.roots.iter().filter(|(node, _)| above(node));
                return roots.into_iter().try_for_each(|(node, file)| visit(node, file));
            }
            if let Some((node, file)) = open_to_look(&self.top, path, freeze_file)? {
                visit(&node, &file)?;
            }
        }
        Ok(())
    }

    fn open(&self, path: &GroupPath) -> sys::Result<Dir> {
        open(&self.top, path)
    }

    /// The groups that somebody is in, by their paths below the mount.
    pub(crate) fn homes(&self, whom: Whom<'_>) -> Result<Vec<Node>> {
        let home = match whom {
            Whom::Process(process) => self.home_of(process.pid()),
            Whom::Task(tid) => self.home_of_task(tid),
        };
        let home = match home {
            Ok(home) => home,
            // Outside of what is mounted: nobody here could have a say in it.
            Err(Errno::XDEV) => return Ok(Vec::new()),
            Err(Errno::SRCH) => return Err(no_such_process(whom.id())),
            Err(errno) => return Err(Error::os(errno, format_args!("looking where {} is", whom.id()))),
        };
        let mut paths: Vec<GroupPath> =
            std::iter::once(home.path).chain(home.strayed.into_iter().map(|(_, path)| path)).collect();
        paths.sort();
        paths.dedup();
        let mut nodes = Vec::new();
        for path in paths {
            match self.open(&path) {
                Ok(dir) => nodes.push(Node { dir, path }),
                Err(Errno::NOENT | Errno::NODEV | Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => return Err(Error::os(errno, format_args!("opening group {path}"))),
            }
        }
        Ok(nodes)
    }

    /// `cgroup.procs` at the top.
    pub(crate) fn movers_file(&self) -> Result<Option<File>> {
        match self.top.open_file("cgroup.procs", OFlags::RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::ACCESS | Errno::PERM) => Ok(None),
            Err(errno) => Err(Error::os(errno, "opening cgroup.procs at the top of the tree")),
        }
    }

    /// Moves a process to the group of its parent, where it was born.
    pub(crate) fn return_to_parent(&self, pid: i32) -> Result<()> {
        let failed = |errno: Errno| Error::os(errno, format_args!("putting process {pid} back where it was"));
        let parent = process::Stat::of(pid).map_err(failed)?.parent;
        let path = self.mount.group_of(&format!("/proc/{parent}/cgroup")).map_err(failed)?;
        let path = path.ok_or_else(|| failed(Errno::XDEV))?;
        self.open(&path).and_then(|dir| dir.write("cgroup.procs", pid.to_string().as_bytes())).map_err(failed)
    }

    /// Where a process is now, so that it can be sent back there.
    ///
    /// XDEV: outside of what is mounted here, so that nobody could. ESRCH.
    pub(crate) fn home_of(&self, pid: i32) -> sys::Result<Home> {
        if self.mount.is_beyond_namespace() {
            return Err(Errno::XDEV);
        }
        let of = |file: String| self.mount.group_of(&file)?.ok_or(Errno::XDEV);
        let mut places = Vec::new();
        for tid in process::threads(pid)? {
            // The first thread may have ended: it shows a place that is none.
            if process::Stat::of_task(pid, tid).is_ok_and(|stat| stat.is_dead()) {
                continue;
            }
            match of(format!("/proc/{pid}/task/{tid}/cgroup")) {
                Ok(path) => places.push((tid, lasting(path))),
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        let path = places.first().map(|(_, path)| path.clone()).ok_or(Errno::SRCH)?;
        places.retain(|(_, elsewhere)| *elsewhere != path);
        Ok(Home { path, strayed: places })
    }

    /// Where one thread is now.
    pub(crate) fn home_of_task(&self, tid: i32) -> sys::Result<Home> {
        if self.mount.is_beyond_namespace() {
            return Err(Errno::XDEV);
        }
        let path = lasting(self.mount.group_of(&format!("/proc/{tid}/cgroup"))?.ok_or(Errno::XDEV)?);
        Ok(Home { path, strayed: Vec::new() })
    }

    /// EACCES: it could not be put back there, for want of the right to.
    pub(crate) fn can_send_home(&self, home: &Home, file: &str) -> sys::Result<()> {
        match self.open(&home.path).and_then(|dir| dir.open_file(file, OFlags::WRONLY)) {
            // Removed since: then it goes above it.
            Ok(_) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Puts something where something else, or itself, was.
    pub(crate) fn send_home(&self, home: &Home, file: &str, id: i32) -> sys::Result<()> {
        self.put_near(&home.path, file, id)?;
        for (tid, path) in &home.strayed {
            match self.put_near(path, "tasks", *tid) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Into a group, or, if somebody has removed that meanwhile, into the nearest
    /// above it.
    fn put_near(&self, path: &GroupPath, file: &str, id: i32) -> sys::Result<()> {
        let mut result = self.put(path, file, id);
        for above in path.ancestors() {
            if !matches!(result, Err(Errno::NOENT | Errno::NODEV)) {
                break;
            }
            result = self.put(&above, file, id);
        }
        result
    }

    fn put(&self, path: &GroupPath, file: &str, id: i32) -> sys::Result<()> {
        self.open(path)?.write(file, id.to_string().as_bytes())
    }

    /// A group of the hierarchy as a path below the mount.
    pub(crate) fn below_mount(&self, path: &GroupPath) -> GroupPath {
        self.base.join(path)
    }

    /// Whether this tree is what is mounted there.
    pub(crate) fn is_on(&self, mount: &Mount) -> bool {
        self.mount.is_version_2 == mount.is_version_2 && self.mount.options == mount.options
    }

    pub(crate) fn has_controller(&self, controller: &str) -> bool {
        self.mount.is(&Version::One(controller.to_owned()))
    }

    pub(crate) fn top(&self) -> &Dir {
        &self.top
    }

    /// Looks through the members of every group of the hierarchy: slow, and the
    /// only way where `/proc/PID/cgroup` speaks of another root than the mount.
    fn search(&self, file: &str, id: i32) -> Result<Option<GroupPath>> {
        let dir = self.open(&self.base).map_err(|errno| Error::os(errno, "opening the hierarchy's root directory"))?;
        let mut found = None;
        Node { dir, path: GroupPath::root() }.walk(&mut |node| {
            let members = node.dir.read(file).map_err(|errno| node.failed(errno, "reading the members"))?;
            if process::numbers(&members).contains(&id) {
                found = if node.is_passing() { node.path.parent() } else { Some(node.path.clone()) };
            }
            Ok(())
        })?;
        if found.is_none() && process::Stat::of(id).is_err() {
            return Err(no_such_process(id));
        }
        Ok(found)
    }

    fn group_in(&self, proc_file: &str) -> sys::Result<Option<GroupPath>> {
        Ok(self.below_base(self.mount.group_of(proc_file)?))
    }

    /// A path below the mount as one below the hierarchy's root. Who is in a
    /// passing group is in the one around it.
    fn below_base(&self, path: Option<GroupPath>) -> Option<GroupPath> {
        path_below(&path?, &self.base).map(lasting)
    }
}

fn open(top: &Dir, path: &GroupPath) -> sys::Result<Dir> {
    top.open_dir(if path.is_root() { Path::new(".") } else { path.as_path() })
}

/// `None`: it has gone, is the kernel's own root, or is not ours to look at.
fn open_to_look(top: &Dir, path: GroupPath, freeze_file: &str) -> Result<Option<(Node, File)>> {
    let opened = open(top, &path).and_then(|dir| dir.open_file(freeze_file, OFlags::RDONLY).map(|file| (dir, file)));
    match opened {
        Ok((dir, file)) => Ok(Some((Node { dir, path }, file))),
        Err(Errno::NOENT | Errno::NODEV | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(errno) => Err(Error::os(errno, format_args!("opening {freeze_file} of group {path}"))),
    }
}

/// Makes a group whose freeze file is its owner's alone: a mere reader of it
/// could hold up its lockers.
pub(crate) fn create(parent: &Node, name: &OsStr, freeze_file: &str, mirrors: &Mirrors) -> sys::Result<Dir> {
    parent.dir.mkdir(name, Mode::from_raw_mode(0o755))?;
    let made = parent.dir.open_dir(name).and_then(|dir| {
        dir.chmod(freeze_file, Mode::RUSR | Mode::WUSR)?;
        let group = Node { dir, path: parent.path.child(name) };
        mirrors.create(&group)?;
        Ok(group.dir)
    });
    made.inspect_err(|_| {
        let _ = parent.dir.rmdir(name);
    })
}

/// Who is in a passing group is in the one around it, and goes back there.
fn lasting(path: GroupPath) -> GroupPath {
    if path.is_passing() { path.parent().unwrap_or(path) } else { path }
}

/// `path` with `top` taken off its front; `None` if it is not within.
fn path_below(path: &GroupPath, top: &GroupPath) -> Option<GroupPath> {
    // "/.." leads out of our cgroup namespace: not a group we can name.
    if !path.is_within(top) || path.components().any(|name| name == "..") {
        return None;
    }
    Some(GroupPath::from_kernel(path.as_bytes().get(top.as_bytes().len()..)?))
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let is_version_2 = match kind {
        b"cgroup2" => true,
        b"cgroup" => false,
        _ => return None,
    };
    let options = options.split(|&byte| byte == b',').map(|word| String::from_utf8_lossy(word).into_owned());
    Some(Mount {
        point: PathBuf::from(OsStr::from_bytes(&unescape(point))),
        root: GroupPath::from_kernel(&unescape(root)),
        options: options.collect(),
        is_version_2,
    })
}

/// `\040` and the like, as the kernel writes spaces in paths.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        match octal.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) if byte == b'\\' => {
                plain.push(code);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_odd_names() {
        let line = br"30 23 0:26 /docker/a /mnt/my\040groups rw,relatime shared:9 - cgroup cgroup rw,cpu,freezer";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/my groups"));
        assert_eq!(mount.root.to_string(), "/docker/a");
        assert!(mount.is(&Version::One("freezer".into())) && mount.is(&Version::One("cpu".into())));
        assert!(!mount.is(&Version::One("pids".into())) && !mount.is(&Version::Two));
        assert_eq!(mount.path_in(b"6:freezer,cpu:/x"), Some(&b"/x"[..]));
        assert_eq!(mount.path_in(b"7:pids:/x"), None);
        assert_eq!(mount.path_in(b"0::/x"), None);
        let mount = parse_mount(b"30 23 0:26 / /mnt rw - cgroup2 cgroup2 rw").unwrap();
        assert_eq!(mount.path_in(b"0::/a:b (deleted)"), Some(&b"/a:b"[..]));
        assert_eq!(parse_mount(b"30 23 0:26 / /mnt rw - ext4 /dev/vda rw"), None);
        assert_eq!(parse_mount(b""), None);
    }

    #[test]
    fn a_group_is_named_from_the_hierarchys_root() {
        let path = GroupPath::from_kernel;
        assert_eq!(path_below(&path(b"/cgf/jobs/web"), &path(b"/cgf/jobs")), Some(path(b"web")));
        assert_eq!(path_below(&path(b"/cgf/jobs"), &path(b"/cgf/jobs")), Some(GroupPath::root()));
        assert_eq!(path_below(&path(b"/cgf/jobs2"), &path(b"/cgf/jobs")), None);
        assert_eq!(path_below(&path(b"/../x"), &path(b"/")), None);
    }
}
