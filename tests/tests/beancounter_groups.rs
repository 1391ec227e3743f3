//! BeanCounters of groups that come and go, and the file that they are in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgf::{BackendKind, EventKind, GroupPath, Hierarchy, Options, RemoveOptions, Resource, Severity, Spawn};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::charger::{Charger, held};
use cgf_tests::registered::bound_to;
use cgf_tests::stage::{self, wait_for};

const CHARGER: &str = env!("CARGO_BIN_EXE_charger");
const FILES: Resource = Resource::NUMFILES;
const MEMORY: Resource = Resource::KMEMSIZE;

/// What is charged keeps its group from being removed, and the dead keep nothing.
#[test]
fn a_group_that_holds_something_stays() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let leaf = own.0.create("top/leaf").unwrap();
        let top = own.0.open_group("top").unwrap();
        let all = RemoveOptions { kill: true, recursive: true };
        leaf.charge_kept(&[(FILES, 3)], Severity::Limit).unwrap();
        let member = start(&leaf, &["sleep"]);
        let refused = top.remove_with(all).unwrap_err();
        assert_eq!(leaf.procs().unwrap(), [member], "{backend}: killed for a removal that is refused");
        leaf.kill(libc::SIGKILL).unwrap();
        assert_eq!(refused.errno(), libc::EBUSY, "{backend}");
        assert!(refused.message().contains("holds 3 of numfiles"), "{refused}");
        assert_eq!(leaf.remove().unwrap_err().errno(), libc::EBUSY);
        own.0.open_group("top/leaf").unwrap();
        leaf.uncharge(FILES, 3).unwrap();
        let mut charger = Charger::start(CHARGER, &own.0);
        charger.ask("charge /top/leaf numfiles 5").unwrap();
        assert_eq!(leaf.remove().unwrap_err().errno(), libc::EBUSY, "{backend}");
        charger.kill();
        leaf.remove().unwrap();
        let gone = leaf.charge(FILES, 1, Severity::Limit).unwrap_err();
        assert_eq!(gone.errno(), libc::ENODEV, "{backend}: {gone}");
        assert_eq!(leaf.snapshot().unwrap_err().errno(), libc::ENODEV, "{backend}");
        // Also of what this handle has not charged before.
        for gone in [leaf.charge(MEMORY, 1, Severity::Limit), leaf.charge_many(&[(MEMORY, 1)], Severity::Limit)] {
            assert_eq!(gone.unwrap_err().errno(), libc::ENODEV, "{backend}");
        }
        // Its successor has no share in what it was.
        let leaf = own.0.create("top/leaf").unwrap();
        assert_eq!(leaf.read("bc.numfiles.maxheld").unwrap(), "0\n", "{backend}");
        leaf.charge(FILES, 1, Severity::Limit).unwrap();
        leaf.uncharge(FILES, 1).unwrap();
        // A member that charges is killed, and that is enough.
        let mut member = Charger::start(CHARGER, &own.0);
        member.ask("charge /top/leaf numfiles 5").unwrap();
        leaf.attach(member.pid()).unwrap();
        top.remove_with(all).unwrap();
        assert_eq!(held(&own.0.root(), "numfiles"), 0, "{backend}");
        // The root goes with its hierarchy, and the same holds.
        own.0.root().charge(FILES, 1, Severity::Limit).unwrap();
        assert_eq!(own.0.unmount().unwrap_err().errno(), libc::EBUSY, "{backend}");
        own.0.root().uncharge(FILES, 1).unwrap();
        let files = regions(&own);
        assert_eq!(files.len(), 1, "{backend}: {files:?}");
        own.0.unmount().unwrap();
        assert!(!files[0].exists(), "{backend}: {files:?}");
        assert_eq!(own.0.root().charge(FILES, 1, Severity::Limit).unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

/// R1.11: a group that removes itself does so when it holds nothing any more, and tells
/// what it had counted.
#[test]
fn a_group_that_removes_itself_tells_its_counters() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        group.charge_kept(&[(FILES, 7)], Severity::Limit).unwrap();
        group.uncharge(FILES, 4).unwrap();
        group.write("auto_delete", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        let child = group.spawn(Spawn::new("true")).unwrap();
        child.wait(stage::PATIENCE).unwrap();
        let mut next = |wanted: EventKind, within: Duration| {
            let until = Instant::now() + within;
            while let Some(event) = monitor.next(until.saturating_duration_since(Instant::now())).unwrap() {
                if event.kind == wanted {
                    return Some(event);
                }
            }
            None
        };
        next(EventKind::Empty, stage::PATIENCE).unwrap();
        assert!(next(EventKind::Released, Duration::from_millis(100)).is_none(), "{backend}");
        group.uncharge(FILES, 3).unwrap();
        let removed = next(EventKind::Released, stage::PATIENCE).unwrap();
        let figure = |name: &str| removed.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        assert_eq!(figure("bc.numfiles.maxheld"), Some(7), "{backend}: {:?}", removed.figures);
        assert_eq!(figure("bc.numfiles.failcnt"), Some(0), "{backend}");
        assert_eq!(figure("bc.kmemsize.maxheld"), None, "{backend}");
    });
}

