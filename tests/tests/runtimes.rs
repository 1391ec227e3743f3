//! Containers that runc, crun and LXC have started, opened in place: what we see of
//! them, what they see of us, and what their commands do to a checkpoint.

#![allow(clippy::unwrap_used, reason = "in a test's own function, as in the test")]

use std::collections::BTreeSet;
use std::time::Instant;

use cgf::{BackendKind, Group, Hierarchy, Options, State};
use cgf_tests::backends::on;
use cgf_tests::container::Answer::{self, Does, Hangs, Refuses};
use cgf_tests::container::{Container, NAME, Runtime};
use cgf_tests::stage::{self, PATIENCE, wait_for};

const KERNEL: [BackendKind; 2] = [BackendKind::Cgroup2, BackendKind::Cgroup1];

#[test]
fn a_container_of_runc_is_opened_in_place() {
    each_sees_what_the_other_does(Runtime::Runc);
}

#[test]
fn a_container_of_crun_is_opened_in_place() {
    each_sees_what_the_other_does(Runtime::Crun);
}

#[test]
fn a_container_of_lxc_is_opened_in_place() {
    each_sees_what_the_other_does(Runtime::Lxc);
}

/// R3.1, R4.1: what one side does, the other sees.
fn each_sees_what_the_other_does(runtime: Runtime) {
    on_each_freezer_of(runtime, |backend| {
        let container = Container::start(runtime, backend).unwrap();
        let group = group_of(&container, backend);
        let (paused, running) = (runtime.word_for_paused(), runtime.word_for_running());
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        assert_eq!(container.word().unwrap(), running, "{backend}");

        group.freeze(PATIENCE).unwrap();
        if runtime == Runtime::Lxc {
            // It says what it has done itself. Only the kernel's file tells.
            assert_eq!(container.word().unwrap(), running, "{backend}");
            if backend == BackendKind::Cgroup1 {
                assert_eq!(container.ask(&["lxc-cgroup", "freezer.state"]).unwrap(), "FROZEN");
            }
        } else {
            assert_eq!(container.word().unwrap(), paused, "{backend}");
        }
        group.thaw().unwrap();
        assert_eq!(container.word().unwrap(), running, "{backend}");
        must_run(&container);

        container.ask(runtime.pause()).unwrap();
        // crun does not wait for it.
        let is_frozen = || (group.state().unwrap() == State::Frozen).then_some(());
        wait_for("the pause", is_frozen).unwrap();
        assert_eq!(container.word().unwrap(), paused, "{backend}");
        let checkpoint = group.checkpoint(Some(container.pid())).unwrap();
        assert_eq!(group.state().unwrap(), State::Checkpointing, "{backend}");
        assert_eq!(container.word().unwrap(), paused, "{backend}");
        assert_eq!(group.thaw().unwrap_err().errno(), libc::EBUSY, "{backend}");
        checkpoint.end().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        container.ask(runtime.resume()).unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        must_run(&container);
        container.delete().unwrap();
    });
}

/// What a command does to a container that a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing: the checkpoint is proved still.
    Still,
    /// It thaws the group, which the end tells.
    Thawed,
    /// It puts a process into the group, which the end tells.
    Joined,
    /// It kills the tasks, which the end tells.
    Killed,
}

use Outcome::{Joined, Killed, Still, Thawed};

type Case = (&'static [&'static str], Answer, Outcome);

/// R4.4, for the table in docs/checkpointing.md.
#[test]
fn what_runc_does_to_a_checkpoint() {
    const BUSYBOX: &str = "/bin/busybox";
    let cases: [Case; 10] = [
        (&["state", NAME], Does, Still),
        (&["pause", NAME], Refuses, Still),
        (&["exec", NAME, BUSYBOX, "true"], Refuses, Still),
        (&["exec", "--ignore-paused", NAME, BUSYBOX, "true"], Hangs, Joined),
        (&["kill", NAME, "TERM"], Does, Still),
        (&["kill", "--all", NAME, "TERM"], Does, Thawed),
        (&["resume", NAME], Does, Thawed),
        (&["delete", NAME], Refuses, Still),
        (&["kill", NAME, "KILL"], Does, Killed),
        (&["delete", "--force", NAME], Does, Killed),
    ];
    on_each_freezer_of(Runtime::Runc, |backend| try_each(&cases, Runtime::Runc, backend));
}

