//! The ways to count, side by side: what each costs, and what that may be at most.

use crate::crew::{Crew, Result};

/// How often each way is measured.
const ROUNDS: usize = 101;

/// Who measures.
pub struct Crews {
    pub yardsticks: Crew,
    pub workers: Crew,
}

/// One way to count, by so many processes at once.
struct Way {
    what: &'static str,
    /// Threads of one process, where processes cannot share it.
    processes: usize,
    by: By,
    order: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// `yardsticks.c`
    C,
    /// `worker.rs`
    Rust,
    /// `worker.rs`, one process with so many threads.
    Threads,
}

const fn way(what: &'static str, processes: usize, by: By, order: &'static str) -> Way {
    Way { what, processes, by, order }
}

/// By turns in this order and the reverse.
const WAYS: [Way; 36] = [
    way("atomic, own line", 1, By::Rust, "own-line"),
    way("charge", 1, By::Rust, "charge:far"),
    way("charge, depth 3", 1, By::Rust, "charge:a/b/far"),
    way("atomic, own line, in C", 1, By::C, "own-line"),
    way("charge through C", 1, By::C, "through-c"),
    way("atomic, one line for all", 1, By::C, "shared-line"),
    way("page_counter, 1 level", 1, By::C, "one-level"),
    way("page_counter, 3 levels", 1, By::C, "three-levels"),
    way("spinlock of 2006", 1, By::C, "spinlock"),
    way("robust mutex", 1, By::C, "robust-mutex"),
    way("charge near the limit", 1, By::Rust, "charge:near"),
    way("charge near it, depth 3", 1, By::Rust, "charge:a/b/near"),
    way("charge up to the limit", 1, By::Rust, "charge:last-1"),
    way("charge, two resources", 1, By::Rust, "pair:far"),
    way("charge refused", 1, By::Rust, "refused:full"),
    way("semop, SEM_UNDO", 1, By::C, "semop-undo"),
    way("tokio Semaphore", 1, By::Threads, "tokio:1"),
    way("governor, no return", 1, By::Threads, "governor:1"),
    way("atomic, own line", 2, By::Rust, "own-line"),
    way("charge", 2, By::Rust, "charge:far"),
    way("charge, depth 3", 2, By::Rust, "charge:a/b/far"),
    way("atomic, own line, in C", 2, By::C, "own-line"),
    way("charge through C", 2, By::C, "through-c"),
    way("atomic, one line for all", 2, By::C, "shared-line"),
    way("page_counter, 1 level", 2, By::C, "one-level"),
    way("page_counter, 3 levels", 2, By::C, "three-levels"),
    way("spinlock of 2006", 2, By::C, "spinlock"),
    way("robust mutex", 2, By::C, "robust-mutex"),
    way("charge near the limit", 2, By::Rust, "charge:near"),
    way("charge near it, depth 3", 2, By::Rust, "charge:a/b/near"),
    way("charge up to the limit", 2, By::Rust, "charge:last-2"),
    way("charge, two resources", 2, By::Rust, "pair:far"),
    way("charge refused", 2, By::Rust, "refused:full"),
    way("semop, SEM_UNDO", 2, By::C, "semop-undo"),
    way("tokio Semaphore", 2, By::Threads, "tokio:2"),
    way("governor, no return", 2, By::Threads, "governor:2"),
];

/// A way by its name and number of processes.
type Name = (&'static str, usize);

/// The measure of all.
const OWN: Name = ("atomic, own line", 1);

/// What one way may cost in terms of another.
struct Demand {
    what: Name,
    against: Name,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Bound::AtMost(most) => ratio <= most,
            Bound::AtLeast(least) => ratio >= least,
        }
    }

    fn in_words(self) -> String {
        match self {
            Bound::AtMost(most) => format!("at most {most:.1}"),
            Bound::AtLeast(least) => format!("at least {least:.1}"),
        }
    }
}

const DEMANDS: [Demand; 14] = [
    Demand { what: ("charge", 1), against: OWN, bound: Bound::AtMost(1.3) },
    Demand { what: ("charge, depth 3", 1), against: OWN, bound: Bound::AtMost(1.3) },
    Demand { what: ("charge through C", 1), against: ("atomic, own line, in C", 1), bound: Bound::AtMost(2.0) },
    Demand { what: ("charge", 2), against: OWN, bound: Bound::AtMost(1.5) },
    Demand { what: ("charge, depth 3", 2), against: OWN, bound: Bound::AtMost(1.5) },
    Demand { what: ("page_counter, 1 level", 2), against: ("charge", 2), bound: Bound::AtLeast(2.0) },
    Demand { what: ("page_counter, 3 levels", 2), against: ("charge, depth 3", 2), bound: Bound::AtLeast(2.0) },
    Demand { what: ("page_counter, 1 level", 2), against: ("charge through C", 2), bound: Bound::AtLeast(2.0) },
    Demand { what: ("charge near the limit", 1), against: ("robust mutex", 1), bound: Bound::AtMost(4.0) },
    Demand { what: ("charge near it, depth 3", 1), against: ("robust mutex", 1), bound: Bound::AtMost(4.0) },
    Demand { what: ("charge up to the limit", 1), against: ("robust mutex", 1), bound: Bound::AtMost(4.0) },
    Demand { what: ("charge near the limit", 2), against: ("robust mutex", 2), bound: Bound::AtMost(4.0) },
    Demand { what: ("charge near it, depth 3", 2), against: ("robust mutex", 2), bound: Bound::AtMost(4.0) },
    Demand { what: ("charge up to the limit", 2), against: ("robust mutex", 2), bound: Bound::AtMost(4.0) },
];

