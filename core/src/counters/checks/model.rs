//! The counters against plain arithmetic: the same steps, done by several processes one after the other.

use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::{Bound, Figures, MOST, Owner, Refused};
use super::alone::alone;
use super::offspring::{Child, Line};
use super::soak;
use super::world::{FILES, LEAF, MIDDLE, OFTEN, OTHER, ROOT, Scene, TASKS, World};

const GROUPS: usize = 4;
const KINDS: [u32; 3] = [TASKS, FILES, 1];

/// One step of one holder. Amounts are in a thousandth of the case's scale, so that some cases have stock and some
/// have none.
#[derive(Clone, Debug)]
enum Step {
    Charge {
        group: usize,
        amounts: [u64; 3],
        bound: u8,
        owner: u8,
    },
    Uncharge {
        group: usize,
        amounts: [u64; 3],
    },
    UpTo {
        group: usize,
        kind: usize,
        amount: u64,
        bound: u8,
    },
    Bounds {
        group: usize,
        kind: usize,
        barrier: Option<u64>,
        limit: Option<u64>,
    },
    /// So often that it is given stock.
    Busy {
        group: usize,
        kind: usize,
    },
    /// One, for which stock is enough.
    One {
        group: usize,
        kind: usize,
        bound: u8,
    },
    /// All that fits, but for so many.
    Fill {
        group: usize,
        kind: usize,
        bound: u8,
        short: u64,
    },
    Read,
    ResetMarks {
        group: usize,
        kind: usize,
    },
    Fail {
        group: usize,
        kind: usize,
    },
    ResetFailures {
        group: usize,
        kind: usize,
    },
    Die,
}

fn steps() -> impl Strategy<Value = Step> {
    let group = || 0..GROUPS;
    let kind = || 0..KINDS.len();
    let amount = || prop_oneof![3 => 0..40_u64, 1 => 0..400_u64];
    let amounts = || {
        [
            prop_oneof![1 => Just(0), 2 => amount()],
            prop_oneof![2 => Just(0), 1 => amount()],
            prop_oneof![3 => Just(0), 1 => amount()],
        ]
    };
    prop_oneof![
        12 => (group(), amounts(), 0..9_u8, 0..6_u8)
            .prop_map(|(group, amounts, bound, owner)| Step::Charge { group, amounts, bound, owner }),
        8 => (group(), amounts()).prop_map(|(group, amounts)| Step::Uncharge { group, amounts }),
        4 => (group(), kind(), amount(), 0..9_u8)
            .prop_map(|(group, kind, amount, bound)| Step::UpTo { group, kind, amount, bound }),
        4 => (group(), kind(), proptest::option::of(0..500_u64), proptest::option::weighted(0.8, 0..1_000_u64))
            .prop_map(|(group, kind, barrier, limit)| Step::Bounds { group, kind, barrier, limit }),
        5 => (group(), kind()).prop_map(|(group, kind)| Step::Busy { group, kind }),
        8 => (group(), kind(), 0..8_u8).prop_map(|(group, kind, bound)| Step::One { group, kind, bound }),
        5 => (group(), kind(), 0..8_u8, prop_oneof![Just(0), 0..200_u64])
            .prop_map(|(group, kind, bound, short)| Step::Fill { group, kind, bound, short }),
        3 => Just(Step::Read),
        1 => (group(), kind()).prop_map(|(group, kind)| Step::ResetMarks { group, kind }),
        1 => (group(), kind()).prop_map(|(group, kind)| Step::Fail { group, kind }),
        1 => (group(), kind()).prop_map(|(group, kind)| Step::ResetFailures { group, kind }),
        1 => Just(Step::Die),
    ]
}

