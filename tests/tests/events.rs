//! The event stream of a hierarchy.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command};
use std::time::Duration;

use cgf::{BackendKind, Event, EventKind, Group, GroupPath, Spawn, Watch, WatchOptions};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::stage::{self, wait_for};
use cgf_tests::stream::{Stream, count, is, shown};

const KERNEL: [BackendKind; 2] = [BackendKind::Cgroup2, BackendKind::Cgroup1];

fn with_tasks() -> WatchOptions {
    WatchOptions::default().tasks(true)
}

/// A process outside of any group, which is ended with the test.
struct Outsider(Child);

impl Outsider {
    fn start() -> Outsider {
        let child = Command::new("sleep").arg("600").spawn();
        Outsider(child.unwrap_or_else(|error| unreachable!("{error}")))
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_readable(watch: &Watch, timeout_ms: i32) -> bool {
    let mut polled = libc::pollfd { fd: watch.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, which outlives the call.
    unsafe { libc::poll(&raw mut polled, 1, timeout_ms) == 1 }
}

/// R1.12: a tree of processes is told, birth by birth and end by end, and
/// nobody else is.
#[test]
fn forks_and_exits_are_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("tree").unwrap();
        let mut watch = own.0.watch(with_tasks()).unwrap();
        let parent = start(&group, &["tree", "5"]);
        let mut seen: Vec<Event> = Vec::new();
        let mut known = 0;
        seen.extend(watch.until("six members", |event| {
            known += usize::from(event.pid.is_some());
            known == 6
        }));
        let members: BTreeSet<i32> = group.procs().unwrap().into_iter().collect();
        assert_eq!(watch.procs(group.path()), members.iter().copied().collect::<Vec<_>>(), "{backend}");
        let born: BTreeSet<i32> = seen
            .iter()
            .filter(|event| is(event, EventKind::Fork, "/tree") && event.parent == Some(parent))
            .filter_map(|event| event.pid)
            .collect();
        assert_eq!(born.len(), 5, "on {backend}: {}", shown(&seen));
        // The first is a child of ours: born in the group on version 2, moved
        // there before its program on the others.
        let came = if backend == BackendKind::Cgroup2 { EventKind::Fork } else { EventKind::Attached };
        assert!(seen.iter().any(|event| is(event, came, "/tree") && event.pid == Some(parent)), "{}", shown(&seen));

        group.kill(libc::SIGKILL).unwrap();
        let mut ended = BTreeSet::new();
        let rest = watch.until("six exits", |event| {
            if is(event, EventKind::Exit, "/tree") {
                assert_eq!(event.status, Some(libc::SIGKILL), "on {backend}");
                ended.extend(event.pid);
            }
            ended.len() == 6
        });
        assert_eq!(ended, members, "on {backend}");
        seen.extend(rest);
        assert!(
            seen.iter().all(|event| event.pid.is_none_or(|pid| members.contains(&pid))),
            "a stranger on {backend}: {}",
            shown(&seen)
        );
        assert!(watch.procs(group.path()).is_empty());
    });
}

/// R1.12: without the connector, those who live long enough are told, too.
#[test]
fn forks_and_exits_are_found_by_listing() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("tree").unwrap();
        let mut watch = own.0.watch(WatchOptions::default().tasks(true).listing(true)).unwrap();
        assert!(watch.lists_tasks());
        let parent = start(&group, &["tree", "5"]);
        let mut children = 0;
        watch.until("five births", |event| {
            children += usize::from(event.kind == EventKind::Fork && event.parent == Some(parent));
            children == 5
        });
        group.kill(libc::SIGKILL).unwrap();
        let mut ended = 0;
        watch.until("six exits", |event| {
            assert_eq!(event.status, None);
            ended += usize::from(event.kind == EventKind::Exit);
            ended == 6
        });
        assert!(watch.procs(group.path()).is_empty(), "{backend}");
    });
}

