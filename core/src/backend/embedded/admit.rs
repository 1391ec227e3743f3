//! Coming into a group: by attach, or by birth.

use std::collections::HashSet;

use rustix::fs::OFlags;

use super::file::REQUEST;
use super::members::{self, children};
use super::records::{Key, Record, Roll, key_of};
use super::request::Request;
use super::{Embedded, numbers, pass, stopped};
use crate::backend::{Admission, Node, guard};
use crate::error::{Error, Result};
use crate::process::{self, Process, Stat};
use crate::sys::Errno;

impl Embedded {
    /// Records a process in a group, and nowhere else. If that group is asked
    /// to freeze the process is stopped; if it was stopped where it comes from,
    /// and need not be here, it runs on.
    pub(super) fn take_in(&self, group: &Node, process: &Process, how: Admission) -> Result<()> {
        let pid = process.pid();
        if pid == 1 {
            let why = "process 1 cannot be in a group of the embedded backend: every orphan is its child";
            return Err(Error::new(libc::EOPNOTSUPP, why));
        }
        {
            let _held = self.lock()?;
            let mut roll = Roll::read(&self.root)?;
            let target = roll.find(group)?;
            let stat = living(process)?;
            self.may_hold(group, process)?;
            let key = key_of(&stat);
            let from = match how {
                Admission::Spawned => None,
                Admission::Attached => {
                    let found = members::locate(&roll, pid);
                    found.map_err(|errno| Error::os(errno, format_args!("looking for the group of process {pid}")))?
                }
            };
            if from == Some(target) && roll.page_of(&stat) == Some(target) {
                return Ok(());
            }
            if let Some(from) = from {
                self.refuse_if_leased(&roll, from)?;
                self.poke_helpers(&roll, from)?;
            }
            let record = match how {
                // The child begins its session when it is told to start.
                Admission::Spawned => Record { key, session: pid, forks: numbers::forks() },
                Admission::Attached => self.leave(&mut roll, from, &stat, target)?,
            };
            // If that fails, the figure is wrong by what it used before, and it comes all the same.
            let _ = self.carry_cpu_time(&roll, from, Some(target), &stat, how);
            // First into the one, then out of the other: if we die in between,
            // it is not lost.
            let before = roll.length(&self.root, target)?;
            roll.add(&self.root, target, &[record])?;
            let struck = self.strike_out(&mut roll, key, target);
            if struck.is_err() {
                // No space for the other group's record without it: it stays there.
                roll.cut(&self.root, target, before)?;
            }
            for page in struck? {
                self.release_unless_asked(&roll, page, Some(target), key)?;
            }
            let request = roll.request(&self.root, target)?;
            if request != Request::Stop || pid != process::this_process() {
                return self.see_to(&mut roll, target, request);
            }
        }
        // The caller itself, into a group that freezes: it stops with it.
        self.stop_caller(group)
    }

