//! Killed and stopped at every instruction.
//!
//! A process does one operation, one instruction at a time. What its memory was between two writes to the region is
//! nobody's business but its own once it is dead: so being killed at any instruction is being killed in one of the
//! states that the region went through. The states are kept, the process is killed, and each state is put back and
//! looked at by others. At a sample of instructions (in full: at all of them) it is killed there in earnest.
//!
//! Of a process that is stopped and goes on later, every instruction counts: what it has read is in its registers.
//! There it is copied, somebody else acts, and the copy goes on to the end; then the region is put back, and the
//! process makes one more step.

use std::time::Duration;

use super::super::layout;
use super::super::mapping::HEADER;
use super::alone::alone;
use super::offspring::{Child, Line};
use super::picture::{Mapped, Picture};
use super::scenarios::{ALL, Scenario};
use super::soak;
use super::step::{Stop, Traced, mark};
use super::world::{First, Scene, Seen, World};

/// Where in the file the region begins, and the commit word is.
pub(super) const DATA: usize = HEADER;
pub(super) const COMMIT: usize = DATA + layout::COMMIT;

/// Instructions of an operation, at most.
const LONGEST: usize = 2_000_000;

/// What one exploration saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) instructions: usize,
    pub(super) states: usize,
    pub(super) kills: usize,
    pub(super) stops: usize,
}

/// How much of it is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Stops besides those at changes; 0: at every instruction.
    pub(super) stops: usize,
    /// Kills in earnest; 0: none.
    pub(super) kills: usize,
    /// So many instructions before its first transfer it is stopped at each, by what is most likely to mislead it.
    pub(super) misled: usize,
}

/// All that a process may see when the operation has not happened, or has.
#[derive(Debug)]
struct Legal {
    fill: [Seen; 2],
    look: [Seen; 2],
}

/// What somebody does while the process is stopped.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// Takes everything and gives it back.
    Undo,
    /// Takes everything and dies.
    Die,
    /// Takes everything and keeps it.
    Hold,
    /// Something of the scenario's own.
    Other(usize),
}

struct Exploration<'a> {
    scenario: &'a Scenario,
    world: World,
    map: Mapped,
    victim: Traced,
    reference: String,
    alive: Legal,
    tally: Tally,
}

/// Goes through a scenario; what was wrong.
pub(super) fn explore(scenario: &Scenario, pace: Pace) -> Result<Tally, String> {
    let mut world = World::make(scenario.bounds)?;
    world.spare_other = scenario.alone_there;
    let _peer = scenario.peer.map(|act| bystander(&world, act)).transpose()?;
    let map = Mapped::open(&world.file);
    let empty = map.take();
    let mut exploration = Exploration::begin(scenario, world, map)?;
    let states = exploration.walk(pace)?;
    exploration.dead(&states)?;
    let length = exploration.tally.instructions;
    for number in 0..pace.kills {
        let at = (length * (2 * number + 1) / (2 * pace.kills)).max(1);
        exploration.kill_at(&empty, at)?;
    }
    Ok(exploration.tally)
}

/// A process that has done something, and does nothing more.
fn bystander(world: &World, act: fn(&Scene)) -> Result<Child, String> {
    let mut child = Child::start(|line| {
        let scene = world.enter();
        act(&scene);
        line.say("ready");
        line.hear()
    });
    child.hear()?;
    Ok(child)
}

/// The process that is watched, at the beginning of the operation.
fn victim(world: &World, scenario: &Scenario) -> Result<Traced, String> {
    let dead = scenario.dead.map(|act| bystander(world, act)).transpose()?;
    let victim = Traced::start(|line| watched(world, scenario, line))?;
    drop(dead);
    Ok(victim)
}

fn watched(world: &World, scenario: &Scenario, line: &mut Line) -> String {
    let scene = world.enter();
    if scenario.thread {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (scenario.prepare)(&scene);
                mark();
            });
        });
        mark();
        line.say("ok");
    } else {
        (scenario.prepare)(&scene);
        mark();
        let said = (scenario.act)(&scene);
        mark();
        line.say(&said);
    }
    mark();
    String::new()
}

