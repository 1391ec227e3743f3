//! The counters of one hierarchy: where they are, how they are come by, how they end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::callbacks::Callbacks;
use super::removal;
use crate::attribute;
use crate::backend::Node;
use crate::backend::embedded::private;
use crate::counters::Region;
use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;
use crate::options::Options;
use crate::place;
use crate::remembered::Remembered;
use crate::sys::Errno;

/// What a handle on a hierarchy knows of its counters.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Option<PathBuf>,
    /// Whether the opener asked for it; what holds is on the root.
    asked_flat: bool,
    open: Remembered<Option<Books>>,
    pub(super) callbacks: Callbacks,
}

/// The counters, open.
#[derive(Clone, Debug)]
pub(super) struct Books {
    pub region: Arc<Region>,
    /// Whether a charge counts in its own group alone.
    pub is_flat: bool,
}

/// The name of the region's file, on a hierarchy's root: its user, the root's inode, so
/// that no hierarchy can be made to use another's, and a random number.
const COUNTERS: &str = "counters";
/// Whether charges count in their own group alone, on a hierarchy's root: 1 or 0.
const FLAT: &str = "flat";

impl Ledger {
    pub(crate) fn new(options: &Options) -> Ledger {
        Ledger {
            state: options.state_directory().cloned(),
            asked_flat: options.is_flat(),
            open: Remembered::default(),
            callbacks: Callbacks::default(),
        }
    }
}

/// Agrees with whoever else opened the hierarchy on whether it is flat.
///
/// EBUSY: it is not, and was to be. EINVAL: it has no counters.
pub(crate) fn settle_flatness(root: &Node, subsystems: &[String], options: &Options) -> Result<()> {
    if subsystems.iter().any(|name| name == super::NAME) {
        return agree_on_flatness(root, options.is_flat()).map(drop);
    }
    if options.is_flat() {
        return Err(Error::new(libc::EINVAL, "flat is for a hierarchy that is bound to beancounter"));
    }
    Ok(())
}

fn agree_on_flatness(root: &Node, asked: bool) -> Result<bool> {
    attribute::set_new(root, FLAT, if asked { "1" } else { "0" })?;
    // On a directory that we may not mark, nobody else can have said anything.
    let is_flat = attribute::get(root, FLAT)?.map_or(asked, |recorded| recorded == "1");
    if asked && !is_flat {
        return Err(Error::new(
            libc::EBUSY,
            "in this hierarchy a charge counts in the groups above, too: it is not flat",
        ));
    }
    Ok(is_flat)
}

impl Hierarchy {
    /// The counters, made if they are not there.
    ///
    /// EOPNOTSUPP: the hierarchy is not bound to the beancounter. ECHILD.
    pub(super) fn books(&self) -> Result<Books> {
        match self.find_books(true)? {
            Some(books) => Ok(books),
            None => {
                Err(Error::new(libc::EACCES, format!("we may not note the counters on the root of hierarchy {self}")))
            }
        }
    }

    /// The counters, `None` if nobody has used any yet.
    pub(super) fn books_in_use(&self) -> Result<Option<Books>> {
        self.find_books(false)
    }

    /// Whether a charge counts in its own group alone.
    pub(super) fn is_flat(&self) -> Result<bool> {
        self.needs(super::NAME)?;
        let asked = self.ledger().asked_flat;
        Ok(attribute::get(self.root_node(), FLAT)?.map_or(asked, |recorded| recorded == "1"))
    }

    fn find_books(&self, make: bool) -> Result<Option<Books>> {
        self.backend()?;
        self.needs(super::NAME)?;
        let ledger = self.ledger();
        if let Some(books) = ledger.open.look(Clone::clone) {
            return Ok(Some(books));
        }
        let root = self.root_node();
        let Some(file) = self.region_file(make)? else { return Ok(None) };
        if !make && !file.exists() {
            return Ok(None);
        }
        // The record is still there on one that has ended, whose file must not come back.
        attribute::must_be_there(root)?;
        let books = Books { region: open(&file)?, is_flat: agree_on_flatness(root, ledger.asked_flat)? };
        ledger.open.note(|open| *open = Some(books.clone()));
        // Who went behind our back meanwhile has left something.
        let _ = removal::sweep(self, &books);
        Ok(Some(books))
    }

    /// The file that the region is in.
    ///
    /// EPERM: it is another user's. EUCLEAN: the record on the root is not ours.
    fn region_file(&self, make: bool) -> Result<Option<PathBuf>> {
        let root = self.root_node();
        let failed = |errno: Errno| root.failed(errno, "looking at the directory");
        let inode = format!("{:x}", root.dir.identity().map_err(failed)?.1);
        let user = rustix::process::geteuid().as_raw().to_string();
        let mut name = attribute::get(root, COUNTERS)?;
        if name.is_none() && make {
            attribute::set_new(root, COUNTERS, &format!("{user}-{inode}-{:016x}", random()?))?;
            name = attribute::get(root, COUNTERS)?;
        }
        let Some(name) = name else { return Ok(None) };
        let parts: Vec<&str> = name.split('-').collect();
        let is_number = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        match *parts.as_slice() {
            [of, root, number] if root == inode && is_number(number) && of == user => {}
            [of, root, number] if root == inode && is_number(number) && of.parse::<u32>().is_ok() => {
                let why = format!("the counters of hierarchy {self} are user {of}'s, who shares them with nobody");
                return Err(Error::new(libc::EPERM, why));
            }
            _ => {
                let why = format!("the record of counters on the root of hierarchy {self} is not its own: {name:?}");
                return Err(Error::new(libc::EUCLEAN, why));
            }
        }
        Ok(Some(place::counters(self.ledger().state.as_deref()).join(name)))
    }

    /// The hierarchy has ended, and nobody can come to its counters any more.
    pub(super) fn forget_counters(&self) -> Result<()> {
        // Another user's is his, and a record that is not ours leads nowhere.
        let Ok(Some(file)) = self.region_file(false) else { return Ok(()) };
        match rustix::fs::unlink(&file) {
            // The directory of them all, if this was the last.
            Ok(()) => {
                let _ = file.parent().map(rustix::fs::rmdir);
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::os(errno, format_args!("removing {}", file.display()))),
        }
    }
}

fn open(file: &Path) -> Result<Arc<Region>> {
    let mut opened = Err(Error::os(Errno::NOENT, format_args!("making {}", file.display())));
    // Whoever ends another hierarchy may take the directory away between our making it
    // and our using it: then it is made again.
    for _ in 0..100 {
        if let Some(directory) = file.parent() {
            private::make(directory)?;
        }
        opened = Region::open(file);
        if !opened.as_ref().is_err_and(|error| error.is(libc::ENOENT)) {
            break;
        }
    }
    opened
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Ok(u64::from_ne_bytes(bytes)),
        Ok(_) => Err(Error::os(Errno::AGAIN, "asking for a random number")),
        Err(errno) => Err(Error::os(errno, "asking for a random number")),
    }
}