/// How many take part, how large a thousandth is, and what they do. A step says also whether it is done by a thread
/// that then ends.
#[derive(Clone, Debug)]
struct Case {
    holders: usize,
    scale: u64,
    /// One thread of one process and one group that keeps nothing: then the marks are exact.
    single: bool,
    steps: Vec<(usize, bool, Step)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let scale = prop_oneof![Just(1), Just(10), Just(30), Just(3_000), Just(1 << 30)];
    (1..4_usize, scale, proptest::bool::weighted(0.25)).prop_flat_map(|(holders, scale, single)| {
        let step = (0..holders, proptest::bool::weighted(0.15), steps());
        proptest::collection::vec(step, 1..60).prop_map(move |mut steps| {
            if single {
                for (holder, thread, step) in &mut steps {
                    (*holder, *thread) = (0, false);
                    if let Step::Charge { owner, .. } = step {
                        *owner = 1;
                    }
                    match step {
                        Step::Charge { group, .. }
                        | Step::Uncharge { group, .. }
                        | Step::UpTo { group, .. }
                        | Step::One { group, .. }
                        | Step::Fill { group, .. }
                        | Step::Busy { group, .. } => *group = LEAF,
                        Step::Die => *step = Step::Read,
                        _ => {}
                    }
                }
            }
            Case { holders, scale, single, steps }
        })
    })
}

/// What an account is to plain arithmetic.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    by: [u64; 4],
    kept: u64,
    barrier: Option<u64>,
    limit: Option<u64>,
    failed: u64,
    under: u64,
    most: u64,
    least: u64,
}

#[derive(Clone, Debug, Default)]
struct Model([[Plain; 3]; GROUPS]);

fn above(group: usize) -> &'static [usize] {
    match group {
        ROOT => &[ROOT],
        MIDDLE => &[MIDDLE, ROOT],
        LEAF => &[LEAF, MIDDLE, ROOT],
        _ => &[OTHER, MIDDLE, ROOT],
    }
}

fn bound(number: u8) -> Bound {
    match number {
        0..5 => Bound::Limit,
        5..8 => Bound::Barrier,
        _ => Bound::Never,
    }
}

fn owner(number: u8) -> Owner {
    if number == 0 { Owner::Group } else { Owner::Process }
}

impl Model {
    fn held(&self, level: usize, kind: usize) -> u64 {
        let below = (0..GROUPS).filter(|group| above(*group).contains(&level));
        below.map(|group| self.0[group][kind].by.iter().sum::<u64>() + self.0[group][kind].kept).sum()
    }

    fn mark(&mut self) {
        for group in 0..GROUPS {
            for kind in 0..KINDS.len() {
                let held = self.held(group, kind);
                let plain = &mut self.0[group][kind];
                plain.most = plain.most.max(held);
                plain.least = plain.least.min(held);
            }
        }
    }

    /// How much more a level lets.
    fn room(&self, level: usize, kind: usize, bound: Bound) -> u64 {
        let plain = self.0[level][kind];
        let most = match bound {
            Bound::Barrier => plain.barrier.or(plain.limit),
            Bound::Limit => plain.limit,
            Bound::Never => None,
        };
        most.map_or(u64::MAX, |most| most.saturating_sub(self.held(level, kind)))
    }

    /// How much it takes to fill up.
    fn filling(&self, step: &Step) -> u64 {
        let Step::Fill { group, kind, bound: number, short } = *step else { return 0 };
        let room = above(group).iter().map(|level| self.room(*level, kind, bound(number))).min();
        room.filter(|room| *room < MOST).unwrap_or(0).saturating_sub(short)
    }

