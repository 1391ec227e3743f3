//! Who is in a group: the recorded, their descendants, and the orphans of the
//! sessions that were begun for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags, RawDir};

use super::numbers;
use super::records::{Key, Record, Roll, key_of};
use crate::backend::Node;
use crate::error::{Error, Result};
use crate::process::{self, Stat};
use crate::sys::{self, Errno};

/// A living process of one of the groups that are visited.
#[derive(Debug)]
pub(super) struct Member {
    pub page: usize,
    pub stat: Stat,
    /// Set by whoever visits: it is held, and does not move.
    pub is_still: bool,
}

/// So many processes are looked at before something is done about them: few
/// enough that the first are stopped before the last have forked once more,
/// enough that recording them costs little.
const BATCH: usize = 64;

/// A record is cleared of the dead when there are so many, and most are dead.
const MANY_DEAD: usize = 64;

/// The deepest line of parents that is followed.
const DEEPEST: usize = 4096;

/// Orphans cost reading the list of all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orphans {
    Sought,
    /// The next look does without.
    Spared,
    /// The last look did without, and might have found some.
    Left,
}

/// One look at some groups, or several in a row.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    root: &'a Node,
    sessions: &'a Sessions,
    /// Processes whose children were listed while they were still. They cannot
    /// have got others since, unless from a member that has ended meanwhile.
    settled: HashSet<Key>,
    /// Whom an earlier look of this scan saw alive.
    known: HashSet<Key>,
    lost: bool,
    /// Whether the orphans of sessions are looked for.
    orphans: Orphans,
    /// Recorded, and found dead by this look.
    dead: HashMap<usize, HashSet<Key>>,
    /// Without the hierarchy's lock nothing is written: whom the look found is
    /// kept here.
    unrecorded: Option<Vec<(usize, Record)>>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(root: &'a Node, sessions: &'a Sessions) -> Scan<'a> {
        Scan {
            root,
            sessions,
            settled: HashSet::new(),
            known: HashSet::new(),
            lost: false,
            orphans: Orphans::Sought,
            dead: HashMap::new(),
            unrecorded: None,
        }
    }

    /// For who does not hold the hierarchy's lock.
    pub(super) fn without_lock(root: &'a Node, sessions: &'a Sessions) -> Scan<'a> {
        Scan { unrecorded: Some(Vec::new()), ..Scan::new(root, sessions) }
    }

    /// Whom a look without the lock found who is in no record, by group, and
    /// who is dead, in groups where it is time to forget them.
    pub(super) fn into_findings(self, roll: &Roll) -> Findings {
        let mut dead = self.dead;
        dead.retain(|&page, dead| is_crowded(dead, &roll.pages[page].records));
        Findings { new: self.unrecorded.unwrap_or_default(), dead }
    }

    /// Calls `act` for every living process of these groups, some at a time.
    ///
    /// A process's children are looked up only after `act` was called for it:
    /// if `act` finds it stopped, its children are all there is. Descendants
    /// who are not recorded yet are recorded on the way, so that they stay
    /// members when their parents have gone.
    pub(super) fn visit(
        &mut self,
        roll: &mut Roll,
        pages: &[usize],
        act: &mut dyn FnMut(&Roll, &mut [Member]) -> Result<()>,
    ) -> Result<()> {
        let mut queue: VecDeque<Candidate> = VecDeque::new();
        for &page in pages {
            let claims = roll.pages[page].records.iter();
            queue.extend(claims.map(|&record| Candidate { pid: record.key.0, page, claim: Claim::Recorded(record) }));
        }
        self.dead.clear();
        if self.lost {
            self.settled.clear();
            self.lost = false;
        }
        let mut sessions = HashMap::new();
        let mut seen = HashSet::new();
        self.drain(&mut queue, roll, &mut sessions, &mut seen, act)?;
        let spared = std::mem::replace(&mut self.orphans, Orphans::Sought) == Orphans::Spared;
        if spared && !sessions.is_empty() {
            self.orphans = Orphans::Left;
        } else if !sessions.is_empty() {
            queue.extend(self.orphans(roll, &sessions, &seen)?);
            self.drain(&mut queue, roll, &mut sessions, &mut seen, act)?;
        }
        self.bury(roll);
        Ok(())
    }

    /// Takes the dead out of the records, now and then.
    fn bury(&mut self, roll: &mut Roll) {
        if self.unrecorded.is_some() {
            return;
        }
        for (page, dead) in std::mem::take(&mut self.dead) {
            if is_crowded(&dead, &roll.pages[page].records) {
                // If it fails: another time, then.
                let _ = roll.forget(self.root, page, &dead);
            }
        }
    }

    /// Whether somebody ended between two looks who was not still at the first:
    /// whoever was born to it then may be anywhere.
    pub(super) fn has_lost(&self) -> bool {
        self.lost
    }

    /// Lets the next look do without orphans, for who will look again anyway.
    pub(super) fn spare_orphans(&mut self) {
        self.orphans = Orphans::Spared;
    }

    pub(super) fn spares_orphans(&self) -> bool {
        self.orphans == Orphans::Spared
    }

    /// Whether the last look was spared the orphans that there may be.
    pub(super) fn has_left_orphans(&self) -> bool {
        self.orphans == Orphans::Left
    }

    /// Whether somebody who has ended was there a moment ago, and may have had
    /// children since.
    fn misses(&mut self, candidate: &Candidate) -> bool {
        match candidate.claim {
            Claim::Recorded(Record { key, .. }) => self.known.remove(&key) && !self.settled.contains(&key),
            Claim::Child { .. } | Claim::Orphan { .. } => true,
        }
    }

    fn drain(
        &mut self,
        queue: &mut VecDeque<Candidate>,
        roll: &mut Roll,
        sessions: &mut HashMap<i32, Witness>,
        seen: &mut HashSet<i32>,
        act: &mut dyn FnMut(&Roll, &mut [Member]) -> Result<()>,
    ) -> Result<()> {
        while !queue.is_empty() {
            let mut batch = Vec::with_capacity(BATCH);
            let mut found: HashMap<usize, Vec<Record>> = HashMap::new();
            for (candidate, stat, session) in self.look_at_some(queue, roll, sessions, seen)? {
                let key = key_of(&stat);
                if session != 0 && (stat.pid == session || stat.session == session) {
                    sessions.insert(session, Witness { page: candidate.page, proof: Proof::Process(key) });
                }
                if !stat.is_alive() {
                    self.lost |= self.known.remove(&key) && !self.settled.contains(&key);
                    continue;
                }
                if !seen.insert(stat.pid) {
                    continue;
                }
                self.known.insert(key);
                if !matches!(candidate.claim, Claim::Recorded(_)) {
                    let session = if stat.session == session { session } else { 0 };
                    found.entry(candidate.page).or_default().push(Record { key, session, forks: 0 });
                }
                batch.push((Member { page: candidate.page, stat, is_still: false }, session));
            }
            for (page, records) in found {
                match &mut self.unrecorded {
                    Some(unrecorded) => unrecorded.extend(records.into_iter().map(|record| (page, record))),
                    // A precaution for later: without it this look is as good.
                    None => drop(roll.add(self.root, page, &records)),
                }
            }
            let (mut members, sessions_of): (Vec<Member>, Vec<i32>) = batch.into_iter().unzip();
            act(roll, &mut members)?;
            for (member, session) in members.iter().zip(sessions_of) {
                let key = key_of(&member.stat);
                if member.is_still && !self.settled.insert(key) {
                    continue;
                }
                for pid in children(&member.stat)? {
                    queue.push_back(Candidate { pid, page: member.page, claim: Claim::Child { parent: key, session } });
                }
            }
        }
        Ok(())
    }

    /// Takes some candidates from the queue, and returns those that are members.
    fn look_at_some(
        &mut self,
        queue: &mut VecDeque<Candidate>,
        roll: &Roll,
        sessions: &mut HashMap<i32, Witness>,
        seen: &HashSet<i32>,
    ) -> Result<Vec<(Candidate, Stat, i32)>> {
        let mut looked = Vec::with_capacity(BATCH);
        while looked.len() < BATCH {
            let Some(candidate) = queue.pop_front() else { break };
            // Recorded, and so looked at before its parent named it.
            if seen.contains(&candidate.pid) {
                continue;
            }
            match candidate.look(roll)? {
                Found::Member(stat, session) => looked.push((candidate, stat, session)),
                Found::Other => {}
                Found::Nobody => {
                    self.lost |= self.misses(&candidate);
                    if let Claim::Recorded(record) = candidate.claim {
                        if record.session == record.key.0 {
                            // Reaped, but its session may live.
                            let witness = Witness { page: candidate.page, proof: Proof::Forks(record.forks) };
                            sessions.entry(record.session).or_insert(witness);
                        } else {
                            self.dead.entry(candidate.page).or_default().insert(record.key);
                        }
                    }
                }
            }
        }
        // A parent that is there after its children were looked at had its number
        // all the time. Else they may be the children of a stranger who has the
        // number by now.
        let mut parents = HashMap::new();
        looked.retain(|(candidate, ..)| match candidate.claim {
            Claim::Child { parent, .. } => {
                let is_there = *parents.entry(parent).or_insert_with(|| is_there(parent));
                self.lost |= !is_there;
                is_there
            }
            Claim::Recorded(_) | Claim::Orphan { .. } => true,
        });
        Ok(looked)
    }

    /// Processes of our sessions that lost the parent through whom they would
    /// have been found.
    ///
    /// A session's number is not given away while the session lasts. So a
    /// witness that is still in it *after* the others were looked at proves
    /// that they are in the same session, not in one that took over its number.
    fn orphans(&self, roll: &Roll, sessions: &HashMap<i32, Witness>, seen: &HashSet<i32>) -> Result<Vec<Candidate>> {
        let failed = |errno| Error::os(errno, "listing the processes");
        let before = self.sessions.take();
        let mut before = before.into_iter().peekable();
        let mut now = Vec::with_capacity(before.len());
        let mut found = Vec::new();
        for id in listed().map_err(failed)? {
            let (pid, _) = id;
            while before.next_if(|((known, _), _)| *known < pid).is_some() {}
            if let Some(known) = before.next_if(|(known, session)| *known == id && !sessions.contains_key(session)) {
                now.push(known);
                continue;
            }
            if seen.contains(&pid) {
                continue;
            }
            let stat = match Stat::of(pid) {
                Err(Errno::SRCH | Errno::ACCESS | Errno::PERM) => continue,
                other => other.map_err(failed)?,
            };
            let Some(witness) = sessions.get(&stat.session) else {
                now.push((id, stat.session));
                continue;
            };
            // Whoever is recorded, or descends from one who is, is not lost.
            if stat.is_alive() && roll.page_of(&stat).is_none() && by_descent(roll, &lineage(stat.clone())).is_none() {
                let claim = Claim::Orphan { key: key_of(&stat), session: stat.session };
                found.push((stat.session, Candidate { pid, page: witness.page, claim }));
            }
        }
        self.sessions.put(now);
        found.retain(|(session, _)| sessions.get(session).is_some_and(|witness| witness.proves(*session)));
        Ok(found.into_iter().map(|(_, candidate)| candidate).collect())
    }
}

