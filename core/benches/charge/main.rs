//! What a charge costs, against other ways to count what is held (`make bench`).
//!
//! All in one run: an atomic add and its sub on a line of its own, which is the measure;
//! page_counter's way, the spinlock of 2006, a robust mutex, System V's semaphore
//! (`yardsticks.c`), tokio's semaphore, governor (`worker.rs`); and the library, from Rust
//! and from C (`through_c.c`), far from the limit and near it, by one process and by two.
//! Then the same as groups and holders grow in number (`growth.rs`), and a plot. The
//! figures of one machine, and how to read them: docs/benchmarks.md.
//!
//! Exit status 1 if it costs more than is allowed; `CGF_BENCH_STRICT=0` only reports.
//! `CGF_DEMAND=1` makes what cannot be measured here a failure. Words after `--` choose a
//! backend, and `short` leaves out the growth.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use cgf::{BackendKind, Group, Hierarchy, Options, Resource, Severity};

use crew::{Crew, Result};
use ways::{Crews, Figures};

mod crew;
mod growth;
mod plot;
#[path = "../sweeper/mod.rs"]
mod sweeper;
mod ways;
mod worker;

/// Far from everything that is charged here.
const FAR: u64 = 1 << 40;

/// What every hierarchy here is opened with.
const OPTIONS: &str = "beancounter";

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<&str> = words.iter().map(String::as_str).collect();
    match given.as_slice() {
        ["sweep", name, options] => {
            sweeper::sweep(name, options)?;
            return growth::clear(options).map(|()| ExitCode::SUCCESS);
        }
        ["work", number, name, options] => {
            return worker::work(number.parse()?, name, options).map(|()| ExitCode::SUCCESS);
        }
        // `cargo test --benches` only wants to see that it starts.
        words if !words.contains(&"--bench") => return Ok(ExitCode::SUCCESS),
        _ => {}
    }
    let kind = BackendKind::ALL.into_iter().find(|kind| given.contains(&kind.name()));
    let options = kind.map_or(OPTIONS.to_owned(), |kind| format!("{OPTIONS},backend={}", kind.name()));
    let mut is_fine = swept(&options, compare)?;
    if !given.contains(&"short") {
        is_fine &= growth::run()?;
    }
    let is_strict = std::env::var("CGF_BENCH_STRICT").map_or(true, |word| word != "0");
    Ok(if is_fine || !is_strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A hierarchy, as all processes here find it.
struct Place {
    hierarchy: Hierarchy,
    name: String,
    options: String,
}

/// Measures in a hierarchy that is removed afterwards, whatever happens.
fn swept(options: &str, measure: impl FnOnce(&Place) -> Result<bool>) -> Result<bool> {
    let name = format!("charge-{}", std::process::id());
    let mut sweeper = sweeper::Sweeper::start(&name, options)?;
    let hierarchy = Hierarchy::open(&name, &Options::parse(options)?)?;
    let is_fine = measure(&Place { hierarchy, name, options: options.to_owned() })?;
    sweeper.finish()?;
    Ok(is_fine)
}

/// Every way beside every other; whether all is as it must be.
fn compare(place: &Place) -> Result<bool> {
    let hierarchy = &place.hierarchy;
    for path in ["a", "a/b", "far", "a/b/far"] {
        limited(hierarchy, path, FAR)?;
    }
    // Two processes fit, and next to no stock beside them; in the last ones none at all.
    limited(hierarchy, "near", 4)?;
    limited(hierarchy, "a/b/near", 4)?;
    limited(hierarchy, "last-1", 1)?;
    limited(hierarchy, "last-2", 2)?;
    let _held = limited(hierarchy, "full", 2)?.charged(worker::RESOURCE, 2, Severity::Limit)?;
    let library = library();
    if library.is_none() {
        let why = "no libcgf.so.0 was built (make -C ffi)";
        if std::env::var_os("CGF_DEMAND").is_some() {
            return Err(why.into());
        }
        println!("through C: not measured: {why}");
    }
    let mut command = Command::new(compile(library.as_deref())?);
    command.args(["2", &place.name, &place.options]);
    let mut crews = Crews { yardsticks: Crew::relayed(command)?, workers: workers(2, place)? };
    let mut figures = Figures::new(library.is_some());
    figures.measure(&mut crews)?;
    // A busy machine gets a second chance, with all rounds counted.
    if !figures.are_fine() {
        figures.measure(&mut crews)?;
    }
    figures.print();
    let crews = [&crews.yardsticks, &crews.workers];
    let [rounds, disturbed] =
        [crews.iter().map(|crew| crew.rounds).sum::<usize>(), crews.iter().map(|crew| crew.disturbed).sum()];
    println!("of {rounds} rounds {disturbed} were disturbed by other work");
    Ok(figures.are_fine())
}

/// A group of that limit for all that is charged here.
fn limited(hierarchy: &Hierarchy, path: &str, limit: u64) -> Result<Group> {
    let group = hierarchy.create(path)?;
    for resource in [worker::RESOURCE, Resource::PRIVVMPAGES] {
        group.set_limits(resource, Some(limit), Some(limit))?;
    }
    Ok(group)
}

/// Workers of this program.
fn workers(count: usize, place: &Place) -> Result<Crew> {
    Crew::of(count, |number| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["work", &number.to_string(), &place.name, &place.options]);
        Ok(command)
    })
}

/// Where the C library is, if it was built.
fn library() -> Option<PathBuf> {
    // Beside the folder of this program.
    let built = || Some(std::env::current_exe().ok()?.parent()?.parent()?.to_owned());
    let directory = std::env::var_os("CGF_LIBRARIES").map(PathBuf::from).or_else(built)?;
    directory.join("libcgf.so.0").exists().then_some(directory)
}

/// Builds the C program.
fn compile(library: Option<&Path>) -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = package.join("benches/charge");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("yardsticks");
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-std=gnu11", "-O2", "-Wall", "-pthread", "-o"]).arg(&program).arg(sources.join("yardsticks.c"));
    if let Some(library) = library {
        command.arg("-DTHROUGH_C").arg("-I").arg(package.join("../include")).arg(sources.join("through_c.c"));
        command.arg("-L").arg(library).arg("-l:libcgf.so.0").arg(format!("-Wl,-rpath,{}", library.display()));
    }
    if command.status()?.success() { Ok(program) } else { Err("compiling yardsticks.c failed".into()) }
}
