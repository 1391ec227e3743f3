//! A group that is held by a parent of its own: `hold=parent`.

use std::time::Duration;

use cgf::{CheckpointOptions, Group, Hierarchy, Options, RemoveOptions, State};
use cgf_tests::backends::{Own, on_each, start};
use cgf_tests::{raw, stage};

const SOON: Duration = Duration::from_secs(10);

/// A raw thaw of the group changes nothing, in a checkpoint or out of one.
#[test]
fn a_foreign_thaw_of_a_held_group_changes_nothing() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let held = with_parents(&own);
        let group = held.create("outer/a").unwrap();
        let inside = start(&group, &["spin"]);
        group.freeze(SOON).unwrap();
        raw_thaw(&group);
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        group.freeze(SOON).unwrap();

        let checkpoint = group.checkpoint(Some(inside)).unwrap();
        let before = stage::run_count(inside);
        raw_thaw(&group);
        let outer = own.0.open_group("outer").unwrap();
        assert_eq!(outer.thaw().unwrap_err().errno(), libc::EBUSY, "{backend}");
        checkpoint.end().unwrap_or_else(|error| panic!("on {backend}: {error}"));
        assert_eq!(stage::run_count(inside), before, "{backend}");

        group.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        stage::wait_for("the spinner to run", || (stage::run_count(inside) != before).then_some(())).unwrap();
    });
}

/// The parent is made with the group and goes with it.
#[test]
fn the_parent_is_the_groups_own() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let held = with_parents(&own);
        let errno = |path: &str| held.create(path).err().map(|error| error.errno());
        assert_eq!(errno("alone"), Some(libc::EINVAL), "{backend}");
        held.create("outer/a").unwrap();
        assert_eq!(errno("outer/b"), Some(libc::EEXIST), "{backend}");
        assert_eq!(errno("outer/a"), Some(libc::EEXIST), "{backend}");
        // Whoever opens the hierarchy without the option holds it just the same.
        let group = own.0.open_group("outer/a").unwrap();
        start(&group, &["sleep"]);
        group.freeze(SOON).unwrap();
        assert!(own.0.open_group("outer").unwrap().is_self_freezing().unwrap(), "{backend}");
        group.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
        assert_eq!(own.0.groups().unwrap(), [], "{backend}");
    });
}

/// A raw thaw that had no effect makes no checkpoint and no hold thaw the group.
#[test]
fn who_found_a_held_group_frozen_leaves_it_so() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = with_parents(&own).create("outer/a").unwrap();
        group.freeze(SOON).unwrap();
        raw_thaw(&group);
        group.checkpoint(None).unwrap().end().unwrap_or_else(|error| panic!("on {backend}: {error}"));
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        raw_thaw(&group);
        group.hold(SOON).unwrap().give_back().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        raw_thaw(&group);
        assert_eq!(group.checkpoint(Some(1)).unwrap_err().errno(), libc::EXDEV);
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
    });
}

/// A freeze that does not wait asks the parent, too.
#[test]
fn a_parent_is_asked_with_its_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = with_parents(&own).create("outer/a").unwrap();
        let outer = own.0.open_group("outer").unwrap();
        for _ in 0..20 {
            start(&group, &["spin"]);
        }
        group.write("freezer.state", "FROZEN").unwrap();
        stage::wait_for("the group to be frozen", || (group.state().unwrap() == State::Frozen).then_some(())).unwrap();
        assert!(outer.is_self_freezing().unwrap(), "{backend}");
        group.checkpoint(None).unwrap().end().unwrap();
        group.thaw().unwrap();
    });
}

/// R4.5: a tool that thaws the group lets it run.
#[test]
fn a_tool_may_thaw_a_held_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = with_parents(&own).create("outer/a").unwrap();
        let inside = start(&group, &["spin"]);
        group.freeze(SOON).unwrap();
        let external = CheckpointOptions::default().external(true);
        let checkpoint = group.checkpoint_with(Some(inside), external).unwrap();
        let before = stage::run_count(inside);
        group.thaw().unwrap();
        stage::wait_for("the spinner to run", || (stage::run_count(inside) != before).then_some(())).unwrap();
        checkpoint.end().unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        assert!(own.0.open_group("outer").unwrap().is_self_freezing().unwrap(), "{backend}");
    });
}

/// The same hierarchy, opened so.
fn with_parents(own: &Own) -> Hierarchy {
    let options = Options::default().backend(own.0.backend_kind()).hold_by_parent(true);
    Hierarchy::open(own.0.name(), &options).unwrap_or_else(|error| unreachable!("{error}"))
}

fn raw_thaw(group: &Group) {
    raw::thaw(group).unwrap_or_else(|error| unreachable!("{error}"));
}