/// The files of the hierarchy's counters, which are named for its root.
fn regions(own: &Own) -> Vec<PathBuf> {
    regions_of(own.0.directory())
}

fn regions_of(root: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let Ok(inode) = std::fs::metadata(root).map(|found| found.ino()) else { return Vec::new() };
    let directory = directory_of_counters();
    let entries = std::fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let mut found: Vec<PathBuf> = entries.unwrap_or_default();
    let inode = format!("-{inode:x}-");
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&inode)));
    found
}

fn directory_of_counters() -> PathBuf {
    // SAFETY: takes and touches nothing.
    match unsafe { libc::geteuid() } {
        0 => "/run/cgf-counters".into(),
        user => [format!("/run/user/{user}"), format!("/tmp/cgf-{user}")]
            .map(|above| Path::new(&above).join("cgf-counters"))
            .into_iter()
            .find(|directory| directory.exists())
            .unwrap_or_default(),
    }
}

/// What went by a bare rmdir(2) gives back what it kept when a process next opens the counters.
#[test]
fn groups_that_went_behind_our_back_are_swept() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let leaf = own.0.create("top/leaf").unwrap();
        leaf.charge_kept(&[(FILES, 3)], Severity::Limit).unwrap();
        own.0.create("stays").unwrap().set_limits(FILES, None, Some(5)).unwrap();
        let directory = own.0.directory().join("top");
        for gone in [directory.join("leaf"), directory] {
            remove_behind_our_back(&gone);
        }
        assert_eq!(held(&own.0.root(), "numfiles"), 3, "{backend}");
        let mut other = Charger::start(CHARGER, &own.0);
        assert_eq!(other.ask("read / bc.numfiles.held"), Ok("0".into()), "{backend}");
        assert_eq!(other.ask("read /stays bc.numfiles.limit"), Ok("5".into()), "{backend}");
        assert_eq!(leaf.charge(FILES, 1, Severity::Limit).unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

fn remove_behind_our_back(group: &Path) {
    // The embedded backend's groups have files, which a kernel's rmdir would not mind.
    if std::fs::remove_dir(group).is_err() {
        std::fs::remove_dir_all(group).unwrap();
    }
}

/// A group under another name is charged as before, and one that has its old name is another.
#[test]
fn a_renamed_group_keeps_its_counters() {
    on(&[BackendKind::Cgroup1, BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("top/old").unwrap();
        group.set_limits(FILES, None, Some(5)).unwrap();
        group.charge(FILES, 2, Severity::Limit).unwrap();
        let renamed = group.rename("new").unwrap();
        let other = own.0.create("top/old").unwrap();
        other.charge(FILES, 10, Severity::Limit).unwrap();
        assert_eq!(renamed.charge(FILES, 4, Severity::Limit).unwrap_err().errno(), libc::EMFILE, "{backend}");
        renamed.charge(FILES, 3, Severity::Limit).unwrap();
        let top = own.0.open_group("top").unwrap();
        assert_eq!([&renamed, &other, &top].map(|group| held(group, "numfiles")), [5, 10, 15], "{backend}");
        renamed.uncharge(FILES, 5).unwrap();
        other.uncharge(FILES, 10).unwrap();
        // A clone begins with nothing: neither what its parent holds, nor its bounds.
        let pid = start(&renamed, &["sleep"]);
        let clone = own.0.clone_group(pid, "clone").unwrap();
        assert_eq!(clone.read("bc.numfiles.limits").unwrap(), "max max\n", "{backend}");
    });
}

/// Somebody else's directory is charged as one's own.
#[test]
fn an_adopted_group_is_charged() {
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = Own::new(backend).unwrap();
        let theirs = own.0.create("container").unwrap();
        let options = Options::parse("beancounter").unwrap();
        let adopt = || Hierarchy::adopt(own.0.directory().join("container"), &options).unwrap();
        let (one, other) = (adopt(), adopt());
        // What is not there in the kernel's other trees has nobody in it, and is not made.
        assert_eq!(one.root().controller_fd("pids").unwrap_err().errno(), libc::ENODEV, "{backend}");
        let inner = theirs.hierarchy().create("container/inner").unwrap();
        one.open_group("inner").unwrap().charge(FILES, 2, Severity::Limit).unwrap();
        other.root().set_limits(FILES, None, Some(3)).unwrap();
        let refused = one.open_group("inner").unwrap().charge(FILES, 2, Severity::Limit).unwrap_err();
        assert_eq!(refused.errno(), libc::EMFILE, "{backend}");
        assert_eq!(refused.refusal().unwrap().level, GroupPath::root(), "{backend}");
        assert_eq!(held(&other.root(), "numfiles"), 2, "{backend}");
        one.open_group("inner").unwrap().uncharge(FILES, 2).unwrap();
        drop(inner);
        for path in regions_of(one.directory()) {
            std::fs::remove_file(path).unwrap();
        }
    });
}