/// What a look without the lock leaves to be written.
pub(super) struct Findings {
    pub new: Vec<(usize, Record)>,
    pub dead: HashMap<usize, HashSet<Key>>,
}

fn is_crowded(dead: &HashSet<Key>, records: &[Record]) -> bool {
    dead.len() >= MANY_DEAD && 2 * dead.len() > records.len()
}

/// Which session every process is in, as far as somebody has looked, so that
/// the whole `/proc` need not be read for every pass.
///
/// A process is known by its number and by the inode of `/proc/PID`, which is
/// made for it and goes with it. It can leave its session, but only for one of
/// its own: it never comes into one of ours.
///
/// They are in the order of their numbers, as `/proc` lists them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: Mutex<Vec<((i32, u64), i32)>>,
}

impl Sessions {
    /// What is known, and nothing if another thread is at it: also if that
    /// thread was left behind by a fork.
    fn take(&self) -> Vec<((i32, u64), i32)> {
        self.known.try_lock().map(|mut known| std::mem::take(&mut *known)).unwrap_or_default()
    }

    fn put(&self, now: Vec<((i32, u64), i32)>) {
        if let Ok(mut known) = self.known.try_lock() {
            *known = now;
        }
    }
}

/// The group that a process is in, `None` if it is in none. ESRCH.
pub(super) fn locate(roll: &Roll, pid: i32) -> sys::Result<Option<usize>> {
    let line = lineage(Stat::of(pid)?);
    Ok(by_descent(roll, &line).or_else(|| by_session(roll, &line)))
}

