//! cpuset (R9.1): where threads really may run, as the kernel shows it, and several who change
//! sets at once. For a machine with CPUs 0 and 1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use cgf::{Attach, BackendKind, Error, Group, Hierarchy, Options, Result, Subsystem};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::registered::{Registered, bound_to};
use cgf_tests::stage;

/// Where a thread may run; `None`: it has ended.
fn allowed(tid: i32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let ended = status.lines().any(|line| line.starts_with("State:") && line.contains(['Z', 'X']));
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    (!ended).then(|| list.trim().to_owned())
}

/// Every thread of the group may run there and nowhere else.
fn assert_all_on(group: &Group, list: &str, when: &str) -> usize {
    let tasks = group.tasks().unwrap();
    let mut alive = 0;
    for tid in tasks {
        if let Some(found) = allowed(tid) {
            assert_eq!(found, list, "thread {tid} of {group} {when}");
            alive += 1;
        }
    }
    alive
}

/// R9.1: every thread, newcomers included, after an attach, a write, and the way back.
#[test]
fn every_thread_is_where_its_group_may_be() {
    on_each(|backend| {
        let own = bound_to(backend, "cpuset");
        let group = own.0.create("a").unwrap();
        let root = own.0.root();
        let all = root.read("cpuset.cpus").unwrap().trim().to_owned();
        group.write("cpuset.cpus", "1").unwrap();
        let mut outside = stage::start_outside(&["threads", "4"]).unwrap();
        let threads = outside.id() as i32;
        group.attach(threads).unwrap();
        assert_eq!(assert_all_on(&group, "1", "after an attach"), 5, "{backend}");
        for part in [&["tree", "3"][..], &["headless", "3"], &["sleep"]] {
            start(&group, part);
        }
        assert!(assert_all_on(&group, "1", "after a start") > 10, "{backend}");
        for list in ["0", "0-1", "1"] {
            group.write("cpuset.cpus", list).unwrap();
            assert_all_on(&group, list, "after a write");
        }
        root.attach(threads).unwrap();
        assert_eq!(assert_all_on(&root, &all, "after it went back"), 5, "{backend}");
        outside.kill().unwrap();
        outside.wait().unwrap();
    });
}

/// R9.1: what a process has made before it came comes with it where there are no control
/// groups, and is in place.
#[test]
fn children_that_come_along_are_in_place() {
    on(&[BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "cpuset");
        let group = own.0.create("a").unwrap();
        group.write("cpuset.cpus", "1").unwrap();
        let mut outside = stage::start_outside(&["tree", "4"]).unwrap();
        group.attach(outside.id() as i32).unwrap();
        let in_place = assert_all_on(&group, "1", "with its parent");
        let _ = group.kill(libc::SIGKILL);
        outside.wait().unwrap();
        assert!(in_place >= 5, "{in_place}");
    });
}

/// R9.1: whoever forks as fast as it can is on the new set when the write is done.
#[test]
fn those_who_fork_all_the_time_are_on_the_last_set() {
    on_each(|backend| {
        for part in ["fork_storm", "brood", "exec_storm", "thread_storm"] {
            let own = bound_to(backend, "cpuset");
            let group = own.0.create("a").unwrap();
            group.write("cpuset.cpus", "0").unwrap();
            start(&group, &[part, "4"]);
            start(&group, &["threads", "2"]);
            let begun = Instant::now();
            let mut rounds = 0;
            while rounds < 6 || begun.elapsed() < stage::stress() {
                rounds += 1;
                for list in ["1", "0-1", "0"] {
                    group.write("cpuset.cpus", list).unwrap_or_else(|error| panic!("{backend} {part}: {error}"));
                    assert_all_on(&group, list, &format!("({part} on {backend}) after a write"));
                }
                // Whoever was too quick to be looked at stands still.
                group.freeze(stage::PATIENCE).unwrap_or_else(|error| panic!("{backend} {part}: {error}"));
                let alive = assert_all_on(&group, "0", &format!("({part} on {backend}) frozen"));
                assert!(alive >= 4, "{alive} of {part} on {backend}");
                group.thaw().unwrap();
            }
        }
    });
}

