//! One lock for a hierarchy: whoever reads or writes its records holds it. The
//! file's content is the [`Era`](crate::era::Era) and the process of the last holder.
//!
//! It is an open-file-description lock on a byte that says who holds it
//! ([`holder`](crate::holder)), so a holder that is killed gives it back, also if a
//! forked child has a copy of its descriptor, and two threads of one process exclude
//! each other as two processes do. It is held while one looks and acts, never while one waits.
//!
//! Tasks are stopped under it, so that none of them holds it when it is sent the
//! stop. One that is in the system call which takes the lock may still get it
//! before it stops, if we give it back first. Whoever waits for long looks for
//! such a one and lets it finish.

use std::fs::File;
use std::time::Duration;

use rustix::fs::OFlags;

use super::file::{self, LOCK, REQUEST};
use super::{pass, records, stopped};
use crate::backend::{KILLING, Node};
use crate::deadline::Deadline;
use crate::era::Era;
use crate::error::{Error, Result};
use crate::holder::{self, Holder, KEEPERS};
use crate::process;
use crate::sys::{self, Errno, dir, dir::Dir, lock};

/// The longest wait for the lock, whatever the caller's deadline: the holder
/// needs milliseconds, unless somebody stopped it.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// The shortest: a caller who only asks once may still meet another who does.
const SHORTEST: Duration = Duration::from_millis(100);

/// After so long, and then ever more rarely, a holder is looked for who stopped.
const RESCUE: Duration = Duration::from_millis(30);

/// The lock, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    byte: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread forks meanwhile
        // has a copy of the descriptor, and would keep the lock.
        let _ = lock::unlock(&self.file, self.byte);
    }
}

/// Takes the hierarchy's lock. ETIMEDOUT: somebody else has it all the time;
/// EXDEV: the records are another pid namespace's. EACCES, EROFS.
pub(super) fn take(root: &Node, era: &Era, opener: Holder, deadline: Deadline) -> Result<Held> {
    let failed = |errno| match errno {
        Errno::NOENT => root.vanished(),
        errno => Error::os(errno, format_args!("locking the hierarchy ({LOCK} in its root directory)")),
    };
    let file = file::create(&root.dir, LOCK, OFlags::RDWR).map_err(failed)?;
    let left = deadline.remaining().unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    let patience = Deadline::after(left);
    let mut pause = Duration::from_micros(20);
    let mut rescue = RESCUE;
    // Not always whoever opened the hierarchy: a helper is another process.
    let holder = opener.or_this_process()?;
    while !holder::take_turn(&file, KEEPERS, holder)? {
        if patience.passed() {
            return Err(busy(&file));
        }
        if patience.elapsed() >= rescue {
            rescue *= 2;
            let_holder_finish(root);
        }
        std::thread::sleep(patience.at_most(pause));
        pause = (2 * pause).min(Duration::from_millis(1));
    }
    let held = Held { file, byte: KEEPERS.of(holder) };
    check_era(root, era, &held).map_err(|error| error.context("locking the hierarchy"))?;
    Ok(held)
}

/// A killer's mark on a group, until this is dropped: it holds the processes of
/// the group and below, although nobody asks for it.
#[derive(Debug)]
pub(super) struct Killer {
    file: File,
}

impl Killer {
    /// Several may kill at once.
    pub(super) fn of(group: &Node) -> Result<Killer> {
        let file = file::create(&group.dir, REQUEST, OFlags::RDONLY);
        let marked = file.and_then(|file| lock::try_lock(&file, KILLING, lock::Mode::Read).map(|_| Killer { file }));
        marked.map_err(|errno| group.failed(errno, "locking freezer.state"))
    }

    /// Whether somebody kills this group. The mark of one that died is gone.
    pub(super) fn is_at(dir: &Dir) -> sys::Result<bool> {
        match file::open(dir, REQUEST, OFlags::RDONLY) {
            Ok(file) => lock::is_locked(&file, KILLING, lock::Mode::Write),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        // Closing would not do, as above.
        let _ = lock::unlock(&self.file, KILLING);
    }
}

/// After a reboot the recorded numbers may be anybody's: they are forgotten.
fn check_era(root: &Node, era: &Era, held: &Held) -> Result<()> {
    let failed = |errno| Error::os(errno, format_args!("writing {LOCK}"));
    let mut buffer = [0; 256];
    let text = dir::read_short(&held.file, &mut buffer).map_err(failed)?;
    let text = String::from_utf8_lossy(text);
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(boot), Some(namespace)) if boot == era.boot => {
            if namespace != era.namespace {
                let why = "the hierarchy's directory is in use by processes of another pid namespace \
                           (remove the directory if they are gone)";
                return Err(Error::new(libc::EXDEV, why));
            }
        }
        _ => records::forget_all(root)?,
    }
    // For whoever waits too long and wants to know for whom. The length is
    // fixed, so that the write replaces the text before.
    let ours = format!("{} {} {:>10}\n", era.boot, era.namespace, process::this_process());
    if ours == text { Ok(()) } else { write_at_start(&held.file, ours.as_bytes()).map_err(failed) }
}

/// Continues a process that we stopped in the moment that it took the lock. The
/// next pass stops it again. What fails here is not needed: the wait goes on.
fn let_holder_finish(root: &Node) {
    let _ = root.walk(&mut |node| {
        for (key, ran) in stopped::read(&node.dir).unwrap_or_default() {
            if ran && holds(root, key.0) {
                let _ = pass::signal(key, libc::SIGCONT);
            }
        }
        Ok(())
    });
}

/// Whether a process has the hierarchy's lock, as far as we may see.
pub(super) fn holds(root: &Node, pid: i32) -> bool {
    file::open(&root.dir, LOCK, OFlags::RDONLY).is_ok_and(|file| process::has_locked(pid, &file, &(0..u64::MAX)))
}

fn busy(file: &File) -> Error {
    let mut buffer = [0; 256];
    let text = dir::read_short(file, &mut buffer).unwrap_or_default();
    let holder = String::from_utf8_lossy(text).split_ascii_whitespace().nth(2).map(str::to_owned);
    let holder = holder.unwrap_or_else(|| "unknown".to_owned());
    Error::new(libc::ETIMEDOUT, format!("the hierarchy is locked by process {holder}, which does not let go ({LOCK})"))
}

/// One write at the beginning of a file, over what is there.
pub(super) fn write_at_start(file: &File, text: &[u8]) -> sys::Result<()> {
    loop {
        match rustix::io::pwrite(file, text, 0) {
            Ok(count) if count == text.len() => return Ok(()),
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
