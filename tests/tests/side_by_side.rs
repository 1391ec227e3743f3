//! Two hierarchies at once, with different subsystems and grouped in different ways: a
//! process is in a group of each (R1.1, R1.2).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::time::Instant;

use cgf::{BackendKind, Group, Hierarchy, Options, RemoveOptions, Resource, Severity};
use cgf_tests::backends::{Own, on, start};
use cgf_tests::stage::{self, wait_for};

/// Processors grouped one way, limits another, in one system.
struct Pair {
    processors: Own,
    limits: Own,
    /// Last: the hierarchies need it to end.
    state: State,
}

/// A directory that goes with this.
struct State(PathBuf);

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Pair {
    fn open(processors: BackendKind, limits: BackendKind) -> Pair {
        let state = State(std::env::temp_dir().join(stage::unique("pair")));
        let open = |words: &str, backend: BackendKind| {
            let text = format!("{words},backend={backend},state={}", state.0.display());
            Own(Hierarchy::open(stage::unique("side"), &Options::parse(&text).unwrap()).unwrap())
        };
        let processors = open("freezer,cpuset", processors);
        let limits = open("signal,numtasks,beancounter", limits);
        Pair { processors, limits, state }
    }

    /// `left` has the first processor and `right` all; of 4000 tasks `small` has 5 percent and
    /// `large` the rest.
    fn groups(&self) -> ([Group; 2], [Group; 2]) {
        let sides = ["left", "right"].map(|name| self.processors.0.create(name).unwrap());
        sides[0].write("cpuset.cpus", "0").unwrap();
        self.limits.0.root().write("numtasks.total_numtasks", "4000").unwrap();
        let sizes = ["small", "large"].map(|name| self.limits.0.create(name).unwrap());
        for (group, shares) in sizes.iter().zip(["max_shares=5", "max_shares=95"]) {
            group.write("numtasks.shares", &format!("res=numtasks,{shares}")).unwrap();
        }
        (sides, sizes)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for own in [&self.processors, &self.limits] {
            for path in own.0.groups().unwrap_or_default() {
                let _ = own.0.open_group(path.as_bytes()).and_then(|group| group.kill(libc::SIGKILL));
            }
        }
    }
}

/// Which backends may carry the two: on one tree nobody could be in both.
const PAIRS: [(BackendKind, BackendKind); 3] = [
    (BackendKind::Cgroup2, BackendKind::Cgroup1),
    (BackendKind::Cgroup1, BackendKind::Embedded),
    (BackendKind::Embedded, BackendKind::Cgroup2),
];

fn on_pairs(pairs: &[(BackendKind, BackendKind)], test: impl Fn(&Pair, &str)) {
    for &(processors, limits) in pairs {
        on(&[processors], |_| {
            on(&[limits], |_| test(&Pair::open(processors, limits), &format!("{processors} and {limits}")));
        });
    }
}

/// The processors that a process may use.
fn allowed(pid: i32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}

/// R1.1, R1.2: what each hierarchy does, it does to those in its own groups, whatever the
/// other has them in; and a subsystem is bound to one of them alone.
#[test]
fn each_groups_in_its_own_way() {
    on_pairs(&PAIRS, |pair, on| {
        let (sides, sizes) = pair.groups();
        let third = format!("cpuset,state={}", pair.state.0.display());
        let refused = Hierarchy::open(stage::unique("third"), &Options::parse(&third).unwrap()).unwrap_err();
        assert_eq!(refused.errno(), libc::EBUSY, "{on}: {refused}");
        let all = sides[1].read("cpuset.cpus").unwrap();
        for (side, cpus) in sides.iter().zip(["0", all.trim()]) {
            for (size, limit) in sizes.iter().zip(["200\n", "3800\n"]) {
                let pid = start(side, &["threads", "3"]);
                size.attach(pid).unwrap();
                assert_eq!(allowed(pid).unwrap(), cpus, "{on}");
                assert_eq!(pair.processors.0.group_of(pid).unwrap().path(), side.path(), "{on}");
                assert_eq!(pair.limits.0.group_of(pid).unwrap().path(), size.path(), "{on}");
                assert_eq!(size.read("numtasks.limit").unwrap(), limit, "{on}");
            }
        }
        // Frozen by one, counted by the other, ended by the other.
        sides[0].freeze(stage::PATIENCE).unwrap();
        for size in &sizes {
            let usage = size.read("numtasks.stats").unwrap();
            assert!(usage.contains("Current usage 8\n"), "{on}: {usage}");
            size.set_limits(Resource::NUMFILES, None, Some(10)).unwrap();
            size.charge(Resource::NUMFILES, 10, Severity::Limit).unwrap();
            assert_eq!(size.charge(Resource::NUMFILES, 1, Severity::Limit).unwrap_err().errno(), libc::EMFILE, "{on}");
            size.uncharge(Resource::NUMFILES, 10).unwrap();
        }
        sides[0].thaw().unwrap();
        for size in &sizes {
            size.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
        }
        for side in &sides {
            wait_for("those who were killed to leave the other hierarchy", || {
                side.procs().ok()?.into_iter().all(stage::has_ended).then_some(())
            })
            .unwrap();
        }
    });
}

