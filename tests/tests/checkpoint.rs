//! Checkpoints in one process: who is kept out, what is detected (R4.1-R4.5).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::time::Duration;

use cgf::{BackendKind, Checkpoint, CheckpointOptions, Evidence, Group, RemoveOptions, State};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::board::Board;
use cgf_tests::part::{Part, Role};
use cgf_tests::raw;
use cgf_tests::stage;

const SOON: Duration = Duration::from_secs(10);

/// R4.1: everybody is kept out while it lasts, nobody afterwards.
#[test]
fn a_checkpoint_keeps_everybody_out() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        let below = own.0.create("a/below").unwrap();
        let other = own.0.create("b").unwrap();
        let inside = start(&group, &["sleep"]);
        let outside = start(&other, &["sleep"]);
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        assert_eq!(group.state().unwrap(), State::Checkpointing, "{backend}");
        assert_eq!(group.read("freezer.state").unwrap(), "CHECKPOINTING\n");
        let again = own.0.open_group("a").unwrap();
        let busy = |what: &str, result: cgf::Result<()>| {
            let error = result.err().unwrap_or_else(|| panic!("{what} was let through on {backend}"));
            assert_eq!(error.errno(), libc::EBUSY, "{what} on {backend}: {error}");
        };
        busy("thaw", again.thaw());
        busy("freeze", again.freeze(SOON));
        busy("write", again.write("freezer.state", "THAWED"));
        busy("write", again.write("freezer.state", "FROZEN"));
        busy("attach", again.attach(outside));
        busy("detach", other.attach(inside));
        busy("detach to the root", own.0.root().attach(inside));
        busy("kill", again.kill(libc::SIGKILL));
        busy("signal", again.kill(libc::SIGUSR1));
        again.kill(0).unwrap();
        busy("remove", again.remove_with(RemoveOptions { kill: true, recursive: true }));
        busy("remove below", below.remove());
        busy("freeze below", below.freeze(SOON));
        busy("thaw below", below.thaw());
        busy("attach below", below.attach(outside));
        busy("kill above", own.0.root().kill(libc::SIGKILL));
        busy("a second checkpoint", again.checkpoint(None).map(drop));
        busy("a checkpoint below", below.checkpoint(None).map(drop));
        if backend != BackendKind::Cgroup2 {
            busy("rename", again.rename("c").map(drop));
        }
        checkpoint.verify().unwrap();
        checkpoint.end().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        group.thaw().unwrap();
        group.attach(outside).unwrap();
    });
}

/// R4.1: what a group must be to be checkpointed.
#[test]
fn a_checkpoint_needs_a_frozen_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        let errno = |root| group.checkpoint(root).err().map(|error| error.errno());
        assert_eq!(errno(None), Some(libc::EINVAL));
        group.freeze(SOON).unwrap();
        group.checkpoint(None).unwrap().end().unwrap();
        assert_eq!(errno(Some(-1)), Some(libc::EINVAL));
        assert_eq!(errno(Some(1)), Some(libc::EXDEV));
        assert_eq!(group.state().unwrap(), State::Frozen);
        group.thaw().unwrap();
        group.remove().unwrap();
        assert_eq!(errno(None), Some(libc::ENODEV), "{backend}");
    });
}

/// R4.1: a group that only its parent froze is asked itself, and is as before after.
#[test]
fn a_group_frozen_by_its_parent_is_frozen_itself_meanwhile() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let parent = own.0.create("a").unwrap();
        let group = own.0.create("a/b").unwrap();
        let inside = start(&group, &["sleep"]);
        parent.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        assert!(group.is_self_freezing().unwrap());
        parent.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Checkpointing);
        checkpoint.end().unwrap_or_else(|error| panic!("on {backend}: {error}"));
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
    });
}

/// R4.5: the tool may thaw, others may not, and the group is FROZEN in the end.
#[test]
fn a_tool_that_thaws_says_so() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        let inside = start(&group, &["spin"]);
        group.freeze(SOON).unwrap();
        let checkpoint = group.checkpoint_with(Some(inside), CheckpointOptions::default().external(true)).unwrap();
        group.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Checkpointing);
        checkpoint.verify().unwrap();
        checkpoint.end().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
    });
}

/// R4.1: ended by force.
#[test]
fn a_checkpoint_can_be_broken() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        group.freeze(SOON).unwrap();
        assert_eq!(group.break_checkpoint().unwrap_err().errno(), libc::ENOENT);
        let broken = group.checkpoint(None).unwrap();
        group.break_checkpoint().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen);
        let next = group.checkpoint(None).unwrap();
        assert_eq!(broken.end().unwrap_err().errno(), libc::ESTALE, "{backend}");
        assert_eq!(group.state().unwrap(), State::Checkpointing);
        next.end().unwrap();
        group.thaw().unwrap();
    });
}

