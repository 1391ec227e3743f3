//! The proof that nothing ran during a checkpoint: what it tells, and what it does
//! not take amiss (R4.4).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cgf::{BackendKind, CheckpointOptions, Error, Evidence, Group, Result, State, Stillness};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::raw;
use cgf_tests::stage::{self, wait_for};

const SOON: Duration = Duration::from_secs(10);

/// R4.4: a foreign thaw, in which a task ran, is told, and which one.
#[test]
fn a_foreign_thaw_is_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        let inside = start(&group, &["spin"]);
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        checkpoint.verify().unwrap();
        let before = stage::run_count(inside);
        raw::thaw(&group).unwrap();
        if backend == BackendKind::Embedded {
            // SAFETY: the actor that we started, which nobody has waited for.
            unsafe { libc::kill(inside, libc::SIGCONT) };
        }
        wait_for("the spinner to run", || (stage::run_count(inside) != before).then_some(())).unwrap();
        raw::freeze(&group).unwrap();
        let error = checkpoint.end().unwrap_err();
        assert_eq!(error.errno(), libc::ESTALE, "{backend}: {error}");
        assert_eq!(error.blockers().first().map(|task| task.tid), Some(inside), "{error}");
    });
}

/// R4.4: on version 2 a thaw is told that was taken back at once.
#[test]
fn a_thaw_of_version_2_is_told_even_if_nothing_ran() {
    on(&[BackendKind::Cgroup2], |_| {
        let own = Own::new(BackendKind::Cgroup2).unwrap();
        let group = own.0.create("a").unwrap();
        let inside = start(&group, &["sleep"]);
        group.freeze(SOON).unwrap();
        for _ in 0..20 {
            let checkpoint = group.checkpoint(Some(inside)).unwrap();
            raw::thaw(&group).unwrap();
            raw::freeze(&group).unwrap();
            let error = checkpoint.end().unwrap_err();
            assert_eq!(error.errno(), libc::ESTALE, "{error}");
            assert_eq!(error.blockers()[0].evidence, Evidence::Thawed);
            wait_for("the group to be frozen", || (group.state().unwrap() == State::Frozen).then_some(())).unwrap();
        }
    });
}

/// ESTALE, and the error names this thread with this evidence.
fn assert_torn(proved: Result<Stillness>, tid: i32, evidence: Evidence, what: &str) {
    let error: Error = proved.err().unwrap_or_else(|| panic!("not told: {what}"));
    assert_eq!(error.errno(), libc::ESTALE, "{what}: {error}");
    let first = error.blockers().first().unwrap_or_else(|| panic!("{what}: {error} names nobody"));
    assert_eq!((first.tid, first.evidence), (tid, evidence), "{what}: {error}");
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: takes two integers; the actors are started by the tests, which nobody
    // has waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn wait_until_run(pid: i32, since: Option<u64>) {
    wait_for("a task to run", || (stage::run_count(pid) != since).then_some(())).unwrap();
}

fn wait_until_frozen(group: &Group) {
    wait_for("the group to be frozen", || (group.state().ok()? != State::Freezing).then_some(())).unwrap();
}

/// R4.4: a member that somebody moves out by the kernel's own files, where it runs,
/// and in again.
#[test]
fn a_foreign_move_out_and_in_again_is_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let other = own.0.create("other").unwrap();
        let inside = start(&group, &["spin"]);
        start(&group, &["sleep"]);
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        let since = stage::run_count(inside);
        if backend == BackendKind::Embedded {
            let records = |group: &Group| std::fs::read_to_string(raw::path(group, "cgroup.procs")).unwrap();
            let (ours, theirs) = (records(&group), records(&other));
            let is_its = |line: &&str| line.starts_with(&format!("{inside} "));
            let line: String = ours.split_inclusive('\n').filter(is_its).collect();
            assert!(!line.is_empty(), "{ours}");
            raw::write(&group, "cgroup.procs", &ours.replace(&line, "")).unwrap();
            raw::write(&other, "cgroup.procs", &format!("{theirs}{line}")).unwrap();
            signal(inside, libc::SIGCONT);
            wait_until_run(inside, since);
            signal(inside, libc::SIGSTOP);
            wait_for("the stop", || (stage::state_letter(inside) == Some('T')).then_some(())).unwrap();
            raw::write(&other, "cgroup.procs", &theirs).unwrap();
            raw::write(&group, "cgroup.procs", &ours).unwrap();
        } else {
            raw::put(&other, inside).unwrap();
            wait_until_run(inside, since);
            raw::put(&group, inside).unwrap();
            wait_until_frozen(&group);
        }
        let proved = checkpoint.end();
        let evidence = if backend == BackendKind::Cgroup2 { Evidence::Thawed } else { Evidence::Ran };
        let named = proved.as_ref().err().and_then(|error| error.blockers().first()).map(|task| task.tid);
        // On version 2 the kernel tells that somebody could run, not who.
        let named = if backend == BackendKind::Cgroup2 { named.unwrap_or_default() } else { inside };
        assert_torn(proved, named, evidence, &format!("a move on {backend}"));
        group.thaw().unwrap();
    });
}

