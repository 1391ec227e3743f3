//! What the processes of a group have used, where no kernel counts it for the group.
//!
//! Each group has a [`Book`]. Nothing is done between two looks, so what a process used
//! after the last one is lost if it ends and nobody in the group waits for it. Who ends as a
//! child of the library's own is looked at before it is waited for, and so is counted
//! whole. What a member had used before it came is taken off; that is noted when it comes.
//!
//! A look writes the books, under the hierarchy's lock. Who is killed at it leaves the old
//! or the new one.

mod book;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use self::book::{Book, Sample};
use super::members::{self, Scan, children};
use super::records::{Key, Roll, key_of};
use super::{Embedded, file};
use crate::backend::{Admission, Node};
use crate::cpu_time::CpuTime;
use crate::error::{Error, Result};
use crate::process::{self, Stat, Ticks};
use crate::sys::{self, cpu_clock, dir::Dir};

impl Embedded {
    /// What a group and those below have used.
    pub(super) fn cpu_time_of(&self, group: &Node) -> Result<CpuTime> {
        let held = self.lock_to_read()?;
        let mut roll = Roll::read(&self.root)?;
        let wanted = roll.subtree(group)?;
        // Parents may be in groups that nobody asks about, and wait for children that are in these:
        // their books have to know what those had used.
        let pages = roll.subtree(&self.root)?;
        let times = self.take_stock(&mut roll, &pages, held.is_some())?;
        let times = pages.iter().zip(times).filter(|(page, _)| wanted.contains(page));
        Ok(times.map(|(_, time)| time).fold(CpuTime::default(), CpuTime::plus))
    }

    /// Notes what the members of this very group have used by now, dead ones included who
    /// have not been waited for; and of the caller's, who may be about to wait for one.
    pub(super) fn note_cpu_time_of(&self, group: &Node) -> Result<()> {
        let _held = self.lock()?;
        let mut roll = Roll::read(&self.root)?;
        let page = roll.find(group)?;
        let callers = members::locate(&roll, process::this_process()).ok().flatten();
        let pages: Vec<usize> = std::iter::once(page).chain(callers.filter(|&callers| callers != page)).collect();
        self.take_stock(&mut roll, &pages, true).map(drop)
    }

