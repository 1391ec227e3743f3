//! A group's book of CPU time, `cpuacct.time` in its directory: what those had used who have
//! gone, and a line for each process that is there, with what it had when it came.
//!
//! What a process used that nobody saw is still told when its parent has waited for it: then
//! it is in the parent's `waited for`. So a parent's line also says what that can be
//! explained by, and what is more than that was used by somebody who came and went
//! between two looks.
//!
//! Of a parent's children some may be, or have been, elsewhere. What they use there comes
//! up in the parent's figure when they end, and is no time of this group: so a child that
//! leaves while its parent stays keeps a line, which is not counted (`is_here`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::backend::embedded::file::CPU_TIME;
use crate::backend::embedded::records::{self, Key};
use crate::cpu_time::CpuTime;
use crate::sys::{self, Errno, dir::Dir};

/// What one process was seen with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::backend::embedded) struct Sample {
    /// Its own time.
    pub own: CpuTime,
    /// That of its children whom it has waited for, and theirs; in whole clock ticks.
    pub waited_for: CpuTime,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    is_here: bool,
    /// The nearest above it that has a line; a number of 0 for none.
    parent: Key,
    /// What it had when it came.
    base: Sample,
    seen: Sample,
    /// What children of its were last seen with who have gone: as much as is this group's,
    /// and what else they had.
    gone: CpuTime,
    gone_elsewhere: CpuTime,
}

impl Line {
    /// What of it is this group's, its children included whom it has waited for. A parent
    /// that ignores SIGCHLD waits for nobody: then what they were seen with is all there is.
    fn ours(&self) -> CpuTime {
        if !self.is_here {
            return CpuTime::default();
        }
        let waited_for = self.seen.waited_for.since(self.base.waited_for).since(self.gone_elsewhere);
        self.seen.own.since(self.base.own).plus(waited_for.at_least(self.gone))
    }

    /// By how much its parent's figure rises when it is waited for, as far as was seen.
    fn total(&self) -> CpuTime {
        let known = self.base.waited_for.plus(self.gone_elsewhere).plus(self.gone);
        self.seen.own.plus(self.seen.waited_for.at_least(known))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    /// Of those who have gone, or left, and of groups below that were removed.
    gone: CpuTime,
    /// The most that was ever shown: between the end of a process and its being waited for,
    /// a look finds less for a moment.
    shown: CpuTime,
    lines: BTreeMap<Key, Line>,
}

impl Book {
    pub(super) fn read(dir: &Dir) -> sys::Result<Book> {
        records::lines(dir, CPU_TIME).map(|rows| Book::of_rows(&rows))
    }

    /// Written by whoever holds the hierarchy's lock. An empty one leaves no file.
    pub(super) fn write(&self, dir: &Dir) -> sys::Result<()> {
        if *self != Book::default() {
            return records::replace(dir, CPU_TIME, &self.text());
        }
        match dir.unlink(CPU_TIME) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.lines.keys().copied().collect()
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.lines.contains_key(&key)
    }

    pub(super) fn is_here(&self, key: Key) -> bool {
        self.lines.get(&key).is_some_and(|line| line.is_here)
    }

    /// Somebody was born here, and is counted from the beginning.
    pub(super) fn be_born(&mut self, key: Key) {
        self.lines.insert(key, Line { is_here: true, ..Line::default() });
    }

    /// Somebody comes who had used so much by now.
    pub(super) fn enter(&mut self, key: Key, now: Sample) {
        self.lines.insert(key, Line { is_here: true, base: now, seen: now, ..Line::default() });
    }

    /// Somebody goes who had used so much by now.
    pub(super) fn leave(&mut self, key: Key, now: Sample) {
        let line = self.lines.entry(key).or_insert(Line { is_here: true, ..Line::default() });
        line.seen = now;
        self.gone = self.gone.plus(line.ours());
        line.is_here = false;
    }

    /// Somebody has gone elsewhere since it was last seen here.
    pub(super) fn lose(&mut self, key: Key) {
        if let Some(line) = self.lines.get_mut(&key) {
            self.gone = self.gone.plus(line.ours());
            line.is_here = false;
        }
    }

    /// A child of somebody here is elsewhere.
    pub(super) fn know_elsewhere(&mut self, key: Key, now: Sample) {
        self.lines.entry(key).or_default().seen = now;
    }

    pub(super) fn see(&mut self, key: Key, now: Sample) {
        if let Some(line) = self.lines.get_mut(&key) {
            line.seen = now;
        }
    }

