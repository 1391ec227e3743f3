//! Checkpoints in one process: who is kept out, what is detected (R4.1-R4.5).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use cgf::{BackendKind, CheckpointOptions, Evidence, Group, RemoveOptions, State};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::stage::{self, wait_for};

const SOON: Duration = Duration::from_secs(10);

/// What is written into a group's own file, as others do.
fn raw(group: &Group, file: &str, text: &str) {
    std::fs::write(path(group, file), text).unwrap_or_else(|error| panic!("{file}: {error}"));
}

fn path(group: &Group, file: &str) -> PathBuf {
    group.hierarchy().directory().join(OsStr::from_bytes(group.path().as_bytes())).join(file)
}

fn raw_thaw(group: &Group) {
    match group.hierarchy().backend_kind() {
        BackendKind::Cgroup2 => raw(group, "cgroup.freeze", "0"),
        _ => raw(group, "freezer.state", "THAWED"),
    }
}

fn raw_freeze(group: &Group) {
    match group.hierarchy().backend_kind() {
        BackendKind::Cgroup2 => raw(group, "cgroup.freeze", "1"),
        _ => raw(group, "freezer.state", "FROZEN"),
    }
}

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
        raw_thaw(&group);
        if backend == BackendKind::Embedded {
            // SAFETY: the actor that we started, which nobody has waited for.
            unsafe { libc::kill(inside, libc::SIGCONT) };
        }
        wait_for("the spinner to run", || (stage::run_count(inside) != before).then_some(())).unwrap();
        raw_freeze(&group);
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
            raw_thaw(&group);
            raw_freeze(&group);
            let error = checkpoint.end().unwrap_err();
            assert_eq!(error.errno(), libc::ESTALE, "{error}");
            assert_eq!(error.blockers()[0].evidence, Evidence::Thawed);
            wait_for("the group to be frozen", || (group.state().unwrap() == State::Frozen).then_some(())).unwrap();
        }
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
