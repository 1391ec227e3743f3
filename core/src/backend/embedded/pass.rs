//! One pass over some groups: whoever is not still is stopped.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use super::members::{Member, Scan};
use super::numbers;
use super::records::{Key, Roll, key_of};
use super::still::{self, Stillness};
use super::stopped;
use crate::backend::Node;
use crate::error::{Error, Result};
use crate::process::{self, Process, Stat};
use crate::sys::{Errno, dir::Dir};

/// What a pass met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// All that were found were held already and stood still, and nobody was lost.
    pub quiet: bool,
    /// Orphans were not looked for: it does not count.
    pub hasty: bool,
    /// No process was born meanwhile, on the whole machine. So nobody can have
    /// been where the pass had been already: if it was quiet, that is proof.
    pub unborn: bool,
    /// The caller's own process is a member. It was left out: it cannot stop
    /// and still do the rest.
    pub met_caller: bool,
}

/// Stops every process of these groups that is not stopped, and records it
/// beforehand. The hierarchy's lock is held.
pub(super) fn stop(root: &Node, scan: &mut Scan<'_>, roll: &mut Roll, pages: &[usize]) -> Result<Pass> {
    let caller = process::this_process();
    let mut pass = Pass { quiet: true, hasty: false, unborn: false, met_caller: false };
    let births = if scan.spares_orphans() { 0 } else { numbers::forks() };
    let mut held = std::mem::take(&mut roll.stopped);
    scan.visit(roll, pages, &mut |roll, members| {
        let mut to_record: BTreeMap<usize, Vec<(Key, bool)>> = BTreeMap::new();
        let mut to_stop = Vec::new();
        let mut dirs = BTreeMap::new();
        for member in members {
            if member.stat.pid == caller {
                pass.met_caller = true;
                continue;
            }
            let held = match held.entry(member.page) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unread) => {
                    let dir = roll.dir(root, member.page)?;
                    let stopped = stopped::read(&dir).map_err(|errno| failed(roll, member.page, errno))?;
                    dirs.insert(member.page, dir);
                    unread.insert(stopped)
                }
            };
            let key = key_of(&member.stat);
            let stillness = still::of(&member.stat).unwrap_or(Stillness::Moving);
            let ran = match (held.get(&key), stillness) {
                // A tracer could let it go at any time: it is sent a stop too.
                (None, stillness) => Some(stillness != Stillness::Stopped),
                // Somebody continued what had been stopped before the freeze:
                // so it is to run after it.
                (Some(false), Stillness::Moving) => Some(true),
                (Some(_), Stillness::Moving) => None,
                (Some(_), _) => {
                    member.is_still = true;
                    continue;
                }
            };
            pass.quiet = false;
            if let Some(ran) = ran {
                held.insert(key, ran);
                to_record.entry(member.page).or_default().push((key, ran));
            }
            if stillness != Stillness::Stopped {
                to_stop.push(key);
            }
        }
        for (page, entries) in to_record {
            let dir = dirs.remove(&page).map_or_else(|| roll.dir(root, page), Ok)?;
            stopped::append(&dir, &entries).map_err(|errno| failed(roll, page, errno))?;
        }
        for key in to_stop {
            signal(key, libc::SIGSTOP).or_else(passable)?;
        }
        Ok(())
    })?;
    roll.stopped = held;
    pass.quiet &= !scan.has_lost();
    pass.hasty = scan.has_left_orphans();
    pass.unborn = births != 0 && pass.quiet && numbers::forks() == births;
    Ok(pass)
}

/// Whether every process of these groups stands still, without doing anything
/// about it. The caller does not.
pub(super) fn look(scan: &mut Scan<'_>, roll: &mut Roll, pages: &[usize]) -> Result<bool> {
    let mut quiet = true;
    scan.visit(roll, pages, &mut |_, members| {
        let moves = |member: &Member| still::of(&member.stat).unwrap_or(Stillness::Moving) == Stillness::Moving;
        quiet = quiet && !members.iter().any(moves);
        Ok(())
    })?;
    Ok(quiet)
}

/// Lets every process go that is recorded as stopped by us in this group, but
/// for those that were stopped before.
pub(super) fn release(dir: &Dir) -> Result<()> {
    let doing = "letting the stopped processes go";
    let mut stopped = stopped::read(dir).map_err(|errno| Error::os(errno, doing))?;
    if stopped.is_empty() {
        return stopped::clear(dir).map_err(|errno| Error::os(errno, doing));
    }
    let mut failure = None;
    stopped.retain(|&key, ran| match release_one(key, *ran) {
        Ok(()) => false,
        Err(error) => {
            failure = Some(error);
            true
        }
    });
    stopped::write(dir, &stopped).map_err(|errno| Error::os(errno, doing))?;
    failure.map_or(Ok(()), |error: Error| Err(error.context(doing)))
}

/// Lets one process go.
pub(super) fn release_one(key: Key, ran: bool) -> Result<()> {
    // Stopped before the freeze: it stays so.
    if !ran {
        return Ok(());
    }
    match signal(key, libc::SIGCONT) {
        Err(error) if error.is(libc::ESRCH) => Ok(()),
        // We may not continue it, and could not stop it either.
        Err(error) if error.is(libc::EPERM) && !is_stopped(key) => Ok(()),
        other => other,
    }
}

/// Sends a signal to the process of this number and start time, or to nobody.
/// ESRCH, EPERM.
pub(super) fn signal(key: Key, signal: i32) -> Result<()> {
    let (pid, _) = key;
    let process = Process::open(pid)?;
    // If it has the number after the descriptor was open, it had it before: the
    // descriptor is its own.
    match Stat::of(pid) {
        Ok(stat) if key_of(&stat) == key => crate::backend::send(&process, signal),
        Ok(_) | Err(Errno::SRCH) => Err(process::no_such_process(pid)),
        Err(errno) => Err(Error::os(errno, format_args!("looking at process {pid}"))),
    }
}

fn is_stopped(key: Key) -> bool {
    Stat::of(key.0).is_ok_and(|stat| key_of(&stat) == key && still::of(&stat) == Ok(Stillness::Stopped))
}

/// Who has gone need not be stopped; who may not be stopped blocks the freeze,
/// and is named by it in the end.
fn passable(error: Error) -> Result<()> {
    if error.is(libc::ESRCH) || error.is(libc::EPERM) { Ok(()) } else { Err(error) }
}

fn failed(roll: &Roll, page: usize, errno: Errno) -> Error {
    Error::os(errno, format_args!("recording the stopped processes of group {}", roll.pages[page].path))
}