/// R4.2: the sets C and D, each with children of its own in the other's group, begin
/// at the same time: each is told its strays. When they are where they should be both
/// are proved, and the end of one frees no task of the other.
#[test]
fn two_sets_side_by_side() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let groups = ["c", "d"].map(|name| own.0.create(name).unwrap());
        let [c, d] = &groups;
        let roots = [start(c, &["tree", "3"]), start(d, &["tree", "3"])];
        let strays = roots.map(|root| sorted(stage::children(root))[1..].to_vec());
        for (strays, other) in [(&strays[0], d), (&strays[1], c)] {
            strays.iter().for_each(|&pid| other.attach(pid).unwrap());
        }
        c.freeze(SOON).unwrap();
        d.freeze(SOON).unwrap();
        let at_once = |job: &(dyn Fn(usize) + Sync)| {
            std::thread::scope(|scope| {
                for set in 0..2 {
                    scope.spawn(move || (0..5).for_each(|_| job(set)));
                }
            });
        };
        at_once(&|set| {
            let error = groups[set].checkpoint(Some(roots[set])).unwrap_err();
            assert_eq!(error.errno(), libc::EXDEV, "{backend}: {error}");
            assert!(error.blockers().iter().all(|task| task.evidence == Evidence::Outside && task.pid == task.tid));
            let named = sorted(error.blockers().iter().map(|task| task.tid).collect());
            assert_eq!(named, strays[set], "{backend}: {error}");
            assert_eq!(groups[set].state().unwrap(), State::Frozen, "{backend}");
        });
        groups.iter().for_each(|group| group.thaw().unwrap());
        for (strays, home) in [(&strays[0], c), (&strays[1], d)] {
            strays.iter().for_each(|&pid| home.attach(pid).unwrap());
        }
        groups.iter().for_each(|group| group.freeze(SOON).unwrap());
        at_once(&|set| {
            let checkpoint = groups[set].checkpoint(Some(roots[set]));
            checkpoint.and_then(|checkpoint| checkpoint.end()).unwrap_or_else(|error| panic!("{backend}: {error}"));
        });
        let (of_c, of_d) = (c.checkpoint(Some(roots[0])).unwrap(), d.checkpoint(Some(roots[1])).unwrap());
        of_d.end().unwrap();
        d.thaw().unwrap();
        assert_eq!(c.state().unwrap(), State::Checkpointing, "{backend}");
        of_c.end().unwrap();
        c.thaw().unwrap();
    });
}

fn sorted(mut ids: Vec<i32>) -> Vec<i32> {
    ids.sort_unstable();
    ids
}

/// R4.2: a single thread that is elsewhere is a stray, named by its own number.
#[test]
fn a_thread_elsewhere_is_a_stray() {
    on(&[BackendKind::Cgroup1], |_| {
        let own = Own::new(BackendKind::Cgroup1).unwrap();
        let (c, d) = (own.0.create("c").unwrap(), own.0.create("d").unwrap());
        let root = start(&c, &["sleepers", "4"]);
        let threads = c.tasks().unwrap();
        let stray = *threads.iter().find(|&&tid| tid != root).unwrap();
        d.attach_task(stray).unwrap();
        c.freeze(SOON).unwrap();
        let error = c.checkpoint(Some(root)).unwrap_err();
        assert_eq!(error.errno(), libc::EXDEV, "{error}");
        let named: Vec<_> = error.blockers().iter().map(|task| (task.pid, task.tid)).collect();
        assert_eq!(named, [(root, stray)], "{error}");
        c.thaw().unwrap();
    });
}

/// R4.2: the dead are in no group: a child that nobody has waited for, a first thread
/// that has ended. And a child in a group below is no stray.
#[test]
fn the_dead_are_no_strays() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("c").unwrap();
        let below = own.0.create("c/below").unwrap();
        let roots = [start(&group, &["zombie"]), start(&group, &["headless", "3"]), start(&group, &["tree", "2"])];
        below.attach(stage::children(roots[2])[0]).unwrap();
        group.freeze(SOON).unwrap();
        for root in roots {
            let checkpoint = group.checkpoint(Some(root));
            checkpoint.and_then(|checkpoint| checkpoint.end()).unwrap_or_else(|error| panic!("{backend}: {error}"));
        }
        let error = below.checkpoint(Some(roots[1])).unwrap_err();
        assert_eq!(error.errno(), libc::EXDEV, "{backend}: {error}");
        assert_eq!(error.blockers().len(), 3, "the living threads, on {backend}: {error}");
        group.thaw().unwrap();
    });
}

