//! Parsers of single values: what they accept, and what they say otherwise.

use std::fmt::Display;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::Error;
use retune::features::{InvalidShard, Shard};
use retune::names::closest;
use retune::pixels::channels::Channels;
use retune::pixels::input_size::{InputSize, InvalidInputSize};
use retune::run::EvaluationSource;

/// A whole number from 1.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "must be a whole number above 0".to_owned())
}

/// What random choices start from.
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

/// A number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0, "must be a number above 0")
}

/// A temperature of a softmax; none leaves logits as they are, as 1 does.
pub fn temperature(text: &str) -> Result<f64, String> {
    match text {
        "none" => Ok(1.0),
        _ => positive(text).map_err(|_| "must be a number above 0, or none".to_owned()),
    }
}

/// A number from 0.
pub fn non_negative(text: &str) -> Result<f64, String> {
    number(text, |value| value >= 0.0, "must be 0 or a number above it")
}

/// A number from 0 to below 1.
pub fn below_one(text: &str) -> Result<f64, String> {
    number(text, |value| (0.0..1.0).contains(&value), "must be at least 0 and less than 1")
}

/// A number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "must be a number from 0 to 1")
}

/// The seeds of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Seeds(pub Vec<u64>);

/// A number of seeds (then those from 0), or two or more seeds with commas.
pub fn seeds(text: &str) -> Result<Seeds, String> {
    let expected =
        || "must be a number of seeds, or a comma-separated list (for one specific seed, use --seed)".to_owned();
    let numbers: Vec<u64> = text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| expected())?;
    let mut seeds = match numbers.as_slice() {
        [count @ 1..=1000] => (0..*count).collect(),
        [_] => return Err(expected()),
        _ => numbers,
    };
    let mut seen = std::collections::BTreeSet::new();
    seeds.retain(|seed| seen.insert(*seed));
    Ok(Seeds(seeds))
}

/// A part that is neither nothing nor everything.
pub fn proper_fraction(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0 && value < 1.0, "must be above 0 and below 1")
}

/// The part of an image's side that a crop keeps.
pub fn crop_fraction(text: &str) -> Result<f64, String> {
    number(text, |value| (0.05..=1.0).contains(&value), "must be from 0.05 to 1")
}

/// The height and width of images in pixels.
pub fn input_size(text: &str) -> Result<InputSize, String> {
    text.parse().map_err(|error: InvalidInputSize| error.to_string())
}

/// A part of the images, as `I/N`.
pub fn shard(text: &str) -> Result<Shard, String> {
    text.parse().map_err(|error: InvalidShard| error.to_string())
}

/// The value of 16-bit images that is white.
pub fn white_level(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "must be a whole number from 1 to 65535".to_owned())
}

/// The number of a model's input channels.
pub fn in_chans(text: &str) -> Result<Channels, String> {
    let count: u64 = text.parse().map_err(|_| "must be a whole number from 1 to 4".to_owned())?;
    Channels::try_from(count).map_err(|error| error.to_string())
}

/// Means or standard deviations, one for all channels or one for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics(pub Vec<f32>);

/// A number for each channel, or one for all.
pub fn channels(text: &str) -> Result<Statistics, String> {
    let values: Option<Vec<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    values
        .filter(|values| values.len() <= 4 && values.iter().all(|value| value.is_finite()))
        .map(Statistics)
        .ok_or_else(|| "must be a number for each channel, as R,G,B".to_owned())
}

/// A number above 0 for each channel.
pub fn positive_channels(text: &str) -> Result<Statistics, String> {
    let values = channels(text)?;
    let positive = values.0.iter().all(|&value| value > 0.0);
    if positive { Ok(values) } else { Err("must be a number above 0 for each channel, as R,G,B".to_owned()) }
}

/// `NAME=PATH`.
pub fn evaluation(text: &str) -> Result<EvaluationSource, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(EvaluationSource { name: name.to_owned(), path: PathBuf::from(path) })
        }
        _ => Err("must be NAME=PATH".to_owned()),
    }
}

/// NaN fits no range, because every comparison with it is false.
fn number(text: &str, fits: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| value.is_finite() && fits(*value)).ok_or_else(|| expected.to_owned())
}