    /// What should be said, and it is done.
    fn act(&mut self, holder: usize, step: &Step, scale: u64) -> String {
        match *step {
            Step::One { group, kind, bound: number } => {
                let full = above(group).iter().find(|level| self.room(**level, kind, bound(number)) == 0);
                if let Some(level) = full {
                    return format!("full 0 {level}");
                }
                let said = self.crossed(group, kind, 1, bound(number), 0);
                self.0[group][kind].by[holder] += 1;
                format!("ok{said}")
            }
            Step::Fill { group, kind, bound: number, .. } => {
                let amount = self.filling(step);
                let said = self.crossed(group, kind, amount, bound(number), 0);
                self.0[group][kind].by[holder] += amount;
                format!("ok{said}")
            }
            Step::Charge { group, amounts, bound: number, owner: whose } => {
                let bound = bound(number);
                let parts = parts(amounts, scale);
                for (which, &(kind, amount)) in parts.iter().enumerate() {
                    for level in above(group) {
                        if self.room(*level, kind, bound) < amount {
                            return format!("full {which} {level}");
                        }
                    }
                }
                let mut said = "ok".to_owned();
                for (which, &(kind, amount)) in parts.iter().enumerate() {
                    said += &self.crossed(group, kind, amount, bound, which);
                }
                for (kind, amount) in parts {
                    let plain = &mut self.0[group][kind];
                    match owner(whose) {
                        Owner::Process => plain.by[holder] += amount,
                        Owner::Group => plain.kept += amount,
                    }
                }
                said
            }
            Step::Uncharge { group, amounts } => {
                for (kind, amount) in parts(amounts, scale) {
                    let plain = &mut self.0[group][kind];
                    let own = plain.by[holder].min(amount);
                    let kept = plain.kept.min(amount - own);
                    plain.by[holder] -= own;
                    plain.kept -= kept;
                    plain.under += u64::from(own + kept < amount);
                }
                "ok".to_owned()
            }
            Step::UpTo { group, kind, amount, bound: number } => {
                let bound = bound(number);
                let fits = above(group).iter().map(|level| self.room(*level, kind, bound)).min();
                let got = fits.unwrap_or(0).min(amount * scale);
                let crossed = self.crossed(group, kind, got, bound, 0);
                self.0[group][kind].by[holder] += got;
                format!("got {got}{crossed}")
            }
            Step::Bounds { group, kind, barrier, limit } => {
                let (barrier, limit) = (barrier.map(|barrier| barrier * scale), limit.map(|limit| limit * scale));
                if barrier.zip(limit).is_some_and(|(barrier, limit)| barrier > limit) {
                    return "EINVAL".to_owned();
                }
                let plain = &mut self.0[group][kind];
                (plain.barrier, plain.limit) = (barrier, limit);
                "ok".to_owned()
            }
            Step::ResetMarks { group, kind } => {
                let held = self.held(group, kind);
                let plain = &mut self.0[group][kind];
                (plain.most, plain.least) = (held, held);
                "ok".to_owned()
            }
            Step::Fail { group, kind } => {
                self.0[group][kind].failed += 1;
                "ok".to_owned()
            }
            Step::ResetFailures { group, kind } => {
                self.0[group][kind].failed = 0;
                "ok".to_owned()
            }
            Step::Busy { group, kind } => {
                let fits = above(group).iter().all(|level| self.room(*level, kind, Bound::Limit) > 0);
                if fits {
                    self.0[group][kind].by[holder] += 1;
                    self.mark();
                    self.0[group][kind].by[holder] -= 1;
                }
                fits.to_string()
            }
            Step::Read => "ok".to_owned(),
            Step::Die => {
                for group in &mut self.0 {
                    for plain in group {
                        plain.by[holder] = 0;
                    }
                }
                "ok".to_owned()
            }
        }
    }

    /// Which levels a charge takes over their barrier.
    fn crossed(&self, group: usize, kind: usize, amount: u64, bound: Bound, which: usize) -> String {
        let mut said = String::new();
        for level in above(group) {
            let plain = self.0[*level][kind];
            let held = self.held(*level, kind);
            if bound == Bound::Limit && plain.barrier.is_some_and(|barrier| held <= barrier && held + amount > barrier)
            {
                let _ = write!(said, " crossed {which} {level}");
            }
        }
        said
    }

    fn check(&self, figures: &str, exact: bool) -> Result<(), String> {
        let mut lines = figures.split(',');
        for group in 0..GROUPS {
            for kind in 0..KINDS.len() {
                let plain = self.0[group][kind];
                let held = self.held(group, kind);
                let wanted = format!(
                    "{held} {} {:?} {:?} {} {}",
                    plain.kept, plain.barrier, plain.limit, plain.failed, plain.under
                );
                let Some((seen, marks)) = lines.next().and_then(|line| line.split_once(';')) else {
                    return Err(format!("not all figures: {figures}"));
                };
                let mut marks = marks.split(' ').filter_map(|number| number.parse::<u64>().ok());
                let (most, least) = (marks.next().unwrap_or(0), marks.next().unwrap_or(u64::MAX));
                let marked = if exact {
                    most == plain.most && least == plain.least
                } else {
                    most >= plain.most && least <= plain.least
                };
                if seen != wanted || !marked {
                    return Err(format!(
                        "{group}/{kind}: {seen} most {most} least {least}, and should be {wanted} most {} least {}",
                        plain.most, plain.least
                    ));
                }
            }
        }
        Ok(())
    }
}