/// Whether a process has not been waited for, so that its number is its own.
pub(super) fn is_there(key: Key) -> bool {
    Stat::of(key.0).is_ok_and(|stat| key_of(&stat) == key)
}

/// The children of a process.
pub(super) fn children(stat: &Stat) -> Result<Vec<i32>> {
    let pid = stat.pid;
    let found = if stat.threads <= 1 {
        // Saves reading the list of threads, which costs as much again.
        process::read(&format!("/proc/{pid}/task/{pid}/children")).map(|text| process::numbers(&text))
    } else {
        process::children(pid)
    };
    match found {
        Err(Errno::SRCH) => Ok(Vec::new()),
        other => other.map_err(|errno| Error::os(errno, format_args!("listing the children of process {pid}"))),
    }
}

/// Somebody who may be a member, and why.
struct Candidate {
    pid: i32,
    page: usize,
    claim: Claim,
}

enum Claim {
    Recorded(Record),
    /// Once it has shown the parent's number, the parent is to be asked for.
    Child {
        parent: Key,
        session: i32,
    },
    Orphan {
        key: Key,
        session: i32,
    },
}

enum Found {
    /// With the group's session that it was born into.
    Member(Stat, i32),
    /// Another group's record names it, or its number is another's now.
    Other,
    Nobody,
}

