//! Resource Groups: shares of tasks by many hands, against a model, and with the kernel's
//! limits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use cgf::{BackendKind, Group, Hierarchy, Options, RemoveOptions, Spawn};
use cgf_tests::backends::{on, on_each, start};
use cgf_tests::board::Board;
use cgf_tests::numtasks::{kernels, pids, read, write};
use cgf_tests::part::{Part, Role};
use cgf_tests::registered::bound_to;
use cgf_tests::stage::{self, wait_for};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const KERNEL: [BackendKind; 2] = [BackendKind::Cgroup2, BackendKind::Cgroup1];
const KILL: RemoveOptions = RemoveOptions { kill: true, recursive: true };

fn min_shares(group: &Group) -> i64 {
    let shares = read(group, "shares");
    let token = shares.split(',').find_map(|token| token.strip_prefix("min_shares="));
    token.unwrap().parse().unwrap()
}

/// A line of `numtasks.stats`.
fn stat(group: &Group, what: &str) -> u64 {
    let stats = read(group, "stats");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("numtasks: {what} ")));
    line.unwrap_or_else(|| panic!("no {what} in {stats:?}")).parse().unwrap()
}

/// The rules as they are told, with nothing of the code's: a symbol is its number, and what is
/// unused is counted out each time.
#[derive(Clone, Copy, Debug)]
struct Model {
    min: i64,
    max: i64,
    divisor: i64,
}

const NEW: Model = Model { min: -3, max: -3, divisor: 100 };

struct World {
    total: i64,
    groups: BTreeMap<String, Model>,
}

fn parent_of(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((above, _)) => above.to_owned(),
        None => unreachable!("{path}"),
    }
}

impl World {
    fn children(&self, path: &str) -> Vec<(&String, Model)> {
        let is_child = |other: &str| other != "/" && parent_of(other) == path;
        self.groups.iter().filter(|(other, _)| is_child(other)).map(|(other, model)| (other, *model)).collect()
    }

    fn given(&self, path: &str) -> (i64, i64) {
        let children = self.children(path);
        let sum = children.iter().map(|(_, child)| child.min.max(0)).sum();
        (sum, children.iter().map(|(_, child)| child.max).max().unwrap_or(0).max(0))
    }

    /// Whether a write is right, which it then does.
    fn write(&mut self, path: &str, write: [Option<i64>; 3]) -> bool {
        let old = self.groups[path];
        if write[0].is_some_and(|min| min < -3)
            || write[1].is_some_and(|max| max < -3)
            || write[2].is_some_and(|divisor| divisor < -2 || divisor == 0)
        {
            return false;
        }
        let settle = |new: Option<i64>, old: i64| new.filter(|new| ![-1, -2].contains(new)).unwrap_or(old);
        let new = Model {
            min: settle(write[0], old.min),
            max: settle(write[1], old.max),
            divisor: settle(write[2], old.divisor),
        };
        if new.min >= 0 && new.max >= 0 && new.min > new.max {
            return false;
        }
        if path == "/" {
            if new.min != -3 || new.max != -3 {
                return false;
            }
        } else {
            let parent = parent_of(path);
            let divisor = self.groups[&parent].divisor;
            let unused = divisor - self.given(&parent).0;
            if new.min.max(0) - old.min.max(0) > unused || new.max > divisor {
                return false;
            }
        }
        let (sum, largest) = self.given(path);
        if new.divisor < sum || new.divisor < largest {
            return false;
        }
        self.groups.insert(path.to_owned(), new);
        true
    }

    /// How far one of the three numbers may go; the root has no share.
    fn brink(&self, path: &str, token: usize) -> Option<i64> {
        let (sum, largest) = self.given(path);
        if token == 2 {
            return Some(sum.max(largest));
        }
        if path == "/" {
            return None;
        }
        let parent = parent_of(path);
        let divisor = self.groups[&parent].divisor;
        Some(if token == 1 { divisor } else { self.groups[path].min.max(0) + divisor - self.given(&parent).0 })
    }

    fn limit(&self, path: &str) -> Option<i64> {
        if path == "/" {
            return Some(self.total);
        }
        let parent = parent_of(path);
        let model = self.groups[path];
        let above = self.limit(&parent)?;
        (model.max >= 0).then(|| model.max * above / self.groups[&parent].divisor)
    }

