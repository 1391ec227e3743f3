//! One operation each, in a world where it is worth watching.

use super::super::{Bound, Owner};
use super::world::{Bounds, FILES, LEAF, MIDDLE, OTHER, ROOT, Scene, TASKS, told};

/// An operation, and what was before.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) bounds: &'static [Bounds],
    /// By a process that dies without a word when the one that is watched is ready.
    pub(super) dead: Option<fn(&Scene)>,
    /// By a process that lives on, and does nothing more.
    pub(super) peer: Option<fn(&Scene)>,
    /// By the process that is watched, before.
    pub(super) prepare: fn(&Scene),
    /// What is watched.
    pub(super) act: fn(&Scene) -> String,
    /// The end of a thread is watched, after `prepare` in it.
    pub(super) thread: bool,
    /// What else somebody may do while it is stopped, to mislead it: what it does must end as it does alone.
    pub(super) others: &'static [fn(&Scene)],
    /// What it says depends on what others held at some instant meanwhile.
    pub(super) depends: bool,
    /// Nobody else touches the second leaf.
    pub(super) alone_there: bool,
}

const PLAIN: Scenario = Scenario {
    name: "",
    bounds: NEAR,
    dead: None,
    peer: None,
    prepare: |_| {},
    act: |_| String::new(),
    thread: false,
    others: &[],
    depends: false,
    alone_there: false,
};

/// So little room that nobody is given stock.
const NEAR: &[Bounds] = &[
    (ROOT, TASKS, Some(50), Some(60)),
    (LEAF, TASKS, Some(20), Some(30)),
    (ROOT, FILES, None, Some(9)),
    (MIDDLE, FILES, Some(5), Some(8)),
];

/// So much that everybody is.
const FAR: &[Bounds] = &[
    (ROOT, TASKS, Some(500_000), Some(600_000)),
    (LEAF, TASKS, Some(300_000), Some(400_000)),
    (ROOT, FILES, None, Some(300_000)),
    (MIDDLE, FILES, Some(100_000), Some(200_000)),
];

const OK: &str = "ok";

/// Takes, and must be able to; and has stock, if there is plenty.
fn holds(scene: &Scene, group: usize, resource: u32, amount: u64) {
    scene.be_busy(group, resource);
    assert_eq!(scene.take(group, resource, amount), OK);
}

