//! Hierarchies that span several kernel trees (R1.14).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cgf::{Attach, BackendKind, Error, RemoveOptions, Result, Subsystem};
use cgf_tests::backends::{on, start};
use cgf_tests::registered::{Registered, bound_to};
use cgf_tests::stage::{self, wait_for};

/// Works by controllers of trees that the freezer is not in, and follows.
struct Spanning {
    name: &'static str,
    refuse: Arc<AtomicBool>,
}

impl Subsystem for Spanning {
    fn name(&self) -> &str {
        self.name
    }
    fn controllers(&self) -> Vec<&str> {
        vec!["pids", "cpuacct"]
    }
    fn attach(&self, _: &Attach<'_>) -> Result<()> {
        if self.refuse.load(Ordering::SeqCst) {
            // Time to have children in.
            std::thread::sleep(Duration::from_millis(2));
            return Err(Error::new(libc::EDOM, "not today"));
        }
        Ok(())
    }
}

/// Where a process is in the trees that matter, below the hierarchy: one
/// consistent answer, for the kernel writes this file with all trees locked.
fn places(pid: i32, hierarchy: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mut found = Vec::new();
    for line in text.lines() {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        if ["", "freezer", "pids", "cpuacct"].contains(&controllers) {
            found.push(path.split_once(hierarchy).map_or("", |(_, below)| below).to_owned());
        }
    }
    Some(found)
}

/// R1.14: one that forks as fast as it can is moved back and forth; parent and
/// children are together in all trees, every time, and after a refusal where
/// they were before.
#[test]
fn a_family_moves_together_through_all_trees() {
    let refuse = Arc::new(AtomicBool::new(false));
    let _spanning = Registered::new(Spanning { name: "family", refuse: Arc::clone(&refuse) });
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        refuse.store(false, Ordering::SeqCst);
        let own = bound_to(backend, "family");
        let name = own.0.name().to_str().unwrap().to_owned();
        let groups = ["left", "right"].map(|name| own.0.create(name).unwrap());
        let pids = groups[0].controller_fd("pids").unwrap();
        let directory = std::fs::read_link(format!("/proc/self/fd/{}", pids.as_raw_fd())).unwrap();
        assert!(directory.join("pids.max").exists(), "{}", directory.display());
        assert_eq!(groups[0].controller_fd("nosuch").unwrap_err().errno(), libc::ENODEV);
        let pid = start(&groups[0], &["brood", "12"]);
        // The tree that freezes, and two others; the fourth kind is not ours.
        let ours = |places: &[String]| places.iter().filter(|place| !place.is_empty()).count();
        let mut here = 0;
        let until = Instant::now() + stage::stress();
        for turn in (0..).take_while(|&turn| turn < 1000 || Instant::now() < until) {
            let target = 1 - here;
            refuse.store(turn % 5 == 4, Ordering::SeqCst);
            match groups[target].attach(pid) {
                Ok(()) => here = target,
                Err(error) => assert_eq!(error.errno(), libc::EDOM, "{error}"),
            }
            let parent = places(pid, &name).unwrap();
            assert_eq!(ours(&parent), 3, "turn {turn} on {backend}: {parent:?}");
            let path = groups[here].path().to_string();
            assert!(
                parent.iter().all(|place| place.is_empty() || *place == path),
                "turn {turn} on {backend}: {parent:?}"
            );
            for group in &groups {
                for member in group.procs().unwrap() {
                    let Some(child) = places(member, &name) else { continue };
                    let mut distinct: Vec<&String> = child.iter().filter(|place| !place.is_empty()).collect();
                    distinct.dedup();
                    if ours(&child) == 3 && distinct.len() == 1 {
                        continue;
                    }
                    // Whoever is on its way out is shown at the top of the trees
                    // of version 1.
                    let why = format!("turn {turn} on {backend}: {member}, which is in {child:?}, to be ending");
                    wait_for(&why, || stage::has_ended(member).then_some(())).unwrap();
                }
            }
            // Whoever was born after the move is where its parent is.
            if turn % 100 == 0 {
                wait_for("a child where its parent is", || (groups[here].procs().ok()?.len() > 1).then_some(()))
                    .unwrap();
            }
        }
        drop(pids);
        for group in &groups {
            group.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
        }
        own.0.unmount().unwrap();
        assert!(!directory.exists() && !directory.parent().unwrap().exists(), "{}", directory.display());
    });
}

/// R1.14: leftovers in the other trees of groups that went behind our back.
#[test]
fn leftovers_give_way() {
    let _spanning = Registered::new(Spanning { name: "leftovers", refuse: Arc::default() });
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = bound_to(backend, "leftovers");
        let group = own.0.create("a").unwrap();
        own.0.create("a/b").unwrap();
        let pids = group.controller_fd("pids").unwrap();
        let mirror = std::fs::read_link(format!("/proc/self/fd/{}", pids.as_raw_fd())).unwrap();
        std::fs::write(mirror.join("pids.max"), "17").unwrap();
        std::fs::remove_dir(own.0.directory().join("a/b")).unwrap();
        std::fs::remove_dir(own.0.directory().join("a")).unwrap();
        let again = own.0.create("a").unwrap();
        assert_eq!(std::fs::read_to_string(mirror.join("pids.max")).unwrap(), "max\n", "{backend}");
        assert!(!mirror.join("b").exists(), "{backend}");
        again.remove().unwrap();
        // What went with nothing made in its place goes with the hierarchy.
        own.0.create("b").unwrap();
        std::fs::remove_dir(own.0.directory().join("b")).unwrap();
        // Somebody else's is left alone.
        let top = mirror.parent().unwrap();
        std::fs::create_dir_all(top.join("foreign/below")).unwrap();
        let refused = own.0.create("foreign").unwrap_err();
        let is_there = top.join("foreign/below").exists();
        std::fs::remove_dir(top.join("foreign/below")).unwrap();
        std::fs::remove_dir(top.join("foreign")).unwrap();
        assert!(is_there && refused.errno() == libc::EEXIST, "{backend}: {refused}");
        assert_eq!(own.0.open_group("foreign").unwrap_err().errno(), libc::ENOENT);
        // Made by the kernel's own means: it is made in the other trees when needed.
        std::fs::create_dir(own.0.directory().join("raw")).unwrap();
        let raw = own.0.open_group("raw").unwrap();
        let pid = start(&raw, &["sleep"]);
        let found = places(pid, own.0.name().to_str().unwrap()).unwrap();
        assert_eq!(found.iter().filter(|place| *place == "/raw").count(), 3, "{backend}: {found:?}");
        raw.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
        own.0.unmount().unwrap();
        assert!(!top.exists(), "{backend}");
    });
}

/// R1.14: three threads make and remove one group; whoever has it has it in all
/// trees.
#[test]
fn a_group_is_removed_in_all_trees_before_the_next() {
    let _spanning = Registered::new(Spanning { name: "racing", refuse: Arc::default() });
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = bound_to(backend, "racing");
        let until = Instant::now() + Duration::from_millis(500).max(stage::stress());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while Instant::now() < until {
                        let Ok(group) = own.0.create("one") else { continue };
                        group.controller_fd("pids").unwrap_or_else(|error| panic!("on {backend}: {error}"));
                        group.remove().unwrap_or_else(|error| panic!("on {backend}: {error}"));
                    }
                });
            }
        });
        own.0.unmount().unwrap();
    });
}
