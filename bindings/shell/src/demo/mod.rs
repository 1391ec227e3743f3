//! `cgf demo`: the main job on real processes, every claim checked before it is
//! made.

mod run_counters;
pub mod workload;

use std::ffi::OsString;
use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant};

use cgf::{Evidence, FreezeOptions, Group, Hierarchy, RemoveOptions, Spawn, State};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use crate::failure::Failure;
use crate::hierarchies::Hierarchies;
use crate::janitor::{Extent, Janitor};
use crate::members;
use crate::output::Output;
use crate::process::{self, Process};
use crate::silent_fuse::SilentFuse;
use crate::target::Target;
use run_counters::{Movement, RunCounters};
use workload::Workload;

/// How long the counters are watched.
const WATCHED: Duration = Duration::from_millis(100);
/// The deadline of a freeze that succeeds.
const AMPLE: Duration = Duration::from_secs(2);
/// The deadline of the one that does not.
const SHORT: Duration = Duration::from_millis(300);
/// How much later than that the answer may come: naming who blocks takes 100 ms,
/// and a busy machine its time.
const LATE: Duration = Duration::from_millis(700);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(hierarchies: &Hierarchies, output: &mut Output) -> Result<(), Failure> {
    // Orphans of the killed tree become our children, so that we can tell that
    // none is left, without waiting for process 1 to notice them.
    set_child_subreaper(Some(getpid())).map_err(|errno| Failure::system("becoming a subreaper", errno))?;
    let mut demo = Demo::begin(hierarchies)?;
    demo.introduce(output)?;
    demo.start(output)?;
    demo.freeze(output)?;
    demo.thaw(output)?;
    demo.get_stuck(output)?;
    demo.end(output)
}

struct Demo {
    hierarchy: Hierarchy,
    job: Group,
    /// The workload's tree, and the process that was attached.
    tree: Option<cgf::Child>,
    latecomer: Option<Child>,
    /// Whatever goes wrong, nothing stays behind.
    janitor: Option<Janitor>,
}

impl Demo {
    fn begin(hierarchies: &Hierarchies) -> Result<Demo, Failure> {
        let name = OsString::from(format!("demo-{}", std::process::id()));
        let janitor = Janitor::hire(hierarchies, &Target::from(name.clone()), Extent::HierarchyToo)?;
        let (hierarchy, _) = hierarchies.made(&name)?;
        let job = hierarchy.create("job")?;
        Ok(Demo { hierarchy, job, tree: None, latecomer: None, janitor: Some(janitor) })
    }

    fn introduce(&self, output: &mut Output) -> Result<(), Failure> {
        let name = self.hierarchy.name().display();
        let backend = self.hierarchy.backend_kind();
        output.line("cgf keeps processes in groups, and freezes, thaws and ends a group as a whole.")?;
        output.line(format!("Here it is at work on real ones: hierarchy {name} on {backend}."))?;
        output.line("")?;
        output.flush()
    }

