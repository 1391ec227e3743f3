//! Workers that charge as fast as they can, and are killed and stopped at random.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::{Bound, Owner, Refused};
use super::alone::alone;
use super::board::{Board, Chance, MOST, RESOURCES, WORKERS, shared};
use super::offspring::Child;
use super::soak;
use super::world::{FILES, LEAF, MIDDLE, OTHER, ROOT, Scene, TASKS, World};

const KINDS: [u32; RESOURCES] = [TASKS, FILES];

/// A resource of which only the groups hold something.
const KEPT: u32 = 0;

/// Processor time that all who run may use without any of them finishing an operation.
const STALLED: Duration = Duration::from_millis(50);

/// A kind of weather.
#[derive(Clone, Copy, Debug)]
struct Storm {
    workers: usize,
    /// Of a leaf and of the root, for each resource.
    leaf: u64,
    root: u64,
    /// The most of one charge.
    most: u64,
    /// Nobody ever takes more than fits with what the others may take: nothing may be refused.
    fits: bool,
}

const STORMS: &[Storm] = &[
    Storm { workers: 4, leaf: 6, root: 8, most: 3, fits: false },
    Storm { workers: 3, leaf: 40, root: 60, most: 20, fits: false },
    Storm { workers: 4, leaf: 1_000, root: 1_500, most: 400, fits: false },
    Storm { workers: 4, leaf: 30_000, root: 60_000, most: 90, fits: false },
    Storm { workers: 4, leaf: 30_000, root: 40_000, most: 9_000, fits: false },
    Storm { workers: 4, leaf: 40, root: 80, most: 10, fits: true },
    Storm { workers: 4, leaf: 8_000, root: 16_000, most: 2_000, fits: true },
    Storm { workers: 2, leaf: 60_000, root: 60_000, most: 30_000, fits: true },
];

impl Storm {
    fn leaf_of(worker: usize) -> usize {
        if worker.is_multiple_of(2) { LEAF } else { OTHER }
    }

    /// What a worker may hold at most.
    fn share(&self) -> u64 {
        if self.fits { (self.leaf / 2).min(self.root / self.workers as u64) } else { MOST / 2 }
    }

    /// The bound of a level, and who is below it.
    fn level(&self, worker: usize, group: usize) -> (u64, fn(usize, usize) -> bool) {
        let _ = worker;
        if group == ROOT || group == MIDDLE {
            (self.root, |_, _| true)
        } else {
            (self.leaf, |one, other| one % 2 == other % 2)
        }
    }
}

/// One worker, until it is killed; what it found wrong.
struct Worker<'a> {
    storm: Storm,
    number: usize,
    board: &'a Board,
    scene: Scene,
    held: [u64; RESOURCES],
    chance: Chance,
}