/// A program that knows the state directory shares the counters in it, and one that
/// cannot use it is told why.
#[test]
fn counters_lie_in_the_state_directory() {
    on_each(|backend| {
        let state = std::env::temp_dir().join(stage::unique("cgf-state"));
        std::fs::create_dir(&state).unwrap();
        let options = Options::parse("freezer,signal,beancounter").unwrap().backend(backend).state(&state);
        let own = Own(Hierarchy::open(stage::unique("test"), &options).unwrap());
        let charge =
            || own.0.root().charge(FILES, 1, Severity::Limit).map_err(|error| (error.errno(), error.to_string()));
        let counters = state.join("counters");
        // What is there but is not ours, or is no directory, is not used.
        let elsewhere = state.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(&counters, "").unwrap();
        assert_eq!(charge().unwrap_err().0, libc::EEXIST, "{backend}: {:?}", charge());
        std::fs::remove_file(&counters).unwrap();
        std::fs::create_dir(&counters).unwrap();
        std::fs::set_permissions(&counters, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let (errno, why) = charge().unwrap_err();
        assert!(errno == libc::EACCES && why.contains("counters"), "{backend}: {errno} {why}");
        std::fs::remove_dir(&counters).unwrap();
        charge().unwrap();
        let files: Vec<_> = std::fs::read_dir(&counters).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(files.len(), 1, "{backend}: {files:?}");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&files[0].metadata().unwrap()) & 0o7777, 0o600);
        own.0.root().uncharge(FILES, 1).unwrap();
        own.0.unmount().unwrap();
        assert!(!files[0].exists(), "{backend}");
        std::fs::remove_dir_all(&state).unwrap();
    });
}

/// R6.12: a state directory that is full, or that may only be read: a clear error, and
/// everything but counting goes on.
#[test]
fn a_full_or_read_only_state_directory_is_an_error() {
    if !is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    for errno in [libc::ENOSPC, libc::EROFS] {
        let state = Mounted::new("size=1m,mode=0700");
        let options = Options::parse("freezer,signal,beancounter").unwrap().backend(BackendKind::Cgroup1);
        let own = Own(Hierarchy::open(stage::unique("test"), &options.state(&state.0)).unwrap());
        let group = own.0.create("a").unwrap();
        let filler = state.0.join("filler");
        if errno == libc::ENOSPC {
            let full = std::fs::write(&filler, vec![1; 2 << 20]).unwrap_err();
            assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        } else {
            state.remount("ro");
        }
        for _ in 0..2 {
            let failed = group.charge(FILES, 1, Severity::Limit).unwrap_err();
            assert_eq!(failed.errno(), errno, "{failed}");
        }
        group.freeze(Duration::from_secs(5)).unwrap();
        group.thaw().unwrap();
        group.remove().unwrap();
        state.remount("rw");
        let _ = std::fs::remove_file(filler);
        // Another test's child may have it open until it is another program.
        wait_for("room for the counters", || own.0.root().charge(FILES, 1, Severity::Limit).ok()).unwrap();
        own.0.root().uncharge(FILES, 1).unwrap();
        own.0.unmount().unwrap();
    }
}

fn is_root() -> bool {
    // SAFETY: takes and touches nothing.
    unsafe { libc::geteuid() == 0 }
}

/// A tmpfs of the test's own.
struct Mounted(PathBuf);

impl Mounted {
    fn new(options: &str) -> Mounted {
        let path = std::env::temp_dir().join(stage::unique("cgf-tmpfs"));
        std::fs::create_dir(&path).unwrap();
        run(&["mount", "-t", "tmpfs", "-o", options, "none", path.to_str().unwrap()]);
        Mounted(path)
    }

