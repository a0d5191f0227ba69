//! A bound on the time that training takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A bound on the wall time of training, in whole seconds. Written as `90s`, `10m`, or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Budget {
    seconds: u64,
}

/// The error of [`Budget::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time above 0 in hours, minutes, and seconds, such as 90s, 10m, or 1h30m")]
pub struct InvalidBudget;

/// The units in the order in which they are written, with their seconds.
const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];

impl Budget {
    /// A year: whatever is longer is a mistake.
    const MAX_SECONDS: u64 = 365 * 24 * 3600;

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.seconds as f64
    }
}

impl FromStr for Budget {
    type Err = InvalidBudget;

    fn from_str(text: &str) -> Result<Self, InvalidBudget> {
        let (mut rest, mut total) = (text, 0u64);
        for (unit, seconds) in UNITS {
            if let Some((number, after)) = rest.split_once(unit) {
                let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                let number: u64 = number.parse().ok().filter(|_| is_number).ok_or(InvalidBudget)?;
                total = number.checked_mul(seconds).and_then(|part| total.checked_add(part)).ok_or(InvalidBudget)?;
                rest = after;
            }
        }
        let fits = rest.is_empty() && (1..=Self::MAX_SECONDS).contains(&total);
        fits.then_some(Self { seconds: total }).ok_or(InvalidBudget)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.seconds;
        for (unit, seconds) in UNITS {
            if rest >= seconds {
                write!(formatter, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Budget {
    type Error = InvalidBudget;

    fn try_from(text: String) -> Result<Self, InvalidBudget> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        for (text, seconds, shown) in [
            ("90s", 90, "1m30s"),
            ("10m", 600, "10m"),
            ("1h30m", 5400, "1h30m"),
            ("2h", 7200, "2h"),
            ("1h1s", 3601, "1h1s"),
        ] {
            let budget: Budget = text.parse().unwrap();
            assert_eq!((budget.seconds, budget.to_string().as_str()), (seconds, shown));
            assert_eq!(shown.parse(), Ok(budget));
            assert_eq!(serde_json::from_str::<Budget>(&serde_json::to_string(&budget).unwrap()).unwrap(), budget);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "10", "0s", "m", "10 m", "-1m", "+1m", "1.5h", "10m1h", "1m1m", "1d", "9000h", "99999999999999999999s"]
        {
            assert_eq!(text.parse::<Budget>(), Err(InvalidBudget), "{text}");
        }
    }
}
