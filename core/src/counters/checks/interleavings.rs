//! The algorithm in a memory whose every access is somebody's turn, chosen by a model checker.
//!
//! shuttle plays turns at random, with several threads, of which some die in the middle; loom plays all turns of two
//! threads with one operation each, up to a number of interruptions, and lets relaxed words be seen late.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::super::cell::{Cell, Memory, Offset, Word};
use super::super::holder::{Descriptor, Image, Process};
use super::super::layout::{FAST_PLACES, Layout, descriptor};
use super::super::{Account, Bound, Counters, Owner, Refused};
use super::alone::alone;
use super::board::Chance;
use super::soak;

use shuttle::rand::RngCore;

/// As little as it takes: for a checker each word is something to keep.
const SMALL: Layout = Layout { buckets: 2, resources: 1, descriptors: 6, accounts: 4, slots: 12 };
const SMALLER: Layout = Layout { buckets: 1, resources: 1, descriptors: 4, accounts: 3, slots: 6 };

const TASKS: u32 = 3;

/// A process of the model that ends here.
struct Death;

/// What the model knows of its processes.
#[derive(Default)]
struct Fate {
    dead: Mutex<HashSet<Process>>,
    /// How many accesses a thread has left before it dies.
    left: Mutex<HashMap<usize, u32>>,
}

impl Fate {
    fn access(&self, thread: Option<usize>) {
        let Some(thread) = thread else { return };
        let mut all = self.left.lock().unwrap();
        if let Some(left) = all.get_mut(&thread) {
            if *left == 0 {
                all.remove(&thread);
                drop(all);
                // Not a panic: nobody need be told.
                resume_unwind(Box::new(Death));
            }
            *left -= 1;
        }
    }
}

macro_rules! memory {
    ($name:ident, $sync:path, $thread:expr) => {
        mod $name {
            use $sync as sync;

            use super::*;

            pub(super) struct Words(sync::atomic::AtomicU64);
            pub(super) struct Cells(sync::Mutex<u128>);

            /// Made when it is first looked at.
            #[derive(Default)]
            pub(super) struct Places {
                words: Vec<OnceLock<Words>>,
                cells: Vec<OnceLock<Cells>>,
                pub(super) fate: Fate,
            }

            pub(super) fn counters(layout: Layout) -> Counters<Places> {
                let words = (0..layout.length() / 8).map(|_| OnceLock::new()).collect();
                let cells = (0..layout.length() / 16).map(|_| OnceLock::new()).collect();
                let memory = Places { words, cells, fate: Fate::default() };
                Counters { memory, layout }
            }

            impl Memory for Places {
                type Word = Words;
                type Cell = Cells;

                fn word(&self, at: Offset) -> &Words {
                    self.fate.access($thread);
                    self.words[at / 8].get_or_init(|| Words(sync::atomic::AtomicU64::new(0)))
                }

                fn cell(&self, at: Offset) -> &Cells {
                    self.fate.access($thread);
                    self.cells[at / 16].get_or_init(|| Cells(sync::Mutex::new(0)))
                }

                fn fence(&self, order: Ordering) {
                    sync::atomic::fence(order);
                }

                fn allocate(&self, _: Offset, _: usize) -> crate::Result<()> {
                    Ok(())
                }

                fn dead(&self, processes: &[Process]) -> Vec<bool> {
                    let dead = self.fate.dead.lock().unwrap();
                    processes.iter().map(|process| dead.contains(process)).collect()
                }
            }

            impl Word for Words {
                fn load(&self, order: Ordering) -> u64 {
                    self.0.load(order)
                }

                fn store(&self, value: u64, order: Ordering) {
                    self.0.store(value, order);
                }

                fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
                    self.0.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
                }

                fn fetch_add(&self, value: u64) -> u64 {
                    self.0.fetch_add(value, Ordering::SeqCst)
                }

                fn fetch_max(&self, value: u64) -> u64 {
                    self.0.fetch_max(value, Ordering::SeqCst)
                }
            }

            impl Cell for Cells {
                fn load(&self) -> u128 {
                    *self.0.lock().unwrap()
                }

                fn compare_exchange(&self, current: u128, new: u128) -> Result<(), u128> {
                    let mut now = self.0.lock().unwrap();
                    if *now != current {
                        return Err(*now);
                    }
                    *now = new;
                    Ok(())
                }

                fn set_low(&self, bits: u64) {
                    *self.0.lock().unwrap() |= u128::from(bits);
                }
            }
        }
    };
}