/// What reads a value, or says what it should have been.
type Parse<T> = dyn Fn(&str) -> Result<T, String> + Send + Sync;

/// A value of the library that has a name: the names show in help and completions, and a wrong one gets the library's
/// own sentence.
#[derive(Clone)]
pub struct Named<T> {
    shown: Vec<PossibleValue>,
    parse: Arc<Parse<T>>,
}

/// Values that go by one of `names`.
pub fn named<T>(names: impl IntoIterator<Item = &'static str>) -> Named<T>
where
    T: FromStr<Err: Display>,
{
    Named::read_by(names, |text| text.parse().map_err(|error: T::Err| error.to_string()))
}

impl<T> Named<T> {
    /// Values that `parse` reads.
    pub fn read_by(
        names: impl IntoIterator<Item = &'static str>,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        Self::showing(names.into_iter().map(PossibleValue::new), parse)
    }

    /// Values that `parse` reads, with what help says of each.
    pub fn showing(
        shown: impl Iterator<Item = PossibleValue>,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        Self { shown: shown.collect(), parse: Arc::new(parse) }
    }
}

/// What is said of a wrong value, with the closest right one.
fn with_closest(error: String, text: &str, shown: &[PossibleValue]) -> String {
    match closest(text, shown.iter().map(PossibleValue::get_name)) {
        Some(close) if !error.contains("did you mean") => format!("{error}; did you mean '{close}'?"),
        _ => error,
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, Error> {
        let (parse, shown) = (Arc::clone(&self.parse), self.shown.clone());
        let parse = move |text: &str| parse(text).map_err(|error| with_closest(error, text, &shown));
        parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.shown.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_and_nan_are_refused() {
        assert_eq!(positive("1e-3"), Ok(1e-3));
        for text in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert_eq!(non_negative("0"), Ok(0.0));
        assert!(non_negative("-0.1").is_err());
        assert_eq!((below_one("0"), below_one("1").is_err()), (Ok(0.0), true));
        assert!(proper_fraction("0").is_err() && proper_fraction("1").is_err());
        assert!(crop_fraction("0.01").is_err());
        assert_eq!(crop_fraction("1"), Ok(1.0));
        assert_eq!((count("3"), count("0").is_err(), count("-2").is_err()), (Ok(3), true, true));
        assert_eq!((seed("0"), seed(&u64::MAX.to_string())), (Ok(0), Ok(u64::MAX)));
        for text in ["x", "-1", "100000000000000000000000"] {
            assert!(seed(text).unwrap_err().contains("a whole number from 0 to"), "{text}");
        }
        assert!(input_size("0").is_err() && input_size("100000").is_err());
        assert_eq!(input_size("64x256"), Ok(InputSize { height: 64, width: 256 }));
        assert!(white_level("0").is_err() && white_level("65536").is_err() && white_level("4095").is_ok());
    }

    #[test]
    fn channels_are_a_number_each_or_one_for_all() {
        assert_eq!(channels("0.5, 0.25,-1"), Ok(Statistics(vec![0.5, 0.25, -1.0])));
        assert_eq!(channels("0.5"), Ok(Statistics(vec![0.5])));
        for text in ["", "1,2,3,4,5", "1,2,x", "1,2,nan"] {
            assert!(channels(text).is_err(), "{text}");
        }
        assert!(positive_channels("0.2,0,0.2").is_err());
        assert_eq!(in_chans("1"), Ok(Channels::Gray));
        for (text, mentioned) in
            [("0", "channels, not 0"), ("5", "channels, not 5"), ("-1", "from 1 to 4"), ("x", "from 1 to 4")]
        {
            assert!(in_chans(text).unwrap_err().contains(mentioned), "{text}");
        }
    }

    #[test]
    fn an_evaluation_set_has_a_name_and_a_path() {
        let parsed = evaluation("shifted=data/a=b").unwrap();
        assert_eq!((parsed.name.as_str(), parsed.path), ("shifted", PathBuf::from("data/a=b")));
        for text in ["shifted", "=data", "shifted="] {
            assert!(evaluation(text).is_err(), "{text}");
        }
    }
}