    /// EBUSY: a checkpoint holds the group that somebody is in. Whoever takes him away has leave
    /// to, but of where he was when that was asked for, and others may have moved him since. Under
    /// our lock he stays where he is, and a checkpoint that begins looks at its members under it.
    fn refuse_if_leased(&self, roll: &Roll, page: usize) -> Result<()> {
        let home = Node { dir: roll.dir(&self.root, page)?, path: roll.pages[page].path.clone() };
        match home.dir.open_file(REQUEST, OFlags::RDONLY) {
            Ok(file) => guard::look_at_home(self, &home, file),
            Err(Errno::NOENT | Errno::NODEV | Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(errno) => Err(home.failed(errno, "opening the freeze file")),
        }
    }

    /// Takes back a record that was made by mistake.
    pub(super) fn forget(&self, pid: i32) -> Result<()> {
        let _held = self.lock()?;
        let mut roll = Roll::read(&self.root)?;
        let Ok(stat) = Stat::of(pid) else { return Err(process::no_such_process(pid)) };
        let Some(page) = roll.page_of(&stat) else { return Ok(()) };
        let _ = self.carry_cpu_time(&roll, Some(page), None, &stat, Admission::Attached);
        roll.forget(&self.root, page, &HashSet::from([key_of(&stat)]))?;
        let to = members::locate(&roll, pid).ok().flatten();
        self.release_unless_asked(&roll, page, to, key_of(&stat))
    }

    /// Whoever cannot be sent a signal cannot be held.
    fn may_hold(&self, group: &Node, process: &Process) -> Result<()> {
        match process.signal(0) {
            Ok(()) => Ok(()),
            Err(Errno::SRCH) => Err(process::no_such_process(process.pid())),
            Err(Errno::PERM) => {
                let why =
                    format!("moving {} into {}: not permitted; it belongs to another user", process.pid(), group.path);
                Err(Error::new(libc::EACCES, why))
            }
            Err(errno) => Err(Error::os(errno, format_args!("asking for process {}", process.pid()))),
        }
    }

    /// Makes the children of a process stay where they are when it goes, and
    /// returns its record to go with it.
    fn leave(&self, roll: &mut Roll, from: Option<usize>, stat: &Stat, target: usize) -> Result<Record> {
        let plain = |stat: &Stat| Record { key: key_of(stat), session: 0, forks: 0 };
        let Some(from) = from.filter(|&from| from != target) else { return Ok(plain(stat)) };
        let mut stay = Vec::new();
        for pid in children(stat)? {
            match Stat::of(pid) {
                Ok(child) if child.parent == stat.pid && roll.page_of(&child).is_none() => stay.push(plain(&child)),
                _ => {}
            }
        }
        // If it has ended, its number may be another's by now, and the children too.
        if !members::is_there(key_of(stat)) {
            return Err(process::no_such_process(stat.pid));
        }
        roll.add(&self.root, from, &stay)?;
        let leads = |record: &&Record| record.key == key_of(stat) && record.session == stat.pid;
        let leader = roll.pages[from].records.iter().find(leads).copied();
        Ok(leader.unwrap_or_else(|| plain(stat)))
    }

    /// Takes a process out of every other group's record, and says which those
    /// were: one, if nobody was killed at it. A session belongs to the group of
    /// its leader: its later orphans are sought there, and there only.
    fn strike_out(&self, roll: &mut Roll, key: Key, target: usize) -> Result<Vec<usize>> {
        let mut struck = Vec::new();
        for page in 0..roll.pages.len() {
            let records = &roll.pages[page].records;
            let Some(own) = records.iter().find(|record| page != target && record.key == key) else { continue };
            let led = if own.session == key.0 { own.session } else { 0 };
            let without = |record: &Record| match record.session {
                session if session == led => Record { session: 0, forks: 0, ..*record },
                _ => *record,
            };
            let kept = records.iter().filter(|record| record.key != key).map(without).collect();
            roll.set(&self.root, page, kept)?;
            struck.push(page);
        }
        Ok(struck)
    }

    /// Takes a process out of the stopped ones of one group, into those of
    /// another if that is asked to freeze; otherwise it runs on, if it ran.
    pub(super) fn release_unless_asked(&self, roll: &Roll, from: usize, to: Option<usize>, key: Key) -> Result<()> {
        let failed = |errno| Error::os(errno, "recording the stopped processes");
        let dir = roll.dir(&self.root, from)?;
        let mut stopped = stopped::read(&dir).map_err(failed)?;
        let Some(ran) = stopped.remove(&key) else { return Ok(()) };
        let asked = match to {
            Some(to) if !roll.request(&self.root, to)?.is_none() => Some(to),
            _ => None,
        };
        match asked {
            Some(to) => stopped::append(&roll.dir(&self.root, to)?, &[(key, ran)]).map_err(failed)?,
            None => pass::release_one(key, ran)?,
        }
        stopped::write(&dir, &stopped).map_err(failed)
    }
}

/// The state of a process that is held by its descriptor, so that it cannot be
/// another's. ESRCH: it has ended.
fn living(process: &Process) -> Result<Stat> {
    let gone = || process::no_such_process(process.pid());
    let stat = Stat::of(process.pid()).map_err(|_| gone())?;
    if stat.is_alive() && process.is_there() { Ok(stat) } else { Err(gone()) }
}