    fn is_within(path: &str, above: &str) -> bool {
        path == above || path.starts_with(&format!("{above}/"))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, [Option<i64>; 3]),
    /// One of the three, as far as it may go, or one further, or one less far.
    Brink(usize, usize, i64),
    Create(usize, usize),
    /// The last: not through the library.
    Remove(usize, bool),
    Rename(usize, usize),
    Total(i64),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || prop_oneof![6 => (0_i64..=100).boxed(), 2 => (-5_i64..=0).boxed(), 1 => (0_i64..2000).boxed()];
    let token = move || proptest::option::weighted(0.6, number());
    let step = prop_oneof![
        6 => (any::<usize>(), token(), token(), token()).prop_map(|(at, min, max, divisor)| Step::Write(at, [min, max, divisor])),
        3 => (any::<usize>(), 0..3_usize, -1_i64..=1).prop_map(|(at, token, by)| Step::Brink(at, token, by)),
        4 => (any::<usize>(), 0..NAMES.len()).prop_map(|(at, name)| Step::Create(at, name)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, raw)| Step::Remove(at, raw)),
        1 => (any::<usize>(), 0..NAMES.len()).prop_map(|(at, name)| Step::Rename(at, name)),
        1 => (1_i64..100_000).prop_map(Step::Total),
    ];
    proptest::collection::vec(step, 1..60)
}

/// R7.1, R7.2: whatever is written, made, removed and renamed, in any order: the shares are what
/// the rules make of them, nobody is promised what is not there, and nothing is lost when a
/// group goes.
#[test]
fn a_tree_of_groups_keeps_to_the_rules() {
    on_each(|backend| {
        let seconds = stage::stress().as_secs() as u32;
        let config = Config { cases: 30 + 20 * seconds, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&steps(), |steps| played(backend, &steps))
            .unwrap_or_else(|why| panic!("{backend}: {why}"));
    });
}

fn played(backend: BackendKind, steps: &[Step]) -> Result<(), TestCaseError> {
    let own = bound_to(backend, "numtasks");
    let root = own.0.root();
    let total = read(&root, "total_numtasks").parse().unwrap();
    let mut world = World { total, groups: BTreeMap::from([("/".to_owned(), NEW)]) };
    for step in steps {
        let paths: Vec<String> = world.groups.keys().cloned().collect();
        let at = |index: usize| paths[index % paths.len()].clone();
        let open = |path: &str| own.0.open_group(path).unwrap();
        match *step {
            Step::Write(index, tokens) => write_as_the_model(&own.0, &mut world, &at(index), tokens)?,
            Step::Brink(index, token, by) => {
                let path = at(index);
                let tokens = world.brink(&path, token).map(|number| number + by);
                let mut all = [None; 3];
                all[token] = tokens;
                write_as_the_model(&own.0, &mut world, &path, all)?;
            }
            Step::Create(index, name) => {
                let path = format!("{}/{}", at(index).trim_end_matches('/'), NAMES[name]);
                if path.matches('/').count() > 4 || world.groups.contains_key(&path) {
                    continue;
                }
                own.0.create(&path).unwrap();
                world.groups.insert(path, NEW);
            }
            Step::Remove(index, raw) => {
                let path = at(index);
                if path == "/" {
                    continue;
                }
                if raw && backend != BackendKind::Embedded && world.children(&path).is_empty() {
                    std::fs::remove_dir(own.0.directory().join(path.trim_start_matches('/'))).unwrap();
                } else {
                    open(&path).remove_with(KILL).unwrap();
                }
                world.groups.retain(|other, _| !World::is_within(other, &path));
            }
            Step::Rename(index, name) => {
                let path = at(index);
                let to = if path == "/" {
                    continue;
                } else {
                    format!("{}/{}", parent_of(&path).trim_end_matches('/'), NAMES[name])
                };
                if backend == BackendKind::Cgroup2 || world.groups.contains_key(&to) {
                    continue;
                }
                open(&path).rename(NAMES[name]).unwrap();
                let moved = |other: &String| match World::is_within(other, &path) {
                    true => format!("{to}{}", &other[path.len()..]),
                    false => other.clone(),
                };
                world.groups = world.groups.iter().map(|(other, model)| (moved(other), *model)).collect();
            }
            Step::Total(number) => {
                prop_assert_eq!(write(&root, "total_numtasks", &number.to_string()), Ok(()));
                world.total = number;
            }
        }
        for (path, model) in &world.groups {
            let group = open(path);
            let Model { min, max, divisor } = *model;
            let wanted = format!("res=numtasks,min_shares={min},max_shares={max},child_shares_divisor={divisor}");
            prop_assert_eq!(read(&group, "shares"), wanted, "{} after {:?}", path, step);
            let limit = world.limit(path).map_or("max".to_owned(), |limit| limit.to_string());
            prop_assert_eq!(&read(&group, "limit"), &limit, "{} after {:?}", path, step);
            // The machine's own number is nobody's limit.
            if backend != BackendKind::Embedded && path != "/" {
                prop_assert_eq!(kernels(&group), limit, "{} after {:?}", path, step);
            }
            let sum: i64 = world.children(path).iter().map(|(_, child)| child.min.max(0)).sum();
            prop_assert!(sum <= divisor, "{} gives {} of {}", path, sum, divisor);
        }
    }
    Ok(())
}