impl Candidate {
    fn look(&self, roll: &Roll) -> Result<Found> {
        let stat = match Stat::of(self.pid) {
            Err(Errno::SRCH) => return Ok(Found::Nobody),
            other => other.map_err(|errno| Error::os(errno, format_args!("looking at process {}", self.pid)))?,
        };
        Ok(match self.claim {
            Claim::Recorded(record) if key_of(&stat) == record.key => Found::Member(stat, record.session),
            Claim::Child { .. } if roll.page_of(&stat).is_some() => Found::Other,
            Claim::Child { parent, session } if stat.parent == parent.0 => Found::Member(stat, session),
            Claim::Orphan { key, session } if key_of(&stat) == key => Found::Member(stat, session),
            // A child that shows another parent has lost its own: the next look
            // finds it as an orphan.
            _ => Found::Nobody,
        })
    }
}

/// By what a session of a group is known not to be another that was given its
/// number.
struct Witness {
    page: usize,
    proof: Proof,
}

enum Proof {
    /// Its leader, also dead and not waited for, or a member that was recorded
    /// as being in it and still is.
    Process(Key),
    /// Its leader was reaped, but there have not been forks enough since it
    /// began, after so many, for its number to come round again.
    Forks(u64),
}

impl Witness {
    fn proves(&self, session: i32) -> bool {
        match self.proof {
            Proof::Process(key) => {
                Stat::of(key.0).is_ok_and(|stat| key_of(&stat) == key && (key.0 == session || stat.session == session))
            }
            Proof::Forks(then) => Stat::of(session) == Err(Errno::SRCH) && !numbers::may_recur(then),
        }
    }
}

/// A process and those it descends from, nearest first, as far as they show.
pub(super) fn lineage(stat: Stat) -> Vec<Stat> {
    let mut line = vec![stat];
    while let Some(last) = line.last()
        // Process 1 is in no group.
        && last.parent > 1
        && line.len() < DEEPEST
    {
        match Stat::of(last.parent) {
            // A parent is never younger; this one was given a dead one's number.
            Ok(parent) if parent.start_time <= last.start_time => line.push(parent),
            // It has died since; its child has another parent by now.
            _ => match Stat::of(last.pid) {
                Ok(again) if key_of(&again) == key_of(last) && again.parent != last.parent => {
                    line.pop();
                    line.push(again);
                }
                _ => break,
            },
        }
    }
    line
}

fn by_descent(roll: &Roll, line: &[Stat]) -> Option<usize> {
    line.iter().find_map(|stat| roll.page_of(stat))
}

fn by_session(roll: &Roll, line: &[Stat]) -> Option<usize> {
    line.iter().filter(|stat| stat.session != 0).find_map(|stat| {
        let is_proved = |page: usize, record: &Record| {
            let by_itself = Witness { page, proof: Proof::Process(record.key) };
            let by_forks = Witness { page, proof: Proof::Forks(record.forks) };
            by_itself.proves(stat.session) || (record.key.0 == stat.session && by_forks.proves(stat.session))
        };
        roll.pages.iter().enumerate().find_map(|(page, recorded)| {
            let mut in_it = recorded.records.iter().filter(|record| record.session == stat.session);
            in_it.any(|record| is_proved(page, record)).then_some(page)
        })
    })
}

/// Every process that `/proc` shows, with the inode of its directory.
fn listed() -> sys::Result<Vec<(i32, u64)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(proc, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let pid = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        found.extend(pid.map(|pid| (pid, entry.ino())));
    }
    Ok(found)
}
