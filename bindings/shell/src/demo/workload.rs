//! What the demo has running: a small tree that spins, has threads and forks.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::failure::Failure;

/// One process of the workload.
#[derive(Clone, Copy, ValueEnum)]
pub enum Workload {
    /// Starts the others and waits.
    Tree,
    /// Never sleeps.
    Spin,
    /// Four threads that never sleep.
    Threads,
    /// Starts one short-lived child after the other.
    Fork,
    /// Such a child.
    End,
}

/// Processes of the tree that are always there.
pub const PROCESSES: usize = 6;
/// Their threads.
pub const THREADS: usize = 10;

/// Nothing of it outlives this, should the demo be killed half-way.
const LIFE: Duration = Duration::from_secs(30);

impl Workload {
    pub fn run(self) -> Result<(), Failure> {
        let began = Instant::now();
        let alive = move || began.elapsed() < LIFE;
        match self {
            Workload::Tree => {
                let roles = [Workload::Spin, Workload::Spin, Workload::Spin, Workload::Threads, Workload::Fork];
                let children = roles.map(start);
                for child in children {
                    child?.wait().map_err(|error| Failure::system("waiting for a process", error))?;
                }
            }
            Workload::Spin => spin(alive),
            Workload::Threads => {
                let threads = [(); 3].map(|()| std::thread::spawn(move || spin(alive)));
                spin(alive);
                for thread in threads {
                    let _ = thread.join();
                }
            }
            Workload::Fork => {
                while alive() {
                    start(Workload::End)?.wait().map_err(|error| Failure::system("waiting for a process", error))?;
                }
            }
            Workload::End => {}
        }
        Ok(())
    }

    fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// The words after the program's name that make it this process.
    pub fn words(self) -> [String; 2] {
        ["__workload".to_owned(), self.name()]
    }
}

/// Starts one process of the workload, as a child of the caller.
pub fn start(role: Workload) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::system("finding this program", error))?;
    let started = Command::new(program)
        .args(role.words())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_remove("CGF_OPTIONS")
        .spawn();
    started.map_err(|error| Failure::system("starting a process", error))
}

fn spin(alive: impl Fn() -> bool) {
    while alive() {
        std::hint::black_box((0..10_000_u32).fold(0, u32::wrapping_add));
    }
}