    /// A process goes from one group to another, `None` for no group. Called before it is
    /// recorded: if that comes to nothing, the next look finds out.
    pub(super) fn carry_cpu_time(
        &self,
        roll: &Roll,
        from: Option<usize>,
        to: Option<usize>,
        who: &Stat,
        how: Admission,
    ) -> Result<()> {
        let key = key_of(who);
        if !self.accounts || from == to {
            return Ok(());
        }
        let Some((stat, now)) = sample(key) else { return Ok(()) };
        if let (Some(to), Admission::Attached) = (to, how) {
            self.with_book(roll, to, |book| enter_with_children(book, roll, from, to, stat.clone(), now))?;
        }
        if let Some(from) = from {
            self.with_book(roll, from, |book| {
                book.leave(key, now);
                book.relate(key, stat.parent);
                Ok(())
            })?;
        }
        // Its parent, who will wait for it, may be in a third.
        let parents = members::locate(roll, stat.parent).ok().flatten();
        match parents.filter(|_| stat.parent > 1) {
            Some(parents) if Some(parents) != to && Some(parents) != from => self.with_book(roll, parents, |book| {
                book.know_elsewhere(key, now);
                if !book.keys().iter().any(|(pid, _)| *pid == stat.parent)
                    && let Ok(parent) = Stat::of(stat.parent)
                {
                    book.be_born(key_of(&parent));
                }
                book.relate(key, stat.parent);
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    /// What a group that is to be removed had used, by a last look; `None`: nothing.
    pub(super) fn last_cpu_time_of(&self, group: &Node) -> Result<Option<CpuTime>> {
        if !self.accounts
            || !file::is_there(&group.dir, file::CPU_TIME).is_ok_and(|there| there)
                && super::records::members(group)?.is_empty()
        {
            return Ok(None);
        }
        let mut roll = Roll::read(&self.root)?;
        let page = roll.find(group)?;
        Ok(self.take_stock(&mut roll, &[page], true)?.pop())
    }

    /// Looks at everybody in some groups, and says what each of these has used. Those who
    /// may not write find out the same, and note nothing.
    fn take_stock(&self, roll: &mut Roll, pages: &[usize], may_write: bool) -> Result<Vec<CpuTime>> {
        let failed = |errno| Error::os(errno, "reading what a group's processes have used");
        let dirs: Vec<Dir> = pages.iter().map(|&page| roll.dir(&self.root, page)).collect::<Result<_>>()?;
        let mut books: Vec<Book> = dirs.iter().map(Book::read).collect::<sys::Result<_>>().map_err(failed)?;
        // What parents have waited for comes first: a child that ends meanwhile is then seen
        // alive, or missed for this once, and never counted twice.
        let known = books.iter().flat_map(Book::keys).filter_map(|key| Some((key, stat_of(key)?)));
        let waited_for: HashMap<Key, CpuTime> = known.map(|(key, stat)| (key, of_ticks(stat.waited_for))).collect();

        let mut living: HashMap<Key, (usize, Stat, Sample)> = HashMap::new();
        let mut scan = if may_write { self.scan() } else { Scan::without_lock(&self.root, &self.sessions) };
        scan.visit(roll, pages, &mut |_, members| {
            for member in members.iter() {
                let key = key_of(&member.stat);
                living.extend(sample(key).map(|(stat, now)| (key, (member.page, stat, now))));
            }
            Ok(())
        })?;

        let mut times = Vec::with_capacity(pages.len());
        for ((&page, book), dir) in pages.iter().zip(&mut books).zip(&dirs) {
            let mut keys: BTreeSet<Key> = book.keys().into_iter().collect();
            // Those who are dead are not visited, and yet may be there.
            keys.extend(roll.pages[page].records.iter().map(|record| record.key));
            keys.extend(living.iter().filter(|(_, (found, ..))| *found == page).map(|(key, _)| *key));
            let mut dead = Vec::new();
            let mut parents = Vec::new();
            for key in keys {
                let visited = living.get(&key).filter(|(found, ..)| *found == page);
                let found = visited.map(|(_, stat, now)| (stat.clone(), *now)).or_else(|| sample(key));
                let Some((stat, mut now)) = found else {
                    dead.push(key);
                    continue;
                };
                let is_member =
                    visited.is_some() || !stat.is_alive() && roll.page_of(&stat).is_none_or(|at| at == page);
                match (is_member, book.is_here(key)) {
                    (true, false) if book.has(key) => book.enter(key, now),
                    (true, false) => book.be_born(key),
                    // It left, and whoever moved it was killed before that was noted.
                    (false, true) => book.lose(key),
                    (true, true) | (false, false) => {}
                }
                if let Some(before) = waited_for.get(&key) {
                    now.waited_for = *before;
                }
                book.see(key, now);
                parents.push((key, stat.parent));
            }
            parents.into_iter().for_each(|(key, parent)| book.relate(key, parent));
            book.bury(dead);
            times.push(book.show());
            if may_write {
                book.write(dir).map_err(|errno| Error::os(errno, "noting what a group's processes have used"))?;
            }
        }
        Ok(times)
    }

    fn with_book(&self, roll: &Roll, page: usize, change: impl FnOnce(&mut Book) -> Result<()>) -> Result<()> {
        let failed =
            |errno| Error::os(errno, format_args!("noting what the processes of {} use", roll.pages[page].path));
        let dir = roll.dir(&self.root, page)?;
        let mut book = Book::read(&dir).map_err(failed)?;
        change(&mut book)?;
        book.write(&dir).map_err(failed)
    }
}

/// A group below was removed that had used so much. Nothing, if the directory above is no
/// group.
pub(super) fn inherit(above: &Dir, used: CpuTime) -> sys::Result<()> {
    if !file::is_there(above, file::MEMBERS)? {
        return Ok(());
    }
    let mut book = Book::read(above)?;
    book.inherit(used);
    book.write(above)
}

/// After a reboot: nobody of them is there, and what they had used was.
pub(super) fn settle(dir: &Dir) -> sys::Result<()> {
    let mut book = Book::read(dir)?;
    book.bury_all();
    book.write(dir)
}

/// A newcomer, and those whom it brings along: who descends from it and is in no group. Of
/// its children who are in another one it is noted that they are not here.
fn enter_with_children(
    book: &mut Book,
    roll: &Roll,
    from: Option<usize>,
    to: usize,
    who: Stat,
    now: Sample,
) -> Result<()> {
    book.enter(key_of(&who), now);
    let mut parents = vec![who];
    while let Some(parent) = parents.pop() {
        for pid in children(&parent)? {
            let Ok(child) = Stat::of(pid) else { continue };
            let key = key_of(&child);
            let Some((stat, now)) = sample(key).filter(|(stat, _)| stat.parent == parent.pid) else { continue };
            match roll.page_of(&stat).or(from) {
                Some(page) if page == to => continue,
                Some(_) => book.know_elsewhere(key, now),
                None => {
                    book.enter(key, now);
                    parents.push(stat);
                }
            }
            book.relate(key, parent.pid);
        }
    }
    Ok(())
}

/// What a process has used, if it is still the one that was meant.
fn sample(key: Key) -> Option<(Stat, Sample)> {
    // The clock goes by number: who has the number afterwards had it all the time.
    let usage = cpu_clock::of_process(key.0).ok()?;
    let stat = stat_of(key)?;
    let own = CpuTime { usage, ..of_ticks(stat.used) };
    let waited_for = of_ticks(stat.waited_for);
    Some((stat, Sample { own, waited_for }))
}

fn stat_of(key: Key) -> Option<Stat> {
    Stat::of(key.0).ok().filter(|stat| key_of(stat) == key)
}

fn of_ticks(ticks: Ticks) -> CpuTime {
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let [user, system] = [ticks.user, ticks.system].map(|ticks| Duration::from_nanos(ticks.saturating_mul(tick)));
    CpuTime { usage: user.saturating_add(system), user, system }
}
