//! What a group costs when there are many, against the bare mkdir(2).
//!
//! Rounds of 100, 1,000 and 10,000 groups, flat below one parent: made by the
//! library and by mkdir, turn about; listed and walked; removed. The figure is
//! the time for one group; it must not grow with their number, and making one
//! may cost 1.5 times the bare mkdir (docs/benchmarks.md). Then one group of
//! 10,000 tasks: listed by the library, and read and parsed from the kernel's own
//! file.
//!
//! Exit status 1 if it costs more; `CGF_BENCH_STRICT=0` only reports.
//! `CGF_DEMAND=1` makes a backend that does not work here a failure. Words after
//! `--` choose backends, all by default.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cgf::{BackendKind, Hierarchy, Options, RemoveOptions, Spawn};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many groups, and how often.
const SIZES: [(usize, usize); 3] = [(100, 15), (1000, 7), (10_000, 3)];

/// What making a group may cost, in bare mkdirs.
const ALLOWED: f64 = 1.5;

/// How much more one group may cost among 10,000 than among 100.
const GROWTH: f64 = 1.5;

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, number] = words.as_slice()
        && word == "threads"
    {
        return be_many(number.parse()?);
    }
    // `cargo test --benches` only wants to see that it starts.
    if !words.iter().any(|word| word == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = |kind: &BackendKind| {
        let mut names = words.iter().filter(|word| !word.starts_with("--")).peekable();
        names.peek().is_none() || names.any(|name| name == kind.name())
    };
    let mut is_fine = true;
    println!("microseconds for one group            bare mkdir    create   ratio      list      open    remove");
    for kind in BackendKind::ALL.into_iter().filter(chosen) {
        let name = format!("scale-{}", std::process::id());
        match Hierarchy::open(&name, &Options::default().backend(kind)) {
            Ok(hierarchy) => {
                let measured = measure(&hierarchy).and_then(|is_fine| list_tasks(&hierarchy).map(|()| is_fine));
                clear(&hierarchy);
                is_fine &= measured?;
            }
            Err(why) if std::env::var_os("CGF_DEMAND").is_some() => return Err(why.into()),
            Err(why) => println!("{kind}: not measured: {why}"),
        }
    }
    let is_strict = std::env::var("CGF_BENCH_STRICT").map_or(true, |word| word != "0");
    Ok(if is_fine || !is_strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whatever went wrong, nothing stays.
fn clear(hierarchy: &Hierarchy) {
    for name in ["library", "bare", "crowd"] {
        if let Ok(group) = hierarchy.open_group(name) {
            let _ = group.remove_with(RemoveOptions { kill: true, recursive: true });
        }
    }
    if let Err(why) = hierarchy.unmount() {
        eprintln!("left behind: {}: {why}", hierarchy.directory().display());
    }
}

/// Medians over the rounds, of the time for one group.
struct Times {
    bare: Duration,
    create: Duration,
    list: Duration,
    open: Duration,
    remove: Duration,
}

fn measure(hierarchy: &Hierarchy) -> Result<bool> {
    let kind = hierarchy.backend_kind();
    let mut all = Vec::new();
    for (groups, rounds) in SIZES {
        let mut found: [Vec<Duration>; 5] = Default::default();
        for round in 0..rounds {
            for (times, time) in found.iter_mut().zip(once(hierarchy, groups, round % 2 == 0)?) {
                times.push(time / u32::try_from(groups)?);
            }
        }
        let [bare, create, list, open, remove] = found.map(median);
        let times = Times { bare, create, list, open, remove };
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{:<10}{groups:>7} groups {:>18.1} {:>10.1} {:>7.2} {:>9.2} {:>9.1} {:>9.1}",
            kind.name(),
            us(times.bare),
            us(times.create),
            times.ratio(),
            us(times.list),
            us(times.open),
            us(times.remove),
        );
        all.push(times);
    }
    let (Some(few), Some(many)) = (all.first(), all.last()) else { return Ok(true) };
    if kind == BackendKind::Embedded {
        // Its group is a directory with two files, made under a lock: the bare mkdir
        // is shown, and is no measure of it. Nor does that vary with their number.
        let growth = many.create.as_secs_f64() / few.create.as_secs_f64();
        println!("{:<10} one of 10,000 against one of 100: {growth:.2}", kind.name());
        return Ok(growth <= GROWTH);
    }
    // Against mkdir, which itself grows.
    let growth = many.ratio() / few.ratio();
    println!("{:<10} one of 10,000 against one of 100: {growth:.2} of what mkdir shows", kind.name());
    Ok(growth <= GROWTH && all.iter().all(|times| times.ratio() <= ALLOWED))
}

impl Times {
    fn ratio(&self) -> f64 {
        self.create.as_secs_f64() / self.bare.as_secs_f64()
    }
}

/// Makes, lists, opens and removes so many groups; the times of each step.
fn once(hierarchy: &Hierarchy, groups: usize, library_first: bool) -> Result<[Duration; 5]> {
    let name = |index: usize| format!("{index:05}");
    let parent = hierarchy.create("library")?;
    let directory = hierarchy.directory().join("bare");
    let make_bare = || bare(&directory, groups);
    let bare_before = if library_first { None } else { Some(make_bare()?) };
    let (create, made) =
        timed(|| (0..groups).try_for_each(|index| hierarchy.create(format!("library/{}", name(index))).map(drop)));
    made?;
    let bare = match bare_before {
        Some(time) => time,
        None => make_bare()?,
    };
    let (list, listed) = timed(|| parent.groups());
    if listed?.len() != groups {
        return Err("not all groups are listed".into());
    }
    let (open, opened) =
        timed(|| (0..groups).try_for_each(|index| hierarchy.open_group(format!("library/{}", name(index))).map(drop)));
    opened?;
    let (remove, removed) = timed(|| parent.remove_with(RemoveOptions { kill: false, recursive: true }));
    removed?;
    Ok([bare, create, list, open, remove])
}

const TASKS: usize = 10_000;

/// One group of many tasks.
fn list_tasks(hierarchy: &Hierarchy) -> Result<()> {
    let kind = hierarchy.backend_kind();
    let group = hierarchy.create("crowd")?;
    let crowd = Spawn::new(std::env::current_exe()?).args(["threads".to_owned(), TASKS.to_string()]);
    let child = group.spawn(crowd)?;
    let start = Instant::now();
    while group.tasks()?.len() < TASKS {
        if start.elapsed() > Duration::from_secs(30) {
            return Err("the crowd did not come together".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let file =
        hierarchy.directory().join("crowd").join(if kind == BackendKind::Cgroup2 { "cgroup.threads" } else { "tasks" });
    let (mut library, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let (time, listed) = timed(|| group.tasks());
        if listed?.len() < TASKS {
            return Err("not all tasks are listed".into());
        }
        library.push(time);
        // The embedded backend has no such file of the kernel's.
        if kind != BackendKind::Embedded {
            let (time, read) =
                timed(|| std::fs::read_to_string(&file).map(|text| text.lines().flat_map(str::parse::<i32>).count()));
            read?;
            bare.push(time);
        }
    }
    let library = median(library).as_secs_f64() * 1e3;
    match bare.is_empty() {
        true => println!("{:<10} {TASKS} tasks of one group listed in {library:.2} ms", kind.name()),
        false => {
            let bare = median(bare).as_secs_f64() * 1e3;
            println!("{:<10} {TASKS} tasks of one group listed in {library:.2} ms, bare {bare:.2} ms", kind.name());
        }
    }
    group.kill(9)?;
    child.wait(Duration::from_secs(10))?;
    group.remove()?;
    Ok(())
}

/// What the crowd is made of: threads that sleep until the process is killed.
fn be_many(threads: usize) -> Result<ExitCode> {
    for _ in 1..threads {
        std::thread::Builder::new().stack_size(16 << 10).spawn(|| {
            loop {
                std::thread::park();
            }
        })?;
    }
    loop {
        std::thread::park();
    }
}

/// The kernel's own way: a directory, and nothing else.
fn bare(directory: &Path, groups: usize) -> Result<Duration> {
    std::fs::create_dir(directory)?;
    let paths: Vec<_> = (0..groups).map(|index| directory.join(format!("{index:05}"))).collect();
    let (time, made) = timed(|| paths.iter().try_for_each(std::fs::create_dir));
    let removed = paths.iter().try_for_each(std::fs::remove_dir);
    std::fs::remove_dir(directory)?;
    made?;
    removed?;
    Ok(time)
}

fn timed<T>(operation: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = operation();
    (start.elapsed(), done)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