fn parts(amounts: [u64; 3], scale: u64) -> Vec<(usize, u64)> {
    amounts.iter().enumerate().filter(|(_, amount)| **amount > 0).map(|(kind, amount)| (kind, amount * scale)).collect()
}

/// The same, by the counters.
fn act(scene: &Scene, step: &Step, scale: u64, filling: u64) -> String {
    let charges = |group: usize, amounts| -> Vec<_> {
        let parts = parts(amounts, scale);
        parts.into_iter().map(|(kind, amount)| (scene.account(group, KINDS[kind]), amount)).collect()
    };
    let place = |number: u64| (0..GROUPS).find(|group| scene.group(*group) == number).unwrap_or(99);
    let crossed = |crossed: Vec<(usize, u64)>| -> String {
        crossed.iter().map(|(which, group)| format!(" crossed {which} {}", place(*group))).collect()
    };
    let refused = |refused| match refused {
        Refused::Full { which, group } => format!("full {which} {}", place(group)),
        Refused::Failed(error) => error.name().to_owned(),
    };
    let plainly = |done: crate::Result<()>| done.map_or_else(|error| error.name().to_owned(), |()| "ok".to_owned());
    match *step {
        Step::Charge { group, amounts, bound: number, owner: whose } => {
            let charges = charges(group, amounts);
            if charges.is_empty() {
                return "ok".to_owned();
            }
            let charged = match parts(amounts, scale)[..] {
                [(kind, amount)] => scene.try_charge(group, KINDS[kind], amount, bound(number), owner(whose)),
                _ => scene.region.charge(0, &charges, bound(number), owner(whose)),
            };
            match charged {
                Ok(over) => format!("ok{}", crossed(over)),
                Err(why) => refused(why),
            }
        }
        Step::Uncharge { group, amounts } => match parts(amounts, scale)[..] {
            [(kind, amount)] => scene.give(group, KINDS[kind], amount),
            _ => plainly(scene.region.uncharge(0, &charges(group, amounts))),
        },
        Step::UpTo { group, kind, amount, bound: number } => {
            let account = scene.account(group, KINDS[kind]);
            match scene.region.charge_up_to(account, amount * scale, bound(number)) {
                Ok((got, over)) => format!("got {got}{}", crossed(over)),
                Err(why) => refused(why),
            }
        }
        Step::Bounds { group, kind, barrier, limit } => {
            let (barrier, limit) = (barrier.map(|barrier| barrier * scale), limit.map(|limit| limit * scale));
            plainly(scene.region.set_bounds(scene.account(group, KINDS[kind]), Some(barrier), Some(limit)))
        }
        Step::ResetMarks { group, kind } => plainly(scene.region.reset_marks(scene.account(group, KINDS[kind]))),
        Step::Fail { group, kind } => plainly(scene.region.count_failure(scene.account(group, KINDS[kind]))),
        Step::ResetFailures { group, kind } => plainly(scene.region.reset_failures(scene.account(group, KINDS[kind]))),
        Step::One { group, kind, bound: number } | Step::Fill { group, kind, bound: number, .. } => {
            let amount = if matches!(step, Step::One { .. }) { 1 } else { filling };
            match scene.try_charge(group, KINDS[kind], amount, bound(number), Owner::Process) {
                Ok(over) => format!("ok{}", crossed(over)),
                Err(why) => refused(why),
            }
        }
        Step::Busy { group, kind } => match scene.be_busy(group, KINDS[kind]) {
            0 => "false".to_owned(),
            OFTEN => "true".to_owned(),
            went => format!("{went} times"),
        },
        Step::Read | Step::Die => {
            let accounts: Vec<_> = (0..GROUPS).flat_map(|group| KINDS.map(|kind| scene.account(group, kind))).collect();
            match scene.region.read(&accounts) {
                Ok(figures) => figures.iter().map(shown).collect::<Vec<_>>().join(","),
                Err(error) => error.name().to_owned(),
            }
        }
    }
}

