//! What a freeze costs, against the bare kernel files (`make bench`).
//!
//! Every figure is a ratio of medians: the library and a small C program
//! (`bare.c`) do the same to the same group by turns, A B B A, in one run. The
//! figures of one machine, and how to read them: docs/benchmarks.md.
//!
//! Exit status 1 if a freeze costs more than is allowed; `CGF_BENCH_STRICT=0`
//! only reports. `CGF_DEMAND=1` makes a backend that does not work here a
//! failure. Words after `--` choose backends, all by default.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cgf::{BackendKind, Group, Hierarchy, Options, RemoveOptions, Spawn};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tasks in the group, rounds, and how much the library may cost at most.
const FREEZES: [(usize, usize, Option<f64>); 3] = [(1, 151, Some(1.25)), (100, 51, None), (1000, 31, Some(1.10))];

/// Rounds of freezing one task by somebody who has done nothing for a while.
const COLD: usize = 41;

/// Rounds of starting and attaching.
const STARTS: usize = 41;

/// Rounds of a hundred looks at the state each.
const LOOKS: usize = 31;

/// How long a CPU is kept busy before something is measured on it.
const AWAKE: Duration = Duration::from_micros(500);

/// No wait of a benchmark is meant to reach it.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name] = words.as_slice()
        && word == "sweep"
    {
        return sweep(name).map(|()| ExitCode::SUCCESS);
    }
    // `cargo test --benches` only wants to see that it starts.
    if !words.iter().any(|word| word == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = |kind: &BackendKind| {
        let mut names = words.iter().filter(|word| !word.starts_with("--")).peekable();
        names.peek().is_none() || names.any(|name| name == kind.name())
    };
    let name = format!("bench-{}", std::process::id());
    let bare = compile()?;
    let mut sweeper = Sweeper::start(&name)?;
    let mut bench = Bench { bare, rows: Vec::new() };
    for kind in BackendKind::ALL.into_iter().filter(chosen) {
        match Hierarchy::open(&name, &Options::default().backend(kind)) {
            Ok(hierarchy) => bench.measure(&hierarchy)?,
            Err(why) if std::env::var_os("CGF_DEMAND").is_some() => return Err(why.into()),
            Err(why) => println!("{kind}: not measured: {why}"),
        }
    }
    sweeper.finish()?;
    Ok(bench.report())
}

/// Builds the C program.
fn compile() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bare.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(compiler).args(["-std=gnu11", "-O2", "-Wall", "-o"]).args([&program, &source]).status()?;
    if built.success() { Ok(program) } else { Err("compiling bare.c failed".into()) }
}

/// A process that removes everything when this one ends, however it ends: it
/// waits for the end of its standard input, out of the terminal's reach.
struct Sweeper(Child);

impl Sweeper {
    fn start(name: &str) -> Result<Sweeper> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Sweeper(command.args(["sweep", name]).process_group(0).stdin(Stdio::piped()).spawn()?))
    }

    fn finish(&mut self) -> Result<()> {
        drop(self.0.stdin.take());
        if self.0.wait()?.success() { Ok(()) } else { Err("what was measured could not be removed".into()) }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // After a failure, which is what will be reported.
        let _ = self.finish();
    }
}

fn sweep(name: &str) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for kind in BackendKind::ALL {
        let Ok(hierarchy) = Hierarchy::open_existing(name, &Options::default().backend(kind)) else { continue };
        for path in hierarchy.groups()? {
            hierarchy.open_group(path.as_bytes())?.remove_with(RemoveOptions { kill: true, recursive: true })?;
        }
        hierarchy.unmount()?;
    }
    Ok(())
}

struct Bench {
    bare: PathBuf,
    rows: Vec<Row>,
}

/// One comparison.
struct Row {
    what: String,
    backend: BackendKind,
    tasks: Option<usize>,
    times: Times,
    allowed: Option<f64>,
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
            let mut attach = || {
                let mut child = Command::new(&self.bare).arg("pause").stdin(Stdio::null()).spawn()?;
                let took = time(nap, None, || group.attach(child.id() as i32));
                child.kill()?;
                child.wait()?;
                Ok([took?])
            };
            let [times] = alternate(STARTS, &mut || Ok([bare.ask("attach", nap, false)?]), &mut attach)?;
            self.rows.push(Row { what: "attach / cgroup.procs".into(), backend, tasks: None, times, allowed: None });
        }
        Ok(())
    }

    /// Prints the figures; whether all is as it must be.
    fn report(&self) -> ExitCode {
        let mut exceeded = false;
        println!();
        println!(
            "{:<10}{:<28}{:>6}{:>11}{:>11}{:>7}  {:<13}allowed",
            "backend", "what", "tasks", "bare", "cgf", "ratio", "[p10..p90]"
        );
        for row in &self.rows {
            let ratio = row.times.ratio();
            let [low, high] = row.times.spread();
            let verdict = match row.allowed {
                None => String::new(),
                Some(allowed) if ratio <= allowed => format!("{allowed:.2}"),
                Some(allowed) => {
                    exceeded = true;
                    format!("{allowed:.2} EXCEEDED")
                }
            };
            let line = format!(
                "{:<10}{:<28}{:>6}{:>11}{:>11}{ratio:>7.2}  {:<13}{verdict}",
                row.backend.name(),
                row.what,
                row.tasks.map_or("-".into(), |tasks| tasks.to_string()),
                in_words(median(&row.times.bare)),
                in_words(median(&row.times.cgf)),
                format!("[{low:.2}..{high:.2}]"),
            );
            println!("{}", line.trim_end());
        }
        let strict = std::env::var("CGF_BENCH_STRICT").as_deref() != Ok("0");
        if exceeded && strict { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// A group with sleeping tasks.
struct Populated {
    group: Group,
    actor: cgf::Child,
}

impl Populated {
    fn create(program: &Path, hierarchy: &Hierarchy, name: &str, tasks: usize) -> Result<Populated> {
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

    fn remove(self) -> Result<()> {
        self.group.remove_with(RemoveOptions { kill: true, recursive: true })?;
        self.actor.wait(LIMIT)?;
        Ok(())
    }
}

/// How long a group is left alone before the next change. The kernel tells of
/// changes in `cgroup.events` a hundred times a second at most.
fn nap(backend: BackendKind) -> Duration {
    Duration::from_millis(if backend == BackendKind::Cgroup2 { 20 } else { 3 })
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

/// A nap, and then a moment of work: what is measured begins on a CPU that is
/// awake, as that of a caller who does something is.
fn napped(nap: Duration) -> Instant {
    std::thread::sleep(nap);
    let woken = Instant::now();
    while woken.elapsed() < AWAKE {
        std::hint::spin_loop();
    }
    Instant::now()
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

/// The C program, at the group that is measured.
struct Bare {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    fn start(program: &Path, group: &Group, twin: &Group) -> Result<Bare> {
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
    fn ask(&mut self, what: &str, nap: Duration, warm: bool) -> Result<Duration> {
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
struct Times {
    bare: Vec<Duration>,
    cgf: Vec<Duration>,
}

/// Measures by turns: bare, cgf; cgf, bare; and so on. What gets slower as time
/// goes by, and what the one leaves behind for the other, meets both alike.
fn alternate<const N: usize>(
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
    fn extend(&mut self, more: Times) {
        self.bare.extend(more.bare);
        self.cgf.extend(more.cgf);
    }

    fn ratio(&self) -> f64 {
        ratio(&self.cgf, &self.bare)
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