/// R9.1: a child is within its parent, and an exclusive group shares with none, whoever
/// writes at the same time.
#[test]
fn two_writers_never_break_a_rule() {
    on_each(|backend| {
        let own = bound_to(backend, "cpuset");
        let (parent, child) = (own.0.create("p").unwrap(), own.0.create("p/c").unwrap());
        let beside = own.0.create("p/d").unwrap();
        let name = own.0.name().to_owned();
        let other = Hierarchy::open(&name, &Options::default().backend(backend)).unwrap();
        let begun = Instant::now();
        let mut rounds = 0;
        while rounds < 60 || begun.elapsed() < stage::stress() {
            rounds += 1;
            parent.write("cpuset.cpu_exclusive", "1").unwrap();
            parent.write("cpuset.cpus", "0-1").unwrap();
            beside.write("cpuset.cpus", "1").unwrap();
            child.write("cpuset.cpus", "0").unwrap();
            // One makes the parent smaller, the other lets the child grow.
            beside.write("cpuset.cpus", "").unwrap();
            at_once(
                || drop(parent.write("cpuset.cpus", "0")),
                || drop(other.open_group("p/c").and_then(|child| child.write("cpuset.cpus", "0-1"))),
            );
            let shown = (parent.read("cpuset.cpus").unwrap(), child.read("cpuset.cpus").unwrap());
            assert!(shown != ("0\n".into(), "0-1\n".into()), "{backend}: {shown:?} in round {rounds}");
            // One becomes exclusive, the other takes what it has.
            parent.write("cpuset.cpus", "0-1").unwrap();
            child.write("cpuset.cpus", "0").unwrap();
            beside.write("cpuset.cpus", "1").unwrap();
            at_once(
                || drop(child.write("cpuset.cpu_exclusive", "1")),
                || drop(other.open_group("p/d").and_then(|beside| beside.write("cpuset.cpus", "0-1"))),
            );
            let shown = (child.read("cpuset.cpu_exclusive").unwrap(), beside.read("cpuset.cpus").unwrap());
            assert!(shown != ("1\n".into(), "0-1\n".into()), "{backend}: {shown:?} in round {rounds}");
            // And one is made beside it meanwhile.
            child.write("cpuset.cpu_exclusive", "0").unwrap();
            beside.write("cpuset.cpus", "").unwrap();
            at_once(|| drop(child.write("cpuset.cpu_exclusive", "1")), || drop(other.create("p/new").unwrap()));
            let new = own.0.open_group("p/new").unwrap();
            let shown = (child.read("cpuset.cpu_exclusive").unwrap(), new.read("cpuset.cpus").unwrap());
            assert!(shown != ("1\n".into(), "0-1\n".into()), "{backend}: {shown:?} in round {rounds}");
            new.remove().unwrap();
            child.write("cpuset.cpu_exclusive", "0").unwrap();
        }
    });
}

fn at_once(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            one();
        });
        barrier.wait();
        other();
    });
}

/// Refuses everybody once they have come, after cpuset was told.
struct Refuser;

impl Subsystem for Refuser {
    fn name(&self) -> &str {
        "refuser"
    }

    fn attach(&self, _: &Attach<'_>) -> Result<()> {
        Err(Error::new(libc::EDOM, "no"))
    }
}

/// R9.1, R2.2: whoever is taken back is held as before.
#[test]
fn whoever_is_taken_back_runs_where_it_ran() {
    let _refuser = Registered::new(Refuser);
    on_each(|backend| {
        let name = stage::unique("test");
        let options = Options::parse(format!("freezer,signal,cpuset,refuser,backend={backend}")).unwrap();
        let own = Own(Hierarchy::open(&name, &options).unwrap());
        let group = own.0.create("a").unwrap();
        group.write("cpuset.cpus", "1").unwrap();
        let all = own.0.root().read("cpuset.cpus").unwrap();
        let mut outside = stage::start_outside(&["threads", "2"]).unwrap();
        let pid = outside.id() as i32;
        let refused = group.attach(pid).unwrap_err();
        let shown = allowed(pid);
        let place = own.0.group_of(pid).unwrap().path().to_string();
        outside.kill().unwrap();
        outside.wait().unwrap();
        assert_eq!((refused.errno(), place.as_str()), (libc::EDOM, "/"), "{backend}: {refused}");
        assert_eq!(shown.as_deref(), Some(all.trim()), "{backend}");
    });
}

/// Refuses everybody before they come, after cpuset has agreed.
struct Doubter;

impl Subsystem for Doubter {
    fn name(&self) -> &str {
        "doubter"
    }

    fn pre_attach(&self, _: &Attach<'_>) -> Result<()> {
        Err(Error::new(libc::EDOM, "no"))
    }
}