/// R1.12: the kernel tells all listeners of a new one; that is no loss to them.
#[test]
fn another_listener_is_no_loss() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let mut watch = own.0.watch(with_tasks()).unwrap();
        for _ in 0..20 {
            drop(own.0.watch(with_tasks()).unwrap());
            let pid = start(&group, &["sleep"]);
            let seen = watch.until("the next process", |event| event.pid == Some(pid));
            assert_eq!(count(&seen, EventKind::Lost, "/"), 0, "on {backend}: {}", shown(&seen));
        }
    });
}

/// R1.12: a process whose first thread ends before the others has not ended.
#[test]
fn a_headless_process_lives_until_its_last_thread_ends() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let mut watch = own.0.watch(with_tasks()).unwrap();
        let pid = start(&group, &["headless", "2"]);
        wait_for("the first thread to end", || (stage::state_letter(pid) == Some('Z')).then_some(())).unwrap();
        // Two, as what is heard of processes comes after the first. The forks of
        // others may have to be heard before.
        let mut seen = watch.until("the process", |event| event.pid == Some(pid));
        for fence in ["fence", "another"] {
            own.0.create(fence).unwrap();
            seen.extend(watch.until_kind(EventKind::Created, &format!("/{fence}")));
        }
        for kind in [EventKind::Exit, EventKind::Empty] {
            assert_eq!(count(&seen, kind, "/g"), 0, "on {backend}: {}", shown(&seen));
        }
        group.kill(libc::SIGKILL).unwrap();
        let seen = watch.until_kind(EventKind::Exit, "/g");
        assert_eq!(seen.last().unwrap().pid, Some(pid), "{backend}");
    });
}

/// R1.12: frozen, thawed, and thawed by somebody else than who holds it.
#[test]
fn freezes_and_thaws_are_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let (mine, other) = (own.0.create("mine").unwrap(), own.0.create("other").unwrap());
        for group in [&mine, &other] {
            start(group, &["sleep"]);
        }
        let mut watch = own.0.watch(with_tasks()).unwrap();
        mine.freeze(Duration::from_secs(5)).unwrap();
        watch.until_kind(EventKind::Frozen, "/mine");
        mine.thaw().unwrap();
        let seen = watch.until_kind(EventKind::Thawed, "/mine");
        assert_eq!(count(&seen, EventKind::Frozen, "/mine"), 0);

        // The holder himself.
        let held = mine.hold(Duration::from_secs(5)).unwrap();
        watch.until_kind(EventKind::Frozen, "/mine");
        held.give_back().unwrap();
        let mut seen = watch.until_kind(EventKind::Thawed, "/mine");
        // Somebody else.
        let held = other.hold(Duration::from_secs(5)).unwrap();
        seen.extend(watch.until_kind(EventKind::Frozen, "/other"));
        let file = |name| own.0.directory().join("other").join(name);
        match backend {
            BackendKind::Cgroup2 => std::fs::write(file("cgroup.freeze"), "0").unwrap(),
            BackendKind::Cgroup1 => std::fs::write(file("freezer.state"), "THAWED").unwrap(),
            _ => other.thaw().unwrap(),
        }
        seen.extend(watch.until_kind(EventKind::ForeignThaw, "/other"));
        drop(held);
        assert_eq!(count(&seen, EventKind::Thawed, "/other"), 1, "on {backend}: {}", shown(&seen));
        assert_eq!(count(&seen, EventKind::ForeignThaw, "/mine"), 0, "on {backend}: {}", shown(&seen));
        assert_eq!(EventKind::ForeignThaw.name(), "foreign-thaw");
    });
}