fn write_as_the_model(
    hierarchy: &Hierarchy,
    world: &mut World,
    path: &str,
    tokens: [Option<i64>; 3],
) -> Result<(), TestCaseError> {
    let names = ["min_shares", "max_shares", "child_shares_divisor"];
    let words = tokens.iter().zip(names).filter_map(|(token, name)| token.map(|number| format!("{name}={number}")));
    let text = ["res=numtasks".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(",");
    let wanted = if world.write(path, tokens) { Ok(()) } else { Err(libc::EINVAL) };
    let group = hierarchy.open_group(path).unwrap();
    prop_assert_eq!(write(&group, "shares", &text), wanted, "{} to {}", text, path);
    Ok(())
}

/// R7.4: a fork bomb in a group with 5% of the tasks has its 5%, while others fork as they
/// like.
#[test]
fn a_fork_bomb_is_held_to_its_share() {
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks");
        let (bombed, free) = (own.0.create("bombed/below").unwrap(), own.0.create("free").unwrap());
        let top = own.0.open_group("bombed").unwrap();
        assert_eq!(write(&own.0.root(), "total_numtasks", "400"), Ok(()));
        assert_eq!(write(&top, "shares", "max_shares=5"), Ok(()));
        assert_eq!((read(&top, "limit"), kernels(&top)), ("20".into(), "20".into()), "{backend}");
        // It never gets so many, and so never stops trying.
        bombed.spawn(Spawn::new(stage::actor().unwrap()).args(["forkbomb", "60"])).unwrap();
        wait_for("the bomb to be refused", || (stat(&bombed, "Number of failures") > 100).then_some(())).unwrap();
        for neighbour in 1..=3 {
            start(&free, &["tree", "50"]);
            assert_eq!(stat(&free, "Current usage"), 51 * neighbour, "{backend}");
            assert_eq!(stat(&top, "Current usage"), 20, "{backend}");
        }
        assert_eq!((stat(&free, "Number of failures"), stat(&free, "Number of successes")), (0, 3), "{backend}");
        // The library refuses in the kernel's place whom it would move in.
        let late = bombed.spawn(Spawn::new("true")).unwrap_err();
        assert_eq!(late.errno(), libc::ENOSPC, "{backend}: {late}");
        assert!(late.message().contains("/bombed"), "{late}");
        assert_eq!(stat(&own.0.root(), "Current usage"), 20 + 3 * 51, "{backend}");
        assert_eq!(write(&bombed, "stats", "0"), Ok(()));
        wait_for("failures to be counted anew", || (stat(&bombed, "Number of failures") > 0).then_some(())).unwrap();
        top.kill(libc::SIGKILL).unwrap();
        assert_eq!(write(&bombed, "stats", "0"), Ok(()));
        assert_eq!(stat(&bombed, "Number of failures"), 0, "{backend}");
    });
}

