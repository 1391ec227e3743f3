//! What is counted: the five resources that every hierarchy knows, and those that
//! programs name.

use crate::error::{Error, Result};
use crate::hierarchy::Hierarchy;

/// Something that is counted, by its number in a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(u32);

impl Resource {
    /// Kernel memory, in bytes.
    pub const KMEMSIZE: Resource = Resource(0);
    /// Private virtual memory, in pages.
    pub const PRIVVMPAGES: Resource = Resource(1);
    /// Resident memory, in pages.
    pub const PHYSPAGES: Resource = Resource(2);
    /// Tasks.
    pub const NUMTASKS: Resource = Resource(3);
    /// Open files.
    pub const NUMFILES: Resource = Resource(4);

    /// The resource of a number; whether there is one shows when it is used.
    pub const fn from_number(number: u32) -> Resource {
        Resource(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// A resource as a hierarchy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Which.
    pub resource: Resource,
    /// What it is called.
    pub name: String,
    /// What is counted: `bytes`, `pages`, `count`.
    pub unit: String,
}

/// Name and unit of those that are always there, by number.
pub(super) const STANDARD: [(&str, &str); 5] = [
    ("kmemsize", "bytes"),
    ("privvmpages", "pages"),
    ("physpages", "pages"),
    ("numtasks", "count"),
    ("numfiles", "count"),
];

impl Hierarchy {
    /// Makes a resource known by its name, in this hierarchy and to all who share it; the
    /// same name and unit give the same number (R6.1). A standard one is found by its name.
    ///
    /// # Errors
    ///
    /// EINVAL: no name, or no unit: lower-case letters, digits and `_`, a letter first, 32
    /// at most (a unit: 16). EEXIST: known with another unit. ENOSPC: there is no room for
    /// more. EOPNOTSUPP: the hierarchy is not bound to the beancounter. ECHILD: in a
    /// forked child. What making the shared counters gives (EACCES, EROFS, ENOSPC,
    /// EUCLEAN, EPERM, ELOOP, EXDEV).
    pub fn register_resource(&self, name: &str, unit: &str) -> Result<Resource> {
        for (what, word, longest) in [("resource", name, 32), ("unit", unit, 16)] {
            if !is_word(word, longest) {
                let why = format!(
                    "{word:?} is no name for a {what}: lower-case letters, digits and _, a letter first, at most {longest}"
                );
                return Err(Error::new(libc::EINVAL, why));
            }
        }
        self.books()?.region.register(name, unit).map(Resource)
    }

    /// The resource of a name.
    ///
    /// # Errors
    ///
    /// ENOENT: there is none. EOPNOTSUPP, ECHILD, and those of opening the counters as
    /// [`register_resource`](Hierarchy::register_resource).
    pub fn resource(&self, name: &str) -> Result<Resource> {
        self.backend()?;
        self.needs(super::NAME)?;
        let known = match STANDARD.iter().position(|(standard, _)| *standard == name) {
            Some(number) => Some(number as u32),
            None => self.books_in_use()?.map_or(Ok(None), |books| books.region.resource_called(name))?,
        };
        known.map(Resource).ok_or_else(|| {
            Error::new(libc::ENOENT, format!("hierarchy {self} knows no resource {name:?}: it is not registered"))
        })
    }

    /// All resources of the hierarchy, by number.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP, ECHILD, and those of opening the counters as
    /// [`register_resource`](Hierarchy::register_resource).
    pub fn resources(&self) -> Result<Vec<ResourceInfo>> {
        let known = match self.books_in_use()? {
            Some(books) => books.region.resources()?,
            None => STANDARD.map(|(name, unit)| (name.to_owned(), unit.to_owned())).to_vec(),
        };
        let info = |(number, (name, unit))| ResourceInfo { resource: Resource(number), name, unit };
        Ok((0..).zip(known).map(info).collect())
    }

    /// ENOENT: no such resource.
    pub(super) fn must_know(&self, resource: Resource) -> Result<()> {
        self.backend()?;
        self.needs(super::NAME)?;
        self.info(resource).map(drop)
    }

    /// What is known of one. ENOENT.
    pub(super) fn info(&self, resource: Resource) -> Result<ResourceInfo> {
        let number = resource.number();
        let known = match STANDARD.get(number as usize) {
            Some((name, unit)) => Some(((*name).to_owned(), (*unit).to_owned())),
            None => self.books_in_use()?.map_or(Ok(None), |books| books.region.resource(number))?,
        };
        match known {
            Some((name, unit)) => Ok(ResourceInfo { resource, name, unit }),
            None => Err(Error::new(libc::ENOENT, format!("hierarchy {self} knows no resource of number {number}"))),
        }
    }

    /// What one is called, for a message.
    pub(super) fn name_of(&self, resource: Resource) -> String {
        self.info(resource).map_or_else(|_| format!("resource {}", resource.number()), |info| info.name)
    }
}

fn is_word(word: &str, longest: usize) -> bool {
    let begins = word.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    begins && word.len() <= longest && word.bytes().all(is_plain)
}