impl Worker<'_> {
    fn work(&mut self) -> Result<(), String> {
        loop {
            let resource = self.chance.below(RESOURCES as u64) as usize;
            let amount = 1 + self.chance.below(self.storm.most);
            match self.chance.below(40) {
                0..14 => self.charge(&[(resource, amount)])?,
                14..18 => {
                    let other = 1 + self.chance.below(self.storm.most);
                    self.charge(&[(0, amount), (1, other)])?;
                }
                18..22 => self.charge_up_to(resource, amount)?,
                22..36 => {
                    let amount = if self.chance.below(4) == 0 { self.held[resource] } else { amount };
                    self.give(resource, amount.min(self.held[resource]))?;
                }
                36 => self.keep(1 + amount % 5)?,
                37 => self.forget(1 + amount % 5)?,
                38 => {
                    let account = self.scene.account(ROOT, KINDS[resource]);
                    let figures = self.scene.region.read(&[account]).map_err(|why| format!("reading: {why:?}"))?;
                    if figures[0].held > self.storm.root {
                        return Err(format!("read {figures:?} of {}", self.storm.root));
                    }
                }
                _ => self.in_a_thread(resource, amount)?,
            }
            self.board.done[self.number].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn charge(&mut self, wanted: &[(usize, u64)]) -> Result<(), String> {
        if wanted.iter().any(|&(resource, amount)| self.held[resource] + amount > self.storm.share()) {
            return Ok(());
        }
        let leaf = Storm::leaf_of(self.number);
        let charges: Vec<_> =
            wanted.iter().map(|&(kind, amount)| (self.scene.account(leaf, KINDS[kind]), amount)).collect();
        let before = wanted.iter().map(|&(kind, amount)| self.begin(kind, amount)).collect::<Vec<_>>();
        let charged = match *wanted {
            [(kind, amount)] => self.scene.try_charge(leaf, KINDS[kind], amount, Bound::Limit, Owner::Process),
            _ => self.scene.region.charge(0, &charges, Bound::Limit, Owner::Process),
        };
        match charged {
            Ok(_) => {
                for &(kind, amount) in wanted {
                    self.granted(kind, amount)?;
                }
            }
            Err(Refused::Full { which, group }) => {
                let (kind, amount) = wanted[which];
                self.judge(kind, amount - 1, group, &before[which])?;
                for &(kind, amount) in wanted {
                    self.board.resources[kind].upper.lower(self.number, amount);
                }
            }
            Err(Refused::Failed(error)) => return Err(format!("charging: {error:?}")),
        }
        Ok(())
    }

    fn charge_up_to(&mut self, kind: usize, amount: u64) -> Result<(), String> {
        if self.held[kind] + amount > self.storm.share() {
            return Ok(());
        }
        let account = self.scene.account(Storm::leaf_of(self.number), KINDS[kind]);
        let before = self.begin(kind, amount);
        let (got, _) = self
            .scene
            .region
            .charge_up_to(account, amount, Bound::Limit)
            .map_err(|why| format!("charging up to: {why:?}"))?;
        if got < amount {
            // One of the levels was full.
            let group = |group| self.scene.group(group);
            let (leaf, root) = (group(Storm::leaf_of(self.number)), group(ROOT));
            let judged = [leaf, root].map(|group| self.judge(kind, got, group, &before));
            if judged.iter().all(Result::is_err) {
                return judged.into_iter().collect();
            }
        }
        self.board.resources[kind].upper.lower(self.number, amount - got);
        self.granted(kind, got)
    }

    fn begin(&self, kind: usize, amount: u64) -> (u64, [u64; WORKERS]) {
        let resource = &self.board.resources[kind];
        resource.upper.raise(self.number, amount);
        let starts = resource.starts.fetch_add(1, Ordering::SeqCst) + 1;
        (starts, resource.upper.all())
    }

    /// Nobody has more than there is.
    fn granted(&mut self, kind: usize, amount: u64) -> Result<(), String> {
        self.board.granted.fetch_add(1, Ordering::Relaxed);
        self.held[kind] += amount;
        let all = self.board.resources[kind].lower.raise(self.number, amount);
        for group in [ROOT, Storm::leaf_of(self.number)] {
            let (limit, below) = self.storm.level(self.number, group);
            let sum: u64 = (0..WORKERS).filter(|other| below(self.number, *other)).map(|other| all[other]).sum();
            if sum > limit {
                return Err(format!("{all:?} were granted of {limit}"));
            }
        }
        Ok(())
    }

    /// Of `upper` a charge that got `got` and not one more was part. If nobody else began a charge meanwhile, no more
    /// can have been held at the level that refused it.
    fn judge(&self, kind: usize, got: u64, group: u64, upper: &(u64, [u64; WORKERS])) -> Result<(), String> {
        self.board.refused.fetch_add(1, Ordering::Relaxed);
        let leaf = Storm::leaf_of(self.number);
        let level = [leaf, MIDDLE, ROOT].into_iter().find(|level| self.scene.group(*level) == group);
        let Some(level) = level else { return Err(format!("refused by group {group}, which is not above")) };
        let (limit, below) = self.storm.level(self.number, level);
        let (starts, all) = *upper;
        let others: u64 = (0..WORKERS)
            .filter(|other| *other != self.number && below(self.number, *other))
            .map(|other| all[other])
            .sum();
        if self.storm.fits {
            return Err(format!("refused after {got}, though {} and {all:?} fit", self.held[kind]));
        }
        if self.board.resources[kind].starts.load(Ordering::SeqCst) == starts {
            self.board.judged.fetch_add(1, Ordering::Relaxed);
            if others + self.held[kind] + got < limit {
                return Err(format!("{} and {} and {got}, of {limit}, and not one more", self.held[kind], others));
            }
        }
        Ok(())
    }

    fn give(&mut self, kind: usize, amount: u64) -> Result<(), String> {
        self.board.resources[kind].lower.lower(self.number, amount);
        let said = self.scene.give(Storm::leaf_of(self.number), KINDS[kind], amount);
        if said != "ok" {
            return Err(format!("giving back: {said}"));
        }
        self.board.resources[kind].upper.lower(self.number, amount);
        self.held[kind] -= amount;
        Ok(())
    }

    fn keep(&mut self, amount: u64) -> Result<(), String> {
        self.board.kept_upper.fetch_add(amount as i64, Ordering::SeqCst);
        let account = self.scene.account(OTHER, KEPT);
        match self.scene.region.charge(0, &[(account, amount)], Bound::Limit, Owner::Group) {
            Ok(_) => self.board.kept_lower.fetch_add(amount as i64, Ordering::SeqCst),
            Err(Refused::Full { .. }) => self.board.kept_upper.fetch_sub(amount as i64, Ordering::SeqCst),
            Err(Refused::Failed(error)) => return Err(format!("keeping: {error:?}")),
        };
        Ok(())
    }

    fn forget(&mut self, amount: u64) -> Result<(), String> {
        let amount = amount as i64;
        let enough = |kept| if kept >= amount { Some(kept - amount) } else { None };
        if self.board.kept_lower.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enough).is_ok() {
            let account = self.scene.account(OTHER, KEPT);
            let charges = [(account, amount.unsigned_abs())];
            self.scene.region.uncharge(0, &charges).map_err(|why| format!("no longer keeping: {why:?}"))?;
            self.board.kept_upper.fetch_sub(amount, Ordering::SeqCst);
        }
        Ok(())
    }

    /// A charge by a thread that ends at once; it is the process's.
    fn in_a_thread(&mut self, kind: usize, amount: u64) -> Result<(), String> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| self.charge(&[(kind, amount)]))
                .join()
                .unwrap_or_else(|_| Err("a thread panicked".to_owned()))
        })
    }
}

