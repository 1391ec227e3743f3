//! The control files `cpuset.…`.

use super::list::List;
use super::sets::{Keeper, Sets};
use super::turn;
use super::{Kind, hold, machine};
use crate::about::About;
use crate::control_file::{ControlFile, flag, number};
use crate::error::{Error, Result};
use crate::group::Group;

const LIST: &str = "a list as in `0-2,5`; a read gives it in order and as short as it can be; an empty line for none";
const SWITCH: &str = "0 or 1; any other number is 1";
const FLAGS: &[(&str, &str)] = &[
    ("EINVAL", "no number; or a group beside it has some of the same"),
    ("EACCES", "the group above is not exclusive"),
    ("EBUSY", "0, and a group below is exclusive; or others change sets all the time"),
];
const OWN_FLAG: &str = "the library's own flag, heeded by whoever writes through it; the kernel's is set with it on \
                        cgroup1 where the directory above has it";

pub(super) fn all() -> Vec<ControlFile> {
    Kind::BOTH.into_iter().flat_map(|kind| [list(kind), exclusive(kind)]).collect()
}

fn list(kind: Kind) -> ControlFile {
    const ERRORS: &[(&str, &str)] = &[
        (
            "EINVAL",
            "no list, a range that ends before it begins, or something that is not there; an exclusive group beside it has some of it",
        ),
        ("EACCES", "not what the group above has"),
        ("EBUSY", "a group below has more; or others change sets all the time"),
        ("ENOSPC", "empty, and the group has tasks"),
        ("E2BIG", "more than 4095 bytes"),
        (
            "ETIMEDOUT",
            "without the kernel's controller: some threads were not in place by the deadline, and it was taken back",
        ),
        ("EPERM", "without the kernel's controller: a thread is another user's"),
    ];
    const NODES: &[(&str, &str)] = &[
        ERRORS[0],
        ERRORS[1],
        ERRORS[2],
        ERRORS[3],
        ERRORS[4],
        ("EOPNOTSUPP", "without the kernel's controller: less than the machine has"),
    ];
    let about = match kind {
        Kind::Cpus => About {
            meaning: "The CPUs that the group's tasks may run on",
            unit: "CPUs",
            format: LIST,
            errors: ERRORS,
            backends: "the kernel's controller holds the tasks to it where there is one, else the library does so when it \
                       is written and when somebody comes",
            ..About::default()
        },
        Kind::Mems => About {
            meaning: "The memory nodes that the group's tasks may have memory of",
            unit: "memory nodes",
            format: LIST,
            errors: NODES,
            backends: "without the kernel's controller (embedded) all that the machine has, or none",
            ..About::default()
        },
    };
    ControlFile::new(kind.name())
        .about(about)
        .read(move |group| {
            let settings = Sets::of(group.hierarchy())?.in_effect(group.node())?;
            Ok(format!("{}\n", settings.list(kind)))
        })
        .write(move |group, text| set(group, kind, &List::parse(text)?))
}

fn exclusive(kind: Kind) -> ControlFile {
    let meaning = match kind {
        Kind::Cpus => "Whether no group beside this one may have any of its CPUs",
        Kind::Mems => "Whether no group beside this one may have any of its memory nodes",
    };
    ControlFile::new(kind.exclusive_name())
        .about(About { meaning, format: SWITCH, errors: FLAGS, backends: OWN_FLAG, ..About::default() })
        .read(move |group| {
            let settings = Sets::of(group.hierarchy())?.in_effect(group.node())?;
            Ok(flag(settings.is_exclusive(kind)))
        })
        .write(move |group, text| set_exclusive(group, kind, number::<u64>(text)? != 0))
}

fn set(group: &Group, kind: Kind, list: &List) -> Result<()> {
    let (sets, node) = (Sets::of(group.hierarchy())?, group.node());
    machine::must_be_there(kind, list)?;
    let keeper = sets.whole_keeper(node)?;
    let is_ours = !matches!(keeper, Keeper::Kernel(_));
    let turn = turn::take(group.hierarchy())?;
    let mut after = sets.in_effect(node)?;
    after.set_list(kind, list.clone());
    sets.check(node, &keeper, kind, &after)?;
    if is_ours && kind == Kind::Mems && !list.is_empty() && *list != machine::there(kind)? {
        let why = "the kernel lets nobody choose another process's memory nodes without its cpuset controller: \
                   all that the machine has, or none";
        return Err(Error::new(libc::EOPNOTSUPP, why));
    }
    let told = if is_ours { sets.told(node, kind)? } else { None };
    sets.set_list(node, &keeper, kind, list)?;
    drop(turn);
    if !is_ours || kind == Kind::Mems || list.is_empty() {
        return Ok(());
    }
    hold::everybody(group).inspect_err(|_| {
        // The caller has the first error, which says more.
        let _ = take_back(group, &keeper, list, told.as_ref());
        let _ = hold::everybody(group);
    })
}

