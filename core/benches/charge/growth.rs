//! What a charge costs as groups grow to 100,000 and holders to 64, and how much room
//! the counters of 100,000 groups take.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgf::RemoveOptions;
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};

use crate::crew::{Crew, Result};
use crate::plot::{Panel, Series, write};
use crate::ways::median;
use crate::{FAR, OPTIONS, Place, limited, swept, workers};

const GROUPS: [usize; 6] = [1, 10, 100, 1000, 10_000, 100_000];

const HOLDERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// How often each is measured.
const ROUNDS: usize = 21;

/// What the counters of the most groups may take, in bytes.
const ROOM: u64 = 64 << 20;

/// Whether all is as it must be.
///
/// On the backend that has no control groups, in memory: of those the kernel's memory
/// controller has 65,535 at most, and what a charge costs does not depend on them.
pub fn run() -> Result<bool> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let state = parent.join(format!("cgf-charge-{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&state)?;
    swept(&format!("{OPTIONS},backend=embedded,state={}", state.display()), measure)
}

/// Removes the state directory that these options name, if they do.
pub fn clear(options: &str) -> Result<()> {
    match options.split(',').find_map(|option| option.strip_prefix("state=")) {
        Some(state) => Ok(std::fs::remove_dir_all(state)?),
        None => Ok(()),
    }
}

fn measure(place: &Place) -> Result<bool> {
    for path in ["a", "a/b", "far", "a/b/far"] {
        limited(&place.hierarchy, path, FAR)?;
    }
    let mut groups = Panel::new("groups that one process charges in turn", "groups");
    let is_fine = grow_groups(place, &mut groups)?;
    let mut holders = Panel::new("processes that hold something of the group", "processes");
    grow_holders(place, &mut holders)?;
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("charging.svg");
    write(&file, "Nanoseconds for a charge and its return", &[groups, holders])?;
    println!("plot: {}", file.display());
    Ok(is_fine)
}

fn grow_groups(place: &Place, panel: &mut Panel) -> Result<bool> {
    more_files();
    let mut is_fine = true;
    println!();
    println!("{:<44}{}", "groups charged in turn", GROUPS.map(|count| format!("{count:>9}")).concat());
    let mut base = Vec::new();
    for (label, parent) in [("depth 1", ""), ("depth 3", "a/b/")] {
        let mut crew = workers(1, place)?;
        let before = once(&mut crew, &format!("charge:{parent}far"))?;
        let (mut made, mut found) = (0, Vec::new());
        for count in GROUPS {
            for number in made..count {
                place.hierarchy.create(format!("{parent}{number}"))?;
            }
            made = count;
            let way = format!("turn:{count}:{parent}");
            found.push((count as f64, once(&mut crew, &way)?));
            base.push(once(&mut crew, "own-line")?);
        }
        println!("{:<44}{}", format!("charge, {label}"), row(&found));
        let after = once(&mut crew, &format!("charge:{parent}far"))?;
        println!("{:<44}{before:>9.1}{after:>9.1}", format!("one group of {label}: alone, beside all these"));
        let room = room(&crew)?;
        let each = room as f64 / made.max(1) as f64;
        println!("room of the counters: {:.1} MiB, {each:.0} bytes a group", room as f64 / f64::from(1 << 20));
        is_fine &= room <= ROOM;
        panel.series.push(Series { name: format!("charge, {label}"), points: found });
        drop(crew);
        for number in 0..made {
            place.hierarchy.open_group(format!("{parent}{number}"))?.remove_with(RemoveOptions::default())?;
        }
    }
    let own = median(&base);
    println!("{:<44}{own:>9.1}", "atomic, own line");
    panel.series.push(Series { name: "atomic, own line".into(), points: GROUPS.map(|at| (at as f64, own)).to_vec() });
    Ok(is_fine)
}

fn grow_holders(place: &Place, panel: &mut Panel) -> Result<()> {
    let mut crew = workers(*HOLDERS.iter().max().unwrap_or(&1), place)?;
    let mut lines: [(&str, Vec<(f64, f64)>); 5] = [
        ("one charges, the others hold", Vec::new()),
        ("all charge, CPU time", Vec::new()),
        ("one charges near the limit", Vec::new()),
        ("all charge near the limit, CPU time", Vec::new()),
        ("one is refused", Vec::new()),
    ];
    for count in HOLDERS {
        let path = |what: &str| format!("{what}-{count}");
        for (what, limit) in [("many", FAR), ("close", count as u64 * 2), ("full", count as u64)] {
            limited(&place.hierarchy, &path(what), limit)?;
            crew.order(&format!("hold:{}", path(what)), count, Duration::ZERO)?;
        }
        // All have a turn of the same length, however many share a CPU.
        let length = Duration::from_millis(10) * u32::try_from(count)?;
        let found = [
            once(&mut crew, &format!("charge:{}", path("many")))?,
            crew.measure_cpu(&format!("charge:{}", path("many")), count, length)?,
            once(&mut crew, &format!("charge:{}", path("close")))?,
            crew.measure_cpu(&format!("charge:{}", path("close")), count, length)?,
            once(&mut crew, &format!("refused:{}", path("full")))?,
        ];
        for ((_, points), found) in lines.iter_mut().zip(found) {
            points.push((count as f64, found));
        }
    }
    println!();
    println!("{:<44}{}", "processes that hold something", HOLDERS.map(|count| format!("{count:>9}")).concat());
    for (what, points) in lines {
        println!("{what:<44}{}", row(&points));
        panel.series.push(Series { name: what.into(), points });
    }
    Ok(())
}

/// The median of some rounds.
fn once(crew: &mut Crew, way: &str) -> Result<f64> {
    let rounds: Vec<f64> = (0..ROUNDS).map(|_| crew.measure(way, 1)).collect::<Result<_>>()?;
    Ok(median(&rounds))
}

fn row(points: &[(f64, f64)]) -> String {
    points.iter().map(|(_, found)| format!("{found:>9.1}")).collect()
}

/// As many open files as may be: an open group is one.
fn more_files() {
    let allowed = getrlimit(Limited::Nofile);
    let wanted = allowed.maximum.max(Some(2 * GROUPS.iter().max().map_or(0, |&most| most as u64)));
    // Only root may have more than the maximum.
    if setrlimit(Limited::Nofile, Rlimit { current: wanted, maximum: wanted }).is_err() {
        let _ = setrlimit(Limited::Nofile, Rlimit { current: allowed.maximum, maximum: allowed.maximum });
    }
}

/// What the counters' file takes of the disk, that a worker has mapped.
fn room(crew: &Crew) -> Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", crew.process(0)?))?;
    let file =
        maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|file| file.contains("/counters/")));
    Ok(std::fs::metadata(file.ok_or("the worker has no counters mapped")?)?.blocks() * 512)
}