/// R9.1, R2.2: whoever never came is left where it chose to run, though that is where the group
/// would have put it.
#[test]
fn whoever_never_came_runs_where_it_chose() {
    let _doubter = Registered::new(Doubter);
    on_each(|backend| {
        let own = bound_to(backend, "cpuset,doubter");
        let group = own.0.create("a").unwrap();
        group.write("cpuset.cpus", "1").unwrap();
        let mut outside = stage::start_outside(&["threads", "2"]).unwrap();
        let pid = outside.id() as i32;
        // SAFETY: a zeroed set is an empty one; the kernel reads no more than its size.
        let chosen = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(1, &mut set);
            libc::sched_setaffinity(pid, size_of_val(&set), &raw const set)
        };
        let refused = group.attach(pid).unwrap_err();
        let shown = allowed(pid);
        outside.kill().unwrap();
        outside.wait().unwrap();
        assert_eq!((chosen, refused.errno()), (0, libc::EDOM), "{backend}: {refused}");
        assert_eq!(shown.as_deref(), Some("1"), "{backend}");
    });
}

/// The hierarchy's root in the tree that has the controller.
fn mirror(name: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup/cpuset/cgf").join(name)
}

/// Whether the tree of version 1 is there that these tests look into.
fn has_controller() -> bool {
    let found = Path::new("/sys/fs/cgroup/cpuset/cpuset.cpus").exists();
    assert!(found || std::env::var_os("CGF_DEMAND").is_none(), "no cpuset of version 1 is mounted");
    found
}

/// Hierarchies of these names, which are ended whatever comes of the test.
struct Swept<'a>(&'a [String], &'a Options);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        for name in self.0 {
            drop(Hierarchy::open(name, self.1).map(Own));
        }
    }
}

/// R9.1: several who open at once find groups that take tasks, whether the directory of all
/// hierarchies was there or not; and so does who finds an empty root of before.
#[test]
fn whoever_opens_finds_groups_that_take_tasks() {
    on(&[BackendKind::Cgroup1, BackendKind::Cgroup2], |backend| {
        if !has_controller() {
            return;
        }
        let options = Options::parse(format!("freezer,signal,cpuset,backend={backend}")).unwrap();
        for round in 0..5 {
            let names = [stage::unique("test"), stage::unique("test")];
            if round == 4 {
                names.iter().for_each(|name| fs::create_dir_all(mirror(name)).unwrap());
            }
            let _swept = Swept(&names, &options);
            let barrier = Barrier::new(4);
            std::thread::scope(|scope| {
                for at in 0..4 {
                    let (names, options, barrier) = (&names, &options, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let hierarchy = Hierarchy::open(&names[at % 2], options).unwrap();
                        let group = hierarchy.create(format!("g{at}/h")).unwrap();
                        let child = group.spawn(cgf::Spawn::new("true")).unwrap();
                        child.wait(Duration::from_secs(20)).unwrap().unwrap();
                    });
                }
            });
            for name in &names {
                let hierarchy = Hierarchy::open(name, &options).unwrap();
                assert_eq!(hierarchy.root().read("cpuset.mems").unwrap(), "0\n", "{backend}");
            }
        }
    });
}

