//! The rules over random trees of groups, against a plain model: sets are bits, and a rule is
//! a line. On cgroup1 the kernel, which has its own, has to agree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::backend::BackendKind;
use crate::group::RemoveOptions;
use crate::hierarchy::Hierarchy;
use crate::options::Options;
use crate::spawn::Spawn;

/// What is done to a group; groups are named by numbers, and what there is no group for is
/// left out.
#[derive(Clone, Debug)]
enum Step {
    Create { parent: usize },
    Cpus { group: usize, bits: u8 },
    Exclusive { group: usize, exclusive: bool },
    Occupy { group: usize },
    Remove { group: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    bits: u8,
    exclusive: bool,
    occupied: bool,
}

/// Of the first two CPUs.
const SETS: [&str; 4] = ["", "0", "1", "0-1"];

type Tree = BTreeMap<String, Model>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = 0..8_usize;
    let step = prop_oneof![
        4 => group.clone().prop_map(|parent| Step::Create { parent }),
        8 => (group.clone(), 0..4_u8).prop_map(|(group, bits)| Step::Cpus { group, bits }),
        4 => (group.clone(), any::<bool>()).prop_map(|(group, exclusive)| Step::Exclusive { group, exclusive }),
        1 => group.clone().prop_map(|group| Step::Occupy { group }),
        1 => group.prop_map(|group| Step::Remove { group }),
    ];
    proptest::collection::vec(step, 1..40)
}

fn parent(path: &str) -> Option<String> {
    let (above, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then(|| if above.is_empty() { "/".to_owned() } else { above.to_owned() })
}

fn children<'a>(tree: &'a Tree, path: &'a str) -> impl Iterator<Item = (&'a String, &'a Model)> {
    tree.iter().filter(move |(other, _)| parent(other).as_deref() == Some(path))
}

/// What the kernel says to a change; 0: it may be.
fn verdict(tree: &Tree, path: &str, new: &Model) -> i32 {
    let above = parent(path).map_or(Model { bits: 3, exclusive: true, occupied: false }, |above| tree[&above].clone());
    let mut below = children(tree, path).map(|(_, child)| child);
    if below.any(|child| child.bits & !new.bits != 0 || child.exclusive && !new.exclusive) {
        return libc::EBUSY;
    }
    if new.bits & !above.bits != 0 || new.exclusive && !above.exclusive {
        return libc::EACCES;
    }
    let within = |other: &String| *other == path || path == "/" || other.starts_with(&format!("{path}/"));
    let is_occupied = tree.iter().any(|(other, model)| within(other) && model.occupied);
    if new.bits == 0 && tree[path].bits != 0 && is_occupied {
        return libc::ENOSPC;
    }
    let Some(above) = parent(path) else { return 0 };
    let mut beside = children(tree, &above).filter(|(other, _)| *other != path);
    let clash = beside.any(|(_, other)| (other.exclusive || new.exclusive) && other.bits & new.bits != 0);
    if clash { libc::EINVAL } else { 0 }
}

fn errno<T>(result: &crate::error::Result<T>) -> i32 {
    result.as_ref().err().map_or(0, crate::error::Error::errno)
}

fn play(hierarchy: &Hierarchy, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut tree = Tree::from([("/".to_owned(), Model { bits: 3, exclusive: true, occupied: false })]);
    hierarchy.root().write("cpuset.cpus", "0-1").unwrap();
    let at = |tree: &Tree, number: usize| tree.keys().nth(number).cloned();
    for (turn, step) in steps.iter().enumerate() {
        let known = match step {
            Step::Create { parent: group }
            | Step::Cpus { group, .. }
            | Step::Exclusive { group, .. }
            | Step::Occupy { group }
            | Step::Remove { group } => at(&tree, *group),
        };
        let Some(path) = known else { continue };
        let group = hierarchy.open_group(&path).unwrap();
        match *step {
            Step::Create { .. } => {
                let name = if path == "/" { format!("/g{turn}") } else { format!("{path}/g{turn}") };
                hierarchy.create(&name).unwrap();
                let above = tree[&path].bits;
                let taken = children(&tree, &path).any(|(_, other)| other.exclusive && other.bits & above != 0);
                let bits = if taken { 0 } else { above };
                tree.insert(name, Model { bits, exclusive: false, occupied: false });
            }
            Step::Cpus { bits, .. } => {
                let new = Model { bits, ..tree[&path].clone() };
                let written = group.write("cpuset.cpus", SETS[usize::from(bits)]);
                prop_assert_eq!(errno(&written), verdict(&tree, &path, &new), "{} {:?} in {:?}", path, step, &tree);
                if written.is_ok() {
                    tree.insert(path, new);
                }
            }
            Step::Exclusive { exclusive, .. } => {
                let new = Model { exclusive, ..tree[&path].clone() };
                let written = group.write("cpuset.cpu_exclusive", if exclusive { "1" } else { "0" });
                prop_assert_eq!(errno(&written), verdict(&tree, &path, &new), "{} {:?} in {:?}", path, step, &tree);
                if written.is_ok() {
                    tree.insert(path, new);
                }
            }
            Step::Occupy { .. } => {
                if path == "/" {
                    continue;
                }
                let spawned = group.spawn(Spawn::new("sleep").arg("60"));
                let expected = if tree[&path].bits == 0 { libc::ENOSPC } else { 0 };
                prop_assert_eq!(errno(&spawned), expected, "{}", path);
                if expected == 0 {
                    tree.insert(path.clone(), Model { occupied: true, ..tree[&path].clone() });
                }
            }
            Step::Remove { .. } => {
                if path == "/" || children(&tree, &path).next().is_some() {
                    continue;
                }
                group.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
                tree.remove(&path);
            }
        }
        for (path, model) in &tree {
            let group = hierarchy.open_group(path).unwrap();
            let shown = group.read("cpuset.cpus").unwrap();
            prop_assert_eq!(shown.trim_end(), SETS[usize::from(model.bits)], "{} after {:?}", path, step);
            let shown = group.read("cpuset.cpu_exclusive").unwrap();
            prop_assert_eq!(shown.trim_end() == "1", model.exclusive, "{} after {:?}", path, step);
        }
    }
    Ok(())
}

/// R9.1: whatever is written in whatever order, each answer is the model's.
#[test]
fn the_rules_hold_for_any_tree() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    for kind in [BackendKind::Embedded, BackendKind::Cgroup1] {
        let mut runner = TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
        let played = runner.run(&steps(), |steps| {
            let name = format!("cpuset-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let options = Options::parse("freezer,signal,cpuset").unwrap().backend(kind);
            let Ok(hierarchy) = Hierarchy::open(&name, &options) else {
                assert!(std::env::var_os("CGF_DEMAND").is_none(), "{kind} is demanded");
                return Ok(());
            };
            let played = play(&hierarchy, &steps);
            for path in hierarchy.groups().unwrap().iter().filter(|path| path.parent().is_some_and(|up| up.is_root())) {
                let everything = RemoveOptions { kill: true, recursive: true };
                hierarchy.open_group(path.as_bytes()).unwrap().remove_with(everything).unwrap();
            }
            hierarchy.unmount().unwrap();
            played
        });
        played.unwrap_or_else(|why| unreachable!("on {kind}: {why}"));
    }
}