impl Storm {
    fn start(self, world: &World, board: &'static Board, number: usize, seed: u64) -> Child {
        Child::start(|_| {
            let scene = world.enter();
            let chance = Chance::new(seed);
            let mut worker = Worker { storm: self, number, board, scene, held: [0; RESOURCES], chance };
            worker.work().err().unwrap_or_default()
        })
    }

    /// Kills and stops for a while; what came of it.
    fn rage(self, rounds: u32, seed: u64) -> Result<String, String> {
        let bounds: Vec<_> = KINDS
            .iter()
            .flat_map(|&kind| {
                [(LEAF, self.leaf), (OTHER, self.leaf), (ROOT, self.root)]
                    .map(|(group, limit)| (group, kind, None, Some(limit)))
            })
            .chain([(ROOT, KEPT, None, Some(1_000))])
            .collect();
        let world = World::make(&bounds)?;
        let board = shared();
        let mut chance = Chance::new(seed);
        let mut workers: Vec<Child> =
            (0..self.workers).map(|number| self.start(&world, board, number, seed + number as u64)).collect();
        let mut stopped = [false; WORKERS];
        let mut kills = 0;
        let mut progress = Progress::default();
        for round in 0..rounds {
            std::thread::sleep(Duration::from_micros(200 + chance.below(1_500)));
            let number = chance.below(self.workers as u64) as usize;
            let child = &mut workers[number];
            child.has_trouble()?;
            // At least one runs.
            let others_stopped = (0..self.workers).filter(|other| *other != number).all(|other| stopped[other]);
            match chance.below(3) {
                0 if stopped[number] || others_stopped => {
                    child.signal(libc::SIGCONT);
                    stopped[number] = false;
                }
                0 => {
                    child.stop()?;
                    stopped[number] = true;
                }
                1 => {
                    if !stopped[number] {
                        child.stop()?;
                    }
                    for resource in &board.resources {
                        resource.lower.forget(number);
                    }
                    child.kill();
                    for resource in &board.resources {
                        resource.upper.forget(number);
                    }
                    kills += 1;
                    stopped[number] = false;
                    *child = self.start(&world, board, number, seed ^ u64::from(round) << 20 ^ number as u64);
                }
                _ => {}
            }
            progress.look(board, &workers)?;
        }
        // All are stopped before one is killed: what a dead one held is given back, and
        // those who go on would take it for granted twice.
        for (child, stopped) in workers.iter_mut().zip(stopped) {
            child.has_trouble()?;
            if !stopped {
                child.stop()?;
            }
        }
        for child in &mut workers {
            child.kill();
        }
        self.aftermath(&world, board)?;
        let figure = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        Ok(format!(
            "{kills} kills, {} granted, {} refused, of which {} for certain rightly",
            figure(&board.granted),
            figure(&board.refused),
            figure(&board.judged)
        ))
    }

