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
    let before = sets.in_effect(node)?;
    let mut after = before.clone();
    after.set_list(kind, list.clone());
    sets.check(node, &keeper, kind, &after)?;
    if is_ours && kind == Kind::Mems && !list.is_empty() && *list != machine::there(kind)? {
        let why = "the kernel lets nobody choose another process's memory nodes without its cpuset controller: \
                   all that the machine has, or none";
        return Err(Error::new(libc::EOPNOTSUPP, why));
    }
    sets.set_list(node, &keeper, kind, list)?;
    drop(turn);
    if !is_ours || kind == Kind::Mems || list.is_empty() {
        return Ok(());
    }
    hold::everybody(group).inspect_err(|_| take_back(group, &keeper, list, before.list(kind)))
}

/// What could not be done for all is done for none, as far as that can be.
fn take_back(group: &Group, keeper: &Keeper, list: &List, before: &List) {
    let take_back = || {
        let sets = Sets::of(group.hierarchy())?;
        let turn = turn::take(group.hierarchy())?;
        if sets.own(group.node())?.list(Kind::Cpus) == list {
            // What others were allowed since may be in the way: then it stays.
            let mut back = sets.in_effect(group.node())?;
            back.set_list(Kind::Cpus, before.clone());
            sets.check(group.node(), keeper, Kind::Cpus, &back)?;
            sets.set_list(group.node(), keeper, Kind::Cpus, before)?;
        }
        drop(turn);
        hold::everybody(group)
    };
    // The caller has the first error, which says more.
    let _ = take_back();
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
