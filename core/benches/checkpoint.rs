//! What the proof costs that no task of a group ran during a checkpoint, against the
//! bare kernel files (`make bench`).
//!
//! A small C program (`bare.c`) opens and reads the same files as the proof does where
//! it counts, as often: the lists of the group's threads and every thread's run
//! counter, twice for the begin and once for the end. Both sides' own processor time
//! is compared, since the begin on cgroup version 2 consists of waiting. The figures
//! of one machine, and how to read them: docs/benchmarks.md.
//!
//! Exit status 1 if the proof costs more than is allowed; `CGF_BENCH_STRICT=0` only
//! reports. `CGF_DEMAND=1` makes a backend that does not work here a failure. Words
//! after `--` choose backends, all by default.

use std::process::ExitCode;
use std::time::Duration;

use cgf::{BackendKind, CheckpointOptions, Group, Hierarchy};
use rustix::time::{ClockId, clock_gettime};

use side_by_side::{Bare, Bench, LIMIT, Populated, Result, Row, Times, alternate, nap, napped};

mod side_by_side;

/// Tasks in the group, and rounds.
const CHECKPOINTS: [(usize, usize); 3] = [(1, 51), (100, 41), (1000, 21)];

/// From so many tasks on it matters what the proof costs, and what it may cost where
/// it counts, and where the kernel tells.
const MANY: usize = 1000;
const COUNTED: f64 = 1.25;
const TOLD: f64 = 0.5;

fn main() -> Result<ExitCode> {
    side_by_side::run("bench-checkpoint", Bench::measure)
}

impl Bench {
    fn measure(&mut self, hierarchy: &Hierarchy) -> Result<()> {
        for (tasks, rounds) in CHECKPOINTS {
            eprintln!("{}: {tasks} tasks", hierarchy.backend_kind());
            let group = Populated::create(&self.bare, hierarchy, "measured", tasks)?;
            group.group.freeze(LIMIT)?;
            let measured = self.checkpoints(&group.group, tasks, rounds);
            group.remove()?;
            measured?;
        }
        Ok(())
    }

    fn checkpoints(&mut self, group: &Group, tasks: usize, rounds: usize) -> Result<()> {
        let backend = group.hierarchy().backend_kind();
        let is_told = backend == BackendKind::Cgroup2;
        let mut bare = Bare::start(&self.bare, group, group)?;
        let nap = nap(backend);
        let mut leases = Vec::new();
        let mut compare = |wakeups| {
            alternate(
                rounds,
                &mut || {
                    let took = bare.ask("proof", nap, false)?;
                    Ok([took, took])
                },
                &mut || {
                    napped(nap);
                    // Once more than is measured, for the caches.
                    lease(group)?;
                    let lease = lease(group)?;
                    let all = checkpoint(group, wakeups)?;
                    leases.push(lease);
                    Ok([all.saturating_sub(lease), all])
                },
            )
        };
        let allowed = (tasks >= MANY).then_some(if is_told { TOLD } else { COUNTED });
        let [mut proof, mut all] = compare(false)?;
        // A busy machine gets a second chance, with all rounds counted.
        if allowed.is_some_and(|allowed| proof.ratio() > allowed) {
            let [more_proof, more] = compare(false)?;
            proof.extend(more_proof);
            all.extend(more);
        }
        let mut rows = vec![("proof", proof, allowed), ("begin and end", all, None)];
        if is_told {
            let [proof, _] = compare(true)?;
            rows.push(("proof, with wakeups", proof, None));
        }
        rows.push(("lease", Times { bare: Vec::new(), cgf: leases }, None));
        self.rows.extend(rows.into_iter().map(|(what, times, allowed)| Row {
            what: what.into(),
            backend,
            tasks: Some(tasks),
            times,
            allowed,
        }));
        Ok(())
    }
}

/// Begins a checkpoint and ends it.
fn checkpoint(group: &Group, wakeups: bool) -> Result<Duration> {
    let begun = spent();
    group.checkpoint_with(None, CheckpointOptions::default().wakeups(wakeups))?.end()?;
    Ok(spent() - begun)
}

/// The same without a proof.
fn lease(group: &Group) -> Result<Duration> {
    let begun = spent();
    drop(group.checkpoint_with(None, CheckpointOptions::default().external(true))?);
    Ok(spent() - begun)
}

/// How long this process has had a CPU.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