    /// Finds the line of a process's parent, by the number that it shows.
    pub(super) fn relate(&mut self, key: Key, parent: i32) {
        // A parent is never younger than its child.
        let found = self.lines.range((parent, 0)..=(parent, key.1)).next_back().map(|(found, _)| *found);
        if let Some(line) = self.lines.get_mut(&key) {
            line.parent = found.filter(|found| *found != key).unwrap_or_default();
        }
    }

    /// Takes out those who have gone, with what they were last seen with.
    pub(super) fn bury(&mut self, mut dead: Vec<Key>) {
        // Children before their parents: what they had goes up with these.
        dead.sort_unstable_by_key(|&(pid, start_time)| std::cmp::Reverse((start_time, pid)));
        for key in dead {
            let Some(line) = self.lines.remove(&key) else { continue };
            match self.lines.get_mut(&line.parent).filter(|parent| parent.is_here) {
                Some(parent) => {
                    parent.gone = parent.gone.plus(line.ours());
                    parent.gone_elsewhere = parent.gone_elsewhere.plus(line.total().since(line.ours()));
                }
                None => self.gone = self.gone.plus(line.ours()),
            }
        }
        // Of those elsewhere only the children of somebody here matter.
        let here: Vec<Key> = self.lines.iter().filter(|(_, line)| line.is_here).map(|(key, _)| *key).collect();
        self.lines.retain(|_, line| line.is_here || here.binary_search(&line.parent).is_ok());
    }

    /// Nobody of them is there any more, nor can be waited for.
    pub(super) fn bury_all(&mut self) {
        self.bury(self.keys());
    }

    /// A group below was removed that had used so much.
    pub(super) fn inherit(&mut self, used: CpuTime) {
        self.gone = self.gone.plus(used);
        self.shown = self.shown.plus(used);
    }

    /// What the group has used: never less than was shown before.
    pub(super) fn show(&mut self) -> CpuTime {
        let sum = self.lines.values().fold(self.gone, |sum, line| sum.plus(line.ours()));
        self.shown = self.shown.at_least(sum);
        self.shown
    }

