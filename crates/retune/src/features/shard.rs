//! The part of a dataset's features that one of several processes extracts.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of several parts of a dataset, each of whole batches: `3/16` is the third of sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    /// From 1.
    number: usize,
    count: usize,
}

/// The error of [`Shard::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the number of a shard and how many there are, such as 3/16")]
pub struct InvalidShard;

impl Shard {
    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Whether it has the thing at `index` of a list that is dealt out in turn.
    pub fn deals(self, index: usize) -> bool {
        index % self.count == self.number - 1
    }

    /// All shards of as many, in their order.
    pub(super) fn siblings(self) -> impl Iterator<Item = Self> {
        (1..=self.count).map(move |number| Self { number, ..self })
    }

    /// Its part of so many batches. Parts differ by a batch at most.
    pub(super) fn batches(self, batches: usize) -> Range<usize> {
        // 128 bits, because both may be large.
        let start = |number: usize| (number as u128 * batches as u128 / self.count as u128) as usize;
        start(self.number - 1)..start(self.number)
    }
}

impl FromStr for Shard {
    type Err = InvalidShard;

    fn from_str(text: &str) -> Result<Self, InvalidShard> {
        let (number, count) = text.split_once('/').ok_or(InvalidShard)?;
        let whole = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| is_number).ok_or(InvalidShard)
        };
        let (number, count) = (whole(number)?, whole(count)?);
        if (1..=count).contains(&number) { Ok(Self { number, count }) } else { Err(InvalidShard) }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.count)
    }
}

impl TryFrom<String> for Shard {
    type Error = InvalidShard;

    fn try_from(text: String) -> Result<Self, InvalidShard> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_and_shown() {
        for (text, number, count) in [("1/1", 1, 1), ("3/16", 3, 16), ("16/16", 16, 16)] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!((shard, shard.to_string().as_str()), (Shard { number, count }, text));
        }
        for text in ["", "3", "0/4", "5/4", "/4", "3/", "+1/4", "-1/4", "1/4/4", "a/b", "1.5/4", " 1/4"] {
            assert_eq!(text.parse::<Shard>(), Err(InvalidShard), "{text}");
        }
    }

    #[test]
    fn what_is_dealt_out_goes_to_one_shard_each() {
        let one = Shard { number: 1, count: 3 };
        for index in 0..10 {
            assert_eq!(one.siblings().filter(|shard| shard.deals(index)).count(), 1, "{index}");
        }
        assert!(one.deals(0) && one.deals(3) && !one.deals(1));
    }

    #[test]
    fn every_batch_is_in_one_shard() {
        for (batches, count) in [(10, 3), (3, 3), (7, 1), (2, 5), (1_000_003, 64)] {
            let one = Shard { number: 1, count };
            let parts: Vec<Range<usize>> = one.siblings().map(|shard| shard.batches(batches)).collect();
            assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), batches);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let sizes = parts.iter().map(|part| part.len());
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
