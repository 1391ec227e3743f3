//! What a freeze costs, against the bare kernel files (`make bench`).
//!
//! Every figure is a ratio of medians: the library and a small C program
//! (`bare.c`) do the same to the same group by turns, A B B A, in one run. The
//! figures of one machine, and how to read them: docs/benchmarks.md.
//!
//! Exit status 1 if a freeze costs more than is allowed; `CGF_BENCH_STRICT=0`
//! only reports. `CGF_DEMAND=1` makes a backend that does not work here a
//! failure. Words after `--` choose backends, all by default.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cgf::{BackendKind, Group, Hierarchy, Spawn};

use side_by_side::{Bare, Bench, LIMIT, Populated, Result, Row, Times, alternate, nap, napped};

mod side_by_side;

/// Tasks in the group, rounds, and how much the library may cost at most.
const FREEZES: [(usize, usize, Option<f64>); 3] = [(1, 151, Some(1.25)), (100, 51, None), (1000, 31, Some(1.10))];

/// Rounds of freezing one task by somebody who has done nothing for a while.
const COLD: usize = 41;

/// Rounds of starting and attaching.
const STARTS: usize = 41;

/// Rounds of a hundred looks at the state each.
const LOOKS: usize = 31;

fn main() -> Result<ExitCode> {
    side_by_side::run("bench", Bench::measure)
}

impl Bench {
    fn measure(&mut self, hierarchy: &Hierarchy) -> Result<()> {
        for (tasks, rounds, allowed) in FREEZES {
            eprintln!("{}: {tasks} tasks", hierarchy.backend_kind());
            self.freezes(hierarchy, tasks, rounds, allowed)?;
        }
        eprintln!("{}: starting and attaching", hierarchy.backend_kind());
        self.starts(hierarchy)
    }

    fn freezes(&mut self, hierarchy: &Hierarchy, tasks: usize, rounds: usize, allowed: Option<f64>) -> Result<()> {
        let backend = hierarchy.backend_kind();
        let group = Populated::create(&self.bare, hierarchy, "measured", tasks)?;
        let twin = Populated::create(&self.bare, hierarchy, "twin", 1)?;
        let mut bare = Bare::start(&self.bare, &group.group, &twin.group)?;
        let nap = nap(backend);
        let mut compare = |rounds, warm| {
            let warm_up = if warm { Some(&twin.group) } else { None };
            let group = &group.group;
            alternate(rounds, &mut || Ok([bare.ask("freeze", nap, warm)?, bare.ask("thaw", nap, warm)?]), &mut || {
                Ok([time(nap, warm_up, || group.freeze(LIMIT))?, time(nap, warm_up, || group.thaw())?])
            })
        };
        let mut rows = Vec::new();
        let [mut freeze, mut thaw] = compare(rounds, true)?;
        // A busy machine gets a second chance, with all rounds counted.
        if allowed.is_some_and(|allowed| freeze.ratio() > allowed) {
            let [more_freeze, more_thaw] = compare(rounds, true)?;
            freeze.extend(more_freeze);
            thaw.extend(more_thaw);
        }
        rows.push(("freeze", freeze, allowed));
        rows.push(("thaw", thaw, None));
        if tasks == 1 {
            let [freeze, thaw] = compare(COLD, false)?;
            rows.push(("freeze, cold", freeze, None));
            rows.push(("thaw, cold", thaw, None));
            let [state] = looks(&group.group, &mut bare)?;
            rows.push(("state, THAWED", state, None));
            group.group.freeze(LIMIT)?;
            let [state] = looks(&group.group, &mut bare)?;
            rows.push(("state, FROZEN", state, None));
        }
        drop(bare);
        group.remove()?;
        twin.remove()?;
        self.rows.extend(rows.into_iter().map(|(what, times, allowed)| Row {
            what: what.into(),
            backend,
            tasks: Some(tasks),
            times,
            allowed,
        }));
        Ok(())
    }

    fn starts(&mut self, hierarchy: &Hierarchy) -> Result<()> {
        let backend = hierarchy.backend_kind();
        let group = hierarchy.create("start")?;
        let mut bare = Bare::start(&self.bare, &group, &group)?;
        // The kernel takes its time over a move that comes long after the last.
        let nap = Duration::from_millis(30);
        let ways: &[(&str, &str)] = match backend {
            BackendKind::Cgroup2 => &[("born", "spawn / clone3 into, exec"), ("moved", "spawn / fork, attach, exec")],
            BackendKind::Cgroup1 => &[("moved", "spawn / fork, attach, exec")],
            _ => &[("plain", "spawn / fork, setsid, exec")],
        };
        for (way, what) in ways {
            let mut spawn = || {
                let program = Spawn::new(&self.bare).arg("exit");
                let begun = napped(nap);
                let child = group.spawn(program)?;
                let took = begun.elapsed();
                child.wait(LIMIT)?;
                Ok([took])
            };
            let [times] = alternate(STARTS, &mut || Ok([bare.ask(way, nap, false)?]), &mut spawn)?;
            self.rows.push(Row { what: (*what).into(), backend, tasks: None, times, allowed: None });
        }
        if backend != BackendKind::Embedded {
            let move_one = |attach: &dyn Fn(i32) -> Result<()>| {
                let mut child = Command::new(&self.bare).arg("pause").stdin(Stdio::null()).spawn()?;
                let pid = i32::try_from(child.id())?;
                let begun = napped(nap);
                let attached = attach(pid);
                let took = begun.elapsed();
                child.kill()?;
                child.wait()?;
                attached.map(|()| [took])
            };
            // Both sides from this process: how long the kernel waits for a grace period
            // depends on who asks, and what that one did before.
            let file = hierarchy.directory().join("start/cgroup.procs");
            let bare =
                |pid: i32| Ok(OpenOptions::new().write(true).open(&file)?.write_all(pid.to_string().as_bytes())?);
            let cgf = |pid| Ok(group.attach(pid)?);
            let [times] = alternate(STARTS, &mut || move_one(&bare), &mut || move_one(&cgf))?;
            self.rows.push(Row { what: "attach / cgroup.procs".into(), backend, tasks: None, times, allowed: None });
        }
        Ok(())
    }
}

/// A hundred looks at the state.
fn looks(group: &Group, bare: &mut Bare) -> Result<[Times; 1]> {
    let nap = Duration::from_millis(1);
    let mut cgf = || {
        let begun = napped(nap);
        for _ in 0..100 {
            group.state()?;
        }
        Ok([begun.elapsed() / 100])
    };
    alternate(LOOKS, &mut || Ok([bare.ask("state", nap, false)?]), &mut cgf)
}

/// `warm_up` is a group like the one that is measured: the second time is what
/// it costs somebody who does it often, the first what a cold cache makes of it.
fn time(nap: Duration, warm_up: Option<&Group>, act: impl FnOnce() -> cgf::Result<()>) -> Result<Duration> {
    napped(nap);
    if let Some(twin) = warm_up {
        twin.freeze(LIMIT)?;
        twin.thaw()?;
    }
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed())
}
