//! Several at once on one group: freezers, thawers, holders, removers.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cgf::{Group, Hierarchy, Options, Spawn, State};
use cgf_tests::backends::{Own, on_each, start};
use cgf_tests::driver::{Driver, Surface};
use cgf_tests::stage::{self, wait_for};

/// How long the contenders contend; not a measure of anything.
const ROUND: Duration = Duration::from_millis(700);

fn freeze_and_thaw(group: &Group, until: Instant) -> Result<(), String> {
    while Instant::now() < until {
        match group.freeze(Duration::from_secs(10)) {
            Ok(()) => {}
            Err(error) if error.errno() == libc::ECANCELED => {}
            Err(error) => return Err(format!("freeze: {error:?}")),
        }
        group.thaw().map_err(|error| format!("thaw: {error:?}"))?;
    }
    Ok(())
}

/// R3.2, R3.8: whoever freezes is frozen or told of the thaw; whoever thaws has
/// thawed; and after the last thaw everything runs.
#[test]
fn two_threads_and_two_processes_freeze_and_thaw_one_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("contended").unwrap();
        let pid = start(&group, &["spin"]);
        let tree = start(&group, &["tree", "5"]);
        let until = Instant::now() + ROUND;
        let name = own.0.name().to_str().unwrap().to_owned();
        std::thread::scope(|scope| {
            let contenders = [
                scope.spawn(|| freeze_and_thaw(&group, until)),
                scope.spawn(|| freeze_and_thaw(&group, until)),
                scope.spawn(|| other_process(&name, backend.name(), until)),
                scope.spawn(|| other_process(&name, backend.name(), until)),
            ];
            for contender in contenders {
                contender.join().unwrap().unwrap_or_else(|why| panic!("on {backend}: {why}"));
            }
        });
        group.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        let before = stage::cpu_time(pid).unwrap();
        wait_for("the spinner to run", || (stage::cpu_time(pid)? > before).then_some(())).unwrap();
        assert!(!"Tt".contains(stage::state_letter(tree).unwrap()), "the tree is stopped on {backend}");
    });
}

fn other_process(name: &str, backend: &str, until: Instant) -> Result<(), String> {
    let mut driver = Driver::start(Surface::Rust.command()?)?;
    let said = |failure: cgf_tests::driver::Failure| format!("{}: {}", failure.errno, failure.message);
    driver.ask(&["hierarchy", name, &format!("backend={backend}")]).map_err(said)?;
    let mut contend = || {
        while Instant::now() < until {
            match driver.ask(&["freeze", "contended", "10000"]) {
                Err(failure) if failure.errno != libc::ECANCELED => return Err(said(failure)),
                _ => {}
            }
            driver.ask(&["thaw", "contended"]).map_err(said)?;
        }
        Ok(())
    };
    let done = contend();
    driver.end();
    done
}

/// The nested freeze: the last one out thaws, across threads; and not at all
/// what was frozen before the first came.
#[test]
fn the_last_holder_thaws() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("held").unwrap();
        start(&group, &["sleep"]);
        let outer = group.hold(Duration::from_secs(5)).unwrap();
        let inner = group.hold(Duration::from_secs(5)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| group.hold(Duration::from_secs(5)).unwrap().give_back().unwrap());
        });
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        outer.give_back().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        inner.give_back().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");

        group.freeze(Duration::from_secs(5)).unwrap();
        group.hold(Duration::from_secs(5)).unwrap().give_back().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "it was frozen before, on {backend}");
    });
}

/// A holder that is killed gives its share back; the next one out thaws.
#[test]
fn a_killed_holder_does_not_count() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("held").unwrap();
        start(&group, &["sleep"]);
        hold_and_be_killed(&own, &group);
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        group.hold(Duration::from_secs(5)).unwrap().give_back().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");

        // Thawed by hand, nothing is left of such a holder: what is frozen then
        // is frozen by whoever froze it, and stays so.
        hold_and_be_killed(&own, &group);
        group.thaw().unwrap();
        group.freeze(Duration::from_secs(5)).unwrap();
        group.hold(Duration::from_secs(5)).unwrap().give_back().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
    });
}