/// R7.4: of those who come at once for the last places, never one too many stays.
#[test]
fn nobody_is_born_beyond_the_limit() {
    on_each(|backend| {
        let own = bound_to(backend, "numtasks");
        let group = own.0.create("g/below").unwrap();
        let top = own.0.open_group("g").unwrap();
        assert_eq!(write(&own.0.root(), "total_numtasks", "700"), Ok(()));
        assert_eq!(write(&top, "shares", "max_shares=1"), Ok(()));
        let actor = stage::actor().unwrap();
        let born = Mutex::new(Vec::new());
        let spawn = || match group.spawn(Spawn::new(&actor).arg("sleep")) {
            Ok(child) => {
                born.lock().unwrap().push(child);
                true
            }
            Err(error) if error.errno() == libc::ENOSPC => false,
            Err(error) => panic!("{backend}: {error}"),
        };
        for round in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut refused = 0;
                        while refused < 3 {
                            refused += usize::from(!spawn());
                        }
                    });
                }
            });
            let count = group.procs().unwrap().len();
            assert!((1..=7).contains(&count), "{count} in round {round} on {backend}");
            // Alone, one is refused only when it is full.
            while spawn() {}
            assert_eq!(group.procs().unwrap().len(), 7, "{backend}");
            assert_eq!(stat(&top, "Current usage"), 7, "{backend}");
            top.kill(libc::SIGKILL).unwrap();
            // The kernel counts the dead until somebody has waited for them.
            born.lock().unwrap().drain(..).for_each(|child| assert!(child.wait(stage::PATIENCE).unwrap().is_some()));
            wait_for("the dead to be gone", || (stat(&top, "Current usage") == 0).then_some(())).unwrap();
        }
        assert_eq!(stat(&group, "Number of successes"), 21, "{backend}: those who were refused are not among them");
        assert!(stat(&group, "Number of failures") >= 3 * 9 + 3, "{backend}");

        // Each refusal counts once, whoever counts at the same time. Who could not count
        // alone within 100 ms, on a busy machine, counts all the same and one may be lost.
        assert_eq!(write(&top, "shares", "max_shares=0"), Ok(()));
        assert_eq!(write(&group, "stats", "0"), Ok(()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| assert!(!spawn(), "{backend}")));
            }
        });
        let counted = stat(&group, "Number of failures");
        assert!((790..=800).contains(&counted), "{counted} of 800 on {backend}");
    });
}

/// R7.1: several who raise shares beside each other at once get all that there is, and no
/// more.
#[test]
fn siblings_who_raise_at_once_are_never_promised_too_much() {
    const RAISERS: usize = 4;
    on_each(|backend| {
        let own = bound_to(backend, "numtasks");
        let top = own.0.create("top").unwrap();
        let siblings: Vec<Group> = (0..RAISERS).map(|n| own.0.create(format!("top/{n}")).unwrap()).collect();
        for round in 0..4 {
            let board = Board::new().unwrap();
            let raiser = |number| Part::start("raises_until_it_is_refused", number, &own.0, &board).unwrap();
            let mut raisers: Vec<Part> = (0..RAISERS).map(raiser).collect();
            for raiser in &mut raisers {
                assert_eq!(raiser.ends_well(), Ok(true), "round {round} on {backend}");
            }
            let sum: i64 = siblings.iter().map(|sibling| min_shares(sibling).max(0)).sum();
            assert_eq!(sum, 100, "round {round} on {backend}");
            assert_eq!(write(&top, "shares", "child_shares_divisor=99"), Err(libc::EINVAL), "{backend}");
            siblings.iter().for_each(|sibling| assert_eq!(write(sibling, "shares", "min_shares=-3"), Ok(())));
        }
    });
}

/// The part of another process: the sibling of its number has one more and one more.
#[test]
fn raises_until_it_is_refused() {
    let Some(role) = Role::of("raises_until_it_is_refused") else { return };
    let group = role.hierarchy.open_group(format!("top/{}", role.number)).unwrap();
    role.board[0].fetch_add(1, SeqCst);
    wait_for("the others", || (role.board[0].load(SeqCst) == 4).then_some(())).unwrap();
    for min in 1.. {
        match write(&group, "shares", &format!("min_shares={min}")) {
            // So that the others come in between.
            Ok(()) => std::thread::sleep(Duration::from_micros((min * 131 + role.number as u64 * 57) % 400)),
            Err(libc::EINVAL) => return,
            Err(errno) => panic!("errno {errno}"),
        }
    }
}

