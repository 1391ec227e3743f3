//! Whether tasks ran, by the scheduler's own books (`/proc/TID/schedstat`).

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use cgf::Group;

use crate::failure::Failure;
use crate::members;

/// For every thread: nanoseconds on a CPU, and how often it was put on one.
#[derive(PartialEq, Eq)]
pub struct RunCounters(BTreeMap<i32, (u64, u64)>);

/// What happened between two readings.
pub struct Movement {
    pub on_cpu: Duration,
    pub turns: u64,
    pub new_threads: usize,
}

/// A frozen task may have a few instructions left in the kernel, to put itself
/// to sleep with: its counter settles within this.
const SETTLING: Duration = Duration::from_millis(100);

impl RunCounters {
    /// Those of every thread in the group and below.
    pub fn read(group: &Group) -> Result<RunCounters, Failure> {
        let mut counters = BTreeMap::new();
        for pid in members::processes(group)? {
            // Whoever ended since it was listed has no counters.
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let Some(tid) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
                let mut fields = text.split_ascii_whitespace().map(str::parse);
                if let (Some(Ok(on_cpu)), Some(Ok(_)), Some(Ok(turns))) = (fields.next(), fields.next(), fields.next())
                {
                    counters.insert(tid, (on_cpu, turns));
                }
            }
        }
        Ok(RunCounters(counters))
    }

    /// Read when two readings in a row are equal, or the time for that is up.
    pub fn settled(group: &Group) -> Result<RunCounters, Failure> {
        let began = Instant::now();
        let mut before = RunCounters::read(group)?;
        loop {
            std::thread::sleep(Duration::from_millis(2));
            let now = RunCounters::read(group)?;
            if now == before || began.elapsed() > SETTLING {
                return Ok(now);
            }
            before = now;
        }
    }

    /// What happened in `time` from this reading on.
    pub fn movement(self, group: &Group, time: Duration) -> Result<Movement, Failure> {
        std::thread::sleep(time);
        let now = RunCounters::read(group)?;
        let mut movement = Movement { on_cpu: Duration::ZERO, turns: 0, new_threads: 0 };
        for (tid, (on_cpu, turns)) in now.0 {
            match self.0.get(&tid) {
                // A number that was given to another thread meanwhile may have
                // less to show than its predecessor.
                Some((on_cpu_before, turns_before)) => {
                    movement.on_cpu += Duration::from_nanos(on_cpu.saturating_sub(*on_cpu_before));
                    movement.turns += turns.saturating_sub(*turns_before);
                }
                None => movement.new_threads += 1,
            }
        }
        Ok(movement)
    }

    pub fn threads(&self) -> usize {
        self.0.len()
    }
}

impl Movement {
    pub fn is_none(&self) -> bool {
        self.on_cpu.is_zero() && self.turns == 0 && self.new_threads == 0
    }
}
