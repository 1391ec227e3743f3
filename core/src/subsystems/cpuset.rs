//! Which processors and memory nodes the tasks of a group may use (R9.1).
//!
//! The rules are those of the kernel's controller (cpuset(7)) on every backend, and are
//! looked at here before the kernel looks, so that a refusal says which group is in the way.

mod files;
mod hold;
mod kernel;
mod list;
mod machine;
mod rules;
mod sets;
mod turn;

#[cfg(test)]
mod checks;

use self::sets::{Keeper, Sets};
use crate::attach::Attach;
use crate::control_file::ControlFile;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::subsystem::Subsystem;

/// What it is called in options, and what the kernel calls its controller.
const NAME: &str = "cpuset";

/// As hierarchies are bound to it.
pub(crate) struct CpuSet;

/// What a set is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpus,
    Mems,
}

impl Kind {
    const BOTH: [Kind; 2] = [Kind::Cpus, Kind::Mems];

    fn name(self) -> &'static str {
        match self {
            Kind::Cpus => "cpus",
            Kind::Mems => "mems",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Cpus => "CPUs",
            Kind::Mems => "memory nodes",
        }
    }

    fn exclusive_name(self) -> &'static str {
        match self {
            Kind::Cpus => "cpu_exclusive",
            Kind::Mems => "mem_exclusive",
        }
    }

    /// The kernel's file.
    fn file(self) -> &'static str {
        match self {
            Kind::Cpus => "cpuset.cpus",
            Kind::Mems => "cpuset.mems",
        }
    }

    /// That of version 2, for what a group has that was told nothing.
    fn effective(self) -> &'static str {
        match self {
            Kind::Cpus => "cpuset.cpus.effective",
            Kind::Mems => "cpuset.mems.effective",
        }
    }

    /// The kernel's flag of version 1.
    fn exclusive(self) -> &'static str {
        match self {
            Kind::Cpus => "cpuset.cpu_exclusive",
            Kind::Mems => "cpuset.mem_exclusive",
        }
    }

    /// The attribute where the library keeps the set itself. Its name has no dot, so that a
    /// clone does not copy it: it starts with what its parent has anyway.
    fn file_note(self) -> &'static str {
        match self {
            Kind::Cpus => "cpuset-cpus",
            Kind::Mems => "cpuset-mems",
        }
    }

    fn exclusive_note(self) -> &'static str {
        match self {
            Kind::Cpus => "cpuset-cpu-exclusive",
            Kind::Mems => "cpuset-mem-exclusive",
        }
    }

    /// What may come online.
    fn possible(self) -> &'static str {
        match self {
            Kind::Cpus => "/sys/devices/system/cpu/possible",
            Kind::Mems => "/sys/devices/system/node/possible",
        }
    }
}

impl Subsystem for CpuSet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn controllers(&self) -> Vec<&str> {
        vec![NAME]
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn populate(&self) -> Vec<ControlFile> {
        files::all()
    }

    fn mount(&self, hierarchy: &Hierarchy) -> Result<()> {
        Sets::of(hierarchy)?.begin_root()
    }

    fn create(&self, group: &Group) -> Result<()> {
        Sets::of(group.hierarchy())?.begin(group.node())
    }

    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        let group = attach.group();
        let sets = Sets::of(group.hierarchy())?;
        sets.whole_keeper(group.node())?;
        let settings = sets.in_effect(group.node())?;
        match Kind::BOTH.into_iter().find(|&kind| settings.list(kind).is_empty()) {
            Some(kind) => {
                let (word, file) = (kind.word(), kind.file());
                Err(Error::new(libc::ENOSPC, format!("{group} has no {word} for tasks ({file} is empty)")))
            }
            None => Ok(()),
        }
    }

    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        if is_held_by_us(attach.group())? { hold::process(attach.group(), attach.pid()) } else { Ok(()) }
    }

    fn cancel_attach(&self, attach: &Attach<'_>) -> Result<()> {
        // Where it has gone back to, it is held as everybody there is. Whoever had not come
        // yet, or was never moved, is left alone.
        let pid = attach.pid();
        if !attach.has_come() || attach.is_newborn() || !is_held_by_us(attach.group())? {
            return Ok(());
        }
        let home = attach.group().hierarchy().group_of(pid)?;
        hold::give_back(attach.group(), &home, pid)
    }
}

/// Whether no kernel holds the group's tasks to its set.
fn is_held_by_us(group: &Group) -> Result<bool> {
    Ok(!matches!(Sets::of(group.hierarchy())?.keeper(group.node())?, Keeper::Kernel(_)))
}