/// R7.1: a writer who is killed anywhere leaves the shares as they were or as he wanted
/// them, keeps nobody out, and the next who opens the hierarchy finishes what he began.
#[test]
fn a_writer_who_is_killed_leaves_one_or_the_other() {
    const KILLS: u64 = 25;
    on_each(|backend| {
        let own = bound_to(backend, "numtasks");
        assert_eq!(write(&own.0.root(), "total_numtasks", "1000"), Ok(()));
        let top = own.0.create("top").unwrap();
        let mut below: Vec<Group> = Vec::new();
        for number in 0..20 {
            let child = own.0.create(format!("top/{number}")).unwrap();
            assert_eq!(write(&child, "shares", "min_shares=2,max_shares=10"), Ok(()));
            below.push(child);
        }
        for kill in 0..KILLS {
            let board = Board::new().unwrap();
            let mut writer = Part::start("writes_this_and_that", 0, &own.0, &board).unwrap();
            // It gets further each time.
            wait_for("the writer to write", || (board[0].load(SeqCst) > 3 + kill).then_some(())).unwrap();
            let pause = Duration::from_micros(37 * kill);
            std::thread::sleep(pause);
            writer.kill();
            let found = read(&top, "shares");
            let (this, that) = WRITTEN;
            assert!([this, that].map(|text| format!("res=numtasks,{text}")).contains(&found), "{found} on {backend}");
            // Whoever comes next waits for nobody.
            let options = Options::default().backend(backend);
            let reopened = Hierarchy::open(own.0.name(), &options).unwrap();
            if backend != BackendKind::Embedded {
                for group in below.iter().chain([&top]) {
                    assert_eq!(kernels(group), read(group, "limit"), "{group} on {backend}, by opening");
                }
            }
            let again = reopened.open_group("top/0").unwrap();
            assert_eq!(write(&again, "shares", &format!("min_shares={}", kill % 3)), Ok(()), "{backend}");
            assert_eq!(read(&top, "shares"), found, "{backend}");
        }
    });
}

const WRITTEN: (&str, &str) =
    ("min_shares=10,max_shares=20,child_shares_divisor=100", "min_shares=30,max_shares=90,child_shares_divisor=70");

/// The part of another process: writes the one and the other, until it is killed.
#[test]
fn writes_this_and_that() {
    let Some(role) = Role::of("writes_this_and_that") else { return };
    let group = role.hierarchy.open_group("top").unwrap();
    loop {
        for text in [WRITTEN.0, WRITTEN.1] {
            write(&group, "shares", text).unwrap();
            role.board[0].fetch_add(1, SeqCst);
        }
    }
}

/// Somebody who has these bytes of a file locked, until it is dropped.
fn locked(file: PathBuf, start: i64, length: i64) -> std::fs::File {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel uses the lock during the call only.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) }, 0);
    file
}

/// R7.1, R7.3: one who is stopped while he changes shares is waited for until the deadline;
/// one who is stopped while he counts, for nobody's birth.
#[test]
fn nobody_waits_for_ever() {
    on_each(|backend| {
        let own = bound_to(backend, "numtasks");
        let group = own.0.create("g").unwrap();
        let freeze = if backend == BackendKind::Cgroup2 { "cgroup.freeze" } else { "freezer.state" };
        let to_lock = if backend == BackendKind::Embedded { freeze } else { "cgroup.procs" };
        let in_turn = locked(own.0.directory().join(to_lock), 7 << 60, 1 << 20);
        let options = Options::default().backend(backend).deadline(Duration::from_millis(50));
        let impatient = Hierarchy::open(own.0.name(), &options).unwrap();
        let seen = impatient.open_group("g").unwrap();
        assert_eq!(write(&seen, "shares", "min_shares=5"), Err(libc::EBUSY), "{backend}");
        assert_eq!(write(&impatient.root(), "total_numtasks", "500"), Err(libc::EBUSY), "{backend}");
        assert_eq!(min_shares(&seen), -3, "{backend}");
        let renamed = seen.rename("h").unwrap_err();
        let refused = if backend == BackendKind::Cgroup2 { libc::EOPNOTSUPP } else { libc::EBUSY };
        assert_eq!(renamed.errno(), refused, "{backend}: {renamed}");
        let counting = locked(own.0.directory().join("g").join(freeze), (1 << 40) + 6, 1);
        start(&group, &["sleep"]);
        assert_eq!(stat(&group, "Number of successes"), 1, "{backend}");
        drop((in_turn, counting));
        // Whoever is being forked by another test has the locked files open for a moment more.
        assert_eq!(write(&group, "shares", "min_shares=5"), Ok(()), "{backend}");
    });
}