/// R1.12: groups that come and go, whoever makes and removes them.
#[test]
fn groups_that_come_and_go_are_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        own.0.create("before").unwrap();
        let mut watch = own.0.watch(WatchOptions::default()).unwrap();
        assert!(!is_readable(&watch, 0), "nothing has happened on {backend}");
        own.0.create("web/1").unwrap();
        let seen = watch.until_kind(EventKind::Created, "/web/1");
        assert_eq!(count(&seen, EventKind::Created, "/web"), 1, "on {backend}: {}", shown(&seen));
        assert_eq!(count(&seen, EventKind::Created, "/before"), 0);
        assert!(seen.iter().all(|event| event.group_id != 0 && !event.time.is_zero()));

        let raw = own.0.directory().join("raw/a/b");
        std::fs::create_dir_all(&raw).unwrap();
        assert!(is_readable(&watch, 5000), "on {backend}");
        let seen = watch.until_kind(EventKind::Created, "/raw/a/b");
        assert_eq!(count(&seen, EventKind::Created, "/raw/a"), 1);
        for _ in 0..3 {
            std::fs::create_dir(raw.join("c")).unwrap();
            std::fs::remove_dir(raw.join("c")).unwrap();
        }
        for directory in ["raw/a/b", "raw/a", "raw"] {
            std::fs::remove_dir(own.0.directory().join(directory)).unwrap();
        }
        let seen = watch.until_kind(EventKind::Removed, "/raw");
        let removed: Vec<String> = seen
            .iter()
            .filter(|event| event.kind == EventKind::Removed)
            .map(|event| event.group.to_string())
            .filter(|path| path != "/raw/a/b/c")
            .collect();
        assert_eq!(removed, ["/raw/a/b", "/raw/a", "/raw"], "on {backend}");
        assert_eq!(
            count(&seen, EventKind::Created, "/raw/a/b/c"),
            count(&seen, EventKind::Removed, "/raw/a/b/c"),
            "on {backend}: {}",
            shown(&seen)
        );

        for path in ["web/1", "web", "before"] {
            own.0.open_group(path).unwrap().remove().unwrap();
        }
        own.0.unmount().unwrap();
        watch.until_kind(EventKind::Removed, "/");
        assert_eq!(watch.next(Duration::from_secs(5)).unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

/// R1.11, R1.12: a group is empty when its last task has left and the last group
/// below it has gone.
#[test]
fn emptied_groups_are_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let web = own.0.create("web").unwrap();
        let below = own.0.create("web/1").unwrap();
        let mut watch = own.0.watch(WatchOptions::default()).unwrap();
        start(&below, &["sleep"]);
        watch.until_kind(EventKind::Populated, "/web/1");
        below.kill(libc::SIGKILL).unwrap();
        let seen = watch.until_kind(EventKind::Empty, "/web/1");
        assert_eq!(count(&seen, EventKind::Empty, "/web"), 0, "there is a group below");
        below.remove().unwrap();
        let seen = watch.until_kind(EventKind::Empty, "/web");
        assert_eq!(count(&seen, EventKind::Removed, "/web/1"), 1, "on {backend}: {}", shown(&seen));
        // Again and again.
        for _ in 0..5 {
            start(&web, &["sleep"]);
            watch.until_kind(EventKind::Populated, "/web");
            web.kill(libc::SIGKILL).unwrap();
            watch.until_kind(EventKind::Empty, "/web");
        }
    });
}

/// R1.2: where a process goes is told, also when another hierarchy takes it.
#[test]
fn moves_are_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let (a, b) = (own.0.create("a").unwrap(), own.0.create("b").unwrap());
        let outsider = Outsider::start();
        let pid = outsider.pid();
        let mut watch = own.0.watch(with_tasks()).unwrap();
        a.attach(pid).unwrap();
        let came = watch.until_kind(EventKind::Attached, "/a").pop().unwrap();
        assert_eq!((came.pid, came.other), (Some(pid), None), "{backend}");
        assert_eq!(watch.group_of(pid), Some(a.path()));
        b.attach(pid).unwrap();
        let seen = watch.until_kind(EventKind::Attached, "/b");
        let left = seen.iter().find(|event| is(event, EventKind::Left, "/a")).unwrap();
        assert_eq!((left.pid, left.other.as_ref()), (Some(pid), Some(b.path())), "{backend}");
        assert_eq!(seen.last().unwrap().other.as_ref(), Some(a.path()));
        if backend == BackendKind::Embedded {
            return;
        }
        let thief = Own::new(backend).unwrap();
        thief.0.create("theirs").unwrap().attach(pid).unwrap();
        let left = watch.until_kind(EventKind::Left, "/b").pop().unwrap();
        assert_eq!((left.pid, left.other), (Some(pid), None), "{backend}");
        assert_eq!(watch.group_of(pid), None);
    });
}

