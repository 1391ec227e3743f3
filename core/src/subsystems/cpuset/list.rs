//! Sets of numbers in the List Format of cpuset(7): `0-2,5`.

use std::fmt;

use crate::error::{Error, Result};

/// The longest text, as that of a path.
const LONGEST: usize = 4095;

/// A set of numbers: ranges with both their ends, in order, and none that touches the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List(Vec<(u32, u32)>);

impl List {
    /// Reads a list; nothing but white space is the empty one. Ranges may overlap and be
    /// in any order.
    ///
    /// EINVAL: a range that ends before it begins, a number above 2^32, anything else
    /// that is no list. E2BIG: more than 4095 bytes.
    pub(super) fn parse(text: &str) -> Result<List> {
        if text.len() > LONGEST {
            return Err(Error::new(libc::E2BIG, format!("{} bytes, and it takes {LONGEST}", text.len())));
        }
        List::of_text(text)
    }

    /// Reads what the kernel or we have written, however long; `None`: it is no list.
    pub(super) fn read(text: &str) -> Option<List> {
        List::of_text(text).ok()
    }

    fn of_text(text: &str) -> Result<List> {
        if text.trim().is_empty() {
            return Ok(List::default());
        }
        let ranges = text.split(',').map(|part| range(part.trim())).collect::<Result<Vec<_>>>()?;
        Ok(List::of(ranges))
    }

    fn of(mut ranges: Vec<(u32, u32)>) -> List {
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        List(joined)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in both.
    pub(super) fn common(&self, other: &List) -> List {
        self.without(&self.without(other))
    }

    /// What is in this one and not in the other.
    pub(super) fn without(&self, other: &List) -> List {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            // What is left of the range, from here on; `None`: nothing.
            let mut from = Some(first);
            for &(gone_first, gone_last) in other.0.iter().filter(|gone| gone.0 <= last && gone.1 >= first) {
                let Some(begin) = from else { break };
                if gone_first > begin {
                    left.push((begin, gone_first - 1));
                }
                from = gone_last.checked_add(1).filter(|&next| next <= last);
            }
            left.extend(from.map(|begin| (begin, last)));
        }
        List(left)
    }

    /// Its ranges, each with its first and last number.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

fn range(part: &str) -> Result<(u32, u32)> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (number(first, part)?, number(last, part)?);
    if last < first {
        return Err(Error::new(libc::EINVAL, format!("{part:?} ends before it begins")));
    }
    Ok((first, last))
}

fn number(text: &str, part: &str) -> Result<u32> {
    // A sign would be taken by the parser of numbers.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| {
        let why = if digits { "is above all numbers that there can be" } else { "is no number and no range" };
        Error::new(libc::EINVAL, format!("{part:?} {why}; a list is as in \"0-2,5\""))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The plain model: a set of numbers.
    fn numbers(list: &List) -> BTreeSet<u32> {
        list.ranges().flat_map(|(first, last)| first..=last).collect()
    }

    fn shown(set: &BTreeSet<u32>) -> String {
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for &number in set {
            match parts.last_mut() {
                Some(last) if last.1 + 1 == number => last.1 = number,
                _ => parts.push((number, number)),
            }
        }
        let show =
            |(first, last): (u32, u32)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
        parts.into_iter().map(show).collect::<Vec<_>>().join(",")
    }

    fn small() -> impl Strategy<Value = Vec<(u32, u32)>> {
        proptest::collection::vec((0..40_u32, 0..6_u32).prop_map(|(first, more)| (first, first + more)), 0..8)
    }

    fn written(ranges: &[(u32, u32)]) -> String {
        ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect::<Vec<_>>().join(" , ")
    }

    /// R9.1
    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["1-0", "-1", "1-", "a", "0,,1", ",", "0,", "0-1:1/2", "0 1", "all", "0x1", "1--2", "1-2-3", "+1"] {
            assert_eq!(List::parse(text).unwrap_err().errno(), libc::EINVAL, "{text}");
        }
        assert_eq!(List::parse("0-4294967296").unwrap_err().errno(), libc::EINVAL);
        assert_eq!(List::parse("99999999999999999999999").unwrap_err().errno(), libc::EINVAL);
        assert_eq!(List::parse("4294967295").unwrap().to_string(), "4294967295");
        assert_eq!(List::parse("0-4294967295,7").unwrap().to_string(), "0-4294967295");
        assert_eq!(List::parse(&"0,".repeat(2048)).unwrap_err().errno(), libc::E2BIG);
        assert_eq!(List::parse(&format!("{}7", "0,".repeat(2047))).unwrap().to_string(), "0,7");
        let all = List::parse("0-4294967295").unwrap();
        assert_eq!(all.without(&List::parse("0,5-4294967295").unwrap()).to_string(), "1-4");
        assert!(all.without(&all).is_empty());
        assert_eq!(all.common(&all), all);
    }

    proptest! {
        /// R9.1: a list is the set of its numbers, whatever is written twice or out of order.
        #[test]
        fn a_list_is_a_set_of_numbers(one in small(), other in small()) {
            let list = List::parse(&written(&one)).unwrap();
            let model: BTreeSet<u32> = one.iter().flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(&numbers(&list), &model);
            prop_assert_eq!(list.to_string(), shown(&model));
            prop_assert_eq!(&List::parse(&list.to_string()).unwrap(), &list);
            let (second, of_second) = (List::parse(&written(&other)).unwrap(), other.iter().flat_map(|&(a, b)| a..=b));
            let of_second: BTreeSet<u32> = of_second.collect();
            prop_assert_eq!(second.without(&list).is_empty(), of_second.is_subset(&model));
            prop_assert_eq!(numbers(&list.common(&second)), &model & &of_second);
            prop_assert_eq!(numbers(&list.without(&second)), &model - &of_second);
            prop_assert_eq!(list.without(&second).to_string(), shown(&(&model - &of_second)));
        }

        /// R9.1: nothing panics, and what is taken is printed so that it parses to the same.
        #[test]
        fn any_text_is_a_list_or_refused(text in "\\PC*|[0-9,\\- \n]{0,40}") {
            match List::parse(&text) {
                Ok(list) => prop_assert_eq!(List::parse(&list.to_string()).unwrap(), list),
                Err(error) => prop_assert!([libc::EINVAL, libc::E2BIG].contains(&error.errno())),
            }
        }
    }
}