memory!(in_shuttle, shuttle::sync, Some(usize::from(shuttle::current::me())));
memory!(in_loom, loom::sync, None);

fn image(number: u64) -> Image {
    Image { process: Process(number << 22 | number), program: 1 }
}

/// The root's limit, and that of each of the two groups below it.
const LIMIT: u64 = 40;
const BELOW: u64 = 30;

struct World<M> {
    counters: Counters<M>,
    root: Account,
    leaves: [Account; 2],
}

impl<M: Memory> World<M> {
    fn new(counters: Counters<M>) -> World<M> {
        let mut mine = counters.claim(image(1)).unwrap();
        let root = counters.account(&mut mine, &[1], TASKS, 0).unwrap();
        let leaves = [2, 3].map(|group| counters.account(&mut mine, &[group, 1], TASKS, 0).unwrap());
        for (account, limit) in [(root, LIMIT), (leaves[0], BELOW), (leaves[1], BELOW)] {
            counters.set_bounds(&mut mine, account, None, Some(Some(limit))).unwrap();
        }
        mine.leave(&counters);
        World { counters, root, leaves }
    }

    fn charge(&self, mine: &mut Descriptor, leaf: usize, amount: u64) -> Result<bool, String> {
        let charges = [(self.leaves[leaf], amount)];
        match self.counters.charge(mine, &charges, Bound::Limit, Owner::Process) {
            Ok(_) => Ok(true),
            Err(Refused::Full { .. }) => Ok(false),
            Err(Refused::Failed(error)) => Err(format!("{error:?}")),
        }
    }

    /// In the end, when so much is held for certain, and as much more perhaps as a dead one had.
    fn settle(&self, held: u64) {
        let mut mine = self.counters.claim(image(99)).unwrap();
        let figures = self.counters.read(&mut mine, &[self.root]).unwrap()[0];
        assert_eq!(figures.held, held, "held in the end");
        let mut room = 0;
        for leaf in [0, 1] {
            while self.charge(&mut mine, leaf, 1).unwrap() {
                room += 1;
            }
        }
        assert_eq!(room, LIMIT - held, "room in the end");
    }
}

/// What each thread holds at least and at most, and how many charges were begun.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    lower: [u64; 4],
    upper: [u64; 4],
    starts: u64,
}

/// One thread of the model, which may die.
fn live(world: &World<in_shuttle::Places>, known: &Mutex<Known>, number: usize, seed: u64) {
    let mut chance = Chance::new(seed);
    let leaf = number % 2;
    let mut mine = world.counters.claim(image(number as u64 + 10)).unwrap();
    for _ in 0..4 {
        mine.seem_busy();
        let held = known.lock().unwrap().lower[number];
        let amount = 1 + chance.below(14);
        if chance.below(3) == 0 && held > 0 {
            let amount = amount.min(held);
            known.lock().unwrap().lower[number] -= amount;
            world.counters.uncharge(&mut mine, &[(world.leaves[leaf], amount)]).unwrap();
            known.lock().unwrap().upper[number] -= amount;
            continue;
        }
        let before = {
            let mut known = known.lock().unwrap();
            known.upper[number] += amount;
            known.starts += 1;
            *known
        };
        let granted = world.charge(&mut mine, leaf, amount).unwrap();
        let mut after = known.lock().unwrap();
        if granted {
            after.lower[number] += amount;
            let lower = after.lower;
            assert!(lower.iter().sum::<u64>() <= LIMIT, "{lower:?} were granted of {LIMIT}");
            assert!(lower[leaf] + lower[leaf + 2] <= BELOW, "{lower:?} were granted of {BELOW}");
        } else {
            // Nobody else began anything meanwhile: then no more than this was ever held.
            let upper = before.upper;
            let fits = upper.iter().sum::<u64>() <= LIMIT && upper[leaf] + upper[leaf + 2] <= BELOW;
            assert!(after.starts != before.starts || !fits, "refused, though {upper:?} fit");
            after.upper[number] -= amount;
        }
    }
}

