//! The algorithm made wrong, one way after the other: the proofs must see each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::MUTATION;
use super::alone::alone;
use super::instructions::{Pace, explore};
use super::interleavings;
use super::model;
use super::pairs;
use super::scenarios::ALL;
use super::storms;

/// What finds out.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// Stops in this scenario, so many besides those at changes.
    Stopped(&'static str, usize),
    /// Stops at so many instructions before the first change.
    Misled(&'static str, usize),
    /// Cases against plain arithmetic.
    Model(u32),
    /// Stops of a helper, at every so many instructions.
    Helper(usize),
    /// Plays with turns at random.
    Turns(usize),
    /// One steps over the barrier where another has stock.
    Beyond,
    /// Rounds of a storm of this number.
    Storm(usize, u32),
}

use Proof::{Beyond, Helper, Misled, Model, Stopped, Storm, Turns};

/// The number of a mutation, what it is, and which proofs must fail.
const MUTATIONS: &[(u8, &str, &[Proof])] = &[
    (1, "a cell that a later transfer wrote is written again", &[Stopped("charge near the limit", 60)]),
    (2, "refused while others have stock", &[Turns(100), Model(200), Stopped("charge that needs another's stock", 1)]),
    (
        3,
        "refused while the dead hold something",
        &[Turns(100), Stopped("charge that needs what a dead process held", 1), Storm(5, 300)],
    ),
    (
        4,
        "given back without a look whose it is by now",
        &[Misled("charge that needs what a dead process held", 1500), Storm(2, 600)],
    ),
    (5, "helped with a transfer that was being rewritten", &[Helper(5)]),
    (6, "refused for what was never so", &[Misled("charge under a barrier that moves", 6000)]),
    (7, "taken stock stays in use", &[Model(200), Storm(2, 300)]),
    (8, "stock beyond the barrier", &[Beyond]),
];

fn holds(proof: Proof) -> Result<(), String> {
    match proof {
        Stopped(name, stops) => scenario(name, Pace { stops, kills: 0, misled: 0 }),
        Misled(name, misled) => scenario(name, Pace { stops: 1, kills: 0, misled }),
        Model(cases) => model::check(cases, 0).map(drop),
        Beyond => model::beyond_the_barrier(),
        Turns(plays) => interleavings::plays(plays).map(drop),
        Helper(every) => pairs::explore(every).map(drop),
        Storm(number, rounds) => storms::one(number, rounds, 1).map(drop),
    }
}

fn scenario(name: &str, pace: Pace) -> Result<(), String> {
    match ALL.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => explore(scenario, pace).map(drop),
        // That is no proof of anything.
        None => Ok(()),
    }
}

/// R6.7, R6.8, R6.9: the proofs can fail.
#[test]
fn each_mutation_is_noticed() {
    alone("mutations::each_mutation_is_noticed", Duration::from_secs(100), || {
        // What is said of the failures that are wanted would only be in the way.
        std::panic::set_hook(Box::new(|_| {}));
        let wanted = std::env::var("CGF_MUTATION").ok().and_then(|number| number.parse::<u8>().ok());
        let mut missed = Vec::new();
        for (number, what, proofs) in
            MUTATIONS.iter().filter(|mutation| wanted.is_none_or(|wanted| wanted == mutation.0))
        {
            for proof in *proofs {
                let began = std::time::Instant::now();
                MUTATION.store(*number, Ordering::Relaxed);
                let found = holds(*proof);
                MUTATION.store(0, Ordering::Relaxed);
                match found {
                    Err(why) => eprintln!(
                        "{number}, {what}: {proof:?} in {:?}: {:.300}",
                        began.elapsed(),
                        why.replace('\n', " ")
                    ),
                    Ok(()) => missed.push(format!("{proof:?} does not see {number} in {:?}: {what}", began.elapsed())),
                }
            }
        }
        missed.iter().for_each(|missed| eprintln!("{missed}"));
        if missed.is_empty() { Ok("all seen".to_owned()) } else { Err(missed.join("\n")) }
    });
}
