//! Whom we stopped: `freezer.stopped`, written before the stop is sent, so that
//! any other process can let them go if we die the moment after.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::file::{self, STOPPED};
use super::records::{self, Key};
use crate::sys::{self, Errno, dir::Dir};

/// For each process that is held stopped: whether it ran before, and so runs
/// again after the thaw. The last line about a process counts.
pub(super) type Stopped = HashMap<Key, bool>;

pub(super) fn read(dir: &Dir) -> sys::Result<Stopped> {
    let lines = records::lines(dir, STOPPED)?;
    Ok(lines.iter().filter_map(|fields| entry(fields)).collect())
}

/// Whether anybody is recorded, or was.
pub(super) fn are_there(dir: &Dir) -> sys::Result<bool> {
    file::is_there(dir, STOPPED)
}

pub(super) fn append(dir: &Dir, entries: &[(Key, bool)]) -> sys::Result<()> {
    records::append(dir, STOPPED, &text_of(entries.iter().copied()))
}

pub(super) fn write(dir: &Dir, entries: &Stopped) -> sys::Result<()> {
    if entries.is_empty() {
        return clear(dir);
    }
    records::replace(dir, STOPPED, &text_of(entries.iter().map(|(key, ran)| (*key, *ran))))
}

pub(super) fn clear(dir: &Dir) -> sys::Result<()> {
    match dir.unlink(STOPPED) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn entry(fields: &[u64]) -> Option<(Key, bool)> {
    match *fields {
        [pid, start_time, ran] => Some(((pid.try_into().ok()?, start_time), ran != 0)),
        _ => None,
    }
}

fn text_of(entries: impl Iterator<Item = (Key, bool)>) -> String {
    let mut text = String::new();
    for ((pid, start_time), ran) in entries {
        let _ = writeln!(text, "{pid} {start_time} {}", u8::from(ran));
    }
    text
}
