//! `pids.max` of a group, in which more than one subsystem has a say: each notes on the
//! group what it wishes, and the kernel's limit is the smallest of the wishes.
//!
//! Nothing is locked. Whoever changes its wish reads all of them, writes the smallest to the
//! kernel, and reads them again, until none has changed: so of two who meet, the later one to
//! read has both. What somebody wrote by hand stays until a wish changes.

use crate::attribute;
use crate::backend::{Backend, Node};
use crate::error::{Error, Result};
use crate::sys::{Errno, dir::Dir};

use rustix::fs::OFlags;

/// The kernel's file.
pub(crate) const FILE: &str = "pids.max";

/// Where the kernel counts the forks that it refused for a limit, the first that is there. From
/// Linux 6.12 the one has what happened in a group itself, and the other on version 2 that of all
/// below, too.
pub(crate) const EVENTS: &[&str] = &["pids.events.local", "pids.events"];

/// The kernel has no such limit and none above: there can be no more tasks
/// (PID_MAX_LIMIT on 64 bits).
pub(crate) const NONE_FROM: u64 = 4 << 20;

/// Nobody changes his wish so often meanwhile.
const ATTEMPTS: usize = 100;

/// Who wishes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    BeanCounter,
    NumTasks,
}

impl Whose {
    /// The attribute. A clone has none of its parent's: without a dot.
    fn note(self) -> &'static str {
        match self {
            Whose::BeanCounter => "pids-max-beancounter",
            Whose::NumTasks => "pids-max-numtasks",
        }
    }
}

/// All wishes on one group; `None` wishes no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wishes {
    beancounter: Option<u64>,
    numtasks: Option<u64>,
}

impl Wishes {
    fn on(group: &Node) -> Result<Wishes> {
        let beancounter = wish(group, Whose::BeanCounter)?;
        Ok(Wishes { beancounter, numtasks: wish(group, Whose::NumTasks)? })
    }

    fn of(self, whose: Whose) -> Option<u64> {
        match whose {
            Whose::BeanCounter => self.beancounter,
            Whose::NumTasks => self.numtasks,
        }
    }

    fn smallest(self) -> Option<u64> {
        [self.beancounter, self.numtasks].into_iter().flatten().min()
    }
}

/// What one has noted that it wishes for a group.
pub(crate) fn wish(group: &Node, whose: Whose) -> Result<Option<u64>> {
    // What is no number was not noted by us, and wishes nothing.
    Ok(attribute::get(group, whose.note())?.and_then(|text| text.parse().ok()))
}

/// Notes a wish, which [`TaskLimit::enforce`] makes true where the kernel has the group.
pub(crate) fn note(group: &Node, whose: Whose, limit: Option<u64>) -> Result<()> {
    match limit.filter(|limit| *limit < NONE_FROM) {
        Some(limit) => attribute::must_set(group, whose.note(), &limit.to_string()),
        None => attribute::remove(group, whose.note()),
    }
}

