//! Who is in which group: `cgroup.procs`, members by number and start time.
//!
//! A file is replaced whole, or lines are added to it. Added lines begin with
//! a newline: what a killed writer left half-done stays a line of its own, with
//! a field too few or a number that fits no process.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;

use rustix::fs::OFlags;

use super::file::MEMBERS;
use super::members::Findings;
use super::request::{self, Request};
use super::stopped::{self, Stopped};
use super::{cpu_time, file, tracer};
use crate::backend::Node;
use crate::error::{Error, Result};
use crate::path::GroupPath;
use crate::process::Stat;
use crate::sys::{self, Errno, dir::Dir};

/// A process, told from every other that has had or will have its number.
pub(super) type Key = (i32, u64);

/// A member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Key,
    /// The session that was begun for this group and that the process was born
    /// into; 0 if there is none.
    pub session: i32,
    /// Of a session's leader: how many forks the machine had seen by then.
    pub forks: u64,
}

/// One group's record.
#[derive(Debug)]
pub(super) struct Page {
    pub path: GroupPath,
    identity: (u64, u64),
    pub records: Vec<Record>,
}

/// The record of the whole hierarchy, read under its lock.
#[derive(Debug)]
pub(super) struct Roll {
    pub pages: Vec<Page>,
    /// Whom we hold stopped, of the groups that a pass has looked at.
    pub stopped: HashMap<usize, Stopped>,
    page_of: HashMap<Key, usize>,
}

impl Roll {
    pub(super) fn read(root: &Node) -> Result<Roll> {
        let mut pages = Vec::new();
        root.walk(&mut |node| {
            let identity = node.dir.identity().map_err(|errno| node.failed(errno, "looking at the directory"))?;
            pages.push(Page { path: node.path.clone(), identity, records: members(node)? });
            Ok(())
        })?;
        let mut page_of = HashMap::with_capacity(pages.iter().map(|page: &Page| page.records.len()).sum());
        for (index, page) in pages.iter().enumerate() {
            page_of.extend(page.records.iter().map(|record| (record.key, index)));
        }
        Ok(Roll { pages, stopped: HashMap::new(), page_of })
    }

    /// The group whose own record names the process.
    pub(super) fn page_of(&self, stat: &Stat) -> Option<usize> {
        self.page_of.get(&key_of(stat)).copied()
    }

    /// Writes down what was found by an older reading of the hierarchy, if
    /// nobody has since.
    pub(super) fn adopt(&mut self, root: &Node, older: &Roll, findings: Findings) -> Result<()> {
        let mut new: HashMap<usize, Vec<Record>> = HashMap::new();
        for (page, record) in findings.new {
            if let Some(page) = self.same_page(&older.pages[page])
                && !self.page_of.contains_key(&record.key)
            {
                new.entry(page).or_default().push(record);
            }
        }
        for (page, dead) in findings.dead {
            if let Some(page) = self.same_page(&older.pages[page]) {
                self.forget(root, page, &dead)?;
            }
        }
        new.into_iter().try_for_each(|(page, records)| self.add(root, page, &records))
    }

    fn same_page(&self, older: &Page) -> Option<usize> {
        self.pages.iter().position(|page| page.identity == older.identity)
    }

    /// Takes some processes out of a group's record.
    pub(super) fn forget(&mut self, root: &Node, page: usize, whom: &HashSet<Key>) -> Result<()> {
        let kept = self.pages[page].records.iter().filter(|record| !whom.contains(&record.key)).copied().collect();
        self.set(root, page, kept)
    }

    /// Which page is this group's: by its directory, since somebody may have
    /// renamed it. ENODEV: it was removed.
    pub(super) fn find(&self, group: &Node) -> Result<usize> {
        let identity = group.dir.identity().map_err(|errno| group.failed(errno, "looking at the directory"))?;
        self.pages.iter().position(|page| page.identity == identity).ok_or_else(|| group.vanished())
    }

    /// The pages of a group and of those below it.
    pub(super) fn subtree(&self, group: &Node) -> Result<Vec<usize>> {
        let top = &self.pages[self.find(group)?].path;
        Ok((0..self.pages.len()).filter(|&index| self.pages[index].path.is_within(top)).collect())
    }

