//! Kinds of namespaces, by name and by the kernel's bits.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A set of kinds of namespaces: `net,uts`.
///
/// ```
/// use cgf::Namespaces;
///
/// # fn main() -> cgf::Result<()> {
/// let kinds: Namespaces = "uts,net".parse()?;
/// assert_eq!(kinds, Namespaces::NET | Namespaces::UTS);
/// assert_eq!(kinds.to_string(), "net,uts");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespaces(u64);

/// Each kind under its name in `/proc/PID/ns`, sorted.
const KINDS: [(&str, Namespaces); 8] = [
    ("cgroup", Namespaces::CGROUP),
    ("ipc", Namespaces::IPC),
    ("mnt", Namespaces::MNT),
    ("net", Namespaces::NET),
    ("pid", Namespaces::PID),
    ("time", Namespaces::TIME),
    ("user", Namespaces::USER),
    ("uts", Namespaces::UTS),
];

impl Namespaces {
    /// None of them.
    pub const NONE: Namespaces = Namespaces(0);
    /// The root of control groups (Linux 4.6).
    pub const CGROUP: Namespaces = Namespaces(libc::CLONE_NEWCGROUP as u64);
    /// System V and POSIX queues, semaphores, shared memory.
    pub const IPC: Namespaces = Namespaces(libc::CLONE_NEWIPC as u64);
    /// Mounts.
    pub const MNT: Namespaces = Namespaces(libc::CLONE_NEWNS as u64);
    /// Network interfaces, addresses, ports.
    pub const NET: Namespaces = Namespaces(libc::CLONE_NEWNET as u64);
    /// Process numbers.
    pub const PID: Namespaces = Namespaces(libc::CLONE_NEWPID as u64);
    /// The offsets of clocks (Linux 5.6).
    pub const TIME: Namespaces = Namespaces(0x80);
    /// Users, groups and capabilities.
    pub const USER: Namespaces = Namespaces(libc::CLONE_NEWUSER as u64);
    /// Host and domain name.
    pub const UTS: Namespaces = Namespaces(libc::CLONE_NEWUTS as u64);

    /// The set of the kernel's `CLONE_NEW…` bits.
    ///
    /// # Errors
    ///
    /// EINVAL: another bit.
    pub fn from_bits(bits: u64) -> Result<Namespaces> {
        let all = KINDS.iter().fold(Namespaces::NONE, |all, (_, kind)| all | *kind);
        match bits & !all.0 {
            0 => Ok(Namespaces(bits)),
            other => Err(Error::new(libc::EINVAL, format!("{other:#x} are bits of no kind of namespaces"))),
        }
    }

    /// It as the kernel's `CLONE_NEW…` bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are in it.
    pub fn contains(self, other: Namespaces) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All that are in one of the two.
    pub(super) const fn and(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }

    /// Whether one is in both.
    pub(super) fn meets(self, other: Namespaces) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of it that are not in `other`.
    pub(super) fn without(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 & !other.0)
    }

    /// One by one, in the order of their names.
    pub(super) fn each(self) -> impl Iterator<Item = Namespaces> {
        Namespaces::all().filter(move |kind| self.contains(*kind))
    }

    /// Every kind, in the order of their names.
    pub(super) fn all() -> impl Iterator<Item = Namespaces> {
        KINDS.iter().map(|(_, kind)| *kind)
    }

    /// The name of one kind; for several, of the first.
    pub(super) fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| self.contains(*kind)).map_or("", |(name, _)| name)
    }

    /// The kind of a name.
    pub(super) fn named(name: &str) -> Option<Namespaces> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

impl BitOr for Namespaces {
    type Output = Namespaces;

    fn bitor(self, other: Namespaces) -> Namespaces {
        self.and(other)
    }
}

/// Names with commas between them; nothing for none. EINVAL: an unknown one, an empty one,
/// one that is there twice.
impl FromStr for Namespaces {
    type Err = Error;

    fn from_str(text: &str) -> Result<Namespaces> {
        if text.is_empty() {
            return Ok(Namespaces::NONE);
        }
        text.split(',').try_fold(Namespaces::NONE, |found, word| match Namespaces::named(word) {
            Some(kind) if found.contains(kind) => Err(Error::new(libc::EINVAL, format!("{word} is there twice"))),
            Some(kind) => Ok(found | kind),
            None => {
                let known = KINDS.map(|(name, _)| name).join(", ");
                Err(Error::new(libc::EINVAL, format!("{word:?} is no kind of namespaces; there are: {known}")))
            }
        })
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.each().map(Namespaces::name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_set_is_refused() {
        for text in
            [",", "net,", ",net", "net,,uts", "net,net", "Net", " net", "net uts", "network", "pid_for_children"]
        {
            assert_eq!(text.parse::<Namespaces>().unwrap_err().errno(), libc::EINVAL, "{text:?}");
        }
        assert_eq!("".parse::<Namespaces>().unwrap(), Namespaces::NONE);
        assert_eq!(Namespaces::from_bits(1).unwrap_err().errno(), libc::EINVAL);
        assert_eq!(Namespaces::from_bits(0x4000_0080).unwrap().to_string(), "net,time");
    }

    proptest! {
        /// Any text: no panic, and what is taken is printed so that it is taken again.
        #[test]
        fn any_text(text in "\\PC*") {
            if let Ok(kinds) = text.parse::<Namespaces>() {
                prop_assert_eq!(kinds.to_string().parse::<Namespaces>().unwrap(), kinds);
            }
        }

        /// Words in any order, some twice, some wrong: as a plain model has it.
        #[test]
        fn words(words in prop::collection::vec(
            prop::sample::select(vec!["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts", "", "ns"]), 1..10)
        ) {
            let text = words.join(",");
            let mut sorted = words.clone();
            sorted.sort_unstable();
            let is_repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
            let is_wrong = words.contains(&"") || words.contains(&"ns");
            match text.parse::<Namespaces>() {
                Ok(kinds) => prop_assert_eq!(kinds.to_string(), sorted.join(",")),
                // One empty word alone is no word.
                Err(_) => prop_assert!(is_repeated || is_wrong),
            }
            prop_assert_eq!(text.parse::<Namespaces>().is_ok(), text.is_empty() || !(is_repeated || is_wrong));
        }

        #[test]
        fn any_bits(bits: u64) {
            match Namespaces::from_bits(bits) {
                Ok(kinds) => prop_assert_eq!(kinds.bits(), bits),
                Err(_) => prop_assert!(!Namespaces::all().any(|kind| kind.bits() == bits)),
            }
        }
    }
}
