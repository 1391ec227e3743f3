//! Which sets a group may have beside those of the groups around it: the kernel's rules
//! (cpuset(7)), with its errnos, and with names in the messages.

use super::Kind;
use super::list::List;
use crate::error::{Error, Result};
use crate::path::GroupPath;

/// What a group may use, and what nobody beside it may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub cpus: List,
    pub mems: List,
    pub cpu_exclusive: bool,
    pub mem_exclusive: bool,
}

impl Settings {
    pub(super) fn list(&self, kind: Kind) -> &List {
        match kind {
            Kind::Cpus => &self.cpus,
            Kind::Mems => &self.mems,
        }
    }

    pub(super) fn set_list(&mut self, kind: Kind, list: List) {
        match kind {
            Kind::Cpus => self.cpus = list,
            Kind::Mems => self.mems = list,
        }
    }

    pub(super) fn is_exclusive(&self, kind: Kind) -> bool {
        match kind {
            Kind::Cpus => self.cpu_exclusive,
            Kind::Mems => self.mem_exclusive,
        }
    }

    pub(super) fn set_exclusive(&mut self, kind: Kind, exclusive: bool) {
        match kind {
            Kind::Cpus => self.cpu_exclusive = exclusive,
            Kind::Mems => self.mem_exclusive = exclusive,
        }
    }
}

/// Another group and what it has.
pub(super) type Named = (GroupPath, Settings);

/// A group whose settings are to change, and those around it.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub kind: Kind,
    pub path: &'a GroupPath,
    pub before: &'a Settings,
    pub after: &'a Settings,
    pub above: &'a Settings,
    pub below: &'a [Named],
    pub beside: &'a [Named],
}

impl Change<'_> {
    /// Whether it may be, in the order in which the kernel looks: EBUSY, EACCES, ENOSPC,
    /// EINVAL. Whether the group has tasks is asked only if it matters.
    pub(super) fn check(&self, is_populated: &dyn Fn() -> Result<bool>) -> Result<()> {
        let Change { kind, path, .. } = self;
        let (list, exclusive, word) = (self.after.list(*kind), self.after.is_exclusive(*kind), kind.word());
        for (other, settings) in self.below {
            let missing = settings.list(*kind).without(list);
            if !missing.is_empty() {
                let why = format!("group {other} below {path} has {word} {missing}");
                return Err(Error::new(libc::EBUSY, why));
            }
            if settings.is_exclusive(*kind) && !exclusive {
                let why = format!("group {other} below {path} has its {word} for itself alone");
                return Err(Error::new(libc::EBUSY, why));
            }
        }
        let outside = list.without(self.above.list(*kind));
        if !outside.is_empty() {
            let has = self.above.list(*kind);
            let has = if has.is_empty() { "none".to_owned() } else { has.to_string() };
            let why = format!("what is above group {path} has {word} {has}, and not {outside}");
            return Err(Error::new(libc::EACCES, why));
        }
        if exclusive && !self.above.is_exclusive(*kind) {
            let why = format!("what is above group {path} does not have its {word} for itself alone");
            return Err(Error::new(libc::EACCES, why));
        }
        if list.is_empty() && !self.before.list(*kind).is_empty() && is_populated()? {
            return Err(Error::new(libc::ENOSPC, format!("group {path} has tasks, which need {word}")));
        }
        for (other, settings) in self.beside {
            let shared = list.common(settings.list(*kind));
            if !shared.is_empty() && (exclusive || settings.is_exclusive(*kind)) {
                let (alone, too) = if exclusive { (*path, other) } else { (other, *path) };
                let why = format!("group {alone} is to have {word} {shared} for itself alone, and group {too} has it");
                return Err(Error::new(libc::EINVAL, why));
            }
        }
        Ok(())
    }
}

/// What a new group starts with: what is above it has, or nothing, if somebody beside it has
/// some of that for itself alone.
pub(super) fn beginning(kind: Kind, above: &Settings, beside: &[Named]) -> List {
    let list = above.list(kind);
    let is_taken = |other: &Settings| other.is_exclusive(kind) && !other.list(kind).common(list).is_empty();
    if beside.iter().any(|(_, other)| is_taken(other)) { List::default() } else { list.clone() }
}