/// The last hold is given back during a checkpoint, of the group itself or of one
/// above: what was thawed before the first hold is thawed when the checkpoint ends,
/// and what was frozen stays so.
#[test]
fn a_hold_given_back_meanwhile_thaws_at_the_end() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let above = own.0.create("a").unwrap();
        let below = own.0.create("a/b").unwrap();
        start(&below, &["spin"]);
        for (checkpointed, held) in [(&below, &below), (&above, &below), (&above, &above)] {
            for was_frozen in [false, true] {
                let what =
                    format!("hold of {held}, frozen before: {was_frozen}, checkpoint of {checkpointed}, {backend}");
                if was_frozen {
                    held.freeze(SOON).unwrap();
                }
                let hold = held.hold(SOON).unwrap();
                let another = held.hold(SOON).unwrap();
                checkpointed.freeze(SOON).unwrap();
                let checkpoint = checkpointed.checkpoint(None).unwrap();
                another.give_back().unwrap();
                hold.give_back().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(checkpointed.state().unwrap(), State::Checkpointing, "{what}");
                checkpoint.end().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(held.is_self_freezing().unwrap(), was_frozen, "{what}");
                above.thaw().unwrap();
                below.thaw().unwrap();
                assert_eq!(below.state().unwrap(), State::Thawed, "{what}");
            }
        }
    });
}

/// R4.1: the group is as before after a begin that fails, also where it was frozen by
/// its parent alone.
#[test]
fn a_begin_that_fails_leaves_the_group_as_it_was() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let above = own.0.create("a").unwrap();
        let group = own.0.create("a/b").unwrap();
        start(&group, &["sleep"]);
        above.freeze(SOON).unwrap();
        let stranger = std::process::id() as i32;
        assert_eq!(group.checkpoint(Some(stranger)).unwrap_err().errno(), libc::EXDEV, "{backend}");
        assert!(!group.is_self_freezing().unwrap(), "{backend}");
        assert_eq!(group.checkpoint(Some(i32::MAX)).unwrap_err().errno(), libc::ESRCH, "{backend}");
        let checkpoint = group.checkpoint(None).unwrap();
        group.break_checkpoint().unwrap();
        assert_eq!(checkpoint.end().unwrap_err().errno(), libc::ESTALE, "{backend}");
        assert!(!group.is_self_freezing().unwrap(), "after it was broken, on {backend}");
        above.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
    });
}

/// No begin and no end leaves a descriptor open, those that fail neither; and a begin
/// that finds none left fails and leaves nothing behind.
#[test]
fn no_checkpoint_leaves_descriptors_open() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        own.0.create("g").unwrap();
        let board = Board::new().unwrap();
        let mut alone = Part::start("alone_with_its_descriptors", 0, &own.0, &board).unwrap();
        assert!(alone.ends_well().unwrap(), "{backend}");
    });
}

/// In a process of its own: descriptors are everybody's.
#[test]
fn alone_with_its_descriptors() {
    let Some(role) = Role::of("alone_with_its_descriptors") else { return };
    let group = role.hierarchy.open_group("g").unwrap();
    let inside = start(&group, &["spin"]);
    let count = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let begin_and_end = || -> Vec<i32> {
        let errno = |ended: cgf::Result<Checkpoint>| ended.err().map_or(0, |error| error.errno());
        let mut seen = vec![errno(group.checkpoint(None))];
        group.freeze(SOON).unwrap();
        seen.push(errno(group.checkpoint(Some(std::process::id() as i32))));
        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        seen.push(errno(group.checkpoint(None)));
        checkpoint.end().unwrap();
        drop(group.checkpoint_with(None, CheckpointOptions::default().wakeups(true)).unwrap());
        let broken = group.checkpoint(None).unwrap();
        group.break_checkpoint().unwrap();
        seen.push(broken.end().unwrap_err().errno());
        group.thaw().unwrap();
        seen
    };
    // What is opened once is open after that.
    begin_and_end();
    let before = count();
    for _ in 0..20 {
        assert_eq!(begin_and_end(), [libc::EINVAL, libc::EXDEV, libc::EBUSY, libc::ESTALE]);
    }
    assert_eq!(count(), before);

    let mut enough = false;
    for free in 0..16 {
        group.freeze(SOON).unwrap();
        let result = with_free_descriptors(free, || group.checkpoint(Some(inside)).and_then(Checkpoint::end));
        match result {
            Ok(_) => enough = true,
            Err(error) => assert_eq!(error.errno(), libc::EMFILE, "{free} left: {error}"),
        }
        assert_eq!(group.state().unwrap(), State::Frozen, "{free} left");
        assert!(!is_noted(&group), "{free} left");
        group.thaw().unwrap();
        assert_eq!(count(), before, "{free} left");
    }
    assert!(enough, "more than sixteen descriptors for a checkpoint");
}

/// Whether the group is marked as held, whether that counts or not.
fn is_noted(group: &Group) -> bool {
    raw::note(group, "lease").is_some() || raw::path(group, "cgf.lease").exists()
}

/// Does something while no more than so many descriptors can be opened.
fn with_free_descriptors<T>(free: usize, job: impl FnOnce() -> T) -> T {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit outlives the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before) }, 0);
    let few = libc::rlimit { rlim_cur: 64, ..before };
    // SAFETY: as before.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - free);
    let done = job();
    // SAFETY: as before.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before) }, 0);
    done
}