fn both(scene: &Scene, tasks: u64, files: u64) -> String {
    let charges = [(scene.account(LEAF, TASKS), tasks), (scene.account(LEAF, FILES), files)];
    told(scene.region.charge(0, &charges, Bound::Limit, Owner::Process))
}

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "charge from stock",
        bounds: FAR,
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.take(LEAF, TASKS, 2),
        ..PLAIN
    },
    Scenario {
        name: "uncharge into stock",
        bounds: FAR,
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.give(LEAF, TASKS, 2),
        ..PLAIN
    },
    Scenario { name: "first charge of a process", bounds: FAR, act: |scene| scene.take(LEAF, TASKS, 2), ..PLAIN },
    Scenario {
        name: "first charge of a group",
        prepare: |scene| holds(scene, LEAF, TASKS, 1),
        act: |scene| scene.take(OTHER, FILES, 2),
        ..PLAIN
    },
    Scenario {
        name: "charge near the limit",
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.take(LEAF, TASKS, 25),
        ..PLAIN
    },
    Scenario {
        name: "charge that is refused",
        peer: Some(|scene| holds(scene, OTHER, TASKS, 40)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.take(LEAF, TASKS, 20),
        ..PLAIN
    },
    Scenario {
        name: "charge that needs another's stock",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.take(LEAF, TASKS, 400_000 - 6),
        ..PLAIN
    },
    Scenario {
        name: "charge that no stock could make fit",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.take(LEAF, TASKS, 400_000 - 5),
        ..PLAIN
    },
    Scenario {
        name: "charge that needs what a dead process held",
        dead: Some(|scene| holds(scene, LEAF, TASKS, 28)),
        prepare: |scene| holds(scene, LEAF, TASKS, 2),
        act: |scene| scene.take(LEAF, TASKS, 20),
        ..PLAIN
    },
    Scenario {
        name: "charge past the barrier",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.take(LEAF, TASKS, 350_000),
        ..PLAIN
    },
    Scenario {
        name: "charge by force",
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.charge(LEAF, TASKS, 100, Bound::Never, Owner::Process),
        ..PLAIN
    },
    Scenario {
        name: "charge under a barrier that moves",
        bounds: &[(LEAF, TASKS, Some(10), Some(10)), (ROOT, TASKS, None, Some(999)), (ROOT, FILES, None, Some(99))],
        // Not busy, or it would have all that is left in stock, and would not look.
        prepare: |scene| assert_eq!(scene.take(LEAF, TASKS, 5), OK),
        act: |scene| scene.charge(LEAF, TASKS, 5, Bound::Barrier, Owner::Process),
        others: &[|scene| {
            scene.region.set_bounds(scene.account(LEAF, TASKS), Some(Some(20)), Some(Some(100))).unwrap()
        }],
        ..PLAIN
    },
    Scenario {
        name: "several at once",
        peer: Some(|scene| holds(scene, LEAF, FILES, 2)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| both(scene, 6, 6),
        ..PLAIN
    },
    Scenario {
        name: "several at once with stock",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, FILES, 2)),
        prepare: |scene| {
            holds(scene, LEAF, TASKS, 3);
            holds(scene, LEAF, FILES, 3);
        },
        act: |scene| both(scene, 6, 6),
        ..PLAIN
    },
    Scenario {
        name: "several at once, of which one is refused",
        peer: Some(|scene| holds(scene, LEAF, FILES, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 1),
        act: |scene| both(scene, 6, 6),
        ..PLAIN
    },
    Scenario {
        name: "charge for the group",
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| scene.charge(LEAF, TASKS, 7, Bound::Limit, Owner::Group),
        ..PLAIN
    },
    Scenario {
        name: "uncharge",
        prepare: |scene| holds(scene, LEAF, TASKS, 9),
        act: |scene| scene.give(LEAF, TASKS, 7),
        ..PLAIN
    },
    Scenario {
        name: "uncharge of what the group keeps",
        dead: Some(|scene| {
            assert_eq!(scene.charge(LEAF, TASKS, 9, Bound::Limit, Owner::Group), OK);
        }),
        prepare: |scene| holds(scene, LEAF, TASKS, 2),
        act: |scene| scene.give(LEAF, TASKS, 7),
        ..PLAIN
    },
    Scenario {
        name: "uncharge of another thread's",
        bounds: FAR,
        prepare: |scene| {
            // One that lives on without doing anything, and one that has ended: joined by name, for
            // the scope's end alone does not wait until a thread has given its slot back.
            std::thread::scope(|scope| {
                assert!(scope.spawn(|| holds(scene, LEAF, TASKS, 4)).join().is_ok());
            });
            holds(scene, LEAF, TASKS, 1);
        },
        act: |scene| scene.give(LEAF, TASKS, 5),
        ..PLAIN
    },
    Scenario {
        name: "uncharge of more than is held",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 4)),
        prepare: |scene| holds(scene, LEAF, TASKS, 2),
        act: |scene| scene.give(LEAF, TASKS, 9),
        ..PLAIN
    },
    Scenario {
        name: "uncharge of several",
        prepare: |scene| assert_eq!(both(scene, 5, 5), OK),
        act: |scene| {
            let charges = [(scene.account(LEAF, TASKS), 4), (scene.account(LEAF, FILES), 4)];
            scene.region.uncharge(0, &charges).map_or_else(|error| format!("{error:?}"), |()| OK.to_owned())
        },
        ..PLAIN
    },
    Scenario {
        name: "charge of as much as fits",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 399_000)),
        prepare: |scene| holds(scene, LEAF, TASKS, 2),
        act: |scene| match scene.region.charge_up_to(scene.account(LEAF, TASKS), 5_000, Bound::Limit) {
            Ok((amount, _)) => amount.to_string(),
            Err(why) => format!("{why:?}"),
        },
        depends: true,
        ..PLAIN
    },
    Scenario {
        name: "lower bounds",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| bounds(scene, Some(4), Some(5)),
        ..PLAIN
    },
    Scenario {
        name: "higher bounds",
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| bounds(scene, None, Some(400)),
        ..PLAIN
    },
    Scenario {
        name: "reading",
        bounds: FAR,
        dead: Some(|scene| holds(scene, MIDDLE, TASKS, 5)),
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 3),
        act: |scene| {
            let accounts = [scene.account(LEAF, TASKS), scene.account(ROOT, TASKS)];
            match scene.region.read(&accounts) {
                Ok(figures) => figures.iter().map(|figures| format!("{} ", figures.held)).collect(),
                Err(error) => format!("{error:?}"),
            }
        },
        depends: true,
        ..PLAIN
    },
    Scenario {
        name: "marks made what is held",
        bounds: FAR,
        prepare: |scene| {
            holds(scene, LEAF, TASKS, 30);
            assert_eq!(scene.give(LEAF, TASKS, 20), OK);
        },
        act: |scene| {
            scene.region.reset_marks(scene.account(LEAF, TASKS)).map_or_else(|e| format!("{e:?}"), |()| OK.to_owned())
        },
        ..PLAIN
    },
    Scenario {
        name: "a failure counted",
        act: |scene| {
            scene.region.count_failure(scene.account(LEAF, TASKS)).map_or_else(|e| format!("{e:?}"), |()| OK.to_owned())
        },
        ..PLAIN
    },
    Scenario {
        name: "failures forgotten",
        prepare: |scene| {
            holds(scene, LEAF, TASKS, 1);
            scene.region.count_failure(scene.account(LEAF, TASKS)).unwrap();
        },
        act: |scene| {
            scene
                .region
                .reset_failures(scene.account(LEAF, TASKS))
                .map_or_else(|e| format!("{e:?}"), |()| OK.to_owned())
        },
        ..PLAIN
    },
    Scenario {
        name: "a thread ends",
        bounds: FAR,
        peer: Some(|scene| holds(scene, LEAF, TASKS, 3)),
        prepare: |scene| holds(scene, LEAF, TASKS, 4),
        thread: true,
        ..PLAIN
    },
    Scenario {
        name: "a group removed",
        dead: Some(|scene| holds(scene, OTHER, TASKS, 5)),
        prepare: |scene| {
            holds(scene, LEAF, TASKS, 4);
            assert_eq!(scene.give(OTHER, TASKS, 1), OK);
        },
        act: |scene| {
            scene.region.remove_group(scene.group(OTHER)).map_or_else(|e| format!("{e:?}"), |()| OK.to_owned())
        },
        alone_there: true,
        ..PLAIN
    },
    Scenario {
        name: "a resource registered",
        prepare: |scene| holds(scene, LEAF, TASKS, 1),
        act: |scene| {
            scene
                .region
                .register("sockets_of_some_long_name", "items")
                .map_or_else(|e| format!("{e:?}"), |n| n.to_string())
        },
        ..PLAIN
    },
];

fn bounds(scene: &Scene, barrier: Option<u64>, limit: Option<u64>) -> String {
    scene
        .region
        .set_bounds(scene.account(LEAF, TASKS), Some(barrier), Some(limit))
        .map_or_else(|e| format!("{e:?}"), |()| OK.to_owned())
}
