//! Who is in which group, kept up by what the kernel tells of forks and exits
//! and put right by listings.

use std::collections::{HashMap, HashSet};

use crate::backend::{Backend, BackendKind, Node};
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::path::GroupPath;
use crate::process::{self, Stat};
use crate::sys::connector::{Connector, News};

use super::picture::Picture;
use super::strangers::Strangers;

/// So many messages are taken at a time: then the listener gets a turn.
const BATCH: usize = 4096;

#[derive(Debug)]
pub(super) struct Members {
    /// `None`: it cannot be had, and forks and exits are what two listings
    /// differ in.
    connector: Option<Connector>,
    groups: HashMap<i32, GroupPath>,
    /// Processes whose first thread has ended while others run on, and with
    /// which status.
    headless: HashMap<i32, i32>,
    /// Who was found dead by a listing without a word from the kernel.
    doubtful: HashSet<i32>,
    strangers: Strangers,
    lost: bool,
}

impl Members {
    pub(super) fn new(connector: Option<Connector>) -> Members {
        Members {
            connector,
            groups: HashMap::new(),
            headless: HashMap::new(),
            doubtful: HashSet::new(),
            strangers: Strangers::default(),
            lost: false,
        }
    }

    pub(super) fn connector(&self) -> Option<&Connector> {
        self.connector.as_ref()
    }

    pub(super) fn group_of(&self, pid: i32) -> Option<&GroupPath> {
        self.groups.get(&pid)
    }

    pub(super) fn of(&self, group: &GroupPath) -> Vec<i32> {
        let mut pids: Vec<i32> = self.groups.iter().filter(|(_, path)| *path == group).map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        pids
    }