/// R1.12: what the connector could not hold is told as lost, and what is known
/// afterwards is what is.
#[test]
fn a_loss_of_forks_is_told_and_made_good() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("storm").unwrap();
        let before = start(&group, &["sleep"]);
        let mut watch = own.0.watch(WatchOptions::default().tasks(true).buffer(1)).unwrap();
        assert!(!watch.lists_tasks());
        // Nobody listens while this happens.
        start(&group, &["tree", "200"]);
        let script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done";
        let child = group.spawn(Spawn::new("sh").arg("-c").arg(script)).unwrap();
        child.wait(stage::PATIENCE).unwrap().unwrap();
        // SAFETY: a child of this test's, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(before, libc::SIGKILL) }, 0);
        let mut told = BTreeSet::from([before]);
        let mut lost = 0;
        let members: BTreeSet<i32> = group.procs().unwrap().into_iter().filter(|&pid| pid != before).collect();
        assert_eq!(members.len(), 201, "{backend}");
        let seen = watch.until("the truth after a loss", |event| {
            match event.kind {
                EventKind::Lost => lost += 1,
                EventKind::Fork | EventKind::Attached => told.extend(event.pid),
                EventKind::Exit | EventKind::Left => {
                    event.pid.map(|pid| told.remove(&pid));
                }
                _ => {}
            }
            lost > 0 && told == members
        });
        assert!(seen.iter().filter(|event| event.kind == EventKind::Lost).all(|event| event.message.is_some()));
        assert_eq!(watch.procs(group.path()), members.into_iter().collect::<Vec<_>>(), "{backend}");
    });
}

/// R1.12: the same for inotify's queue.
#[test]
fn a_loss_of_file_events_is_told_and_made_good() {
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        own.0.create("gone").unwrap();
        let mut watch = own.0.watch(WatchOptions::default()).unwrap();
        let most: usize =
            std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        let passing = own.0.directory().join("passing");
        for _ in 0..most / 2 + 10 {
            std::fs::create_dir(&passing).unwrap();
            std::fs::remove_dir(&passing).unwrap();
        }
        // These are not in the queue any more.
        own.0.create("late/1").unwrap();
        own.0.open_group("gone").unwrap().remove().unwrap();
        let start = own.0.groups().unwrap();
        let mut known = BTreeSet::from([GroupPath::parse("gone").unwrap()]);
        let mut lost = 0;
        watch.until("what is there now", |event| {
            match event.kind {
                EventKind::Lost => lost += 1,
                EventKind::Created => assert!(known.insert(event.group.clone())),
                EventKind::Removed => assert!(known.remove(&event.group)),
                _ => {}
            }
            lost > 0 && known.iter().eq(&start)
        });
    });
}

/// R1.12: what was noticed and could not be looked at is told as lost, and found
/// when it can be.
#[test]
fn a_look_that_failed_is_a_loss() {
    on_each(|backend| {
        // In a process of its own: descriptors are everybody's.
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "short_of_descriptors", "--nocapture"])
            .env("CGF_TEST_SHORT", backend.to_string())
            .status();
        assert!(ended.unwrap().success(), "{backend}");
    });
}

