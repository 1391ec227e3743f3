//! The resources of a region by name. Their numbers are the same for all who share it.

use super::cell::{Cell, Memory};
use super::holder::Descriptor;
use super::layout::{self, Layout, NAME_CELLS, UNIT_CELLS};
use super::value::{Letters, Number, Value};
use super::{Attempts, Counters};
use crate::error::{Error, Result};

/// Those that every region has, by number, with what they are counted in.
pub(crate) const STANDARD: [(&str, &str); 5] = [
    ("kmemsize", "bytes"),
    ("privvmpages", "pages"),
    ("physpages", "pages"),
    ("numtasks", "count"),
    ("numfiles", "count"),
];

impl<M: Memory> Counters<M> {
    /// The number of a resource; it gets one if it has none. Both are words of the caller's that
    /// fit; that the name is none of the first `others` the caller knows.
    ///
    /// EEXIST: it is counted in something else. ENOSPC: no more can be known.
    pub(crate) fn register(&self, mine: &mut Descriptor, name: &str, unit: &str, others: u32) -> Result<u32> {
        let mut attempts = Attempts::new();
        loop {
            attempts.next()?;
            let helped = self.help()?;
            let count = self.resource_count();
            if let Some(number) = self.resource_called(name, others)? {
                let other = self.resource(number)?.map_or_else(String::new, |(_, unit)| unit);
                if other != unit {
                    return Err(Error::new(libc::EEXIST, format!("{name} is counted in {other}, not in {unit}")));
                }
                return Ok(number);
            }
            let number = count;
            let Ok(at) = self.layout.resource(number) else {
                return Err(Error::new(libc::ENOSPC, format!("{number} resources are known, and no more can be")));
            };
            self.memory.allocate(at, Layout::RESOURCE)?;
            let transfer = &mut mine.transfer;
            transfer.clear();
            for (place, letters) in spell(name, NAME_CELLS).chain(spell(unit, UNIT_CELLS)).enumerate() {
                transfer.set(at + place * 16, letters)?;
            }
            transfer.set(layout::NAMED, Number(i64::from(number) + 1 - STANDARD.len() as i64))?;
            if self.publish(mine.index, helped, transfer)? {
                return Ok(number);
            }
        }
    }

    /// Name and unit of all, by number. What is there does not change.
    pub(crate) fn resources(&self) -> Result<Vec<(String, String)>> {
        (0..self.resource_count()).filter_map(|number| self.resource(number).transpose()).collect()
    }

    /// How many there are.
    pub(crate) fn resource_count(&self) -> u32 {
        (STANDARD.len() + self.named()) as u32
    }

    /// Name and unit of one, if there is one of that number.
    pub(crate) fn resource(&self, number: u32) -> Result<Option<(String, String)>> {
        if let Some((name, unit)) = STANDARD.get(number as usize) {
            return Ok(Some(((*name).to_owned(), (*unit).to_owned())));
        }
        if number >= self.resource_count() {
            return Ok(None);
        }
        let at = self.layout.resource(number)?;
        Ok(Some((self.read_letters(at, NAME_CELLS), self.read_letters(at + NAME_CELLS * 16, UNIT_CELLS))))
    }

    /// The number of a name that is none of the first `others`.
    fn resource_called(&self, name: &str, others: u32) -> Result<Option<u32>> {
        for number in others..self.resource_count() {
            if self.resource(number)?.is_some_and(|(known, _)| known == name) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// How many besides the standard ones.
    pub(crate) fn named(&self) -> usize {
        let named = Number::unpack(self.memory.cell(layout::NAMED).load()).0;
        named.clamp(0, i64::from(self.layout.resources)) as usize
    }

    fn read_letters(&self, at: usize, cells: usize) -> String {
        let letters = (0..cells).flat_map(|cell| Letters::unpack(self.memory.cell(at + cell * 16).load()).0);
        let letters: Vec<u8> = letters.take_while(|letter| *letter != 0).collect();
        String::from_utf8_lossy(&letters).into_owned()
    }
}

/// A word in cells, with zeros behind it.
fn spell(word: &str, cells: usize) -> impl Iterator<Item = Letters> + '_ {
    (0..cells).map(|cell| {
        let letters = word.bytes().skip(cell * 8).chain(std::iter::repeat(0));
        let mut eight = [0; 8];
        eight.iter_mut().zip(letters).for_each(|(place, letter)| *place = letter);
        Letters(eight)
    })
}