/// R4.4, for the table in docs/checkpointing.md.
#[test]
fn what_crun_does_to_a_checkpoint() {
    on_each_freezer_of(Runtime::Crun, |backend| {
        // On version 1 a frozen task dies when it is thawed.
        let killed = if backend == BackendKind::Cgroup1 { Still } else { Killed };
        let cases: [Case; 9] = [
            (&["state", NAME], Does, Still),
            (&["pause", NAME], Does, Still),
            (&["exec", NAME, "/bin/busybox", "true"], Refuses, Still),
            (&["kill", NAME, "TERM"], Does, Still),
            (&["kill", "--all", NAME, "TERM"], Does, Thawed),
            (&["resume", NAME], Does, Thawed),
            (&["delete", NAME], Refuses, Still),
            (&["kill", NAME, "KILL"], Does, killed),
            (&["delete", "--force", NAME], Does, Killed),
        ];
        try_each(&cases, Runtime::Crun, backend);
    });
}

/// R4.4, for the table in docs/checkpointing.md.
#[test]
fn what_lxc_does_to_a_checkpoint() {
    let cases: [Case; 7] = [
        (&["lxc-info"], Does, Still),
        // It takes the container for running, and does nothing.
        (&["lxc-unfreeze"], Does, Still),
        (&["lxc-freeze"], Does, Still),
        (&["lxc-unfreeze"], Does, Thawed),
        (&["lxc-attach", "--", "/bin/busybox", "true"], Hangs, Joined),
        (&["lxc-destroy"], Refuses, Still),
        (&["lxc-stop", "-k"], Does, Killed),
    ];
    on_each_freezer_of(Runtime::Lxc, |backend| try_each(&cases, Runtime::Lxc, backend));
}

/// Has each command carried out during a checkpoint, one after the other, on the
/// same container for as long as there is one.
fn try_each(cases: &[Case], runtime: Runtime, backend: BackendKind) {
    let mut present = None;
    for &(words, answer, outcome) in cases {
        let container = present.take().unwrap_or_else(|| Container::start(runtime, backend).unwrap());
        let what = format!("{words:?} of {runtime:?} on {backend}");
        let group = group_of(&container, backend);
        group.freeze(PATIENCE).unwrap();
        let checkpoint = group.checkpoint(Some(container.pid())).unwrap();
        let mut newcomers = Vec::new();
        let mut seen = None;
        let called = if answer == Hangs {
            // Looked at before the command is killed, with which the newcomer may die.
            hangs_in(&group, &container, words, &mut |came| {
                newcomers = came;
                seen.get_or_insert_with(|| checkpoint.verify());
            })
        } else {
            container.call(words)
        };
        assert_eq!(called.unwrap(), answer, "{what}: {}", container.said().unwrap());
        if outcome == Killed {
            wait_for("the end of the container", || stage::has_ended(container.pid()).then_some(())).unwrap();
        }
        let end = checkpoint.end();
        let end = seen.unwrap_or(end);
        let errno = end.as_ref().err().map(cgf::Error::errno);
        let state = group.state().map_err(|error| error.errno());
        match outcome {
            Still => assert_eq!((errno, state), (None, Ok(State::Frozen)), "{what}: {end:?}"),
            Thawed => {
                assert_eq!((errno, state), (Some(libc::ESTALE), Ok(State::Thawed)), "{what}: {end:?}");
            }
            Joined => {
                assert_eq!((errno, state), (Some(libc::ESTALE), Ok(State::Frozen)), "{what}: {end:?}");
                let named = end.unwrap_err().blockers().first().map(|task| task.pid);
                assert!(named.is_some_and(|pid| newcomers.contains(&pid)), "{what}: {named:?}");
            }
            Killed => assert!(matches!(errno, Some(libc::ESTALE | libc::ENODEV)), "{what}: {end:?}"),
        }
        if outcome == Killed {
            continue;
        }
        if outcome == Still {
            assert!(!container.has_heard(), "{what}");
        }
        group.thaw().unwrap();
        if words.contains(&"KILL") {
            wait_for("who was killed to die", || stage::has_ended(container.pid()).then_some(())).unwrap();
            continue;
        }
        must_run(&container);
        if outcome == Joined {
            // Who is in the middle of exec with several threads cannot be frozen on version 1.
            let is_own = |&pid: &i32| [Some(pid), parent_of(pid)].contains(&Some(container.pid()));
            wait_for("others to leave", || everybody_in(&group).iter().all(is_own).then_some(())).unwrap();
        }
        if words.contains(&"TERM") {
            wait_for("the signal, which waited for the thaw", || container.has_heard().then_some(())).unwrap();
        }
        present = Some(container);
    }
}