/// One play of four threads, of which two may die.
fn play() {
    let world = Arc::new(World::new(in_shuttle::counters(SMALL)));
    let known = Arc::new(Mutex::new(Known::default()));
    let mut random = shuttle::rand::thread_rng();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (world, known) = (Arc::clone(&world), Arc::clone(&known));
            let (seed, life) = (random.next_u64(), random.next_u32() % 6_000);
            shuttle::thread::spawn(move || {
                let fate = &world.counters.memory.fate;
                if number < 2 {
                    fate.left.lock().unwrap().insert(shuttle::current::me().into(), life);
                }
                if let Err(why) = catch_unwind(AssertUnwindSafe(|| live(&world, &known, number, seed))) {
                    if !why.is::<Death>() {
                        resume_unwind(why);
                    }
                    // What it held is certain no more, and then given back.
                    known.lock().unwrap_or_else(PoisonError::into_inner).lower[number] = 0;
                    fate.dead.lock().unwrap().insert(image(number as u64 + 10).process);
                    known.lock().unwrap_or_else(PoisonError::into_inner).upper[number] = 0;
                }
                fate.left.lock().unwrap().remove(&usize::from(shuttle::current::me()));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let held = known.lock().unwrap().lower.iter().sum();
    assert_eq!(world.counters.broken().unwrap(), None);
    world.settle(held);
}

/// So many plays; what went wrong.
pub(super) fn plays(number: usize) -> Result<String, String> {
    let played = catch_unwind(|| {
        let mut config = shuttle::Config::new();
        config.silence_warnings = true;
        config.stack_size = 1 << 18;
        config.failure_persistence = shuttle::FailurePersistence::None;
        let scheduler = shuttle::scheduler::PctScheduler::new(4, number);
        shuttle::Runner::new(scheduler, config.clone()).run(play);
        let scheduler = shuttle::scheduler::RandomScheduler::new(number);
        shuttle::Runner::new(scheduler, config).run(play);
    });
    played.map(|()| format!("{number} plays twice")).map_err(|why| said(&*why))
}

fn said(why: &(dyn std::any::Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// R6.7, R6.9: four threads, their turns at random, two of which die at any access: nothing is granted that is not
/// there, nothing refused that is there, and in the end all is there.
#[test]
fn turns_at_random() {
    let (limit, number) = if soak() { (Duration::from_secs(3600), 50_000) } else { (Duration::from_secs(120), 100) };
    alone("interleavings::turns_at_random", limit, || plays(number));
}

/// All turns of two threads with one operation each, up to so many interruptions.
pub(super) fn all_turns(pairs: &[Pair], interruptions: usize, longest: Duration) -> Result<String, String> {
    let mut plays = 0;
    for &pair in pairs {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let played = catch_unwind(move || {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(interruptions);
            builder.max_branches = 1_000_000;
            builder.max_duration = Some(longest);
            // When it looks at the clock.
            builder.checkpoint_interval = 10;
            builder.check(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                large(move || play_pair(pair)).join().unwrap();
            });
        });
        played.map_err(|why| format!("{pair:?}: {}", said(&*why)))?;
        plays += count.load(Ordering::Relaxed);
    }
    Ok(format!("{plays} plays of {} pairs", pairs.len()))
}

/// A thread with room for a descriptor.
fn large(act: impl FnOnce() + Send + 'static) -> loom::thread::JoinHandle<()> {
    loom::thread::Builder::new().stack_size(1 << 16).spawn(act).unwrap()
}

/// What one of two does.
#[derive(Clone, Copy, Debug)]
pub(super) enum One {
    Charge(usize, u64),
    Uncharge(usize, u64),
    Bounds(u64),
    Read,
}

/// What both hold before, and do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    held: [u64; 2],
    act: [One; 2],
    /// How many charges may be granted, and what is held then.
    ends: &'static [(usize, u64)],
}

/// The second leaf is the second thread's.
pub(super) const PAIRS: &[Pair] = &[
    Pair { held: [10, 10], act: [One::Charge(0, 15), One::Charge(1, 15)], ends: &[(1, 35)] },
    Pair { held: [10, 10], act: [One::Charge(0, 19), One::Charge(1, 1)], ends: &[(2, 40)] },
    Pair { held: [20, 20], act: [One::Charge(0, 1), One::Uncharge(1, 2)], ends: &[(0, 38), (1, 39)] },
    Pair { held: [5, 5], act: [One::Charge(0, 25), One::Read], ends: &[(1, 35)] },
    Pair { held: [9, 1], act: [One::Charge(0, 20), One::Bounds(15)], ends: &[(1, 30), (0, 10)] },
];

/// loom wants all places made before there are several threads: those of so many entries, and of all slots.
fn touch(counters: &Counters<in_loom::Places>) {
    let memory = &counters.memory;
    let words = |at: usize, from: usize, count: usize| {
        for number in 0..count {
            memory.word(at + from + number * 8).load(Ordering::Relaxed);
        }
    };
    let cells = |at: usize, count: usize| {
        for number in 0..count {
            memory.cell(at + number * 16).load();
        }
    };
    for index in 0..SMALLER.descriptors {
        let at = SMALLER.descriptor(index).unwrap();
        words(at, descriptor::ENTRIES, 40 * 3);
        words(at, descriptor::FAST, FAST_PLACES);
        words(at, descriptor::VERSION, 2);
        cells(at, 2);
    }
    for index in 0..SMALLER.slots {
        let at = SMALLER.slot(index).unwrap();
        cells(at, 2);
        words(at, 32, 2);
    }
    for index in 0..SMALLER.accounts {
        cells(SMALLER.account(index).unwrap(), 10);
    }
}

fn play_pair(pair: Pair) {
    let world = Arc::new(World::new(in_loom::counters(SMALLER)));
    let begin = |number: usize| {
        let mut mine = world.counters.claim(image(number as u64 + 10)).unwrap();
        assert!(world.charge(&mut mine, number, pair.held[number] - 1).unwrap());
        // Now with stock, if there is plenty.
        mine.seem_busy();
        assert!(world.charge(&mut mine, number, 1).unwrap());
        mine
    };
    let descriptors = [begin(0), begin(1)];
    touch(&world.counters);
    let granted = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = descriptors
        .into_iter()
        .zip(pair.act)
        .map(|(mut mine, act)| {
            let (world, granted) = (Arc::clone(&world), Arc::clone(&granted));
            large(move || {
                let was = match act {
                    One::Charge(leaf, amount) => world.charge(&mut mine, leaf, amount).unwrap(),
                    One::Uncharge(leaf, amount) => {
                        world.counters.uncharge(&mut mine, &[(world.leaves[leaf], amount)]).unwrap();
                        false
                    }
                    One::Bounds(limit) => {
                        world.counters.set_bounds(&mut mine, world.leaves[0], None, Some(Some(limit))).unwrap();
                        false
                    }
                    One::Read => {
                        world.counters.read(&mut mine, &[world.root, world.leaves[0]]).unwrap();
                        false
                    }
                };
                granted.fetch_add(usize::from(was), Ordering::Relaxed);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(world.counters.broken().unwrap(), None);
    let mut mine = world.counters.claim(image(99)).unwrap();
    let held = world.counters.read(&mut mine, &[world.root]).unwrap()[0].held;
    let end = (granted.load(Ordering::Relaxed), held);
    assert!(pair.ends.contains(&end), "{end:?} is no end of {pair:?}");
}

/// R6.7, R6.9: what two do at once ends as if one had come after the other, with relaxed words seen as late as may be.
#[test]
fn all_turns_of_two() {
    let (limit, interruptions, longest) = if soak() {
        (Duration::from_secs(3600), 3, Duration::from_secs(600))
    } else {
        (Duration::from_secs(100), 1, Duration::from_secs(1))
    };
    alone("interleavings::all_turns_of_two", limit, || all_turns(PAIRS, interruptions, longest));
}