/// R4.4: a member that was moved out for good, and a stranger that came for good.
#[test]
fn a_foreign_move_is_told() {
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let other = own.0.create("other").unwrap();
        let (inside, stranger) = (start(&group, &["sleep"]), start(&other, &["sleep"]));
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        raw::put(&group, stranger).unwrap();
        assert_torn(checkpoint.verify(), stranger, Evidence::Came, &format!("a stranger on {backend}"));
        assert_torn(checkpoint.end(), stranger, Evidence::Came, &format!("a stranger on {backend}"));
        wait_until_frozen(&group);
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        raw::put(&other, inside).unwrap();
        assert_torn(checkpoint.end(), inside, Evidence::Left, &format!("a member on {backend}"));
        // By way of a group below is no way out, but another place.
        let below = own.0.create("g/below").unwrap();
        wait_until_frozen(&group);
        let checkpoint = group.checkpoint(None).unwrap();
        raw::put(&below, stranger).unwrap();
        assert_torn(checkpoint.end(), stranger, Evidence::Left, &format!("to a group below on {backend}"));
        group.thaw().unwrap();
    });
}

/// R4.4: a stranger that runs while it is in the group, and goes again.
#[test]
fn a_stranger_that_came_and_left_is_told() {
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let other = own.0.create("other").unwrap();
        let (inside, stranger) = (start(&group, &["sleep"]), start(&other, &["spin"]));
        group.freeze(SOON).unwrap();
        for _ in 0..5 {
            let checkpoint = group.checkpoint(Some(inside)).unwrap();
            raw::put(&group, stranger).unwrap();
            raw::put(&other, stranger).unwrap();
            assert_torn(checkpoint.end(), inside, Evidence::Thawed, &format!("a stranger on {backend}"));
            wait_until_frozen(&group);
        }
        group.thaw().unwrap();
    });
}

/// R4.4: a member that was moved to a thawed group, ran, was frozen there and moved back:
/// on version 2 the group never stops being frozen meanwhile, and the kernel is silent.
#[test]
fn a_member_that_comes_back_frozen_is_told() {
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let other = own.0.create("other").unwrap();
        let (inside, goes) = (start(&group, &["sleep"]), start(&group, &["spin"]));
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        let since = stage::run_count(goes);
        raw::put(&other, goes).unwrap();
        wait_until_run(goes, since);
        raw::freeze(&other).unwrap();
        wait_until_frozen(&other);
        raw::put(&group, goes).unwrap();
        let error = checkpoint.end().unwrap_err();
        assert_eq!(error.errno(), libc::ESTALE, "{backend}: {error}");
        group.thaw().unwrap();
    });
}

/// R4.4: embedded stops by SIGSTOP, which anybody of the same user can undo.
#[test]
fn a_continue_is_told_on_embedded() {
    on(&[BackendKind::Embedded], |_| {
        let own = Own::new(BackendKind::Embedded).unwrap();
        let group = own.0.create("g").unwrap();
        start(&group, &["sleep"]);
        for part in ["spin", "sleep"] {
            let inside = start(&group, &[part]);
            group.freeze(SOON).unwrap();
            let checkpoint = group.checkpoint(Some(inside)).unwrap();
            let since = stage::run_count(inside);
            signal(inside, libc::SIGCONT);
            wait_until_run(inside, since);
            assert_torn(checkpoint.verify(), inside, Evidence::Ran, "a continue");
            signal(inside, libc::SIGSTOP);
            wait_for("the stop", || (stage::state_letter(inside) == Some('T')).then_some(())).unwrap();
            assert_torn(checkpoint.end(), inside, Evidence::Ran, "a continue and a stop");
            group.thaw().unwrap();
        }
    });
}

/// R4.4: on versions 2 and embedded a frozen task dies of SIGKILL; on version 1 it
/// stays until the thaw, and nothing has changed until then.
#[test]
fn a_kill_is_told_where_it_kills() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let (stays, dies) = (start(&group, &["sleep"]), start(&group, &["sleep"]));
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(stays)).unwrap();
        signal(dies, libc::SIGKILL);
        if backend == BackendKind::Cgroup1 {
            checkpoint.end().unwrap();
        } else {
            wait_for("the member to be dead", || stage::has_ended(dies).then_some(())).unwrap();
            assert_torn(checkpoint.end(), dies, Evidence::Left, &format!("a kill on {backend}"));
        }
        group.thaw().unwrap();
        wait_for("the member to be dead", || stage::has_ended(dies).then_some(())).unwrap();
    });
}

