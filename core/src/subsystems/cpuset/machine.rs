//! What the machine has: the processors that are online, and the memory nodes.

use super::Kind;
use super::list::List;
use crate::error::{Error, Result};
use crate::process;

/// All that there is of a kind.
pub(super) fn there(kind: Kind) -> Result<List> {
    let (files, line) = match kind {
        Kind::Cpus => (&["/sys/devices/system/cpu/online"][..], "Cpus_allowed_list:"),
        // A node without memory is no place for any.
        Kind::Mems => {
            (&["/sys/devices/system/node/has_memory", "/sys/devices/system/node/online"][..], "Mems_allowed_list:")
        }
    };
    for file in files {
        if let Some(list) = process::read(file).ok().and_then(|text| list_of(&text)) {
            return Ok(list);
        }
    }
    // Without /sys, what we ourselves may use.
    let status = process::read("/proc/self/status").map_err(|errno| Error::os(errno, "reading our own status"))?;
    let own = process::field(&status, line).and_then(List::read);
    Ok(own.unwrap_or_default())
}

/// EINVAL: some of it is not there; the message says what, and what is.
pub(super) fn must_be_there(kind: Kind, list: &List) -> Result<()> {
    let there = there(kind)?;
    let absent = list.without(&there);
    if absent.is_empty() {
        return Ok(());
    }
    let possible = process::read(kind.possible()).ok().and_then(|text| list_of(&text));
    let offline = possible.map(|possible| absent.common(&possible)).filter(|offline| !offline.is_empty());
    let offline = offline.map(|offline| format!(" ({offline} could come online)")).unwrap_or_default();
    let why = format!("{} {absent}: not there{offline}; there is {there}", kind.word());
    Err(Error::new(libc::EINVAL, why))
}

fn list_of(text: &[u8]) -> Option<List> {
    let list = List::read(std::str::from_utf8(text).ok()?)?;
    (!list.is_empty()).then_some(list)
}