fn hold_and_be_killed(own: &Own, group: &Group) {
    // SAFETY: the child of this threaded process allocates, which glibc's fork
    // allows; it opens its own handles and then sleeps to be killed.
    let holder = unsafe { libc::fork() };
    if holder == 0 {
        let options = Options::default().backend(own.0.backend_kind());
        let held = Hierarchy::open(own.0.name(), &options)
            .and_then(|hierarchy| hierarchy.open_group("held"))
            .and_then(|group| group.hold(Duration::from_secs(5)));
        loop {
            std::thread::sleep(Duration::from_secs(1));
            std::hint::black_box(&held);
        }
    }
    let frozen = || (group.state().ok()? == State::Frozen).then_some(());
    let frozen = wait_for("the holder to freeze", frozen);
    // SAFETY: our own child, not yet waited for.
    unsafe {
        libc::kill(holder, libc::SIGKILL);
        libc::waitpid(holder, std::ptr::null_mut(), 0);
    }
    assert_eq!(frozen, Ok(()));
}

/// R3.8: a freezer that is killed leaves a group that anybody can thaw.
#[test]
fn a_killed_freezer_leaves_nothing_stuck() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("left").unwrap();
        let pid = start(&group, &["spin"]);
        for delay in 0..20_u64 {
            let mut freezer = Command::new(Surface::Rust.command().unwrap().get_program())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = freezer.stdin.take().unwrap();
            let name = own.0.name().display();
            use std::io::Write as _;
            write!(lines, "hierarchy {name} backend={backend}\nfreeze left 5000\n").unwrap();
            lines.flush().unwrap();
            std::thread::sleep(Duration::from_micros(300 * delay));
            freezer.kill().unwrap();
            freezer.wait().unwrap();
            group.thaw().unwrap();
            assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
            let before = stage::cpu_time(pid).unwrap();
            wait_for("the spinner to run", || (stage::cpu_time(pid)? > before).then_some(())).unwrap();
        }
    });
}

/// R1.3: two who make and remove one group in a loop get the documented errors.
#[test]
fn two_make_and_remove_one_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let until = Instant::now() + ROUND;
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while Instant::now() < until && !failed.load(Ordering::Relaxed) {
                        let made = own.0.create("brief").and_then(|group| group.remove());
                        match made {
                            Err(error) if !matches!(error.errno(), libc::EEXIST | libc::ENODEV | libc::ENOENT) => {
                                failed.store(true, Ordering::Relaxed);
                                eprintln!("on {backend}: {error:?}");
                            }
                            _ => {}
                        }
                    }
                });
            }
        });
        assert!(!failed.load(Ordering::Relaxed));
        assert!(own.0.groups().unwrap().is_empty());
    });
}

/// R5.2: several kill one group at once, and those above and below it; the
/// freezer's state is as it was, and whoever is put there afterwards runs.
#[test]
fn several_kill_and_the_state_stays() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let above = own.0.create("above").unwrap();
        let below = own.0.create("above/below").unwrap();
        for _ in 0..10 {
            start(&above, &["tree", "3"]);
            start(&below, &["tree", "3"]);
            std::thread::scope(|scope| {
                for group in [&above, &below, &above, &below] {
                    scope.spawn(|| group.kill(libc::SIGKILL).unwrap());
                }
                scope.spawn(|| drop(below.hold(Duration::from_secs(5))));
            });
            assert_eq!(above.state().unwrap(), State::Thawed, "{backend}");
            assert_eq!(below.state().unwrap(), State::Thawed, "{backend}");
        }
        let pid = start(&below, &["spin"]);
        let before = stage::cpu_time(pid).unwrap();
        wait_for("the newcomer to run", || (stage::cpu_time(pid)? > before).then_some(())).unwrap();
    });
}