/// What could not be done for all is done for none, as far as that can be. `told`: what the group
/// was told before; `None`: nothing, so that it had what is above it.
fn take_back(group: &Group, keeper: &Keeper, list: &List, told: Option<&List>) -> Result<()> {
    let (sets, node) = (Sets::of(group.hierarchy())?, group.node());
    let _turn = turn::take(group.hierarchy())?;
    if sets.told(node, Kind::Cpus)?.as_ref() != Some(list) {
        return Ok(());
    }
    // What others were allowed since may be in the way: then it stays.
    let mut back = sets.in_effect(node)?;
    back.set_list(
        Kind::Cpus,
        told.map_or_else(|| sets.above(node, keeper).map(|above| above.cpus), |told| Ok(told.clone()))?,
    );
    sets.check(node, keeper, Kind::Cpus, &back)?;
    match told {
        Some(told) => sets.set_list(node, keeper, Kind::Cpus, told),
        None => sets.tell_nothing(node, Kind::Cpus),
    }
}

fn set_exclusive(group: &Group, kind: Kind, exclusive: bool) -> Result<()> {
    let (sets, node) = (Sets::of(group.hierarchy())?, group.node());
    let keeper = sets.whole_keeper(node)?;
    let _turn = turn::take(group.hierarchy())?;
    let mut after = sets.in_effect(node)?;
    after.set_exclusive(kind, exclusive);
    sets.check(node, &keeper, kind, &after)?;
    sets.set_exclusive(node, &keeper, kind, exclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendKind;
    use crate::hierarchy::Hierarchy;
    use crate::options::Options;

    /// R9.1: between a write that fails and its being taken back somebody may have written what the
    /// former list does not go with.
    #[test]
    fn what_others_were_allowed_meanwhile_stays() {
        if std::thread::available_parallelism().unwrap().get() < 2 {
            eprintln!("skipped: one CPU is not enough");
            return;
        }
        let name = format!("taken-back-{}", std::process::id());
        let options = Options::parse("freezer,signal,cpuset").unwrap().backend(BackendKind::Embedded);
        let hierarchy = Hierarchy::open(&name, &options).unwrap();
        let [above, group] = ["p", "p/c"].map(|path| hierarchy.create(path).unwrap());
        let beside = hierarchy.create("p/d").unwrap();
        let shown = |group: &Group| group.read("cpuset.cpus").unwrap().trim().to_owned();
        let list = |text: &str| List::parse(text).unwrap();
        let (short, long) = (list("0"), list("0-1"));
        let taken_back =
            |told: &List| take_back(&group, &Keeper::Library, &short, Some(told)).map_err(|why| why.errno());
        // Nobody minds.
        group.write("cpuset.cpus", "0").unwrap();
        assert_eq!((taken_back(&long), shown(&group)), (Ok(()), "0-1".to_owned()));
        // The group above was made smaller.
        group.write("cpuset.cpus", "0").unwrap();
        beside.write("cpuset.cpus", "").unwrap();
        above.write("cpuset.cpus", "0").unwrap();
        assert_eq!((taken_back(&long), shown(&group)), (Err(libc::EACCES), "0".to_owned()));
        // One beside it has the rest for itself alone.
        above.write("cpuset.cpus", "0-1").unwrap();
        above.write("cpuset.cpu_exclusive", "1").unwrap();
        beside.write("cpuset.cpus", "1").unwrap();
        beside.write("cpuset.cpu_exclusive", "1").unwrap();
        assert_eq!((taken_back(&long), shown(&group)), (Err(libc::EINVAL), "0".to_owned()));
        // Somebody wrote what is in no need of being taken back.
        beside.write("cpuset.cpu_exclusive", "0").unwrap();
        group.write("cpuset.cpus", "1").unwrap();
        assert_eq!((taken_back(&long), shown(&group)), (Ok(()), "1".to_owned()));
        [&group, &beside, &above].into_iter().for_each(|group| group.remove().unwrap());
        hierarchy.unmount().unwrap();
    }
}