/// Not a test: what the one above starts.
#[test]
fn short_of_descriptors() {
    let Ok(backend) = std::env::var("CGF_TEST_SHORT") else { return };
    let own = Own::new(backend.parse().unwrap()).unwrap();
    let mut watch = own.0.watch(WatchOptions::default()).unwrap();
    let old = own.0.create("old").unwrap();
    watch.until_kind(EventKind::Created, "/old");
    old.remove().unwrap();
    let made: BTreeSet<String> = ["/a", "/b", "/c"].map(str::to_owned).into();
    for path in &made {
        own.0.create(&path[1..]).unwrap();
    }
    let limit = libc::rlimit { rlim_cur: 100, rlim_max: 100 };
    // SAFETY: the limit outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let mut seen = Vec::new();
    let mut failures = 0;
    for _ in 0..5 {
        match watch.next(Duration::from_millis(200)) {
            Ok(event) => seen.extend(event),
            Err(error) => {
                assert_eq!(error.errno(), libc::EMFILE, "on {backend}: {error}");
                failures += 1;
            }
        }
    }
    assert!(failures > 1, "on {backend} it failed {failures} times: {}", shown(&seen));
    assert_eq!(count(&seen, EventKind::Lost, "/"), 0, "it was not made good yet");
    drop(taken);
    assert!(is_readable(&watch, 5000), "on {backend} nothing calls for another look");
    let told = |seen: &[Event], kind| -> BTreeSet<String> {
        seen.iter().filter(|event| event.kind == kind).map(|event| event.group.to_string()).collect()
    };
    seen.extend(watch.until("a loss", |event| event.kind == EventKind::Lost));
    while told(&seen, EventKind::Created) != made {
        seen.extend(watch.until("a group", |event| event.kind == EventKind::Created));
    }
    assert_eq!(told(&seen, EventKind::Removed), ["/old".to_owned()].into(), "on {backend}: {}", shown(&seen));
    assert_eq!(count(&seen, EventKind::Lost, "/"), 1, "on {backend}: {}", shown(&seen));
    // And they are watched.
    start(&own.0.open_group("b").unwrap(), &["sleep"]);
    watch.until_kind(EventKind::Populated, "/b");
}

/// R1.12: of groups that are gone nothing is kept: the kernel keeps a watch on a
/// removed cgroup until it is told not to. (One on any other directory goes with it.)
#[test]
fn memory_is_bounded_by_the_groups_that_are_there() {
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        let mut watch = own.0.watch(with_tasks()).unwrap();
        let before = watches();
        for _ in 0..100 {
            let groups: Vec<Group> = (0..100).map(|name| own.0.create(format!("g{name}")).unwrap()).collect();
            watch.until_kind(EventKind::Created, "/g99");
            groups.iter().for_each(|group| group.remove().unwrap());
            watch.until_kind(EventKind::Removed, "/g99");
        }
        own.0.create("fence").unwrap();
        watch.until_kind(EventKind::Created, "/fence");
        // Other tests of this process have theirs.
        assert!(watches() < before + 1000, "on {backend}: {} inotify watches", watches());
    });
}

/// How many inotify watches this process has.
fn watches() -> usize {
    let infos = std::fs::read_dir("/proc/self/fdinfo").into_iter().flatten();
    let texts = infos.filter_map(|info| std::fs::read_to_string(info.ok()?.path()).ok());
    texts.map(|text| text.lines().filter(|line| line.starts_with("inotify wd:")).count()).sum()
}

/// What holds after fork: the stream is the parent's.
#[test]
fn a_forked_child_is_refused() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let mut watch = own.0.watch(with_tasks()).unwrap();
        let mut monitor = own.0.monitor().unwrap();
        // SAFETY: the child calls the functions under test, which take no lock
        // that another thread could hold, and _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_refused = |error: cgf::Error| error.errno() == libc::ECHILD;
            let refused = watch.next(Duration::ZERO).is_err_and(is_refused)
                && monitor.next(Duration::ZERO).is_err_and(is_refused);
            drop((watch, monitor));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if refused { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child just made; `status` is a valid place.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "{backend}");
        // And it goes on here.
        own.0.create("g").unwrap();
        watch.until_kind(EventKind::Created, "/g");
        monitor.until_kind(EventKind::Created, "/g");
    });
}
