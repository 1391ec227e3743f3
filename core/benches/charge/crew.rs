//! Processes that measure when they are told to, all of them at once.
//!
//! An order names a way to charge, how many are to do it, when they begin and for how
//! long. A round in which the scheduler took a worker's CPU away tells nothing of the
//! way to charge, and is repeated.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a round is: shorter than the scheduler's slice, so that most rounds are
/// left in peace also on a busy machine.
const ROUND: Duration = Duration::from_millis(2);

/// How often a round is tried before it counts as it is.
const TRIES: usize = 8;

/// What a worker found.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// How many charges were made and taken back.
    pub pairs: u64,
    pub wall: Duration,
    /// The scheduler interfered.
    pub is_disturbed: bool,
    /// For how long it had a CPU; the C program does not say.
    pub cpu: Duration,
}

/// The workers of one kind.
pub struct Crew {
    listeners: Vec<Listener>,
    /// The first one has them all, and relays.
    relays: bool,
    /// Rounds, and those that were disturbed each time.
    pub rounds: usize,
    pub disturbed: usize,
}

impl Crew {
    /// One program that starts the workers itself, and relays.
    pub fn relayed(command: Command) -> Result<Crew> {
        Ok(Crew { listeners: vec![Listener::start(command)?], relays: true, rounds: 0, disturbed: 0 })
    }

    /// So many workers; the function makes the command of each.
    pub fn of(workers: usize, command: impl Fn(usize) -> Result<Command>) -> Result<Crew> {
        let listeners = (0..workers).map(|number| Listener::start(command(number)?)).collect::<Result<_>>()?;
        Ok(Crew { listeners, relays: false, rounds: 0, disturbed: 0 })
    }

    /// Nanoseconds for a charge and its return, seen by each of so many workers.
    pub fn measure(&mut self, way: &str, workers: usize) -> Result<f64> {
        self.rounds += 1;
        for _ in 0..TRIES {
            let answers = self.order(way, workers, ROUND)?;
            if answers.iter().all(|answer| !answer.is_disturbed) {
                return Ok(nanoseconds(&answers, |answer| answer.wall));
            }
        }
        self.disturbed += 1;
        Ok(nanoseconds(&self.order(way, workers, ROUND)?, |answer| answer.wall))
    }

    /// The same in time on a CPU, for more workers than there are CPUs.
    pub fn measure_cpu(&mut self, way: &str, workers: usize, length: Duration) -> Result<f64> {
        Ok(nanoseconds(&self.order(way, workers, length)?, |answer| answer.cpu))
    }

    /// Has the first so many do something, and waits until they have.
    pub fn order(&mut self, way: &str, workers: usize, length: Duration) -> Result<Vec<Answer>> {
        // Time for all to wake up.
        let start = now() + Duration::from_micros(200 + 50 * workers as u64);
        let order = format!("{way} {workers} {} {}\n", start.as_nanos(), length.as_nanos());
        if self.relays {
            let relay = self.listeners.first_mut().ok_or("no crew")?;
            relay.tell(&order)?;
            return (0..workers).map(|_| relay.hear(&order)).collect();
        }
        let crew = self.listeners.get_mut(..workers).ok_or("the crew is smaller")?;
        crew.iter_mut().try_for_each(|worker| worker.tell(&order))?;
        crew.iter_mut().map(|worker| worker.hear(&order)).collect()
    }

    /// The process of a worker that was started here.
    pub fn process(&self, worker: usize) -> Result<u32> {
        Ok(self.listeners.get(worker).ok_or("the crew is smaller")?.child.id())
    }
}

/// What the monotonic clock shows.
pub fn now() -> Duration {
    since_zero(clock_gettime(ClockId::Monotonic))
}

/// For how long this thread has had a CPU.
pub fn on_cpu() -> Duration {
    since_zero(clock_gettime(ClockId::ThreadCPUTime))
}

fn since_zero(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn nanoseconds(answers: &[Answer], time: impl Fn(&Answer) -> Duration) -> f64 {
    let each = answers.iter().map(|answer| time(answer).as_secs_f64() * 1e9 / answer.pairs.max(1) as f64);
    each.sum::<f64>() / answers.len() as f64
}

/// A process that takes orders by lines and answers by lines.
struct Listener {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Listener {
    fn start(mut command: Command) -> Result<Listener> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take().ok_or("no standard output")?);
        Ok(Listener { child, orders, answers: BufReader::new(answers) })
    }

    fn tell(&mut self, order: &str) -> Result<()> {
        let orders = self.orders.as_mut().ok_or("no standard input")?;
        Ok(orders.write_all(order.as_bytes())?)
    }

    fn hear(&mut self, order: &str) -> Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        let &[pairs, wall, disturbed, cpu] = numbers.as_slice() else {
            return Err(format!("a worker failed at: {}", order.trim()).into());
        };
        Ok(Answer {
            pairs,
            wall: Duration::from_nanos(wall),
            is_disturbed: disturbed != 0,
            cpu: Duration::from_nanos(cpu),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The end of its orders is the end of its work.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