/// Nanoseconds a charge and its return, round by round, of each way.
pub struct Figures {
    has_c: bool,
    found: Vec<Vec<f64>>,
}

impl Figures {
    /// Without what goes through the C library, if there is none.
    pub fn new(has_c: bool) -> Figures {
        Figures { has_c, found: WAYS.iter().map(|_| Vec::new()).collect() }
    }

    pub fn measure(&mut self, crews: &mut Crews) -> Result<()> {
        let mut turns: Vec<usize> =
            (0..WAYS.len()).filter(|&at| self.has_c || !WAYS[at].what.ends_with("through C")).collect();
        for round in 0..ROUNDS + 1 {
            for &at in &turns {
                let Way { processes, by, order, .. } = WAYS[at];
                let nanoseconds = match by {
                    By::C => crews.yardsticks.measure(order, processes)?,
                    By::Rust => crews.workers.measure(order, processes)?,
                    By::Threads => crews.workers.measure(order, 1)?,
                };
                // The first one warms up.
                if round > 0 {
                    self.found[at].push(nanoseconds);
                }
            }
            turns.reverse();
        }
        Ok(())
    }

    pub fn are_fine(&self) -> bool {
        DEMANDS
            .iter()
            .all(|demand| self.ratio(demand.what, demand.against).is_none_or(|ratio| demand.bound.holds(ratio)))
    }

    pub fn print(&self) {
        println!();
        println!("{:<28}{:>10}{:>9}{:>10}{:>9}", "ns for a charge, its return", "1 process", "ratio", "2", "ratio");
        for way in WAYS.iter().filter(|way| way.processes == 1) {
            let columns: String = [1, 2]
                .map(|processes| match (self.of((way.what, processes)), self.ratio((way.what, processes), OWN)) {
                    (Some(found), Some(ratio)) => format!("{:>10.1}{ratio:>9.2}", median(found)),
                    _ => format!("{:>10}{:>9}", "-", "-"),
                })
                .concat();
            let threads = if way.by == By::Threads { "  (threads)" } else { "" };
            println!("{:<28}{columns}{threads}", way.what);
        }
        println!();
        println!("{:<68}{:>7}  {:<15}required", "", "ratio", "[p10..p90]");
        for Demand { what, against, bound } in &DEMANDS {
            let label = format!("{} / {}", in_words(*what), in_words(*against));
            let (Some(ratio), Some([low, high])) = (self.ratio(*what, *against), self.spread(*what, *against)) else {
                println!("{label:<68}{:>7}", "-");
                continue;
            };
            let verdict = if bound.holds(ratio) { "" } else { " MISSED" };
            let spread = format!("[{low:.2}..{high:.2}]");
            println!("{label:<68}{ratio:>7.2}  {spread:<15}{}{verdict}", bound.in_words());
        }
    }

    fn of(&self, (what, processes): Name) -> Option<&[f64]> {
        let at = WAYS.iter().position(|way| way.what == what && way.processes == processes)?;
        self.found.get(at).map(Vec::as_slice).filter(|found| !found.is_empty())
    }

    fn ratio(&self, what: Name, against: Name) -> Option<f64> {
        Some(median(self.of(what)?) / median(self.of(against)?))
    }

    /// How much the ratio depends on the moment: that of each tenth of the rounds by
    /// itself, without the lowest and the highest one.
    fn spread(&self, what: Name, against: Name) -> Option<[f64; 2]> {
        let (what, against) = (self.of(what)?, self.of(against)?);
        let size = what.len().div_ceil(10);
        let mut ratios: Vec<f64> =
            what.chunks(size).zip(against.chunks(size)).map(|(what, against)| median(what) / median(against)).collect();
        ratios.sort_by(f64::total_cmp);
        Some([*ratios.get(1)?, *ratios.get(ratios.len().checked_sub(2)?)?])
    }
}

fn in_words((what, processes): Name) -> String {
    if processes == 1 { what.to_owned() } else { format!("{what}, {processes} processes") }
}

pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