    /// Whether more was said than heard, since this was asked last.
    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Hears what the kernel has to say.
    pub(super) fn hear(&mut self, backend: &dyn Backend, picture: &Picture, events: &mut Vec<Event>) -> Result<()> {
        for _ in 0..BATCH {
            let Some(connector) = &mut self.connector else { return Ok(()) };
            let news = connector.read();
            match news.map_err(|errno| crate::error::Error::os(errno, "listening to the proc connector"))? {
                None => return Ok(()),
                Some(News::Lost) => self.lost = true,
                Some(News::Fork { parent, child, time }) => {
                    match self.birthplace(backend, parent, child, picture, events) {
                        Some(group) => {
                            events.extend(self.born(child, parent, group, picture).map(|event| event.at(time)))
                        }
                        None if backend.kind() == BackendKind::Embedded => self.strangers.born(child, parent, time),
                        None => {}
                    }
                }
                Some(News::Exit { tid, pid, status, time }) => {
                    if !self.groups.contains_key(&pid) {
                        if tid == pid {
                            self.strangers.ended(pid, status, time);
                        }
                        continue;
                    }
                    if tid == pid {
                        self.headless.insert(pid, status);
                    }
                    // The kernel tells after the thread has left its process: by
                    // then the last one is a zombie, or gone.
                    let Some(&status) = self.headless.get(&pid) else { continue };
                    if !Stat::of(pid).is_ok_and(|stat| stat.is_alive()) {
                        let exit = self.ended(pid, Some(status), picture);
                        events.extend(exit.map(|event| event.at(time)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The group that a process was born into, if that is one of ours.
    ///
    /// The kernel can be asked as long as the child has not been waited for;
    /// afterwards it was its parent's, as far as is known. Only version 2 knows
    /// births into a group that is not the parent's: elsewhere a stranger's
    /// child is a stranger.
    fn birthplace(
        &mut self,
        backend: &dyn Backend,
        parent: i32,
        child: i32,
        picture: &Picture,
        events: &mut Vec<Event>,
    ) -> Option<GroupPath> {
        let parents = self.groups.get(&parent).cloned();
        match backend.kind() {
            BackendKind::Embedded => parents,
            // A zombie is still shown where it was.
            BackendKind::Cgroup2 => backend.locate(child).unwrap_or(parents),
            BackendKind::Cgroup1 if parents.is_some() => parents,
            BackendKind::Cgroup1 => {
                // It may have come a moment ago.
                let found = backend.locate(parent).ok().flatten()?;
                self.moved(parent, Some(found.clone()), picture, events);
                Some(found)
            }
        }
    }

    /// Compares one group with what was told of it.
    pub(super) fn look(
        &mut self,
        backend: &dyn Backend,
        group: &Node,
        picture: &Picture,
        quiet: bool,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let mut listed = listed(backend, group)?;
        if quiet {
            self.groups.extend(listed.into_iter().map(|pid| (pid, group.path.clone())));
            return Ok(());
        }
        // Listed first and heard then: whoever is in the list by birth has been
        // told of by now (the kernel tells before the child can be listed).
        self.hear(backend, picture, events)?;
        // Parents before their children, unless the numbers came round.
        listed.sort_unstable();
        for &pid in &listed {
            self.doubtful.remove(&pid);
            if self.groups.get(&pid) != Some(&group.path) {
                self.found(backend, pid, group, picture, events);
            }
        }
        let listed: HashSet<i32> = listed.into_iter().collect();
        for pid in self.of(&group.path) {
            if !listed.contains(&pid) {
                self.missed(backend, pid, picture, events);
            }
        }
        Ok(())
    }

    /// Asks after those who were in a group that is gone.
    pub(super) fn look_for(
        &mut self,
        backend: &dyn Backend,
        gone: &GroupPath,
        picture: &Picture,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        self.hear(backend, picture, events)?;
        for pid in self.of(gone) {
            self.missed(backend, pid, picture, events);
        }
        Ok(())
    }

    /// Asks after those who are in no group that is known, and so in no list: of
    /// their ends the kernel's word may have been lost.
    pub(super) fn look_for_strays(&mut self, backend: &dyn Backend, picture: &Picture, events: &mut Vec<Event>) {
        let strays = self.groups.iter().filter(|(_, path)| picture.get(path).is_none());
        for pid in strays.map(|(pid, _)| *pid).collect::<Vec<i32>>() {
            self.missed(backend, pid, picture, events);
        }
    }

    /// Somebody is in a group's list of whom it was not known.
    fn found(&mut self, backend: &dyn Backend, pid: i32, group: &Node, picture: &Picture, events: &mut Vec<Event>) {
        if !is_alive(pid) {
            return;
        }
        // It may have moved on since it was listed. The embedded backend's list
        // is its record, and asking again costs as much as listing.
        let now = match backend.kind() {
            BackendKind::Embedded => Some(group.path.clone()),
            _ => match locate(backend, pid) {
                Ok(now) => now,
                Err(_) => return,
            },
        };
        let parent = Stat::of(pid).map_or(0, |stat| stat.parent);
        let is_new = self.connector.is_none() && !self.groups.contains_key(&pid);
        match now {
            // Without the kernel's word: a member's child was born here.
            Some(now) if is_new && self.groups.contains_key(&parent) => {
                events.extend(self.born(pid, parent, now, picture));
            }
            now => {
                self.moved(pid, now, picture, events);
                for child in self.strangers.descendants(pid) {
                    let group = group.path.clone();
                    events.extend(self.born(child.pid, child.parent, group, picture).map(|event| event.at(child.born)));
                    if let Some((status, time)) = child.ended {
                        events.extend(self.ended(child.pid, Some(status), picture).map(|event| event.at(time)));
                    }
                }
            }
        }
    }

    /// `None`: it is known already, from a listing.
    fn born(&mut self, pid: i32, parent: i32, group: GroupPath, picture: &Picture) -> Option<Event> {
        if self.groups.get(&pid) == Some(&group) {
            return None;
        }
        let mut event = tell(EventKind::Fork, &group, picture, pid);
        event.parent = Some(parent);
        self.doubtful.remove(&pid);
        self.groups.insert(pid, group);
        Some(event)
    }

    /// Somebody is not in the list of the group that it was in.
    fn missed(&mut self, backend: &dyn Backend, pid: i32, picture: &Picture, events: &mut Vec<Event>) {
        if is_alive(pid) {
            if let Ok(now) = locate(backend, pid) {
                self.moved(pid, now, picture, events);
            }
        } else if self.connector.is_none() || !self.doubtful.insert(pid) {
            // Dead, and twice seen so: the kernel's word was lost, if there are
            // any. The first time it may be on its way.
            events.extend(self.ended(pid, None, picture));
        }
    }

    fn moved(&mut self, pid: i32, to: Option<GroupPath>, picture: &Picture, events: &mut Vec<Event>) {
        let from = self.groups.get(&pid).cloned();
        if from == to {
            return;
        }
        if let Some(from) = &from {
            let mut left = tell(EventKind::Left, from, picture, pid);
            left.other.clone_from(&to);
            events.push(left);
            self.groups.remove(&pid);
        }
        if let Some(to) = to {
            let mut attached = tell(EventKind::Attached, &to, picture, pid);
            attached.other = from;
            events.push(attached);
            self.groups.insert(pid, to);
        } else {
            self.headless.remove(&pid);
            self.doubtful.remove(&pid);
        }
    }

    fn ended(&mut self, pid: i32, status: Option<i32>, picture: &Picture) -> Option<Event> {
        self.headless.remove(&pid);
        self.doubtful.remove(&pid);
        let group = self.groups.remove(&pid)?;
        let mut event = tell(EventKind::Exit, &group, picture, pid);
        event.status = status;
        Some(event)
    }
}

fn tell(kind: EventKind, group: &GroupPath, picture: &Picture, pid: i32) -> Event {
    Event::new(kind, group, picture.id(group)).of_process(pid)
}

/// The processes of a group, with those who are in one of the library's own for
/// a moment. 0 stands for whom our pid namespace does not show.
fn listed(backend: &dyn Backend, group: &Node) -> Result<Vec<i32>> {
    let mut listed = backend.procs(group)?;
    for child in group.passing_children()? {
        listed.extend(backend.procs(&child?)?);
    }
    listed.retain(|&pid| pid > 0);
    Ok(listed)
}

/// The group of a living process: that of another thread where the first has
/// ended, which may be shown in none.
fn locate(backend: &dyn Backend, pid: i32) -> Result<Option<GroupPath>> {
    if Stat::of(pid).is_ok_and(|stat| stat.is_dead()) {
        let others = process::threads(pid).unwrap_or_default().into_iter().filter(|&tid| tid != pid);
        if let Some(found) = others.filter_map(|tid| backend.locate(tid).ok()).next() {
            return Ok(found);
        }
    }
    backend.locate(pid)
}

fn is_alive(pid: i32) -> bool {
    Stat::of(pid).is_ok_and(|stat| stat.is_alive())
}
