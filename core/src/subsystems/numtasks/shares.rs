//! Shares as text: what a write asks for, and what a read says (R7.1).

use std::fmt;

use crate::error::{Error, Result};

/// The resource, as `res=` names it.
pub(super) const RESOURCE: &str = "numtasks";

/// The numbers that are none: as it was, twice, and nothing asked for.
const UNCHANGED: i32 = -1;
const UNSUPPORTED: i32 = -2;
const DONT_CARE: i32 = -3;

/// What a group has of its parent's parts, and into how many its own are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Promised; `None`: don't care.
    pub min: Option<u32>,
    /// Allowed; `None`: don't care.
    pub max: Option<u32>,
    /// Never 0.
    pub divisor: u32,
}

/// What a write asks for; `None` is as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub min: Option<Option<u32>>,
    pub max: Option<Option<u32>>,
    pub divisor: Option<u32>,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares { min: None, max: None, divisor: 100 }
    }
}

impl Shares {
    pub(super) fn changed(self, change: Change) -> Shares {
        Shares {
            min: change.min.unwrap_or(self.min),
            max: change.max.unwrap_or(self.max),
            divisor: change.divisor.unwrap_or(self.divisor),
        }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |share: Option<u32>| share.map_or(i64::from(DONT_CARE), i64::from);
        let (min, max) = (shown(self.min), shown(self.max));
        write!(f, "res={RESOURCE},min_shares={min},max_shares={max},child_shares_divisor={}", self.divisor)
    }
}

/// Reads a list of `name=number`, each name once at most.
///
/// EINVAL: anything else.
pub(super) fn parse(text: &str) -> Result<Change> {
    let wrong = |why: String| Error::new(libc::EINVAL, why);
    let mut change = Change::default();
    let mut seen: Vec<&str> = Vec::with_capacity(4);
    for token in text.split(',') {
        let Some((name, value)) = token.split_once('=') else {
            return Err(wrong(format!("{token:?} is no share; one is min_shares=5")));
        };
        if seen.contains(&name) {
            return Err(wrong(format!("{name} is there twice")));
        }
        match name {
            "res" if value == RESOURCE => {}
            "res" => return Err(wrong(format!("these are the shares of {RESOURCE} and not of {value:?}"))),
            "min_shares" => change.min = share(name, value)?,
            "max_shares" => change.max = share(name, value)?,
            "child_shares_divisor" => change.divisor = divisor(name, value)?,
            _ => return Err(wrong(format!("{name:?} is no share"))),
        }
        seen.push(name);
    }
    Ok(change)
}

fn share(name: &str, value: &str) -> Result<Option<Option<u32>>> {
    match number(name, value)? {
        UNCHANGED | UNSUPPORTED => Ok(None),
        DONT_CARE => Ok(Some(None)),
        number => match u32::try_from(number) {
            Ok(share) => Ok(Some(Some(share))),
            Err(_) => Err(Error::new(libc::EINVAL, format!("{name} cannot be {number}"))),
        },
    }
}

fn divisor(name: &str, value: &str) -> Result<Option<u32>> {
    match number(name, value)? {
        UNCHANGED | UNSUPPORTED => Ok(None),
        number => match u32::try_from(number) {
            Ok(divisor) if divisor > 0 => Ok(Some(divisor)),
            _ => Err(Error::new(libc::EINVAL, format!("{name} cannot be {number}: nothing is divided into so many"))),
        },
    }
}

/// An int as `%d` prints it: without white space or a plus.
fn number(name: &str, value: &str) -> Result<i32> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match value.parse() {
        Ok(number) if is_plain => Ok(number),
        _ => Err(Error::new(libc::EINVAL, format!("{name} cannot be {value:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// R7.1
    #[test]
    fn what_is_left_out_is_unchanged() {
        let parsed = |text: &str| parse(text).map_err(|error| error.errno());
        let none = Change::default();
        assert_eq!(parsed("res=numtasks"), Ok(none));
        assert_eq!(parsed("min_shares=5"), Ok(Change { min: Some(Some(5)), ..none }));
        assert_eq!(parsed("max_shares=-3,min_shares=-1"), Ok(Change { max: Some(None), ..none }));
        assert_eq!(parsed("child_shares_divisor=-2,max_shares=-2"), Ok(none));
        assert_eq!(parsed("child_shares_divisor=1000"), Ok(Change { divisor: Some(1000), ..none }));
        let wrong = [
            "",
            ",",
            "res",
            "res=cpu",
            "res=",
            "min_shares",
            "min_shares=",
            "min_shares=5,",
            "min_shares=5,min_shares=5",
            "res=numtasks,res=numtasks",
            "min_shares=-4",
            "min_shares=+5",
            "min_shares= 5",
            "min_shares=5 ",
            "min_shares=0x5",
            "max_shares=2147483648",
            "child_shares_divisor=0",
            "child_shares_divisor=-3",
            "shares=5",
            "Min_shares=5",
        ];
        for text in wrong {
            assert_eq!(parsed(text), Err(libc::EINVAL), "{text:?}");
        }
    }

    /// The rules of the text once more, by other means.
    fn model(text: &str) -> Option<Change> {
        let mut found: HashMap<String, i64> = HashMap::new();
        for token in text.split(',') {
            let mut parts = token.splitn(2, '=');
            let (name, value) = (parts.next()?, parts.next()?);
            let number = match (name, value) {
                ("res", "numtasks") => 0,
                ("min_shares" | "max_shares" | "child_shares_divisor", _) => {
                    let digits = value.strip_prefix('-').unwrap_or(value);
                    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
                    value.parse::<i64>().ok().filter(|number| is_number && *number >= -3 && *number < 1 << 31)?
                }
                _ => return None,
            };
            if found.insert(name.to_owned(), number).is_some() {
                return None;
            }
        }
        let share = |name: &str| match found.get(name) {
            None | Some(-1 | -2) => None,
            Some(-3) => Some(None),
            Some(number) => Some(Some(*number as u32)),
        };
        let divisor = match share("child_shares_divisor") {
            None => None,
            Some(None | Some(0)) => return None,
            Some(divisor) => divisor,
        };
        Some(Change { min: share("min_shares"), max: share("max_shares"), divisor })
    }

    fn token() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("res".to_owned()),
            Just("min_shares".to_owned()),
            Just("max_shares".to_owned()),
            Just("child_shares_divisor".to_owned()),
            "[a-z_]{0,6}",
        ];
        let value = prop_oneof![
            Just("numtasks".to_owned()),
            (-5_i64..200).prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            "[-+0-9 ]{0,4}",
        ];
        (name, prop_oneof![9 => Just("="), 1 => Just("")], value).prop_map(|(name, is, value)| name + is + &value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,80}") {
            prop_assert_eq!(parse(&text).ok(), model(&text));
        }

        #[test]
        fn what_looks_like_shares_is_read_as_the_model_reads_it(tokens in proptest::collection::vec(token(), 0..6)) {
            let text = tokens.join(",");
            prop_assert_eq!(parse(&text).ok(), model(&text), "{}", text);
        }

        #[test]
        fn what_is_shown_is_read_as_the_same(
            min in proptest::option::of(0..=i32::MAX as u32),
            max in proptest::option::of(0..=i32::MAX as u32),
            divisor in 1..=i32::MAX as u32,
        ) {
            let shares = Shares { min, max, divisor };
            let read = parse(&shares.to_string()).map(|change| Shares::default().changed(change));
            prop_assert_eq!(read.unwrap(), shares);
        }
    }
}
