//! Two at once: one that was stopped in the middle of a transfer, and one that helps it.
//!
//! The first is stopped when its transfer is committed and nothing is written. The second is stopped at instruction
//! after instruction while it finishes that transfer for the first. Meanwhile the first goes on, and begins to write
//! down its next one, where the second may be reading still.

use std::time::Duration;

use super::super::layout::{STANDARD, descriptor};
use super::super::{Bound, Owner};
use super::alone::alone;
use super::instructions::{COMMIT, DATA};
use super::picture::Mapped;
use super::soak;
use super::step::{Stop, Traced, mark};
use super::world::{FILES, First, LEAF, OTHER, ROOT, Scene, TASKS, World};

/// Far more than it takes.
const LONGEST: usize = 1_000_000;

/// Every so many instructions of the second.
pub(super) fn explore(every: usize) -> Result<String, String> {
    let world =
        World::make(&[(ROOT, TASKS, None, Some(100)), (ROOT, FILES, None, Some(90)), (LEAF, TASKS, None, Some(50))])?;
    let mut second = start(&world, |scene| take(scene, OTHER, TASKS, 1), |scene| take(scene, OTHER, TASKS, 5))?;
    let mut first = start(
        &world,
        |scene| {
            take(scene, LEAF, TASKS, 1);
            take(scene, LEAF, FILES, 1);
        },
        |scene| {
            take(scene, LEAF, TASKS, 7);
            // More entries, to other cells, in the same place.
            let charges = [(scene.account(LEAF, FILES), 2), (scene.account(LEAF, TASKS), 3)];
            scene.region.charge(0, &charges, Bound::Limit, Owner::Process).unwrap();
        },
    )?;
    let map = Mapped::open(&world.file);
    let before = map.word(COMMIT);
    for _ in 0..LONGEST {
        if map.word(COMMIT) != before {
            break;
        }
        first.step()?;
    }
    let half = map.take();
    let commit = map.word(COMMIT);
    let descriptor = STANDARD.descriptor((commit & 0xfff) as u32).map_err(|error| format!("{error:?}"))?;
    let rewritten = || ![0, commit >> 12].contains(&map.word(DATA + descriptor + descriptor::VERSION));
    let on = first.copy()?;
    let mut steps = 0;
    while !rewritten() && on.step()? == Stop::Stepped && steps < LONGEST {
        steps += 1;
    }
    if !rewritten() || map.word(COMMIT) != commit {
        return Err(format!("the first has not begun a second transfer within {steps} steps"));
    }
    let ahead = map.take();
    let finish = |second: &mut Traced| {
        map.put(&ahead);
        let copy = second.copy()?;
        copy.run_to_mark()?;
        drop(copy);
        let seen = world.seen(First::Fill);
        map.put(&half);
        seen
    };
    let wanted = finish(&mut second)?;
    let (mut at, mut looks) = (0, 0);
    // Until it has written down all of the other's transfer, and begins its own.
    while map.word(COMMIT) == commit {
        if at % every == 0 {
            looks += 1;
            let here = map.take();
            let seen = finish(&mut second)?;
            map.put(&here);
            if seen != wanted {
                return Err(format!("stopped at {at}:\n  seen {seen:?},\n  not  {wanted:?}"));
            }
        }
        if second.step()? != Stop::Stepped {
            break;
        }
        at += 1;
    }
    Ok(format!("{at} instructions, {looks} stops"))
}

fn start(world: &World, prepare: fn(&Scene), act: fn(&Scene)) -> Result<Traced, String> {
    Traced::start(|_| {
        let scene = world.enter();
        prepare(&scene);
        mark();
        act(&scene);
        mark();
        String::new()
    })
}

fn take(scene: &Scene, group: usize, resource: u32, amount: u64) {
    assert_eq!(scene.take(group, resource, amount), "ok");
}

/// R6.7, R6.8: whoever helps, and is stopped at any instruction, does no harm when the one it helped has gone on.
#[test]
fn a_helper_that_comes_late_changes_nothing() {
    let (limit, every) = if soak() { (Duration::from_secs(3600), 1) } else { (Duration::from_secs(60), 12) };
    alone("pairs::a_helper_that_comes_late_changes_nothing", limit, || explore(every));
}
