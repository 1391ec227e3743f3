//! What others put in our way: files, directories, locks.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A directory of the test's own, which goes with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("cgf-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        mode(&path, 0o700);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn carried(path: &Path) -> std::result::Result<Embedded, i32> {
    Embedded::new(&Dir::open(path).unwrap(), StopMethod::Signal).map_err(|error| error.errno())
}

/// R4.5: a pipe in the place of a record keeps nobody waiting.
#[test]
fn a_pipe_is_no_record() {
    for name in ["freezer.state", "cgroup.procs", "freezer.stopped", "freezer.tracer", "cgroup.procs.new"] {
        let bench = Bench::new();
        let group = bench.group("web");
        let path = bench.path.join("web").join(name);
        let _ = std::fs::remove_file(&path);
        fifo(&path);
        let (done, finished) = std::sync::mpsc::channel();
        let backend = &bench.backend;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = backend.state(&group);
                let _ = backend.procs(&group);
                let _ = backend.freeze(&group, &mut within(100), false);
                let _ = backend.thaw(&group, &mut within(100));
                done.send(()).unwrap();
            });
            if finished.recv_timeout(Duration::from_secs(5)).is_err() {
                // Whoever waits for the other end is given it, so that the test ends.
                let _other_end = std::fs::OpenOptions::new().read(true).write(true).open(&path);
                let _ = finished.recv_timeout(Duration::from_secs(5));
                let _ = std::fs::remove_file(&path);
                panic!("{name} as a pipe keeps its reader waiting");
            }
        });
        let _ = std::fs::remove_file(&path);
        symlink("/dev/null", &path).unwrap();
        let _ = bench.backend.state(&group);
        std::fs::remove_file(&path).unwrap();
    }
}

/// R1.3: what is in the way is the caller's to remove, by whatever name.
#[test]
fn nothing_of_others_is_removed() {
    let bench = Bench::new();
    let root = bench.root();
    let ours = bench.group("ours");
    for name in ["tasks", "cgroup.events", "memory.max", "freezer.notes", "notes"] {
        let precious = bench.path.join("ours").join(name);
        std::fs::write(&precious, "precious").unwrap();
        assert_eq!(bench.backend.remove(&root, &ours), Err(Errno::BUSY), "{name}");
        std::fs::remove_file(&precious).unwrap();
    }
    assert!(bench.path.join("ours/cgroup.procs").exists());
    // Nor is a directory emptied that is no group of ours, though it looks a bit like one.
    let data = bench.path.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("freezer.state"), "precious").unwrap();
    assert_eq!(bench.backend.remove(&root, &bench.open("data")), Err(Errno::BUSY));
    assert_eq!(std::fs::read(data.join("freezer.state")).unwrap(), b"precious");
    std::fs::remove_file(data.join("freezer.state")).unwrap();
    bench.backend.remove(&root, &bench.open("data")).unwrap();
    bench.backend.remove(&root, &ours).unwrap();
}

/// R1.10: only a hierarchy of ours, or an empty directory, becomes one.
#[test]
fn no_other_directory_becomes_a_hierarchy() {
    let scratch = Scratch::new("adopted");
    let data = scratch.0.join("data");
    std::fs::create_dir(&data).unwrap();
    assert_eq!(carried(&scratch.0).unwrap_err(), libc::EINVAL);
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    carried(&data).unwrap();
    carried(&data).unwrap();
    mode(&data, 0o777);
    assert_eq!(carried(&data).unwrap_err(), libc::EACCES);
}

/// The lock and the requests of a directory that others may write to are not
/// about the hierarchies below it.
#[test]
fn a_directory_that_others_may_write_to_is_no_group_above() {
    let scratch = Scratch::new("above");
    let below = scratch.0.join("below");
    carried(&scratch.0).unwrap();
    std::fs::create_dir(&below).unwrap();
    let top = |path: &Path| topmost(&Dir::open(path).unwrap()).unwrap().identity().unwrap();
    let identity = |path: &Path| Dir::open(path).unwrap().identity().unwrap();
    assert_eq!(top(&below), identity(&scratch.0));
    mode(&scratch.0, 0o1777);
    assert_eq!(top(&below), identity(&below));
}

/// A place in the hands of others is not used, whoever made the last part of it.
#[test]
fn the_directories_above_are_ours_too() {
    let scratch = Scratch::new("private");
    let above = scratch.0.join("cgf");
    let make = || private::open_or_make(&above, OsStr::new("one")).map(|(_, is_new)| is_new);
    assert!(make().unwrap());
    assert!(!make().unwrap());
    for (path, bits, allowed) in [(&above, 0o720, false), (&scratch.0, 0o777, false), (&scratch.0, 0o1777, true)] {
        mode(path, bits);
        assert_eq!(make().map_err(|error| error.errno()).is_ok(), allowed, "{} {bits:o}", path.display());
        mode(path, 0o700);
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&scratch.0, Some(65534), None).unwrap();
        assert_eq!(make().unwrap_err().errno(), libc::EACCES);
    }
}

/// Another file's lock is not the hierarchy's, though it have the same inode on
/// another device.
#[test]
fn a_lock_of_the_same_inode_elsewhere_is_not_ours() {
    let scratch = Scratch::new("devices");
    // Two file systems that number their files alike.
    let script = "mount -t tmpfs a \"$0/a\" && mount -t tmpfs b \"$0/b\" && : > \"$0/a/cgroup.lock\" \
                  && : > \"$0/b/cgroup.lock\" && exec 9< \"$0/b/cgroup.lock\" && flock 9 && echo && exec sleep 1000 > /dev/null";
    for name in ["a", "b"] {
        std::fs::create_dir(scratch.0.join(name)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "taskset", "-c", "0", "sh", "-c", script]).arg(&scratch.0);
    let mut other = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let begun = std::io::Read::read(other.stdout.as_mut().unwrap(), &mut [0]).unwrap() == 1;
    let pid = i32::try_from(other.id()).unwrap();
    let root = |name: &str| {
        let path = format!("/proc/{pid}/root{}/{name}", scratch.0.display());
        Node { dir: Dir::open(Path::new(&path)).unwrap(), path: GroupPath::root() }
    };
    let found = begun.then(|| {
        let inode = |name: &str| rustix::fs::statat(&root(name).dir, "cgroup.lock", rustix::fs::AtFlags::empty());
        let alike = inode("a").unwrap().st_ino == inode("b").unwrap().st_ino;
        (alike, lock::holds(&root("a"), pid), lock::holds(&root("b"), pid))
    });
    other.kill().unwrap();
    other.wait().unwrap();
    // An ordinary user makes no mounts.
    match found {
        Some(found) => assert_eq!(found, (true, false, true)),
        None => assert!(std::env::var_os("CGF_DEMAND").is_none(), "mounts are demanded"),
    }
}
