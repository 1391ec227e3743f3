//! Groups with bounds in a file of their own, and what can be seen of them from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::super::{Account, Bound, Owner, Refused, Region, charge_quickly, uncharge_quickly};
use super::offspring::Child;
use super::picture::Mapped;

/// The groups of every world: a root, one below it, and two below that.
pub(super) const ROOT: usize = 0;
pub(super) const MIDDLE: usize = 1;
pub(super) const LEAF: usize = 2;
pub(super) const OTHER: usize = 3;
const GROUPS: usize = 4;

/// Resources that are used.
pub(super) const TASKS: u32 = 3;
pub(super) const FILES: u32 = 4;

/// Processor time within which each operation must end, whoever is stopped: R6.8.
const STALLED: Duration = Duration::from_millis(2);
/// A machine that is itself a guest counts as ours what its host takes from it. Whoever waits for the stopped one
/// does so each time.
const TRIES: usize = 3;

/// Group, resource, barrier, limit.
pub(super) type Bounds = (usize, u32, Option<u64>, Option<u64>);

/// Groups in a file that goes with it.
pub(super) struct World {
    directory: PathBuf,
    pub(super) file: PathBuf,
    groups: Vec<u64>,
    /// Whether those who look leave the second leaf alone.
    pub(super) spare_other: bool,
}

impl World {
    /// Made by a process of its own, so that this one has nothing of it.
    pub(super) fn make(bounds: &[Bounds]) -> Result<World, String> {
        let directory = new_directory();
        let mut world = World { file: directory.join("counters"), directory, groups: Vec::new(), spare_other: false };
        let made = Child::run(|| {
            let scene = world.enter();
            let groups: Vec<u64> = (0..GROUPS).map(|_| scene.region.new_group().unwrap()).collect();
            let scene = Scene { groups: groups.clone(), ..scene };
            for &(group, resource, barrier, limit) in bounds {
                scene.region.set_bounds(scene.account(group, resource), Some(barrier), Some(limit)).unwrap();
            }
            groups.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
        })?;
        world.groups = made.split(' ').filter_map(|number| number.parse().ok()).collect();
        Ok(world)
    }

    /// For this process.
    pub(super) fn enter(&self) -> Scene {
        let region = Region::open(&self.file).unwrap();
        Scene { region, groups: self.groups.clone(), slowest: Duration::ZERO, spare_other: self.spare_other }
    }

    /// What a new process finds: first by filling to refusal, or first by reading. Whoever else takes part is stopped
    /// or dead.
    pub(super) fn seen(&self, first: First) -> Result<Seen, String> {
        let map = Mapped::open(&self.file);
        let state = map.take();
        let mut seen = self.seen_once(first);
        for _ in 1..TRIES {
            if !seen.as_ref().is_err_and(|why| why.starts_with("stalled")) {
                break;
            }
            map.put(&state);
            seen = self.seen_once(first);
        }
        seen
    }