/// Where a machine has both versions, runc freezes by version 1, and takes for running
/// what is frozen by version 2.
#[test]
fn a_runtime_sees_only_the_freezer_that_it_uses_itself() {
    on_each_freezer_of(Runtime::Runc, |backend| {
        if backend == BackendKind::Cgroup2 {
            return;
        }
        let container = Container::start(Runtime::Runc, backend).unwrap();
        let first = Hierarchy::adopt_group_of(container.pid(), &Options::default()).unwrap();
        if first.backend_kind() == backend {
            eprintln!("skipped: runc uses one version of cgroups here");
            return;
        }
        let group = first.root();
        group.freeze(PATIENCE).unwrap();
        assert_eq!(container.word().unwrap(), "running");
        assert_eq!(group_of(&container, backend).state().unwrap(), State::Thawed);
        let exec = ["exec", NAME, "/bin/busybox", "true"];
        assert_eq!(hangs_in(&group, &container, &exec, &mut |_| {}).unwrap(), Hangs);
        group.thaw().unwrap();
        container.delete().unwrap();
    });
}

/// Calls `test` for each version of cgroups that the runtime may freeze through. A
/// missing runtime is a failure where all are demanded (`CGF_DEMAND`).
fn on_each_freezer_of(runtime: Runtime, test: impl Fn(BackendKind)) {
    match runtime.missing() {
        None => on(&KERNEL, test),
        Some(why) => {
            assert!(std::env::var_os("CGF_DEMAND").is_none(), "{runtime:?} is demanded: {why}");
            eprintln!("skipped with {runtime:?}: {why}");
        }
    }
}

/// Has a command carried out that puts a process into the frozen group, and kills it
/// when that is frozen too, for which it waits. `came` is told who.
fn hangs_in(
    group: &Group,
    container: &Container,
    words: &[&str],
    came: &mut dyn FnMut(Vec<i32>),
) -> Result<Answer, String> {
    let before = everybody_in(group);
    let start = Instant::now();
    container.call_until(words, || {
        let newcomers: Vec<i32> = everybody_in(group).difference(&before).copied().collect();
        let is_joined = !newcomers.is_empty();
        if is_joined {
            came(newcomers);
        }
        (is_joined && is_frozen(group)) || start.elapsed() > PATIENCE
    })
}

/// What the kernel says, whether a checkpoint holds the group or not.
fn is_frozen(group: &Group) -> bool {
    let directory = group.hierarchy().directory();
    let read = |file| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    read("cgroup.events").contains("frozen 1") || read("freezer.state") == "FROZEN\n"
}

/// The processes of a group and of those below.
fn everybody_in(group: &Group) -> BTreeSet<i32> {
    let below = group.groups().unwrap_or_default();
    let below = below.iter().filter_map(|path| group.hierarchy().open_group(path.as_bytes()).ok());
    below.chain([group.clone()]).flat_map(|group| group.procs().unwrap_or_default()).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn group_of(container: &Container, backend: BackendKind) -> Group {
    Hierarchy::adopt_group_of(container.pid(), &Options::default().backend(backend)).unwrap().root()
}

/// Waits until the first process of a container has been given a CPU.
fn must_run(container: &Container) {
    let before = stage::run_count(container.pid()).unwrap();
    wait_for("the container to run", || (stage::run_count(container.pid())? > before).then_some(())).unwrap();
}