    fn start(&mut self, output: &mut Output) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::system("finding this program", error))?;
        let tree = Spawn::new(program).args(Workload::Tree.words()).env("CGF_OPTIONS", "").fd(null()?, 0).session(true);
        self.tree = Some(self.job.spawn(tree)?);
        let late = self.hierarchy.create("job/late")?;
        let latecomer = workload::start(Workload::Spin)?;
        let pid = i32::try_from(latecomer.id()).unwrap_or_default();
        self.latecomer = Some(latecomer);
        late.attach(pid)?;
        claim(late.procs()? == [pid], "the attached process is in its group")?;

        until("the workload to start", || {
            let threads = RunCounters::read(&self.job)?.threads();
            Ok(members::processes(&self.job)?.len() > workload::PROCESSES && threads > workload::THREADS)
        })?;
        let before = RunCounters::read(&self.job)?;
        let (processes, threads) = (members::processes(&self.job)?.len(), before.threads());
        let moved = before.movement(&self.job, WATCHED)?;
        claim(moved.turns > 0 && !moved.on_cpu.is_zero(), "the workload runs")?;
        step(output, "START", &format!("{processes} processes with {threads} threads that spin and fork: most born"))?;
        more(output, "in group /job, one moved into /job/late while it ran.")?;
        more(output, &format!("In {} they {}.", ms(WATCHED), ran(&moved)))
    }

    fn freeze(&mut self, output: &mut Output) -> Result<(), Failure> {
        let began = Instant::now();
        self.job.freeze(AMPLE)?;
        let took = began.elapsed();
        claim(self.job.state()? == State::Frozen, "the group is FROZEN")?;
        let before = RunCounters::settled(&self.job)?;
        let threads = before.threads();
        let moved = before.movement(&self.job, WATCHED)?;
        claim(
            moved.is_none(),
            &format!("nothing runs while frozen; yet they {}, {} were born", ran(&moved), moved.new_threads),
        )?;
        claim(self.job.state()? == State::Frozen, "the group is still FROZEN")?;
        step(output, "FREEZE", &format!("FROZEN after {}, of the {} it was given: /job and", ms(took), ms(AMPLE)))?;
        more(output, &format!("below, {threads} threads, nobody forgotten."))?;
        more(output, &format!("In {} they {}.", ms(WATCHED), ran(&moved)))
    }

    fn thaw(&mut self, output: &mut Output) -> Result<(), Failure> {
        let began = Instant::now();
        self.job.thaw()?;
        let took = began.elapsed();
        let moved = self.moves_again()?;
        step(output, "THAW", &format!("THAWED after {}. In {} they {}.", ms(took), ms(WATCHED), ran(&moved)))
    }

    fn get_stuck(&mut self, output: &mut Output) -> Result<(), Failure> {
        let fuse = match SilentFuse::mount() {
            Ok(fuse) => fuse,
            Err(why) => {
                let short: String = why.chars().take(60).collect();
                step(output, "STUCK", "left out: it needs a file system that never answers:")?;
                return more(output, &short);
            }
        };
        let cat = Spawn::new("cat").arg(fuse.file()).fd(null()?, 0).fd(null()?, 1).fd(null()?, 2).session(true);
        let cat = self.job.spawn(cat)?;
        until("cat to wait for the answer", || Ok(process::waits_in(cat.pid()) == "request_wait_answer"))?;
        let began = Instant::now();
        let frozen = self.job.freeze_with(FreezeOptions::within(SHORT).rollback(true));
        let took = began.elapsed();
        let Err(error) = frozen else { return Err(unfounded("a task that cannot be stopped blocks a freeze")) };
        if error.errno() != libc::EBUSY {
            return Err(error.into());
        }
        claim(took >= SHORT && took < SHORT + LATE, &format!("a freeze keeps its deadline; it took {}", ms(took)))?;
        let Some(blocker) = error.blockers().iter().find(|blocker| blocker.pid == cat.pid()) else {
            return Err(unfounded(&format!("process {} is named as the one who blocks: {error}", cat.pid())));
        };
        claim(error.blockers().len() == 1, &format!("nobody else is named: {error}"))?;
        let moved = self.moves_again()?;
        let evidence =
            if blocker.evidence == Evidence::Proved { "proved alone in a probe group" } else { "by its state" };
        step(output, "STUCK", "Then one of them reads a file whose server (FUSE) never answers.")?;
        more(output, &format!("Freezing, in {}: {} after {}, and who blocks it:", ms(SHORT), error.name(), ms(took)))?;
        more(output, &format!("{blocker}, {evidence}."))?;
        more(output, &format!("Rolled back: THAWED. In {} they {}.", ms(WATCHED), ran(&moved)))?;
        // The server's end lets cat go.
        drop(fuse);
        match cat.wait(PATIENCE)? {
            Some(_) => Ok(()),
            None => Err(unfounded("cat ends when its file system does")),
        }
    }

    fn end(&mut self, output: &mut Output) -> Result<(), Failure> {
        let pids = members::processes(&self.job)?;
        let began = Instant::now();
        self.job.kill(libc::SIGKILL)?;
        let killed = began.elapsed();
        claim(!self.job.is_populated()?, "the group is empty")?;
        let began = Instant::now();
        self.job.remove_with(RemoveOptions { kill: false, recursive: true })?;
        self.hierarchy.unmount()?;
        let removed = began.elapsed();
        self.reap()?;
        let alive = pids.iter().filter(|pid| Process::read(**pid).is_some_and(|process| !process.is_dead())).count();
        let there = usize::from(self.hierarchy.directory().exists());
        claim(alive == 0 && there == 0, &format!("nothing is left; yet {alive} processes and {there} directories"))?;
        step(
            output,
            "END",
            &format!("{} processes killed in {}, groups removed in {}.", pids.len(), ms(killed), ms(removed)),
        )?;
        more(output, &format!("Left: {alive} processes, {there} directories."))?;
        output.line("")?;
        output.line("All of it was checked while it happened. Next: cgf doctor, cgf --help.")
    }

    fn moves_again(&self) -> Result<Movement, Failure> {
        claim(self.job.state()? == State::Thawed, "the group is THAWED")?;
        let moved = RunCounters::read(&self.job)?.movement(&self.job, WATCHED)?;
        claim(moved.turns > 0 && !moved.on_cpu.is_zero(), "the workload runs again")?;
        Ok(moved)
    }

    /// Waits for every child of ours, adopted ones included.
    fn reap(&mut self) -> Result<(), Failure> {
        (self.tree, self.latecomer) = (None, None);
        if let Some(janitor) = self.janitor.take() {
            janitor.dismiss();
        }
        until("the killed to be gone", || match wait(WaitOptions::NOHANG) {
            Err(rustix::io::Errno::CHILD) => Ok(true),
            Ok(_) => Ok(false),
            Err(errno) => Err(Failure::system("waiting for the killed", errno)),
        })
    }
}

/// Says what did not hold.
fn claim(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(unfounded(what)) }
}

fn unfounded(what: &str) -> Failure {
    Failure::plain(format!("the demo claims what does not hold here: {what}"))
}

fn null() -> Result<File, Failure> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map_err(|error| Failure::system("opening /dev/null", error))
}

fn until(what: &str, mut done: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let began = Instant::now();
    while !done()? {
        if began.elapsed() > PATIENCE {
            return Err(Failure::plain(format!("waited {} for {what}", ms(PATIENCE))));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The first line of a step, which is shown as soon as it has happened.
fn step(output: &mut Output, name: &str, text: &str) -> Result<(), Failure> {
    let title = format!("{name:<8}");
    let title = if output.is_terminal() { format!("\x1b[1m{title}\x1b[0m") } else { title };
    output.text(&format!("{title}{text}\n"))?;
    output.flush()
}

fn more(output: &mut Output, text: &str) -> Result<(), Failure> {
    output.text(&format!("        {}\n", crate::output::harmless(text)))?;
    output.flush()
}

fn ran(moved: &Movement) -> String {
    format!("ran {} times, {} of CPU", moved.turns, ms(moved.on_cpu))
}

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        0.0 => "0 ms".to_owned(),
        ..10.0 => format!("{ms:.2} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}