/// R4.4: no false alarm in a thousand checkpoints of groups with threads and children,
/// one beside the other.
#[test]
fn a_thousand_undisturbed_checkpoints_are_proved() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let proved = AtomicUsize::new(0);
        // On version 2 each takes 25 ms, of waiting. On embedded each looks several
        // times for the orphans among all processes of the machine.
        let (groups, rounds) = match backend {
            BackendKind::Cgroup2 => (20, 50),
            BackendKind::Embedded if stage::stress().is_zero() => (1, 200),
            _ => (2, 500),
        };
        std::thread::scope(|scope| {
            for number in 0..groups {
                let (own, proved) = (&own, &proved);
                scope.spawn(move || {
                    let group = own.0.create(format!("g{number}")).unwrap();
                    let below = own.0.create(format!("g{number}/below")).unwrap();
                    let root = start(&group, &["tree", "2"]);
                    start(&below, &["sleepers", "3"]);
                    start(&group, &["headless", "2"]);
                    group.freeze(SOON).unwrap();
                    for round in 0..rounds {
                        let options = CheckpointOptions::default().wakeups(number % 2 == 0);
                        let ended = group.checkpoint_with(Some(root), options).and_then(|checkpoint| checkpoint.end());
                        let stillness = ended.unwrap_or_else(|error| panic!("{backend}, {round} of {number}: {error}"));
                        assert_eq!(stillness.woken(), []);
                        proved.fetch_add(1, Ordering::Relaxed);
                    }
                    group.thaw().unwrap();
                });
            }
        });
        assert_eq!(proved.into_inner(), groups * rounds, "{backend}");
    });
}

/// The signals that wait for a process as a whole.
fn pending(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or_default()
}

fn is_pending(pid: i32, signal: i32) -> bool {
    pending(pid) & 1 << (signal - 1) != 0
}

/// R4.4: signals that are caught, blocked or stop, and timers that expire, wake a
/// frozen task at most, which runs nothing of its own; all of that comes after the
/// thaw.
#[test]
fn signals_stops_and_timers_are_no_harm() {
    on_each(|backend| {
        for wakeups in [false, true] {
            let own = Own::new(backend).unwrap();
            let group = own.0.create("g").unwrap();
            let catcher = start(&group, &["count"]);
            let deaf = start(&group, &["deaf"]);
            let timed = start(&group, &["timers"]);
            let stopped = start(&group, &["spin"]);
            group.freeze(SOON).unwrap();
            let options = || CheckpointOptions::default().wakeups(wakeups);
            let checkpoint = group.checkpoint_with(None, options()).unwrap();
            signal(catcher, libc::SIGUSR1);
            signal(deaf, libc::SIGTERM);
            signal(stopped, libc::SIGSTOP);
            for (pid, signal) in [(catcher, libc::SIGUSR1), (deaf, libc::SIGTERM), (timed, libc::SIGALRM)] {
                wait_for("the signal to be pending", || is_pending(pid, signal).then_some(())).unwrap();
            }
            checkpoint.verify().unwrap_or_else(|error| panic!("{backend}: {error}"));
            checkpoint.end().unwrap_or_else(|error| panic!("{backend}: {error}"));
            // The next one begins among what waits by now.
            group.checkpoint_with(None, options()).and_then(|checkpoint| checkpoint.end()).unwrap();
            group.thaw().unwrap();
            let caught = || std::fs::read_to_string(format!("/proc/{catcher}/comm")).ok();
            wait_for("the signal to be caught", || (caught()?.trim() == "caught 1").then_some(())).unwrap();
        }
    });
}

/// R4.4: the wake-ups are told where somebody asks for them.
#[test]
fn wakeups_are_told_on_version_2() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let catcher = start(&group, &["count"]);
        let quiet = start(&group, &["sleep"]);
        group.freeze(SOON).unwrap();
        for wakeups in [true, false] {
            let options = CheckpointOptions::default().wakeups(wakeups);
            let checkpoint = group.checkpoint_with(Some(quiet), options);
            // Begun with a stranger to the family: the group may hold more than that.
            let checkpoint = checkpoint.unwrap();
            let since = stage::run_count(catcher);
            signal(catcher, libc::SIGUSR1);
            if backend == BackendKind::Cgroup2 && wakeups {
                wait_until_run(catcher, since);
                assert_eq!(checkpoint.end().unwrap().woken(), [catcher]);
            } else {
                assert_eq!(checkpoint.end().unwrap().woken(), [], "{backend}");
            }
            group.thaw().unwrap();
            group.freeze(SOON).unwrap();
        }
    });
}

/// R4.4: a member that was stopped before the freeze, and is continued during the
/// checkpoint: it stays frozen.
#[test]
fn a_continue_of_a_stopped_member_is_no_harm() {
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let stopped = start(&group, &["stopped"]);
        wait_for("the stop", || (stage::state_letter(stopped) == Some('T')).then_some(())).unwrap();
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(stopped)).unwrap();
        let since = stage::run_count(stopped);
        signal(stopped, libc::SIGCONT);
        if backend == BackendKind::Cgroup2 {
            // Woken, it goes from the stop into the freezer's trap.
            wait_until_run(stopped, since);
        } else {
            wait_for("the stop to be over", || (stage::state_letter(stopped) == Some('D')).then_some(())).unwrap();
            assert_eq!(stage::run_count(stopped), since);
        }
        let proved = checkpoint.end();
        proved.unwrap_or_else(|error| panic!("{backend}: {error}"));
        group.thaw().unwrap();
    });
}