/// R5.2: a member that kills its own group takes the frozen groups below along,
/// and comes last.
#[test]
fn a_member_kills_its_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        let below = own.0.create("a/b").unwrap();
        let (one, two) = (start(&group, &["sleep"]), start(&below, &["sleep"]));
        below.freeze(Duration::from_secs(5)).unwrap();
        let mut driver = Driver::start(Surface::Rust.command().unwrap()).unwrap();
        let options = format!("backend={backend},deadline=5000");
        driver.ask(&["hierarchy", own.0.name().to_str().unwrap(), &options]).unwrap();
        driver.ask(&["attach", "a", "0"]).unwrap();
        let pid = driver.pid();
        assert_eq!(driver.ask(&["kill", "a", "9"]).unwrap_err().errno, -1, "the driver lives, on {backend}");
        for process in [one, two, pid] {
            let gone = || stage::has_ended(process).then_some(());
            wait_for(&format!("process {process} to be gone, on {backend}"), gone).unwrap();
        }
        assert_eq!(below.state().unwrap(), State::Frozen, "{backend}");
        driver.end();
    });
}

/// A child that another thread forks while a program is started keeps copies of
/// whatever is open then; the start is seen all the same.
#[test]
fn a_fork_elsewhere_does_not_hold_up_a_spawn() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut children = Vec::new();
                while !done.load(Ordering::Relaxed) && children.len() < 300 {
                    // SAFETY: the child only waits to be killed.
                    match unsafe { libc::fork() } {
                        0 => loop {
                            // SAFETY: takes and touches nothing.
                            unsafe { libc::pause() };
                        },
                        child => children.push(child),
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                for child in children {
                    // SAFETY: our own children, not yet waited for.
                    unsafe {
                        libc::kill(child, libc::SIGKILL);
                        libc::waitpid(child, std::ptr::null_mut(), 0);
                    }
                }
            });
            for _ in 0..100 {
                let child = group.spawn(Spawn::new("true")).unwrap_or_else(|error| panic!("{backend}: {error:?}"));
                assert!(child.wait(stage::PATIENCE).unwrap().unwrap().success());
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

/// R1.3: two processes make and remove one group in a loop. Each is told what
/// came of it, and in the end there is nothing half-made.
#[test]
fn two_processes_make_and_remove_one_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let name = own.0.name().to_str().unwrap().to_owned();
        let until = Instant::now() + ROUND.max(stage::stress());
        let contend = || -> Result<usize, String> {
            let mut driver = Driver::start(Surface::Rust.command()?)?;
            let said = |failure: cgf_tests::driver::Failure| format!("{}: {}", failure.errno, failure.message);
            driver.ask(&["hierarchy", &name, &format!("backend={backend}")]).map_err(said)?;
            let mut made = 0;
            while Instant::now() < until {
                match driver.ask(&["create", "one/two"]) {
                    Ok(_) => made += 1,
                    // The other has it, or has just taken the parent away.
                    Err(failure) if [libc::EEXIST, libc::ENODEV, libc::ENOENT].contains(&failure.errno) => {}
                    Err(failure) => return Err(format!("create: {}", said(failure))),
                }
                driver.ask(&["forget"]).map_err(said)?;
                match driver.ask(&["remove", "one", "kill", "recursive"]) {
                    Ok(_) => {}
                    Err(failure) if [libc::ENODEV, libc::ENOENT].contains(&failure.errno) => {}
                    Err(failure) => return Err(format!("remove: {}", said(failure))),
                }
                driver.ask(&["forget"]).map_err(said)?;
            }
            driver.end();
            Ok(made)
        };
        std::thread::scope(|scope| {
            for contender in [scope.spawn(contend), scope.spawn(contend)] {
                let made = contender.join().unwrap().unwrap_or_else(|why| panic!("on {backend}: {why}"));
                assert!(made > 0, "one of them never made the group on {backend}");
            }
        });
        if let Ok(left) = own.0.open_group("one") {
            left.remove_with(cgf::RemoveOptions { kill: false, recursive: true }).unwrap();
        }
        assert!(own.0.groups().unwrap().is_empty());
    });
}

/// R3.4: a shell that does nothing but start programs, by vfork, is frozen each time:
/// the kernel's version 1 misses its first thread in one freeze of a hundred.
#[test]
fn who_starts_programs_all_the_time_is_frozen_each_time() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("shell").unwrap();
        let shell = Spawn::new("/bin/sh").args(["-c", "while :; do sleep 0.001; done"]);
        group.spawn(shell).unwrap();
        for round in 0..200 {
            let frozen = group.freeze(Duration::from_secs(5));
            frozen.unwrap_or_else(|error| panic!("round {round} on {backend}: {error}"));
            group.thaw().unwrap();
        }
    });
}
