//! Deadlines as people write them: `5s`, `500ms`, `none`, `0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long something may take; `None`: as long as it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit(pub Option<Duration>);

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeLimit, String> {
        if text == "none" {
            return Ok(TimeLimit(None));
        }
        if text == "0" {
            return Ok(TimeLimit(Some(Duration::ZERO)));
        }
        let wrong = || format!("{text:?} is no time; write 5s, 500ms, 2m, 0 (ask once) or none (no limit)");
        let unit = text.find(|character: char| character.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            _ => return Err(wrong()),
        };
        // Only digits and a point: the parser below would take "1e9" and "inf".
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(wrong());
        }
        let number: f64 = number.parse().map_err(|_| wrong())?;
        Duration::try_from_secs_f64(number * seconds).map(|limit| TimeLimit(Some(limit))).map_err(|_| wrong())
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "{}ms", limit.as_millis()),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_a_unit() {
        let limit = |text: &str| text.parse::<TimeLimit>().map(|limit| limit.0);
        assert_eq!(limit("5s"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(limit("500ms"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(limit("1.5s"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(limit("2m"), Ok(Some(Duration::from_secs(120))));
        assert_eq!(limit("0"), Ok(Some(Duration::ZERO)));
        assert_eq!(limit("none"), Ok(None));
        for text in ["", "5", "-1s", "s", "1h", "5 s", "1e9s", "infs", "99999999999999999999999s"] {
            assert!(limit(text).is_err(), "{text:?}");
        }
    }
}