    fn of_rows(rows: &[Vec<u64>]) -> Book {
        let mut book = Book::default();
        for row in rows {
            match *row.as_slice() {
                [a, b, c, d, e, f] => {
                    book.gone = CpuTime::of_nanoseconds(a, b, c);
                    book.shown = CpuTime::of_nanoseconds(d, e, f);
                }
                [pid, start_time, is_here, parent, parents_start, ref times @ ..] => {
                    let (Ok(pid), Ok(parent)) = (i32::try_from(pid), i32::try_from(parent)) else { continue };
                    let mut times = times.chunks_exact(3).map(|three| match *three {
                        [usage, user, system] => CpuTime::of_nanoseconds(usage, user, system),
                        _ => CpuTime::default(),
                    });
                    let mut next = || times.next();
                    let (Some(b), Some(bw), Some(s), Some(sw), Some(gone), Some(gone_elsewhere)) =
                        (next(), next(), next(), next(), next(), next())
                    else {
                        continue;
                    };
                    let base = Sample { own: b, waited_for: bw };
                    let seen = Sample { own: s, waited_for: sw };
                    let is_here = is_here != 0;
                    let parent = (parent, parents_start);
                    book.lines.insert((pid, start_time), Line { is_here, parent, base, seen, gone, gone_elsewhere });
                }
                _ => {}
            }
        }
        book
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(64 + 128 * self.lines.len());
        let row = |text: &mut String, times: &[CpuTime]| {
            let numbers: Vec<String> =
                times.iter().flat_map(|time| time.nanoseconds()).map(|number| number.to_string()).collect();
            text.push_str(&numbers.join(" "));
            text.push('\n');
        };
        row(&mut text, &[self.gone, self.shown]);
        for ((pid, start_time), line) in &self.lines {
            let (parent, parents_start) = line.parent;
            let _ = write!(text, "{pid} {start_time} {} {parent} {parents_start} ", u8::from(line.is_here));
            let Line { base, seen, gone, gone_elsewhere, .. } = line;
            row(&mut text, &[base.own, base.waited_for, seen.own, seen.waited_for, *gone, *gone_elsewhere]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(ms: u64) -> CpuTime {
        CpuTime::of_nanoseconds(ms * 1_000_000, ms * 1_000_000, 0)
    }

    fn sample(own: u64, waited_for: u64) -> Sample {
        Sample { own: time(own), waited_for: time(waited_for) }
    }

    const PARENT: Key = (10, 100);
    const CHILD: Key = (11, 110);

    /// A parent of the group's, and a child that it bore here.
    fn family() -> Book {
        let mut book = Book::default();
        book.enter(PARENT, sample(1000, 500));
        book.be_born(CHILD);
        book.see(CHILD, sample(30, 0));
        book.relate(CHILD, PARENT.0);
        book
    }

    /// R8.1: what nobody saw is in what the parent waited for, once.
    #[test]
    fn a_child_is_counted_once() {
        let mut book = family();
        assert_eq!(book.show(), time(30));
        // It used 20 more, which nobody saw; and another came and went, with 50.
        book.see(PARENT, sample(1000, 500 + 50 + 50));
        book.bury(vec![CHILD]);
        assert_eq!(book.show(), time(100));
        // Nobody waits for it.
        let mut book = family();
        book.bury(vec![CHILD]);
        assert_eq!(book.show(), time(30));
        // All end, whoever is found first.
        for dead in [vec![PARENT, CHILD], vec![CHILD, PARENT]] {
            let mut book = family();
            book.see(PARENT, sample(1004, 500));
            book.bury(dead);
            assert_eq!((book.show(), book.keys()), (time(34), vec![]));
        }
    }

    /// R8.1: what a child used in another group comes up in its parent's time, and is not this
    /// group's.
    #[test]
    fn what_a_child_used_elsewhere_is_not_counted() {
        let mut book = family();
        book.leave(CHILD, sample(40, 0));
        assert_eq!(book.show(), time(40));
        book.see(CHILD, sample(90, 0));
        book.see(PARENT, sample(1000, 500 + 90));
        book.bury(vec![CHILD]);
        assert_eq!(book.show(), time(40));
        // One that was never here.
        let mut book = family();
        book.know_elsewhere((12, 120), sample(70, 0));
        book.relate((12, 120), PARENT.0);
        book.see(PARENT, sample(1000, 500 + 70));
        book.bury(vec![(12, 120)]);
        assert_eq!(book.show(), time(30));
        // Whose parent goes matters no more.
        let mut book = family();
        book.leave(CHILD, sample(40, 0));
        book.bury(vec![PARENT]);
        assert_eq!((book.show(), book.keys()), (time(40), vec![]));
    }

    /// R8.1
    #[test]
    fn a_figure_is_never_less_than_it_was() {
        let mut book = family();
        book.see(PARENT, sample(1000, 500 + 60));
        assert_eq!(book.show(), time(90));
        // The child has ended, and its parent's time was read before.
        book.bury(vec![CHILD]);
        assert_eq!(book.show(), time(90));
        book.inherit(time(5));
        assert_eq!(book.show(), time(95));
        book.bury_all();
        assert_eq!(book.show(), time(95));
    }

    /// What may come to a book, by a number of a process and amounts.
    fn change(book: &mut Book, what: u8, key: Key, own: u64, waited_for: u64) {
        let now = sample(own, waited_for);
        match what % 9 {
            0 => book.be_born(key),
            1 => book.enter(key, now),
            2 => book.leave(key, now),
            3 => book.lose(key),
            4 => book.know_elsewhere(key, now),
            5 => book.see(key, now),
            6 => book.relate(key, key.0 - 1),
            7 => book.bury(vec![key]),
            _ => book.inherit(now.own),
        }
    }

    proptest! {
        /// R8.1: whatever happens in whatever order, a book is read as it was written, and its
        /// figure never goes back.
        #[test]
        fn a_book_is_what_was_written(
            changes in prop::collection::vec((any::<u8>(), 1..6, 0..3u64, 0..1000u64, 0..1000u64), 0..60)
        ) {
            let mut book = Book::default();
            let mut shown = CpuTime::default();
            for (what, pid, start_time, own, waited_for) in changes {
                change(&mut book, what, (pid, start_time), own, waited_for);
                let now = book.show();
                prop_assert_eq!(now.at_least(shown), now);
                shown = now;
                let rows: Vec<Vec<u64>> = book.text().lines()
                    .map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect())
                    .collect();
                prop_assert_eq!(&Book::of_rows(&rows), &book);
            }
            book.bury_all();
            prop_assert!(book.keys().is_empty());
        }

        /// R8.1: no row of numbers is too odd to be read.
        #[test]
        fn any_rows_are_a_book(
            rows in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..26), 0..8),
            whole in prop::collection::vec(prop::collection::vec(any::<u64>(), 23), 0..4),
            near in prop::collection::vec(prop::collection::vec(0..5u64, 23), 0..4),
        ) {
            let rows: Vec<Vec<u64>> = rows.into_iter().chain(whole).chain(near).collect();
            let mut book = Book::of_rows(&rows);
            book.show();
            let again: Vec<Vec<u64>> = book.text().lines()
                .map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect())
                .collect();
            prop_assert_eq!(&Book::of_rows(&again), &book);
            book.bury_all();
            book.show();
        }
    }
}
