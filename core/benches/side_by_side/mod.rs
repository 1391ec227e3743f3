//! The library and the bare kernel files side by side: both do the same to the same
//! group by turns, A B B A, in one run. A figure is the ratio of the two medians.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cgf::{BackendKind, Group, Hierarchy, Options, RemoveOptions, Spawn};

#[path = "../sweeper/mod.rs"]
mod sweeper;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a CPU is kept busy before something is measured on it.
const AWAKE: Duration = Duration::from_micros(500);

/// No wait of a benchmark is meant to reach it.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Measures on every backend that was chosen, prints the figures, and says whether
/// all is as it must be.
pub fn run(name: &str, measure: fn(&mut Bench, &Hierarchy) -> Result<()>) -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name, options] = words.as_slice()
        && word == "sweep"
    {
        return sweeper::sweep(name, options).map(|()| ExitCode::SUCCESS);
    }
    // `cargo test --benches` only wants to see that it starts.
    if !words.iter().any(|word| word == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = |kind: &BackendKind| {
        let mut names = words.iter().filter(|word| !word.starts_with("--")).peekable();
        names.peek().is_none() || names.any(|name| name == kind.name())
    };
    let name = format!("{name}-{}", std::process::id());
    let bare = compile()?;
    let mut sweeper = sweeper::Sweeper::start(&name, "")?;
    let mut bench = Bench { bare, rows: Vec::new() };
    for kind in BackendKind::ALL.into_iter().filter(chosen) {
        match Hierarchy::open(&name, &Options::default().backend(kind)) {
            Ok(hierarchy) => measure(&mut bench, &hierarchy)?,
            Err(why) if std::env::var_os("CGF_DEMAND").is_some() => return Err(why.into()),
            Err(why) => println!("{kind}: not measured: {why}"),
        }
    }
    sweeper.finish()?;
    Ok(bench.report())
}

/// Builds the C program.
fn compile() -> Result<PathBuf> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let sources = ["bare.c", "bare_embedded.c", "bare_proof.c"].map(|name| benches.join(name));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-o"]).arg(&program).args(&sources);
    if command.status()?.success() { Ok(program) } else { Err("compiling bare.c failed".into()) }
}

/// The C program, and what was measured so far.
pub struct Bench {
    pub bare: PathBuf,
    pub rows: Vec<Row>,
}

/// One comparison; or, with nothing on the bare side, one figure.
pub struct Row {
    pub what: String,
    pub backend: BackendKind,
    pub tasks: Option<usize>,
    pub times: Times,
    pub allowed: Option<f64>,
}