    /// A group's directory, opened anew.
    pub(super) fn dir(&self, root: &Node, page: usize) -> Result<Dir> {
        let path = &self.pages[page].path;
        let dir = if path.is_root() { root.dir.open_dir(".") } else { root.dir.open_dir(path.as_path()) };
        dir.map_err(|errno| match errno {
            Errno::NOENT => Error::new(libc::ENODEV, format!("group {path} was removed")),
            errno => Error::os(errno, format_args!("opening group {path}")),
        })
    }

    /// What is asked of a group, itself or by one above. A stop outweighs a
    /// trace: it is the one that a reader has to see to.
    pub(super) fn request(&self, root: &Node, page: usize) -> Result<Request> {
        self.request_for(root, &self.pages[page].path)
    }

    pub(super) fn request_for(&self, root: &Node, path: &GroupPath) -> Result<Request> {
        let mut effective = Request::None;
        for (index, above) in self.pages.iter().enumerate() {
            if path.is_within(&above.path) {
                let request = Request::of(&self.dir(root, index)?);
                match request
                    .map_err(|errno| Error::os(errno, format_args!("reading what is asked of group {path}")))?
                {
                    Request::None => {}
                    Request::Stop => return Ok(Request::Stop),
                    trace => effective = trace,
                }
            }
        }
        Ok(effective)
    }

    /// Adds members to a group, to the file first.
    pub(super) fn add(&mut self, root: &Node, page: usize, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let dir = self.dir(root, page)?;
        append(&dir, MEMBERS, &text_of(records)).map_err(|errno| self.unwritten(page, errno))?;
        self.page_of.extend(records.iter().map(|record| (record.key, page)));
        self.pages[page].records.extend_from_slice(records);
        Ok(())
    }

    /// Writes a group's members anew.
    pub(super) fn set(&mut self, root: &Node, page: usize, records: Vec<Record>) -> Result<()> {
        let dir = self.dir(root, page)?;
        replace(&dir, MEMBERS, &text_of(&records)).map_err(|errno| self.unwritten(page, errno))?;
        for gone in std::mem::replace(&mut self.pages[page].records, records) {
            if self.page_of.get(&gone.key) == Some(&page) {
                self.page_of.remove(&gone.key);
            }
        }
        let kept: Vec<Key> = self.pages[page].records.iter().map(|record| record.key).collect();
        self.page_of.extend(kept.into_iter().map(|key| (key, page)));
        Ok(())
    }

    /// How long a group's file is.
    pub(super) fn length(&self, root: &Node, page: usize) -> Result<u64> {
        let dir = self.dir(root, page)?;
        let found = file::create(&dir, MEMBERS, OFlags::RDONLY).and_then(|file| rustix::fs::fstat(&file));
        found.map(|found| found.st_size as u64).map_err(|errno| self.unwritten(page, errno))
    }

    /// Takes back what was added to a group's file since it had that length,
    /// which needs no space. The roll itself is read anew after that.
    pub(super) fn cut(&self, root: &Node, page: usize, length: u64) -> Result<()> {
        let dir = self.dir(root, page)?;
        let cut = file::open(&dir, MEMBERS, OFlags::WRONLY).and_then(|file| rustix::fs::ftruncate(&file, length));
        cut.map_err(|errno| self.unwritten(page, errno))
    }

    fn unwritten(&self, page: usize, errno: Errno) -> Error {
        Error::os(errno, format_args!("recording the processes of group {}", self.pages[page].path))
    }
}

pub(super) fn key_of(stat: &Stat) -> Key {
    (stat.pid, stat.start_time)
}

/// Makes the files of a new group.
pub(super) fn begin(dir: &Dir) -> sys::Result<()> {
    file::create(dir, MEMBERS, OFlags::WRONLY)?;
    request::ask(dir, false)
}

