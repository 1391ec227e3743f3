//! What a group is bound to, and the namespaces of the first who came: both are notes on its
//! directory.
//!
//! The note of the first is not taken off when the last member leaves, which nobody may see.
//! It counts for as long as a member is in those namespaces: a namespace with somebody in it
//! keeps its number, so the comparison is never with another's.

use rustix::fs::OFlags;

use super::kinds::Namespaces;
use super::members::{Members, is_thread_in};
use super::seen::{Seen, Shown};
use crate::attach::Attach;
use crate::attribute;
use crate::backend::BackendKind;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::holder::SETTERS;
use crate::process;
use crate::sys::Errno;
use crate::turn::Turn;

/// A setting, which clones have too.
const TYPES: &str = "namespace.types";
/// Of this very group: its clones have a first of their own.
const FIRST: &str = "namespace-first";

/// What a group is bound to.
pub(super) fn types(group: &Group) -> Result<Namespaces> {
    let types = group.attribute(TYPES)?.unwrap_or_default();
    types.parse().map_err(|error: Error| error.context(format_args!("what {group} is bound to")))
}

/// Binds a group without members.
///
/// EBUSY: it has some. EINVAL: the root group, or a kind that this kernel has not.
pub(super) fn set_types(group: &Group, kinds: Namespaces) -> Result<()> {
    if group.path().is_root() {
        let why = "the root group holds whoever is in no other, and so is bound to nothing";
        return Err(Error::new(libc::EINVAL, why));
    }
    let ours = Shown::of_caller()?;
    if let Some(kind) = kinds.each().find(|kind| ours.identity(kind.name()).is_err()) {
        return Err(Error::new(libc::EINVAL, format!("this kernel has no {kind} namespaces")));
    }
    let _turn = turn(group)?;
    refuse_if_used(group)?;
    let before = types(group)?;
    note_types(group, kinds)?;
    attribute::remove(group.node(), FIRST)?;
    // Who came in between took it for what it was before.
    refuse_if_used(group).or_else(|busy| note_types(group, before).and(Err(busy)))
}

fn note_types(group: &Group, kinds: Namespaces) -> Result<()> {
    if kinds.is_empty() { group.remove_attribute(TYPES) } else { group.set_attribute(TYPES, &kinds.to_string()) }
}

fn refuse_if_used(group: &Group) -> Result<()> {
    if is_empty(group)? {
        return Ok(());
    }
    Err(Error::new(libc::EBUSY, format!("{group} has members; it is bound while it has none")))
}

/// Whether nobody is in the very group, seen by us or not.
pub(super) fn is_empty(group: &Group) -> Result<bool> {
    let members = Members::of(group)?;
    Ok(members.processes.iter().all(|&pid| members.is_leaving(pid)) && group.unseen_procs()? == 0)
}

/// What is noted of the first, as far as it is about what the group is bound to.
pub(super) fn note(group: &Group, kinds: Namespaces) -> Result<Option<Seen>> {
    let noted = attribute::get(group.node(), FIRST)?;
    Ok(noted.and_then(|text| Seen::parse(&text)).filter(|seen| seen.kinds() == kinds))
}

/// The note on a group, of these kinds, if a member is in those namespaces.
pub(super) fn standing_note(group: &Group, kinds: Namespaces) -> Result<Option<Seen>> {
    let Some(note) = note(group, types(group)?)?.map(|note| note.only(kinds)) else { return Ok(None) };
    let members = Members::of(group)?;
    Ok(members.processes.iter().any(|&pid| members.is_in(pid, &note)).then_some(note))
}

/// Who is in the group besides a newcomer.
struct Others<'a> {
    members: Members<'a>,
    /// Where threads come one by one: of the newcomer's own process.
    threads: Vec<(i32, i32)>,
    are_unseen: bool,
}