/// R7.4, R6.11: with beancounters in one hierarchy, the kernel has the smaller of the two
/// limits, each shows its own, and neither undoes the other's.
#[test]
fn two_who_limit_tasks_do_not_undo_each_other() {
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks,beancounter");
        let group = own.0.create("g").unwrap();
        let set = |limit: &str| group.write("bc.numtasks.limit", limit).map_err(|error| error.errno());
        let shown =
            || (group.read("bc.numtasks.limit").unwrap().trim().to_owned(), read(&group, "limit"), kernels(&group));
        let all = |bc: &str, shares: &str, kernels: &str| (bc.to_owned(), shares.to_owned(), kernels.to_owned());
        assert_eq!(write(&own.0.root(), "total_numtasks", "1000"), Ok(()));
        assert_eq!((set("30"), shown()), (Ok(()), all("30", "max", "30")), "{backend}");
        assert_eq!((write(&group, "shares", "max_shares=5"), shown()), (Ok(()), all("30", "50", "30")));
        assert_eq!((write(&group, "shares", "max_shares=2"), shown()), (Ok(()), all("30", "20", "20")));
        assert_eq!((set("40"), shown()), (Ok(()), all("40", "20", "20")), "{backend}");
        assert_eq!((set("10"), shown()), (Ok(()), all("10", "20", "10")), "{backend}");
        assert_eq!((write(&group, "shares", "max_shares=-3"), shown()), (Ok(()), all("10", "max", "10")));
        assert_eq!((write(&group, "shares", "max_shares=3"), set("max")), (Ok(()), Ok(())));
        assert_eq!(shown(), all("max", "30", "30"), "{backend}");
        // A refusal of the one leaves both.
        assert_eq!(group.write("bc.numtasks.limits", "20 25").map_err(|error| error.errno()), Ok(()));
        assert_eq!((set("19"), shown()), (Err(libc::EINVAL), all("25", "30", "25")), "{backend}");
        // What somebody writes by hand is shown by the one who shows the kernel's, until the next wish.
        std::fs::write(pids(&group).join("pids.max"), "7").unwrap();
        assert_eq!(shown(), all("7", "30", "7"), "{backend}");
        assert_eq!((set("19").is_err(), kernels(&group)), (true, "7".into()), "{backend}");
        assert_eq!((write(&group, "shares", "max_shares=4"), shown()), (Ok(()), all("25", "40", "25")));

        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        let (mut seen, mut wanted) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..300 {
                    begin.wait();
                    assert_eq!(set(&(25 + 7 * round % 900).to_string()), Ok(()));
                    end.wait();
                }
            });
            for round in 0..300 {
                begin.wait();
                let (share, limit) = (round % 90 + 1, 25 + 7 * round % 900);
                assert_eq!(write(&group, "shares", &format!("max_shares={share}")), Ok(()));
                end.wait();
                let smaller = limit.min(10 * share).to_string();
                seen.push(shown());
                wanted.push(all(&limit.to_string(), &(10 * share).to_string(), &smaller));
            }
        });
        // Looked at when both are done: one who fails would leave the other waiting.
        assert_eq!(seen, wanted, "{backend}");
        assert_eq!(set("220"), Ok(()));
        assert_eq!(write(&group, "shares", "max_shares=100"), Ok(()));
        assert_eq!(shown(), all("220", "1000", "220"), "{backend}");
    });
}

/// R7.4: a group that somebody made in one tree alone has its limit in the others as soon as
/// anybody comes into it.
#[test]
fn a_group_made_by_others_is_limited_when_it_is_used() {
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks");
        assert_eq!(write(&own.0.root(), "total_numtasks", "1000"), Ok(()));
        std::fs::create_dir(own.0.directory().join("raw")).unwrap();
        let group = own.0.open_group("raw").unwrap();
        assert_eq!(write(&group, "shares", "max_shares=3"), Ok(()));
        assert_eq!(read(&group, "limit"), "30");
        let outsider = stage::start_outside(&["sleep"]);
        let mut outsider = outsider.unwrap();
        group.attach(outsider.id() as i32).unwrap();
        let limited = kernels(&group);
        outsider.kill().unwrap();
        outsider.wait().unwrap();
        assert_eq!(limited, "30", "{backend}");
    });
}