    fn remount(&self, options: &str) {
        run(&["mount", "-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn run(words: &[&str]) {
    let status = std::process::Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{words:?}: {status}");
}

/// R6.12: a record that leads elsewhere, a directory that is not ours to use.
#[test]
fn counters_of_somebody_else_are_not_used() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let other = bound_to(backend, "beancounter");
        other.0.root().charge(FILES, 1, Severity::Limit).unwrap();
        let record = |of: &Own| {
            let directory = own_attribute(of.0.directory(), "user.cgf.counters");
            assert!(directory.is_some(), "{backend}");
            directory.unwrap()
        };
        set_attribute(own.0.directory(), "user.cgf.counters", &record(&other));
        let refused = own.0.root().charge(FILES, 1, Severity::Limit).unwrap_err();
        assert_eq!(refused.errno(), libc::EUCLEAN, "{backend}: {refused}");
        for wrong in ["", "../../etc/passwd", "0-2", "0-1-2", "x"] {
            set_attribute(own.0.directory(), "user.cgf.counters", wrong.as_bytes());
            let errno = own.0.root().charge(FILES, 1, Severity::Limit).unwrap_err().errno();
            assert_eq!(errno, libc::EUCLEAN, "{backend}: {wrong:?}");
        }
        other.0.root().uncharge(FILES, 1).unwrap();
        // A number that is none: no charge, and no reason to keep the group.
        let group = other.0.create("a").unwrap();
        let directory = other.0.directory().join("a");
        let number = own_attributes(other.0.directory()).into_iter().find(|name| name.starts_with("user.cgf.bc-"));
        set_attribute(&directory, &number.unwrap(), b"many");
        assert_eq!(group.charge(FILES, 1, Severity::Limit).unwrap_err().errno(), libc::EUCLEAN, "{backend}");
        group.remove().unwrap();
        own.0.unmount().unwrap();
    });
}

/// R6.12: a user who was given a part of the tree counts there for himself, and root does
/// not use his file, nor he root's.
#[test]
fn users_do_not_share_counters() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    if !is_root() {
        eprintln!("skipped: only root can give a part of the tree away");
        return;
    }
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = Own::new(backend).unwrap();
        let programs = std::env::temp_dir().join(stage::unique("programs"));
        std::fs::create_dir(&programs).unwrap();
        std::fs::set_permissions(&programs, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = programs.join("charger");
        // By another process: a copy that a child of ours has open for writing cannot be run.
        run(&["cp", CHARGER, program.to_str().unwrap()]);
        let mut files = Vec::new();
        for (name, first) in [("his", false), ("roots", true)] {
            let directory = own.0.directory().join(name);
            own.0.create(name).unwrap();
            std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
            let adopt = || Hierarchy::adopt(&directory, &Options::parse("beancounter").unwrap()).unwrap();
            if first {
                adopt().root().charge(FILES, 1, Severity::Limit).unwrap();
            }
            let mut command = std::process::Command::new(&program);
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
            command.arg("his").arg(format!("beancounter,root={}", directory.display()));
            let mut user = Charger::run(command);
            let charged = user.ask("charge / numfiles 3").map(drop);
            assert_eq!(charged, if first { Err(libc::EPERM) } else { Ok(()) }, "{backend}");
            if !first {
                assert_eq!(user.ask("read / bc.numfiles.held"), Ok("3".into()), "{backend}");
                let refused = adopt().root().charge(FILES, 1, Severity::Limit).unwrap_err();
                assert_eq!(refused.errno(), libc::EPERM, "{backend}: {refused}");
            }
            files.push(String::from_utf8(own_attribute(&directory, "user.cgf.counters").unwrap()).unwrap());
        }
        std::fs::remove_dir_all(&programs).unwrap();
        for directory in [format!("/run/user/{NOBODY}"), format!("/tmp/cgf-{NOBODY}"), "/run".to_owned()] {
            for file in &files {
                let _ = std::fs::remove_file(Path::new(&directory).join("cgf-counters").join(file));
            }
        }
    });
}

fn own_attribute(directory: &Path, name: &str) -> Option<Vec<u8>> {
    let (path, name) = (c_string(directory), std::ffi::CString::new(name).unwrap());
    let mut value = vec![0_u8; 1024];
    // SAFETY: both strings end with NUL, and the buffer is as long as is said.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(length).ok()?);
    Some(value)
}

fn own_attributes(directory: &Path) -> Vec<String> {
    let path = c_string(directory);
    let mut names = vec![0_u8; 4096];
    // SAFETY: the string ends with NUL, and the buffer is as long as is said.
    let length = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap_or(0));
    names.split(|&byte| byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn set_attribute(directory: &Path, name: &str, value: &[u8]) {
    let (path, name) = (c_string(directory), std::ffi::CString::new(name).unwrap());
    // SAFETY: both strings end with NUL, and the value is as long as is said.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn c_string(path: &Path) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap()
}