impl<'a> Others<'a> {
    fn than(attach: &Attach<'a>) -> Result<Others<'a>> {
        let (group, pid) = (attach.group(), attach.pid());
        let mut threads = Vec::new();
        if attach.is_single_task() {
            let is_other = |tid: &i32| !attach.threads().contains(tid);
            let of_it = |tid: &i32| process::process_of(*tid).is_ok_and(|process| process == pid);
            threads = group.tasks()?.into_iter().filter(is_other).filter(of_it).map(|tid| (pid, tid)).collect();
        }
        let mut members = Members::of(group)?;
        let mut processes = std::mem::take(&mut members.processes);
        processes.retain(|&other| other != pid && !members.is_leaving(other));
        members.processes = processes;
        Ok(Others { members, threads, are_unseen: group.unseen_procs()? > 0 })
    }

    fn are_none(&self) -> bool {
        self.members.processes.is_empty() && self.threads.is_empty() && !self.are_unseen
    }

    fn are_in(&self, note: &Seen) -> bool {
        self.threads.iter().any(|&(pid, tid)| is_thread_in(pid, tid, note))
            || self.members.processes.iter().any(|&pid| self.members.is_in(pid, note))
    }
}

/// Whether somebody may come, as it looks before: what is true when it has come is for
/// [`settle`].
pub(super) fn may_come(attach: &Attach<'_>) -> Result<()> {
    let group = attach.group();
    let kinds = types(group)?;
    if kinds.is_empty() || is_member(attach)? {
        return Ok(());
    }
    let others = Others::than(attach)?;
    if others.are_none() {
        forget_the_former_first(attach)?;
        return if attach.is_birth() { Ok(()) } else { must_be_from_parent(attach) };
    }
    match note(group, kinds)?.filter(|note| others.are_in(note)) {
        // Who is not born yet is in no namespaces.
        Some(_) if attach.is_birth() => Ok(()),
        Some(note) => must_be_same(attach, &Seen::of_all(attach.pid(), attach.threads(), kinds)?, &note),
        None => Err(nobody_is_in_them(group)),
    }
}

/// Who is a member stays one. On version 1 a process whose first thread is in the group may have
/// others elsewhere.
fn is_member(attach: &Attach<'_>) -> Result<bool> {
    let group = attach.group();
    let is_there = attach.from() == Some(group.path());
    Ok(is_there && (attach.is_single_task() || group.backend()?.kind() != BackendKind::Cgroup1))
}

/// Takes the note of one off who has left: who settles next is the first, and finds no note
/// that it could not check.
fn forget_the_former_first(attach: &Attach<'_>) -> Result<()> {
    let group = attach.group();
    if attribute::get(group.node(), FIRST)?.is_none() {
        return Ok(());
    }
    let _turn = turn(group)?;
    // Somebody may have come by now, who has noted himself or waits for the turn to.
    if Others::than(attach)?.are_none() {
        attribute::remove(group.node(), FIRST)?;
    }
    Ok(())
}

fn nobody_is_in_them(group: &Group) -> Error {
    let why = format!("{group} has members, and none of them is in the namespaces of who came first");
    Error::new(libc::EPERM, why)
}

/// Somebody has come, and is first, or proves to be in the group's namespaces.
///
/// Two who were both to be the first have both come by now. One of them finds the note of
/// the other: whoever is in the namespaces that are noted keeps the note up.
pub(super) fn settle(attach: &Attach<'_>) -> Result<()> {
    let group = attach.group();
    // Whoever binds the group after this look finds that it has a member.
    if is_member(attach)? || types(group)?.is_empty() {
        return Ok(());
    }
    let _turn = turn(group)?;
    let kinds = types(group)?;
    if kinds.is_empty() {
        return Ok(());
    }
    let seen = Seen::of_all(attach.pid(), attach.threads(), kinds)?;
    let note = note(group, kinds)?;
    match note {
        // It was proved to one who is leaving, or is the first again.
        Some(note) if seen.difference(&note).is_none() => Ok(()),
        Some(note) => {
            let others = Others::than(attach)?;
            match others.are_in(&note) {
                true => must_be_same(attach, &seen, &note),
                // Members whom we may not see may be in them.
                false if !others.are_none() => Err(nobody_is_in_them(group)),
                false => be_first(attach, &seen),
            }
        }
        None => be_first(attach, &seen),
    }
}

fn be_first(attach: &Attach<'_>, seen: &Seen) -> Result<()> {
    if !attach.is_newborn() {
        must_be_from_parent(attach)?;
    }
    attribute::must_set(attach.group().node(), FIRST, &seen.to_string())
}

/// The rule for the first (R10.1).
fn must_be_from_parent(attach: &Attach<'_>) -> Result<()> {
    let group = attach.group();
    let parent = group.path().parent();
    if parent.is_some() && attach.from() == parent.as_ref() {
        return Ok(());
    }
    let place = attach.from().map_or_else(|| "outside".to_owned(), |path| format!("in {path}"));
    let why = format!(
        "{group} is bound to namespaces and has no members: the first comes from {}, and process {} is {place}",
        parent.map_or_else(|| "the group above".to_owned(), |parent| parent.to_string()),
        attach.pid()
    );
    Err(Error::new(libc::EPERM, why))
}

fn must_be_same(attach: &Attach<'_>, seen: &Seen, note: &Seen) -> Result<()> {
    let Some((kind, theirs, wanted)) = seen.difference(note) else { return Ok(()) };
    let why = format!(
        "process {} is in the {kind} namespace {}, and {} is bound to {}",
        attach.pid(),
        theirs.inode,
        attach.group(),
        wanted.inode
    );
    Err(Error::new(libc::EPERM, why))
}

/// Being the only one who binds a group, or joins it as one that is bound. EBUSY: somebody
/// else is at it until the deadline.
fn turn(group: &Group) -> Result<Turn> {
    let (backend, node) = (group.backend()?, group.node());
    let file = node.dir.open_file(backend.freeze_file(), OFlags::RDWR).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => {
            Error::new(libc::EACCES, format!("{group} is bound to namespaces, and we may not note anything on it"))
        }
        errno => node.failed(errno, "opening the freeze file"),
    })?;
    let doing = format_args!("binding or joining {group}");
    Turn::take(file, SETTERS, backend.this_process(), group.hierarchy().deadline(), doing)
}