impl<'a> Exploration<'a> {
    /// Runs it once to the end, for what should come out.
    fn begin(scenario: &'a Scenario, world: World, map: Mapped) -> Result<Exploration<'a>, String> {
        let mut victim = victim(&world, scenario)?;
        let start = map.take();
        let seen = |first| {
            let seen = world.seen(first);
            map.put(&start);
            seen
        };
        let before = [seen(First::Fill)?, seen(First::Look)?];
        let copy = victim.copy()?;
        copy.run_to_mark()?;
        let end = map.take();
        let mut reference = "ok".to_owned();
        if !scenario.thread {
            copy.run_to_mark()?;
            reference = victim.child().hear()?;
        }
        let seen = |first| {
            map.put(&end);
            let seen = world.seen(first);
            map.put(&start);
            seen
        };
        let after = [seen(First::Fill)?, seen(First::Look)?];
        let alive = legal(before, after);
        Ok(Exploration { scenario, world, map, victim, reference, alive, tally: Tally::default() })
    }

    /// Steps through the operation, stopping others' work at each change and at a sample between; the states.
    fn walk(&mut self, pace: Pace) -> Result<Vec<Picture>, String> {
        // How many there will be is not known: so ever wider steps.
        let (mut every, mut next) = (1, 0);
        let misled = if pace.misled == 0 { 0..0 } else { self.before_transfer(pace.misled)? };
        let mut states = vec![self.map.take()];
        let mut at = 0;
        let mut changed = false;
        loop {
            if changed || at == next {
                if at == next {
                    next = at + every;
                    every = (every * (pace.stops + 4)).checked_div(pace.stops).map_or(1, |wider| wider + 1);
                }
                let state = self.map.take();
                for meanwhile in self.meanwhiles(pace.stops == 0) {
                    self.stop(meanwhile).map_err(|why| format!("stopped at {at}, {meanwhile:?}: {why}"))?;
                    self.map.put(&state);
                }
                if changed {
                    self.look(&state).map_err(|why| format!("stopped at {at}: {why}"))?;
                }
            }
            if misled.contains(&at) {
                let state = self.map.take();
                let meanwhile = if self.scenario.others.is_empty() { Meanwhile::Hold } else { Meanwhile::Other(0) };
                let why = |why| format!("stopped at {at} of {misled:?}, {meanwhile:?}: {why}");
                self.stop(meanwhile).map_err(why)?;
                self.map.put(&state);
            }
            let stop = self.victim.step()?;
            at += 1;
            if at > LONGEST {
                return Err("it takes forever".to_owned());
            }
            changed = states.last().is_some_and(|last| !self.map.is(last));
            if changed {
                states.push(self.map.take());
            }
            match stop {
                Stop::Stepped => {}
                Stop::Marked | Stop::Ended => break,
            }
        }
        self.tally.instructions = at;
        self.tally.states = states.len();
        Ok(states)
    }

    /// The instructions before its first transfer.
    fn before_transfer(&mut self, count: usize) -> Result<std::ops::Range<usize>, String> {
        let start = self.map.take();
        let copy = self.victim.copy()?;
        let mut at: usize = 0;
        let commit = self.map.word(COMMIT);
        while self.map.word(COMMIT) == commit && copy.step()? == Stop::Stepped {
            at += 1;
        }
        self.map.put(&start);
        Ok(at.saturating_sub(count)..at)
    }

    /// Which variants: all, or one after the other.
    fn meanwhiles(&self, all: bool) -> Vec<Meanwhile> {
        let mut every = vec![Meanwhile::Undo];
        if !self.scenario.depends {
            every.extend([Meanwhile::Die, Meanwhile::Hold]);
        }
        every.extend((0..self.scenario.others.len()).map(Meanwhile::Other));
        if all { every } else { vec![every[self.tally.stops % every.len()]] }
    }

    /// What others see while it is stopped.
    fn look(&mut self, state: &Picture) -> Result<(), String> {
        for first in [First::Fill, First::Look] {
            let seen = self.world.seen(first);
            self.map.put(state);
            self.alive.check(first, &seen?)?;
        }
        Ok(())
    }

    /// Somebody acts, and it goes on.
    fn stop(&mut self, meanwhile: Meanwhile) -> Result<(), String> {
        self.tally.stops += 1;
        let copy = self.victim.copy()?;
        let mut other = Child::start(|line| {
            let mut scene = self.world.enter();
            let done = match meanwhile {
                Meanwhile::Undo => scene.rooms().map(|_| Vec::new()),
                Meanwhile::Die | Meanwhile::Hold => scene.take_all(),
                Meanwhile::Other(number) => {
                    (self.scenario.others[number])(&scene);
                    Ok(Vec::new())
                }
            };
            line.say(done.as_ref().err().map_or("", String::as_str));
            if !matches!(meanwhile, Meanwhile::Die) {
                line.hear();
            }
            if let (Meanwhile::Hold, Ok(held)) = (meanwhile, done) {
                // If it has less than that by now, that is counted.
                scene.region.uncharge(0, &held).unwrap();
            }
            String::new()
        });
        let trouble = other.hear()?;
        if !trouble.is_empty() {
            return Err(trouble);
        }
        if matches!(meanwhile, Meanwhile::Die) {
            other.wait()?;
        }
        copy.run_to_mark()?;
        let said = if self.scenario.thread {
            self.reference.clone()
        } else {
            copy.run_to_mark()?;
            self.victim.child().hear()?
        };
        if matches!(meanwhile, Meanwhile::Hold)
            && !self.scenario.name.contains("force")
            && !self.scenario.name.contains("lower")
        {
            let over = Child::run(|| self.world.enter().over().unwrap_or_default())?;
            if !over.is_empty() {
                return Err(format!("it was told {said:?}, and {over}"));
            }
        }
        if !matches!(meanwhile, Meanwhile::Die) {
            other.tell("go on")?;
            other.hear()?;
            other.wait()?;
        }
        let refused = matches!(meanwhile, Meanwhile::Hold) && said == "full";
        if said != self.reference && !refused {
            return Err(format!("it was told {said:?} and not {:?}", self.reference));
        }
        if matches!(meanwhile, Meanwhile::Other(_)) {
            return Ok(());
        }
        let seen = self.world.seen(First::Fill)?;
        let wanted = &self.alive.fill[usize::from(!refused)];
        if seen == *wanted {
            Ok(())
        } else {
            Err(format!("it was told {said:?};\n  seen {seen:?},\n  not  {wanted:?}"))
        }
    }

    /// What others see when it was killed, in each of the states.
    fn dead(&mut self, states: &[Picture]) -> Result<(), String> {
        self.victim.kill();
        let seen = |state: &Picture, first| {
            self.map.put(state);
            self.world.seen(first)
        };
        let (Some(start), Some(end)) = (states.first(), states.last()) else { return Ok(()) };
        let before = [seen(start, First::Fill)?, seen(start, First::Look)?];
        let after = [seen(end, First::Fill)?, seen(end, First::Look)?];
        let legal = legal(before, after);
        for (number, state) in states.iter().enumerate() {
            for first in [First::Fill, First::Look] {
                let why = |why| format!("killed in state {number} of {}: {why}", states.len());
                legal.check(first, &seen(state, first).map_err(why)?).map_err(why)?;
                self.tally.kills += 1;
            }
        }
        self.alive = legal;
        Ok(())
    }

    /// A new process, killed in earnest at an instruction.
    fn kill_at(&mut self, empty: &Picture, at: usize) -> Result<(), String> {
        self.map.put(empty);
        let mut victim = victim(&self.world, self.scenario)?;
        for _ in 0..at {
            if victim.step()? != Stop::Stepped {
                break;
            }
        }
        victim.kill();
        let first = if at.is_multiple_of(2) { First::Fill } else { First::Look };
        let seen = self.world.seen(first).map_err(|why| format!("killed at {at}: {why}"))?;
        self.tally.kills += 1;
        self.alive.check(first, &seen).map_err(|why| format!("killed at {at}: {why}"))
    }
}

fn legal(before: [Seen; 2], after: [Seen; 2]) -> Legal {
    let ([fill_before, look_before], [fill_after, look_after]) = (before, after);
    Legal { fill: [fill_before, fill_after], look: [look_before, look_after] }
}

impl Legal {
    fn check(&self, first: First, seen: &Seen) -> Result<(), String> {
        let wanted = if first == First::Fill { &self.fill } else { &self.look };
        if wanted.contains(seen) {
            return Ok(());
        }
        Err(format!("{first:?}:\n  seen   {}\n  before {}\n  after  {}", seen.0, wanted[0].0, wanted[1].0))
    }
}

/// R6.7, R6.8, R6.9: wherever a process is killed or stopped, what others find is what was before its operation or what
/// is after it, and they find it at once; and what it does when it goes on is as if it had never been stopped.
#[test]
fn killed_and_stopped_at_every_instruction() {
    let limit = if soak() { Duration::from_secs(3600) } else { Duration::from_secs(300) };
    alone("instructions::killed_and_stopped_at_every_instruction", limit, || {
        let pace =
            if soak() { Pace { stops: 0, kills: 400, misled: 0 } } else { Pace { stops: 12, kills: 1, misled: 0 } };
        let filter = std::env::var("CGF_SCENARIO").unwrap_or_default();
        let mut failures = Vec::new();
        for scenario in ALL.iter().filter(|scenario| scenario.name.contains(&filter)) {
            let began = std::time::Instant::now();
            match explore(scenario, pace) {
                Ok(tally) => eprintln!("{}: {tally:?} in {:?}", scenario.name, began.elapsed()),
                Err(why) => failures.push(format!("{}: {why}", scenario.name)),
            }
        }
        if failures.is_empty() { Ok("all as it should be".to_owned()) } else { Err(failures.join("\n")) }
    });
}