impl Bench {
    /// Prints the figures; whether all is as it must be.
    fn report(&self) -> ExitCode {
        let mut exceeded = false;
        println!();
        println!(
            "{:<10}{:<28}{:>6}{:>11}{:>11}{:>7}  {:<13}allowed",
            "backend", "what", "tasks", "bare", "cgf", "ratio", "[p10..p90]"
        );
        for row in &self.rows {
            let is_over = row.allowed.is_some_and(|allowed| row.times.ratio() > allowed);
            exceeded |= is_over;
            let verdict = match row.allowed {
                None => String::new(),
                Some(allowed) if is_over => format!("{allowed:.2} EXCEEDED"),
                Some(allowed) => format!("{allowed:.2}"),
            };
            let [bare, ratio, spread] = row.times.compared();
            let line = format!(
                "{:<10}{:<28}{:>6}{bare:>11}{:>11}{ratio:>7}  {spread:<13}{verdict}",
                row.backend.name(),
                row.what,
                row.tasks.map_or("-".into(), |tasks| tasks.to_string()),
                in_words(median(&row.times.cgf)),
            );
            println!("{}", line.trim_end());
        }
        let strict = std::env::var("CGF_BENCH_STRICT").as_deref() != Ok("0");
        if exceeded && strict { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// A group with sleeping tasks.
pub struct Populated {
    pub group: Group,
    actor: cgf::Child,
}

impl Populated {
    pub fn create(program: &Path, hierarchy: &Hierarchy, name: &str, tasks: usize) -> Result<Populated> {
        let group = hierarchy.create(name)?;
        let (mut ready, done) = std::io::pipe()?;
        let actor = group.spawn(Spawn::new(program).args(["tasks", &tasks.to_string()]).fd(done, 1))?;
        ready.read_to_end(&mut Vec::new())?;
        // On the embedded backend this also writes them all down.
        if group.tasks()?.len() != tasks {
            return Err(format!("{group} has not the {tasks} tasks that were started").into());
        }
        Ok(Populated { group, actor })
    }

    pub fn remove(self) -> Result<()> {
        self.group.remove_with(RemoveOptions { kill: true, recursive: true })?;
        self.actor.wait(LIMIT)?;
        Ok(())
    }
}

/// How long a group is left alone before the next change. The kernel tells of
/// changes in `cgroup.events` a hundred times a second at most.
pub fn nap(backend: BackendKind) -> Duration {
    Duration::from_millis(if backend == BackendKind::Cgroup2 { 20 } else { 3 })
}

/// A nap, and then a moment of work: what is measured begins on a CPU that is
/// awake, as that of a caller who does something is.
pub fn napped(nap: Duration) -> Instant {
    std::thread::sleep(nap);
    let woken = Instant::now();
    while woken.elapsed() < AWAKE {
        std::hint::spin_loop();
    }
    Instant::now()
}

/// The C program, at the group that is measured.
pub struct Bare {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    pub fn start(program: &Path, group: &Group, twin: &Group) -> Result<Bare> {
        let directory = |group: &Group| group.hierarchy().directory().join(OsStr::from_bytes(group.path().as_bytes()));
        let mut child = Command::new(program)
            .arg(group.hierarchy().backend_kind().name())
            .args([directory(group), directory(twin)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take().ok_or("no standard output")?);
        Ok(Bare { child, orders, answers: BufReader::new(answers) })
    }

    /// Has it nap and then do one thing; how long that took.
    pub fn ask(&mut self, what: &str, nap: Duration, warm: bool) -> Result<Duration> {
        let orders = self.orders.as_mut().ok_or("no standard input")?;
        orders.write_all(format!("{what} {} {}\n", nap.as_micros(), i32::from(warm)).as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let nanoseconds = answer.trim().parse().map_err(|_| format!("bare.c failed at: {what}"))?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// What both took, round by round.
#[derive(Default)]
pub struct Times {
    pub bare: Vec<Duration>,
    pub cgf: Vec<Duration>,
}

/// Measures by turns: bare, cgf; cgf, bare; and so on. What gets slower as time
/// goes by, and what the one leaves behind for the other, meets both alike.
pub fn alternate<const N: usize>(
    rounds: usize,
    bare: &mut dyn FnMut() -> Result<[Duration; N]>,
    cgf: &mut dyn FnMut() -> Result<[Duration; N]>,
) -> Result<[Times; N]> {
    let mut all = std::array::from_fn(|_| Times::default());
    for round in 0..rounds + 2 {
        let (bare, cgf) = if round % 2 == 0 {
            let first = bare()?;
            (first, cgf()?)
        } else {
            let first = cgf()?;
            (bare()?, first)
        };
        // The first two warm up.
        if round < 2 {
            continue;
        }
        for ((times, bare), cgf) in all.iter_mut().zip(bare).zip(cgf) {
            times.bare.push(bare);
            times.cgf.push(cgf);
        }
    }
    Ok(all)
}

impl Times {
    pub fn extend(&mut self, more: Times) {
        self.bare.extend(more.bare);
        self.cgf.extend(more.cgf);
    }

    pub fn ratio(&self) -> f64 {
        ratio(&self.cgf, &self.bare)
    }

    /// The bare side, the ratio and how it varies, in words.
    fn compared(&self) -> [String; 3] {
        if self.bare.is_empty() {
            return ["-".into(), "-".into(), String::new()];
        }
        let [low, high] = self.spread();
        [in_words(median(&self.bare)), format!("{:.2}", self.ratio()), format!("[{low:.2}..{high:.2}]")]
    }

    /// How much the ratio depends on the moment: that of each tenth of the
    /// rounds by itself, without the lowest and the highest one.
    fn spread(&self) -> [f64; 2] {
        let size = self.bare.len().div_ceil(10).max(1);
        let mut ratios: Vec<f64> =
            self.cgf.chunks(size).zip(self.bare.chunks(size)).map(|(cgf, bare)| ratio(cgf, bare)).collect();
        ratios.sort_by(f64::total_cmp);
        [ratios[1], ratios[ratios.len() - 2]]
    }
}

fn ratio(cgf: &[Duration], bare: &[Duration]) -> f64 {
    median(cgf).as_secs_f64() / median(bare).as_secs_f64()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn in_words(time: Duration) -> String {
    let microseconds = time.as_secs_f64() * 1e6;
    if microseconds < 1000.0 { format!("{microseconds:.1} us") } else { format!("{:.2} ms", microseconds / 1000.0) }
}