/// R9.1: a directory of somebody else's is changed by what is written, and by nothing else.
#[test]
fn an_adopted_directory_stays_as_it_is() {
    on(&[BackendKind::Cgroup1], |_| {
        if !has_controller() {
            return;
        }
        let name = stage::unique("test-adopted");
        let trees = ["freezer", "cpuset"].map(|tree| Path::new("/sys/fs/cgroup").join(tree).join(&name));
        trees.iter().for_each(|tree| fs::create_dir(tree).unwrap());
        let file = |file: &str| fs::read_to_string(trees[1].join(file)).unwrap();
        let options = Options::parse("freezer,signal,cpuset").unwrap();
        let tried = std::panic::catch_unwind(|| {
            let adopted = Hierarchy::adopt(&trees[0], &options).unwrap();
            let root = adopted.root();
            let before = (file("cpuset.cpus"), file("cpuset.mems"), file("cgroup.clone_children"));
            assert_eq!(before, ("\n".into(), "\n".into(), "0\n".into()));
            assert_eq!(root.spawn(cgf::Spawn::new("true")).unwrap_err().errno(), libc::ENOSPC);
            root.write("cpuset.cpus", "1").unwrap();
            root.write("cpuset.mems", "0").unwrap();
            let group = adopted.create("below").unwrap();
            let shown = group.read("cpuset.cpus").unwrap();
            let child = group.spawn(cgf::Spawn::new("true")).unwrap();
            child.wait(Duration::from_secs(20)).unwrap().unwrap();
            group.remove().unwrap();
            assert_eq!((shown.as_str(), file("cpuset.cpus").as_str()), ("1\n", "1\n"));
            assert_eq!((file("cgroup.clone_children"), file("cpuset.cpu_exclusive")), ("0\n".into(), "0\n".into()));
        });
        trees.iter().for_each(|tree| {
            let _ = fs::remove_dir(tree.join("below"));
            fs::remove_dir(tree).unwrap();
        });
        tried.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
}

/// R9.1: an embedded hierarchy that was opened at one of its groups is bound by what is above.
#[test]
fn a_group_that_was_opened_as_a_root_is_within_its_parent() {
    on(&[BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "cpuset");
        let above = own.0.create("a").unwrap();
        let group = own.0.create("a/b").unwrap();
        let options = Options::parse("freezer,signal,cpuset").unwrap();
        let inner = Hierarchy::adopt(own.0.directory().join("a/b"), &options).unwrap();
        group.write("cpuset.cpus", "1").unwrap();
        above.write("cpuset.cpus", "1").unwrap();
        assert_eq!(inner.root().read("cpuset.cpus").unwrap(), "1\n");
        assert_eq!(inner.root().write("cpuset.cpus", "0-1").unwrap_err().errno(), libc::EACCES);
        assert_eq!(inner.root().read("cpuset.cpu_exclusive").unwrap(), "0\n");
        assert_eq!(inner.root().write("cpuset.cpu_exclusive", "1").unwrap_err().errno(), libc::EACCES);
        let below = inner.create("c").unwrap();
        assert_eq!(below.read("cpuset.cpus").unwrap(), "1\n");
        assert_eq!(group.write("cpuset.cpus", "").unwrap_err().errno(), libc::EBUSY);
    });
}

/// R9.1: what could not be done for all by the deadline is done for none.
#[test]
fn a_write_that_comes_too_late_is_taken_back() {
    on(&[BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "cpuset");
        let group = own.0.create("a").unwrap();
        group.write("cpuset.cpus", "0").unwrap();
        let pid = start(&group, &["threads", "3"]);
        let options = Options::default().backend(backend).deadline(Duration::ZERO);
        let hasty = Hierarchy::open(own.0.name(), &options).unwrap().open_group("a").unwrap();
        // One look, and it has found somebody to move.
        let late = hasty.write("cpuset.cpus", "1").unwrap_err();
        assert_eq!(late.errno(), libc::ETIMEDOUT, "{late}");
        assert_eq!(group.read("cpuset.cpus").unwrap(), "0\n");
        assert_eq!(assert_all_on(&group, "0", "after it was taken back"), 4);
        hasty.write("cpuset.cpus", "0").unwrap();
        assert!(allowed(pid).is_some());
    });
}

/// R9.1: a group of before somebody bound cpuset was told nothing, and has what is above it: it is
/// held like others, and still has what is above it when a write was taken back.
#[test]
fn a_group_that_was_told_nothing_has_what_is_above_it() {
    on(&[BackendKind::Embedded], |backend| {
        let own = Own::new(backend).unwrap();
        own.0.create("a").unwrap();
        let started = own.0.create("a/b").unwrap();
        start(&started, &["threads", "3"]);
        let options = Options::parse("freezer,signal,cpuset").unwrap();
        let inner = Hierarchy::adopt(own.0.directory().join("a"), &options).unwrap();
        let (root, group) = (inner.root(), inner.open_group("b").unwrap());
        let all = root.read("cpuset.cpus").unwrap();
        assert_eq!(group.read("cpuset.cpus").unwrap(), all);
        assert_eq!(group.write("cpuset.cpus", "").unwrap_err().errno(), libc::ENOSPC);
        assert_eq!(root.write("cpuset.cpus", "").unwrap_err().errno(), libc::ENOSPC);
        assert_eq!(group.read("cpuset.cpus").unwrap(), all);
        // One look, and it has found somebody to move.
        let hasty = Hierarchy::adopt(own.0.directory().join("a"), &options.deadline(Duration::ZERO)).unwrap();
        let late = hasty.open_group("b").unwrap().write("cpuset.cpus", "1").unwrap_err();
        assert_eq!(late.errno(), libc::ETIMEDOUT, "{late}");
        assert_eq!(group.read("cpuset.cpus").unwrap(), all);
        root.write("cpuset.cpus", "0").unwrap();
        assert_eq!(group.read("cpuset.cpus").unwrap(), "0\n");
        assert_eq!(assert_all_on(&group, "0", "with what is above it"), 4);
        root.write("cpuset.cpus", &all).unwrap();
    });
}

/// R9.1: without the kernel's controller nobody chooses another's memory nodes.
#[test]
fn fewer_memory_nodes_take_the_kernels_controller() {
    on(&[BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "cpuset");
        let group = own.0.create("a").unwrap();
        let all = group.read("cpuset.mems").unwrap();
        group.write("cpuset.mems", &all).unwrap();
        if let Some((first, _)) = all.trim().split_once(['-', ',']) {
            assert_eq!(group.write("cpuset.mems", first).unwrap_err().errno(), libc::EOPNOTSUPP);
        }
    });
}