/// The directory that has a group's `pids.max`, where there is one.
pub(crate) fn directory(backend: &dyn Backend, group: &Node) -> Result<Option<Dir>> {
    match backend.controller_directory(group, "pids") {
        Ok(Some(dir)) if dir.open_file(FILE, OFlags::PATH).is_ok() => Ok(Some(dir)),
        Ok(_) => Ok(None),
        // The group was made by other means, in one tree alone.
        Err(error) if error.is(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The limit of one group that the kernel has.
pub(crate) struct TaskLimit<'a> {
    group: &'a Node,
    dir: &'a Dir,
}

impl<'a> TaskLimit<'a> {
    pub(crate) fn new(group: &'a Node, dir: &'a Dir) -> TaskLimit<'a> {
        TaskLimit { group, dir }
    }

    /// Changes what one wishes, and the kernel's limit with it.
    pub(crate) fn wish(&self, whose: Whose, limit: Option<u64>) -> Result<()> {
        note(self.group, whose, limit)?;
        self.enforce()
    }

    /// Makes the kernel's limit the smallest that is wished.
    pub(crate) fn enforce(&self) -> Result<()> {
        let mut wishes = Wishes::on(self.group)?;
        for _ in 0..ATTEMPTS {
            self.write(wishes.smallest())?;
            let now = Wishes::on(self.group)?;
            if now == wishes {
                return Ok(());
            }
            wishes = now;
        }
        Err(Error::new(
            libc::EBUSY,
            format!("others change the limit of tasks of group {} all the time", self.group.path),
        ))
    }

    /// The same where the kernel has no limit at all: its directory was made since.
    pub(crate) fn enforce_if_none(&self) -> Result<()> {
        if Wishes::on(self.group)?.smallest().is_some() && self.kernels()?.is_none() { self.enforce() } else { Ok(()) }
    }

    /// The limit as one sees it: its own wish, or what somebody else wrote to the kernel.
    pub(crate) fn shown(&self, whose: Whose) -> Result<Option<u64>> {
        let wishes = Wishes::on(self.group)?;
        let kernels = self.kernels()?;
        Ok(if kernels == wishes.smallest() { wishes.of(whose) } else { kernels })
    }

    /// Makes a wish what it was.
    pub(crate) fn put_back(&self, whose: Whose, former: Option<u64>) -> Result<()> {
        note(self.group, whose, former)?;
        self.enforce()
    }

    fn kernels(&self) -> Result<Option<u64>> {
        let text = self.dir.read(FILE).map_err(|errno| self.failed(errno))?;
        let number = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse::<u64>().ok());
        Ok(number.filter(|number| *number < NONE_FROM))
    }

    fn write(&self, limit: Option<u64>) -> Result<()> {
        let text = limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        self.dir.write(FILE, text.as_bytes()).map_err(|errno| self.failed(errno))
    }

    fn failed(&self, errno: Errno) -> Error {
        self.group.failed(errno, &format!("using {FILE}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::path::GroupPath;

    fn with<T>(text: &str, test: impl FnOnce(&Node, Dir) -> T) -> T {
        let directory = std::env::temp_dir().join(format!("cgf-task-limit-{}-{text}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(FILE), text).unwrap();
        let dir = || Dir::open(&directory).unwrap();
        let done = test(&Node { dir: dir(), path: GroupPath::root() }, dir());
        std::fs::remove_dir_all(&directory).unwrap();
        done
    }

    /// R7.4: whoever comes last of two who wish at once, the smaller wish is the limit.
    #[test]
    fn of_two_wishes_at_once_the_smaller_is_the_limit() {
        const ROUNDS: u64 = 3000;
        with("max", |group, dir| {
            let (begin, end) = (Barrier::new(2), Barrier::new(2));
            let (mut seen, mut wanted) = (Vec::new(), Vec::new());
            let limit = TaskLimit::new(group, &dir);
            let wishes = |round: u64| (100_000 + 7 * round % 99, 100_000 + 5 * round % 98);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    (0..ROUNDS).for_each(|round| {
                        begin.wait();
                        TaskLimit::new(group, &dir).wish(Whose::NumTasks, Some(wishes(round).1)).unwrap();
                        end.wait();
                    });
                });
                for round in 0..ROUNDS {
                    begin.wait();
                    limit.wish(Whose::BeanCounter, Some(wishes(round).0)).unwrap();
                    end.wait();
                    let (one, other) = wishes(round);
                    let shown = |whose| limit.shown(whose).unwrap();
                    seen.push((limit.kernels().unwrap(), shown(Whose::BeanCounter), shown(Whose::NumTasks)));
                    wanted.push((Some(one.min(other)), Some(one), Some(other)));
                }
            });
            // Looked at when both are done: one who fails would leave the other waiting.
            assert!(seen == wanted, "round {:?}", seen.iter().zip(&wanted).position(|(seen, wanted)| seen != wanted));
        });
    }

    /// What somebody wrote by hand is shown until somebody wishes something.
    #[test]
    fn what_was_written_by_hand_stays_until_a_wish() {
        with("7", |group, dir| {
            let limit = TaskLimit::new(group, &dir);
            assert_eq!(limit.shown(Whose::BeanCounter).unwrap(), Some(7));
            note(group, Whose::NumTasks, Some(6)).unwrap();
            limit.enforce_if_none().unwrap();
            assert_eq!(limit.kernels().unwrap(), Some(7));
            limit.wish(Whose::BeanCounter, Some(5)).unwrap();
            assert_eq!(limit.kernels().unwrap(), Some(5));
            limit.put_back(Whose::BeanCounter, Some(8)).unwrap();
            assert_eq!((limit.kernels().unwrap(), wish(group, Whose::BeanCounter).unwrap()), (Some(6), Some(8)));
            limit.wish(Whose::BeanCounter, Some(NONE_FROM)).unwrap();
            assert_eq!((limit.kernels().unwrap(), limit.shown(Whose::BeanCounter).unwrap()), (Some(6), None));
            limit.wish(Whose::NumTasks, None).unwrap();
            assert_eq!(limit.kernels().unwrap(), None);
        });
    }
}
