//! A process that charges when it is told to (`crew.rs`).
//!
//! The ways, with what follows a colon:
//!
//! ```text
//! own-line           an atomic of this process's own, up and down: the measure of all
//! charge:PATH        a charge of 1 in that group, and its return
//! pair:PATH          of two resources at once
//! refused:PATH       a charge that does not fit
//! hold:PATH          one charge that stays, for as long as the process does
//! turn:COUNT:PREFIX  the groups PREFIX0, PREFIX1 and so on, in turn
//! tokio:THREADS      tokio's semaphore, in one process
//! governor:THREADS   governor's limiter, which only counts up
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cgf::{Group, Hierarchy, Options, Resource, Severity};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rustix::process::{Resource as Limited, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::sync::Semaphore;

use crate::crew::{Answer, Result, now, on_cpu};

/// What is charged: it has no counterpart in the kernel.
pub const RESOURCE: Resource = Resource::KMEMSIZE;

/// The other one, where two are charged at once.
const ANOTHER: Resource = Resource::PRIVVMPAGES;

/// How far apart groups are that come one after the other: what one of them needs is
/// not beside what the one before it needed.
const STRIDE: usize = 7919;

/// Descriptors that a worker needs besides one a group.
const SPARE: usize = 1000;

/// How late a worker may begin.
const LATE: Duration = Duration::from_micros(50);

/// Obeys until there are no more orders.
pub fn work(number: usize, name: &str, options: &str) -> Result<()> {
    let cpus = cpus()?;
    settle(&cpus, number)?;
    let mut worker = Worker {
        number,
        cpus,
        hierarchy: Hierarchy::open_existing(name, &Options::parse(options)?)?,
        groups: HashMap::new(),
        held: HashSet::new(),
    };
    for order in std::io::stdin().lock().lines() {
        let order = order?;
        let words: Vec<&str> = order.split_whitespace().collect();
        let &[way, _, start, length] = words.as_slice() else { return Err(format!("what is: {order}").into()) };
        let (start, length) = (Duration::from_nanos(start.parse()?), Duration::from_nanos(length.parse()?));
        let Answer { pairs, wall, is_disturbed, cpu } = worker.obey(way, start, length)?;
        println!("{pairs} {} {} {}", wall.as_nanos(), u8::from(is_disturbed), cpu.as_nanos());
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn cpus() -> Result<Vec<usize>> {
    let all = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect())
}

/// Each on a CPU of its own, as long as there are any.
fn settle(cpus: &[usize], number: usize) -> Result<()> {
    stay_on(&cpus[number % cpus.len()..][..1])
}

/// Keeps the calling thread on these, and those that it starts from now on.
fn stay_on(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|&cpu| set.set(cpu));
    Ok(sched_setaffinity(None, &set)?)
}

struct Worker {
    number: usize,
    /// Where threads may be.
    cpus: Vec<usize>,
    hierarchy: Hierarchy,
    groups: HashMap<String, Vec<Group>>,
    /// Where it holds something for good.
    held: HashSet<String>,
}

impl Worker {
    fn obey(&mut self, order: &str, start: Duration, length: Duration) -> Result<Answer> {
        let (way, what) = order.split_once(':').unwrap_or((order, ""));
        match way {
            "own-line" => {
                let value = black_box(Box::new(Line(AtomicU64::new(0))));
                measure(start, length, 1000, || {
                    value.0.fetch_add(1, Ordering::SeqCst);
                    value.0.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                })
            }
            "tokio" => {
                let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
                self.in_threads(what.parse()?, start, length, || {
                    semaphore.try_acquire_many(1).map(drop).map_err(Into::into)
                })
            }
            "governor" => {
                // So many in a nanosecond that it refuses nobody.
                let quota = Quota::with_period(Duration::from_nanos(1)).ok_or("no quota")?;
                let limiter: DefaultDirectRateLimiter = RateLimiter::direct(quota.allow_burst(NonZeroU32::MAX));
                self.in_threads(what.parse()?, start, length, || limiter.check().map_err(|_| "refused".into()))
            }
            "turn" => {
                let groups = self.many(what)?;
                let mut next = 0;
                measure(start, length, 100, || {
                    next = (next + STRIDE) % groups.len();
                    charge(&groups[next])
                })
            }
            _ => {
                let group = self.group(what)?;
                match way {
                    "charge" => measure(start, length, 1000, || charge(group)),
                    "pair" => measure(start, length, 100, || {
                        group.charge_many(&[(RESOURCE, 1), (ANOTHER, 1)], Severity::Limit)?;
                        Ok(group.uncharge_many(&[(RESOURCE, 1), (ANOTHER, 1)])?)
                    }),
                    "refused" => measure(start, length, 10, || match group.charge(RESOURCE, 1, Severity::Limit) {
                        Err(error) if error.errno() == libc::ENOMEM => Ok(()),
                        Err(error) => Err(error.into()),
                        Ok(()) => Err("a charge that does not fit was granted".into()),
                    }),
                    "hold" => {
                        group.charge(RESOURCE, 1, Severity::Limit)?;
                        Ok(Answer { pairs: 1, wall: Duration::ZERO, is_disturbed: false, cpu: Duration::ZERO })
                    }
                    _ => Err(format!("there is no way {order:?}").into()),
                }
            }
        }
    }

    /// By so many threads, which begin together; all answers count as one worker's.
    fn in_threads(
        &self,
        threads: usize,
        start: Duration,
        length: Duration,
        act: impl Fn() -> Result<()> + Sync,
    ) -> Result<Answer> {
        // A thread begins where this one may be, and is not there at once.
        stay_on(&self.cpus)?;
        let start = start + Duration::from_micros(300);
        let answers: Vec<std::result::Result<Answer, String>> = std::thread::scope(|scope| {
            let one = |number| {
                let (act, cpus) = (&act, &self.cpus);
                let measured = move || settle(cpus, number).and_then(|()| measure(start, length, 1000, act));
                scope.spawn(move || measured().map_err(|error| error.to_string()))
            };
            let threads: Vec<_> = (0..threads).map(one).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect()
        });
        settle(&self.cpus, self.number)?;
        let answers = answers.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(Answer {
            pairs: answers.iter().map(|answer| answer.pairs).sum::<u64>(),
            wall: answers.iter().map(|answer| answer.wall).sum(),
            is_disturbed: answers.iter().any(|answer| answer.is_disturbed),
            cpu: answers.iter().map(|answer| answer.cpu).sum(),
        })
    }

    fn group(&mut self, path: &str) -> Result<&Group> {
        if !self.groups.contains_key(path) {
            let group = self.hierarchy.open_group(path)?;
            self.groups.insert(path.to_owned(), vec![group]);
        }
        Ok(&self.groups[path][0])
    }

    /// The groups of a turn. Something is held in each of them, and what is done at the
    /// first time is not measured.
    ///
    /// No more are open at once than may be: of more the last ones take turns, and the others
    /// stay charged.
    fn many(&mut self, what: &str) -> Result<&[Group]> {
        if !self.groups.contains_key(what) {
            // Those of the last turn are not needed any more.
            self.groups.retain(|what, _| !what.contains(':'));
            let (count, prefix) = what.split_once(':').ok_or("how many groups?")?;
            let most = getrlimit(Limited::Nofile).current.map_or(Ok(usize::MAX), usize::try_from)? - SPARE;
            let mut groups = VecDeque::new();
            for number in 0..count.parse::<usize>()? {
                if groups.len() == most {
                    groups.pop_front();
                }
                let group = self.hierarchy.open_group(format!("{prefix}{number}"))?;
                if self.held.insert(format!("{prefix}{number}")) {
                    group.charge(RESOURCE, 1, Severity::Limit)?;
                }
                charge(&group)?;
                groups.push_back(group);
            }
            self.groups.insert(what.to_owned(), groups.into());
        }
        Ok(&self.groups[what])
    }
}

/// A line that nobody else writes.
#[repr(align(128))]
struct Line(AtomicU64);

/// Part of the loop that it is in, as it would be of a program's.
#[inline(always)]
fn charge(group: &Group) -> Result<()> {
    group.charge(RESOURCE, 1, Severity::Limit)?;
    Ok(group.uncharge(RESOURCE, 1)?)
}

/// Does it again and again, from the start on; the clock is looked at once in so many
/// times. There is one place where it is done, so that it is part of the loop.
#[inline(always)]
fn measure(
    start: Duration,
    length: Duration,
    between_looks: u64,
    mut act: impl FnMut() -> Result<()>,
) -> Result<Answer> {
    // What is done for the first time is done before the start.
    let mut round: Option<Round> = None;
    loop {
        for _ in 0..between_looks {
            act()?;
        }
        let Some(round) = &mut round else {
            round = Some(Round::begin(start)?);
            continue;
        };
        round.pairs += between_looks;
        let wall = now() - round.begun;
        if wall >= length {
            return round.end(wall);
        }
    }
}

struct Round {
    begun: Duration,
    is_late: bool,
    pairs: u64,
    used: Duration,
    preempted: u64,
}

impl Round {
    fn begin(start: Duration) -> Result<Round> {
        let preempted = preemptions()?;
        let mut begun = now();
        while begun < start {
            std::hint::spin_loop();
            begun = now();
        }
        Ok(Round { begun, is_late: begun > start + LATE, pairs: 0, used: on_cpu(), preempted })
    }

    fn end(&self, wall: Duration) -> Result<Answer> {
        let cpu = on_cpu() - self.used;
        let is_disturbed = self.is_late || preemptions()? != self.preempted;
        Ok(Answer { pairs: self.pairs, wall, is_disturbed, cpu })
    }
}

/// How often this thread had to give its CPU away.
fn preemptions() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    Ok(count.ok_or("no context switches in status")?.trim().parse()?)
}