/// Whether a directory is one of our groups.
pub(super) fn are_in(dir: &Dir) -> sys::Result<bool> {
    match (file::is_there(dir, MEMBERS), file::is_there(dir, file::REQUEST)) {
        (Err(Errno::ACCESS | Errno::PERM), _) | (_, Err(Errno::ACCESS | Errno::PERM)) => Ok(false),
        (members, request) => Ok(members? && request?),
    }
}

/// Makes the root's files where they are missing and we may.
pub(super) fn begin_root(dir: &Dir) -> sys::Result<()> {
    for name in [MEMBERS, file::REQUEST] {
        match file::create(dir, name, OFlags::RDONLY) {
            Ok(_) | Err(Errno::ACCESS | Errno::ROFS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Forgets every process and every request: none of the numbers is good.
pub(super) fn forget_all(root: &Node) -> Result<()> {
    root.walk(&mut |node| {
        let forget = || {
            replace(&node.dir, MEMBERS, "")?;
            stopped::clear(&node.dir)?;
            request::ask(&node.dir, false)?;
            cpu_time::settle(&node.dir)?;
            tracer::clear(&node.dir)
        };
        forget().map_err(|errno| node.failed(errno, "forgetting the processes before the reboot"))
    })
}

/// Adds lines to a file. `text` is lines that each end in a newline.
pub(super) fn append(dir: &Dir, name: &str, text: &str) -> sys::Result<()> {
    let file = file::create(dir, name, OFlags::WRONLY | OFlags::APPEND)?;
    write_all(&file, format!("\n{text}").as_bytes()).map_err(|(written, errno)| {
        // A part of a line might pass for a whole one.
        if written > 0
            && let Ok(now) = rustix::fs::fstat(&file)
        {
            let _ = rustix::fs::ftruncate(&file, now.st_size as u64 - written as u64);
        }
        errno
    })
}

/// Writes a text whole; a disk that is full takes the part for which it has
/// space, and says so only the next time. The error says how much was written.
fn write_all(file: &File, text: &[u8]) -> std::result::Result<(), (usize, Errno)> {
    let mut written = 0;
    while written < text.len() {
        match rustix::io::write(file, &text[written..]) {
            Ok(0) => return Err((written, Errno::IO)),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err((written, errno)),
        }
    }
    Ok(())
}

/// Writes a file anew, so that readers and a crash find the old or the new.
pub(super) fn replace(dir: &Dir, name: &str, text: &str) -> sys::Result<()> {
    // One writer at a time, under the hierarchy's lock: one name will do.
    let new = format!("{name}{}", file::NEW);
    write_all(&file::create(dir, &new, OFlags::WRONLY | OFlags::TRUNC)?, text.as_bytes())
        .map_err(|(_, errno)| errno)?;
    dir.replace(&new, name)
}

/// The lines of one of our files, none if it was not made yet.
pub(super) fn lines(node: &Dir, name: &str) -> sys::Result<Vec<Vec<u64>>> {
    let text = match file::read(node, name) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
    let fields = |line: &[u8]| line.split(|&byte| byte == b' ').map(number).collect::<Option<Vec<u64>>>();
    // A line that is no row of numbers was left by a writer that was killed.
    Ok(text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).filter_map(fields).collect())
}

/// The members that a group's own record names.
pub(super) fn members(node: &Node) -> Result<Vec<Record>> {
    let lines = lines(&node.dir, MEMBERS).map_err(|errno| node.failed(errno, "reading the processes"))?;
    if lines.is_empty() && node.dir.is_removed() {
        return Err(node.vanished());
    }
    Ok(lines.iter().filter_map(|fields| record(fields)).collect())
}

fn record(fields: &[u64]) -> Option<Record> {
    match *fields {
        [pid, start_time, session, forks] => {
            Some(Record { key: (pid.try_into().ok()?, start_time), session: session.try_into().ok()?, forks })
        }
        _ => None,
    }
}

fn text_of(records: &[Record]) -> String {
    let mut text = String::with_capacity(24 * records.len());
    for Record { key: (pid, start_time), session, forks } in records {
        let _ = writeln!(text, "{pid} {start_time} {session} {forks}");
    }
    text
}