/// Where a process is in the trees of a hierarchy, below it: one consistent answer, for
/// the kernel writes this file with all trees locked.
fn places(text: &str, hierarchy: &Hierarchy, controllers: &[&str]) -> Vec<String> {
    let name = hierarchy.name().to_str().unwrap();
    let mut found = Vec::new();
    for line in text.lines() {
        let (tree, path) = line.split_once(':').unwrap().1.split_once(':').unwrap();
        if controllers.contains(&tree)
            && let Some((_, below)) = path.split_once(name)
        {
            found.push(below.to_owned());
        }
    }
    found
}

/// R1.14: one that forks as fast as it can is moved about in both; whoever it has is in one group
/// of each, in all of its trees, and on the processors of that group.
#[test]
fn a_family_is_in_one_group_of_each() {
    let kernels = [(BackendKind::Cgroup2, BackendKind::Cgroup1), (BackendKind::Cgroup1, BackendKind::Cgroup2)];
    on_pairs(&kernels, |pair, on| {
        let (sides, sizes) = pair.groups();
        let first_tree = |own: &Own| if own.0.backend_kind() == BackendKind::Cgroup2 { "" } else { "freezer" };
        let of_processors = [first_tree(&pair.processors), "cpuset"];
        let of_limits = [first_tree(&pair.limits), "pids", "memory"];
        let all = sides[1].read("cpuset.cpus").unwrap();
        let pid = start(&sides[0], &["brood", "12"]);
        sizes[0].attach(pid).unwrap();
        let until = Instant::now() + stage::stress();
        for turn in (0..).take_while(|&turn| turn < 500 || Instant::now() < until) {
            let (side, size) = (&sides[turn % 2], &sizes[turn / 2 % 2]);
            side.attach(pid).unwrap();
            size.attach(pid).unwrap();
            assert_eq!(pair.processors.0.group_of(pid).unwrap().path(), side.path(), "turn {turn} on {on}");
            assert_eq!(pair.limits.0.group_of(pid).unwrap().path(), size.path(), "turn {turn} on {on}");
            for member in sides.iter().chain(&sizes).flat_map(|group| group.procs().unwrap()) {
                let Ok(text) = std::fs::read_to_string(format!("/proc/{member}/cgroup")) else { continue };
                let is_together = |own: &Own, trees: &[&str]| {
                    let found = places(&text, &own.0, trees);
                    found.len() == trees.len() && found.iter().all(|place| *place == found[0])
                };
                let here = is_together(&pair.processors, &of_processors) && is_together(&pair.limits, &of_limits);
                // Whoever is on its way out is shown at the top of the trees of version 1.
                let why = format!("turn {turn} on {on}: {member}, which is in {text}, to be ending");
                if !here {
                    wait_for(&why, || stage::has_ended(member).then_some(())).unwrap();
                }
            }
            let cpus = if turn % 2 == 0 { "0" } else { all.trim() };
            assert_eq!(allowed(pid).unwrap(), cpus, "turn {turn} on {on}");
        }
        for group in sizes.iter().chain(&sides) {
            group.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
        }
    });
}