    /// All is there again, found by filling and by reading.
    fn aftermath(self, world: &World, board: &'static Board) -> Result<(), String> {
        let said = Child::run(|| {
            let mut scene = world.enter();
            let mut all = || {
                for kind in KINDS {
                    for (group, room) in [(LEAF, self.leaf), (ROOT, self.root), (OTHER, self.leaf)] {
                        let account = scene.account(group, kind);
                        let found = scene.fill(account, Bound::Limit)?;
                        if found != room.min(self.root) {
                            return Err(format!("{found} of {room} were free in {group}/{kind}"));
                        }
                        scene.region.uncharge(0, &[(account, found)]).map_err(|why| format!("{why:?}"))?;
                        let figures = scene.region.read(&[account]).map_err(|why| format!("{why:?}"))?[0];
                        if figures.held != 0 || figures.underflow != 0 {
                            return Err(format!("in the end {figures:?} in {group}/{kind}"));
                        }
                    }
                }
                let kept = scene.account(OTHER, KEPT);
                let kept = scene.region.read(&[kept]).map_err(|why| format!("{why:?}"))?[0].held as i64;
                let lower = board.kept_lower.load(Ordering::SeqCst);
                let upper = board.kept_upper.load(Ordering::SeqCst);
                if kept < lower || kept > upper {
                    return Err(format!("{kept} are kept, and should be {lower} to {upper}"));
                }
                Ok(())
            };
            all().err().unwrap_or_default()
        })?;
        if said.is_empty() { Ok(()) } else { Err(said) }
    }
}

/// That somebody gets on: judged by processor time, which a busy machine does not change.
#[derive(Default)]
struct Progress {
    done: u64,
    /// What each had used when it was last looked at, and what all have used since something was done.
    used: Vec<(i32, Duration)>,
    idle: Duration,
}

impl Progress {
    fn look(&mut self, board: &Board, workers: &[Child]) -> Result<(), String> {
        let used: Vec<_> = workers.iter().map(|child| (child.pid(), child.used().unwrap_or_default())).collect();
        let done = board.done.iter().map(|done| done.load(Ordering::SeqCst)).sum();
        for (before, now) in self.used.iter().zip(&used) {
            if before.0 == now.0 {
                self.idle += now.1.saturating_sub(before.1);
            }
        }
        if done != self.done {
            self.idle = Duration::ZERO;
        }
        self.done = done;
        self.used = used;
        if self.idle > STALLED {
            return Err(format!("nobody has done anything in {:?} of processor time", self.idle));
        }
        Ok(())
    }
}

/// The storm of a number alone.
pub(super) fn one(number: usize, rounds: u32, seed: u64) -> Result<String, String> {
    STORMS[number].rage(rounds, seed)
}

/// R6.7, R6.8, R6.9: with workers killed and stopped at random nothing is granted that is not there, nothing refused
/// that is there, somebody always gets on, and in the end all is there again.
#[test]
fn storms() {
    let (limit, rounds) = if soak() { (Duration::from_secs(3600), 3_000) } else { (Duration::from_secs(120), 600) };
    alone("storms::storms", limit, || {
        let seed = std::env::var("CGF_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| std::process::id().into());
        for storm in STORMS {
            let began = Instant::now();
            let came = storm.rage(rounds, seed).map_err(|why| format!("{storm:?}, seed {seed}: {why}"))?;
            eprintln!("{storm:?}: {came}, in {:?}", began.elapsed());
        }
        Ok(format!("seed {seed}"))
    });
}