fn shown(figures: &Figures) -> String {
    let Figures { held, maxheld, minheld, barrier, limit, failcnt, underflow, kept } = figures;
    format!("{held} {kept} {barrier:?} {limit:?} {failcnt} {underflow};{maxheld} {minheld}")
}

/// A process that does as it is told: the number of a step, and whether in a thread.
fn holder(world: &World, case: &Case) -> Child {
    Child::start(|line: &mut Line| {
        let scene = world.enter();
        loop {
            let told = line.hear();
            let words: Vec<&str> = told.split(' ').collect();
            let &[number, thread, filling] = &words[..] else { return String::new() };
            let (number, thread, filling): (usize, _, _) =
                (number.parse().unwrap(), thread == "true", filling.parse().unwrap());
            let step = &case.steps[number].2;
            let said = if thread {
                std::thread::scope(|scope| scope.spawn(|| act(&scene, step, case.scale, filling)).join().unwrap())
            } else {
                act(&scene, step, case.scale, filling)
            };
            line.say(&said);
        }
    })
}

fn run(case: &Case) -> Result<(), String> {
    let world = World::make(&[])?;
    let mut holders: Vec<Child> = (0..case.holders).map(|_| holder(&world, case)).collect();
    let mut model = Model::default();
    for (number, &(who, thread, ref step)) in case.steps.iter().enumerate() {
        let filling = model.filling(step);
        let wanted = model.act(who, step, case.scale);
        model.mark();
        if matches!(step, Step::Die) {
            holders[who].kill();
            holders[who] = holder(&world, case);
        }
        let said = holders[who].ask(&format!("{number} {thread} {filling}"))?;
        let checked = match step {
            Step::Read | Step::Die => model.check(&said, case.single),
            _ if said == wanted => Ok(()),
            _ => Err(format!("it said {said:?} and not {wanted:?}")),
        };
        checked.map_err(|why| format!("step {number}: {why}"))?;
    }
    Ok(())
}

/// R6.1 to R6.5, R6.9: what the counters say is what plain arithmetic says, with several groups, levels, resources,
/// processes and threads, with bounds that move and holders that die.
#[test]
fn the_counters_are_plain_arithmetic() {
    let (limit, cases) = if soak() { (Duration::from_secs(3600), 20_000) } else { (Duration::from_secs(60), 200) };
    alone("model::the_counters_are_plain_arithmetic", limit, || check(cases, 500));
}

/// So many cases; a failure is made smaller by so many others.
pub(super) fn check(number: u32, smaller: u32) -> Result<String, String> {
    let config = Config { cases: number, failure_persistence: None, max_shrink_iters: smaller, ..Config::default() };
    let checked = TestRunner::new(config).run(&cases(), |case| run(&case).map_err(TestCaseError::fail));
    checked.map(|()| format!("{number} cases")).map_err(|error| error.to_string())
}

/// Who has stock, when another goes past the barrier, can charge none of it to the barrier's account.
pub(super) fn beyond_the_barrier() -> Result<(), String> {
    let world = World::make(&[(LEAF, TASKS, Some(5_000), Some(9_000))])?;
    let mut other = Child::start(|line| {
        let scene = world.enter();
        scene.be_busy(LEAF, TASKS);
        line.say("ready");
        line.hear();
        scene.charge(LEAF, TASKS, 1, Bound::Barrier, Owner::Process)
    });
    other.hear()?;
    let said = Child::run(|| {
        let scene = world.enter();
        let said = scene.take(LEAF, TASKS, 6_000);
        format!("{said}, then {}", other.ask("now").unwrap_or_else(|why| why))
    })?;
    if said == "ok, then full" { Ok(()) } else { Err(said) }
}

/// R6.2, R6.9: stock is no way past the barrier.
#[test]
fn no_stock_beyond_the_barrier() {
    alone("model::no_stock_beyond_the_barrier", Duration::from_secs(60), || {
        beyond_the_barrier().map(|()| "refused".to_owned())
    });
}
