//! Taking somebody back who has come into a group.
//!
//! There is no passing group here: who came along is told by descent. Children
//! born to the newcomer since it came go back with it; those who had lost their
//! parent by then, and are in no session of ours, cannot be told.

use std::collections::HashSet;

use super::Embedded;
use super::members::{self, lineage};
use super::records::{Key, Roll, key_of};
use crate::backend::stage::Stage;
use crate::backend::{Admission, Node};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process::{Process, Stat};

pub(super) struct Visit<'a> {
    embedded: &'a Embedded,
    group: &'a Node,
    newcomer: Key,
    /// Where it was, from the topmost group; `None`: in no group.
    home: Option<GroupPath>,
    /// Whom the group had before.
    before: HashSet<Key>,
}

impl Embedded {
    pub(super) fn visit<'a>(&'a self, group: &'a Node, process: &Process) -> Result<Box<dyn Stage + 'a>> {
        let (home, before, newcomer) = {
            let _held = self.lock()?;
            let roll = Roll::read(&self.root)?;
            let failed = |errno| Error::os(errno, format_args!("looking for the group of process {}", process.pid()));
            let stat = Stat::of(process.pid()).map_err(failed)?;
            let home = members::locate(&roll, process.pid()).map_err(failed)?;
            let before = roll.pages[roll.find(group)?].records.iter().map(|record| record.key).collect();
            (home.map(|page| roll.pages[page].path.clone()), before, key_of(&stat))
        };
        self.take_in(group, process, Admission::Attached)?;
        Ok(Box::new(Visit { embedded: self, group, newcomer, home, before }))
    }
}

impl Stage for Visit<'_> {
    fn settle(&mut self, _: Deadline) -> Result<()> {
        Ok(())
    }

    fn take_back(&mut self, _: Deadline) -> Result<()> {
        let embedded = self.embedded;
        let _held = embedded.lock()?;
        let mut roll = Roll::read(&embedded.root)?;
        let page = roll.find(self.group)?;
        // If somebody has removed it meanwhile: the nearest above it.
        let candidates = self.home.iter().cloned().chain(self.home.iter().flat_map(GroupPath::ancestors));
        let home = candidates.into_iter().find_map(|path| roll.pages.iter().position(|page| page.path == path));
        let came = |key: &Key| {
            !self.before.contains(key)
                && Stat::of(key.0).is_ok_and(|stat| {
                    key_of(&stat) == *key && lineage(stat).iter().any(|above| key_of(above) == self.newcomer)
                })
        };
        let back: Vec<_> = roll.pages[page].records.iter().filter(|record| came(&record.key)).copied().collect();
        for stat in back.iter().filter_map(|record| Stat::of(record.key.0).ok()) {
            // A figure: no reason to fail.
            let _ = embedded.carry_cpu_time(&roll, Some(page), home, &stat, Admission::Attached);
        }
        // First into the one, then out of the other: if we die in between, it is
        // not lost.
        if let Some(home) = home {
            roll.add(&embedded.root, home, &back)?;
        }
        let keys: HashSet<Key> = back.iter().map(|record| record.key).collect();
        roll.forget(&embedded.root, page, &keys)?;
        back.iter().try_for_each(|record| embedded.release_unless_asked(&roll, page, home, record.key))?;
        // What was asked of the group that they are in again holds for them.
        match home {
            Some(home) => {
                let request = roll.request(&embedded.root, home)?;
                embedded.see_to(&mut roll, home, request)
            }
            None => Ok(()),
        }
    }
}