    fn seen_once(&self, first: First) -> Result<Seen, String> {
        let text = Child::run(|| {
            let mut scene = self.enter();
            let rooms = if first == First::Fill { scene.rooms() } else { Ok(String::new()) };
            let said = rooms.and_then(|rooms| Ok(format!("{rooms}; {}", scene.look(first == First::Look)?)));
            match said {
                Ok(said) if scene.slowest > STALLED => format!("stalled for {:?}: {said}", scene.slowest),
                Ok(said) => said,
                Err(why) => format!("failed: {why}"),
            }
        })?;
        if text.starts_with("failed") || text.starts_with("stalled") { Err(text) } else { Ok(Seen(text)) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// In memory, if there is such a place: a file system that writes to a disk would only slow the tests down.
pub(super) fn new_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let memory = PathBuf::from("/dev/shm");
    let below = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let directory = below.join(format!("cgf-checks-{}-{number}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    directory
}

/// How somebody who comes anew looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Fills every account until it is refused, and gives that back. Nothing was read or taken back before.
    Fill,
    /// Reads, the highest and lowest marks too.
    Look,
}

/// What was seen, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen(pub(super) String);

/// A world as a process sees it that takes part.
pub(super) struct Scene {
    pub(super) region: Arc<Region>,
    groups: Vec<u64>,
    slowest: Duration,
    spare_other: bool,
}

impl Scene {
    pub(super) fn group(&self, group: usize) -> u64 {
        self.groups[group]
    }

    pub(super) fn account(&self, group: usize, resource: u32) -> Account {
        self.try_account(group, resource).unwrap()
    }

    pub(super) fn try_account(&self, group: usize, resource: u32) -> crate::Result<Account> {
        let path: &[usize] = match group {
            ROOT => &[ROOT],
            MIDDLE => &[MIDDLE, ROOT],
            other => &[other, MIDDLE, ROOT],
        };
        let path: Vec<u64> = path.iter().map(|group| self.groups[*group]).collect();
        self.region.account(&path, resource)
    }

    /// "ok", "full" or what went wrong.
    pub(super) fn charge(&self, group: usize, resource: u32, amount: u64, bound: Bound, owner: Owner) -> String {
        told(self.try_charge(group, resource, amount, bound, owner))
    }

    /// Charges one often enough to be given stock, and gives it back. How often that went.
    pub(super) fn be_busy(&self, group: usize, resource: u32) -> u32 {
        let mut went = 0;
        for _ in 0..OFTEN {
            if self.take(group, resource, 1) == "ok" {
                went += 1;
                self.give(group, resource, 1);
            }
        }
        went
    }

    /// The quick way, if there is stock, else the long one.
    pub(super) fn try_charge(
        &self,
        group: usize,
        resource: u32,
        amount: u64,
        bound: Bound,
        owner: Owner,
    ) -> Result<Vec<(usize, u64)>, Refused> {
        if owner == Owner::Process && charge_quickly(key(group, resource), amount) {
            return Ok(Vec::new());
        }
        let account = self.try_account(group, resource)?;
        self.region.charge(key(group, resource), &[(account, amount)], bound, owner)
    }

    pub(super) fn take(&self, group: usize, resource: u32, amount: u64) -> String {
        self.charge(group, resource, amount, Bound::Limit, Owner::Process)
    }

    pub(super) fn give(&self, group: usize, resource: u32, amount: u64) -> String {
        if uncharge_quickly(key(group, resource), amount) {
            return "ok".to_owned();
        }
        let account = self.try_account(group, resource);
        match account.and_then(|account| self.region.uncharge(key(group, resource), &[(account, amount)])) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error:?}"),
        }
    }

    /// Charges until nothing fits any more; how much that was.
    pub(super) fn fill(&mut self, account: Account, bound: Bound) -> Result<u64, String> {
        let mut taken = 0;
        for power in (0..MOST_ROOM).rev() {
            let amount = 1 << power;
            // Once, and again at the end: a refusal that was wrong shows in the sum.
            while self.timed(
                |region| region.charge(0, &[(account, amount)], bound, Owner::Process),
                |charged| match charged {
                    Ok(_) => Ok(true),
                    Err(Refused::Full { .. }) => Ok(false),
                    Err(Refused::Failed(error)) => Err(format!("filling: {error:?}")),
                },
            )? {
                taken += amount;
            }
        }
        Ok(taken)
    }

    /// What fits where.
    pub(super) fn rooms(&mut self) -> Result<String, String> {
        let mut told = Vec::new();
        for (group, resource, bound) in [
            (LEAF, TASKS, Bound::Limit),
            (LEAF, TASKS, Bound::Barrier),
            (OTHER, TASKS, Bound::Limit),
            (LEAF, FILES, Bound::Limit),
            (MIDDLE, FILES, Bound::Barrier),
        ] {
            if group == OTHER && self.spare_other {
                continue;
            }
            let account = self.account(group, resource);
            let room = self.fill(account, bound)?;
            self.timed(
                |region| region.uncharge(0, &[(account, room)]),
                |given| given.map_err(|why| format!("{why:?}")),
            )?;
            told.push(format!("{group}/{resource} {bound:?} {room}"));
        }
        Ok(told.join(", "))
    }

    /// Takes all there is for the first leaf, and keeps it; what that is.
    pub(super) fn take_all(&mut self) -> Result<Vec<(Account, u64)>, String> {
        let accounts = [TASKS, FILES].map(|resource| self.account(LEAF, resource));
        accounts.into_iter().map(|account| Ok((account, self.fill(account, Bound::Limit)?))).collect()
    }

    /// Whether anything is above its limit, and what.
    pub(super) fn over(&self) -> Option<String> {
        for group in 0..GROUPS {
            for resource in [TASKS, FILES] {
                let account = self.region.find(self.groups[group], resource).unwrap();
                let figures = account.map(|account| self.region.read(&[account]).unwrap()[0]);
                if let Some(figures) = figures
                    && figures.limit.is_some_and(|limit| figures.held > limit)
                {
                    return Some(format!("{group}/{resource} holds {} of {:?}", figures.held, figures.limit));
                }
            }
        }
        None
    }

    /// All figures, what is there, and what is known.
    pub(super) fn look(&mut self, marks: bool) -> Result<String, String> {
        let said = |error: crate::Error| format!("looking: {error:?}");
        let mut accounts = Vec::new();
        let mut names = Vec::new();
        for group in 0..GROUPS {
            for resource in [TASKS, FILES] {
                if let Some(account) = self.region.find(self.groups[group], resource).map_err(said)? {
                    accounts.push(account);
                    names.push((group, resource));
                }
            }
        }
        let figures = self.timed(|region| region.read(&accounts), |figures| figures.map_err(said))?;
        let mut told = Vec::new();
        for ((group, resource), figures) in names.iter().zip(figures) {
            let bounds = figures.barrier.or(figures.limit);
            let counts = figures.held + figures.failcnt + figures.underflow;
            if bounds.is_none() && counts + if marks { figures.maxheld } else { 0 } == 0 {
                // As good as none: it is made before the first charge, which may be refused.
                continue;
            }
            let mut line =
                format!("{group}/{resource} held {} of {:?} {:?}", figures.held, figures.barrier, figures.limit);
            line += &format!(" failed {} under {}", figures.failcnt, figures.underflow);
            if marks {
                line += &format!(" most {} least {}", figures.maxheld, figures.minheld);
            }
            told.push(line);
        }
        let mut groups = Vec::new();
        if self.spare_other {
            groups = self.region.groups().map_err(said)?;
        }
        let resources = self.region.resources().map_err(said)?;
        let named: Vec<&String> = resources.iter().skip(5).map(|(name, _)| name).collect();
        Ok(format!("{}; groups {groups:?}; resources {named:?}", told.join(", ")))
    }

    /// Does something, and notes what processor time it took.
    fn timed<T, R>(&mut self, act: impl FnOnce(&Arc<Region>) -> T, then: impl FnOnce(T) -> R) -> R {
        let before = processor_time();
        let done = act(&self.region);
        self.slowest = self.slowest.max(processor_time().saturating_sub(before));
        then(done)
    }
}

/// More than it takes to be given stock.
pub(super) const OFTEN: u32 = 20;

/// The highest power of two that is tried.
const MOST_ROOM: u32 = 20;

pub(super) fn told<T>(charged: Result<T, Refused>) -> String {
    match charged {
        Ok(_) => "ok".to_owned(),
        Err(Refused::Full { .. }) => "full".to_owned(),
        Err(Refused::Failed(error)) => format!("{error:?}"),
    }
}

/// What a process calls an account.
fn key(group: usize, resource: u32) -> u64 {
    (group as u64 + 1) << 16 | u64::from(resource)
}

/// What this process has used.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
