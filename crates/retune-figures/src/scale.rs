//! Axes: from values to places, and the ticks that a person would choose.

use serde::{Deserialize, Serialize};

/// An axis as a figure describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Axis {
    /// What it measures, with its unit.
    pub label: String,
    /// Whether equal distances are equal ratios.
    pub log: bool,
    /// How its values are written.
    pub format: Format,
    /// The values at its ends; those of the data and a little more if `None`.
    pub range: Option<[f64; 2]>,
}

impl Axis {
    /// A linear axis of numbers.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// An axis of shares from 0 to 1, written in percent.
    pub fn shares(label: impl Into<String>) -> Self {
        Self { label: label.into(), format: Format::Percent, ..Self::default() }
    }

    /// An axis of whole numbers, such as epochs.
    pub fn integers(label: impl Into<String>) -> Self {
        Self { label: label.into(), format: Format::Integer, ..Self::default() }
    }

    /// A logarithmic axis of numbers.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true, ..Self::default() }
    }

    /// The same from one value to another.
    #[must_use]
    pub fn within(self, range: [f64; 2]) -> Self {
        Self { range: Some(range), ..self }
    }
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Decimals, or powers of ten where numbers are very large or small.
    #[default]
    Number,
    /// Whole numbers alone.
    Integer,
    /// Shares from 0 to 1 in percent.
    Percent,
}

impl Format {
    /// A value with three significant digits, as text beside a mark has it.
    pub fn text(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Self::Percent => format!("{} %", trimmed(100.0 * value, 1)),
            Self::Integer if value.abs() < 1e15 => grouped(value),
            Self::Integer | Self::Number => significant(value),
        }
    }
}

/// A place on an axis with what is written there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub text: String,
}

/// From values to places in the drawing.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    log: bool,
    /// The ends, as logarithms where the axis is logarithmic.
    ends: [f64; 2],
    /// The places of the ends.
    places: [f64; 2],
    pub ticks: Vec<Tick>,
    /// Lines between the ticks of a logarithmic axis.
    pub minor: Vec<f64>,
}

impl Scale {
    /// The scale of an axis on which `values` lie, with at most `most` ticks; its places are given by
    /// [`placed`](Self::placed).
    pub fn of(axis: &Axis, values: impl IntoIterator<Item = f64>, most: usize) -> Self {
        let forward = |value: f64| if axis.log { value.log10() } else { value };
        let usable = |value: &f64| value.is_finite() && (!axis.log || *value > 0.0);
        let [mut low, mut high] = [f64::INFINITY, f64::NEG_INFINITY];
        for value in values.into_iter().filter(usable) {
            (low, high) = (low.min(forward(value)), high.max(forward(value)));
        }
        let fixed = axis.range.filter(|range| range.iter().all(usable) && range[0] < range[1]);
        let ends = match fixed {
            Some(range) => range.map(forward),
            None if low > high => [0.0, 1.0],
            None => widened([low, high], axis),
        };
        let (ticks, minor) =
            if axis.log { log_ticks(ends, most) } else { (linear_ticks(ends, most, axis.format), Vec::new()) };
        Self { log: axis.log, ends, places: [0.0, 1.0], ticks, minor }
    }

    /// The same from one place to another.
    pub fn placed(self, places: [f64; 2]) -> Self {
        Self { places, ..self }
    }

    /// Where a value lies; `None` where it has no place.
    pub fn place(&self, value: f64) -> Option<f64> {
        let at = if self.log { value.log10() } else { value };
        let share = (at - self.ends[0]) / (self.ends[1] - self.ends[0]);
        share.is_finite().then(|| self.places[0] + share * (self.places[1] - self.places[0]))
    }

    /// Whether a value lies between the ends.
    pub fn holds(&self, value: f64) -> bool {
        let at = if self.log { value.log10() } else { value };
        let slack = 1e-9 * (self.ends[1] - self.ends[0]);
        at >= self.ends[0] - slack && at <= self.ends[1] + slack
    }

    /// The values at the ends.
    pub fn range(&self) -> [f64; 2] {
        self.ends.map(|end| if self.log { 10f64.powf(end) } else { end })
    }
}

/// The ends of some values with a little room about them.
fn widened([low, high]: [f64; 2], axis: &Axis) -> [f64; 2] {
    let span = high - low;
    let room = match (span > 1e-12 * low.abs().max(high.abs()), axis.log) {
        (true, _) => 0.05 * span,
        (false, true) => 0.5,
        (false, false) if axis.format == Format::Integer => 0.5,
        (false, false) => {
            if low == 0.0 {
                0.5
            } else {
                0.1 * low.abs()
            }
        }
    };
    match axis.format {
        // Shares end where they can end.
        Format::Percent if low >= 0.0 && high <= 1.0 => [(low - room).max(0.0), (high + room).min(1.0)],
        // Numbers that start near zero are compared with it; epochs are not.
        Format::Number if !axis.log && low >= 0.0 && low < 0.3 * high => [0.0, high + room],
        _ => [low - room, high + room],
    }
}

/// Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, at most `most` of them.
pub fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    steps(low, high, most, 0.0).0
}

/// Ticks, and the decimal power that their digits end at.
fn steps(low: f64, high: f64, most: usize, least: f64) -> (Vec<f64>, i32) {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || most == 0 {
        return (Vec::new(), 0);
    }
    let mut power = (span.max(least) / most as f64).log10().floor() as i32;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            let step = factor * 10f64.powi(power);
            if step < least {
                continue;
            }
            let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
            if last - first + 1.0 <= most as f64 {
                let count = (last - first + 1.0).max(0.0) as usize;
                let value = |at: usize| {
                    if power < 0 {
                        // Division by a power of ten gives the nearest number to the decimal one.
                        (first + at as f64) * factor / 10f64.powi(-power)
                    } else {
                        (first + at as f64) * step
                    }
                };
                return ((0..count).map(|at| value(at) + 0.0).collect(), power);
            }
        }
        power += 1;
    }
}

fn linear_ticks([low, high]: [f64; 2], most: usize, format: Format) -> Vec<Tick> {
    let factor = if format == Format::Percent { 100.0 } else { 1.0 };
    let least = if format == Format::Integer { 1.0 } else { 0.0 };
    let (values, power) = steps(low * factor, high * factor, most, least);
    let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let text = |value: f64| match format {
        Format::Percent if largest >= 1e6 => format!("{} %", scientific(value, power)),
        Format::Percent => format!("{} %", decimals(value, power)),
        _ if largest >= 1e7 || (largest > 0.0 && largest < 1e-3) => scientific(value, power),
        _ if largest >= 1e4 && power >= 0 => grouped(value),
        _ => decimals(value, power),
    };
    values.into_iter().map(|value| Tick { text: text(value), value: value / factor }).collect()
}

/// Ticks at powers of ten, or between them where there are few, and the lines between.
fn log_ticks([low, high]: [f64; 2], most: usize) -> (Vec<Tick>, Vec<f64>) {
    let (first, last) = ((low - 1e-9).ceil() as i32, (high + 1e-9).floor() as i32);
    let decades = (last - first + 1).max(0) as usize;
    let inside = |value: &f64| value.log10() >= low - 1e-9 && value.log10() <= high + 1e-9;
    let between = |factors: &[f64]| -> Vec<f64> {
        let all = (first - 1..=last).flat_map(|power| factors.iter().map(move |factor| scaled(*factor, power)));
        all.filter(inside).collect()
    };
    let minor = if decades <= 5 { between(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]) } else { Vec::new() };
    let ticks = |values: Vec<f64>| -> Vec<Tick> {
        // An axis writes all of its numbers in one way.
        let as_powers = values.iter().any(|&value| !is_plain(value));
        values.into_iter().map(|value| Tick { value, text: log_text(value, as_powers) }).collect()
    };
    for factors in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0][..]] {
        let values = between(factors);
        if values.len() <= most && decades <= 2 {
            if values.len() < 2 {
                // Less than a step of 1, 2, 5: the axis is as good as linear.
                return (linear_ticks([10f64.powf(low), 10f64.powf(high)], most, Format::Number), Vec::new());
            }
            return (ticks(values), minor);
        }
    }
    let every = decades.div_ceil(most.max(1)).max(1);
    let powers = (first..=last).filter(|power| power.rem_euclid(every as i32) == 0);
    (ticks(powers.map(|power| scaled(1.0, power)).collect()), minor)
}

fn scaled(factor: f64, power: i32) -> f64 {
    if power < 0 { factor / 10f64.powi(-power) } else { factor * 10f64.powi(power) }
}

/// Whether a number is short without a power of ten.
fn is_plain(value: f64) -> bool {
    (-2..=4).contains(&power_of(value))
}

fn power_of(value: f64) -> i32 {
    (value.log10() + 1e-9).floor() as i32
}

fn log_text(value: f64, as_power: bool) -> String {
    if as_power { scientific(value, power_of(value) - 2) } else { significant(value) }
}

/// A number whose last digit is that of a power of ten.
fn decimals(value: f64, power: i32) -> String {
    let text = format!("{:.*}", (-power).max(0) as usize, value);
    minus(if text.trim_start_matches(['-', '0', '.']).is_empty() {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    })
}

/// A number with at most so many decimals.
fn trimmed(value: f64, most: usize) -> String {
    let text = format!("{value:.most$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    minus(if text == "-0" { "0".to_owned() } else { text.to_owned() })
}

/// Mantissa and power of ten, `2×10⁻⁵`.
fn scientific(value: f64, last: i32) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let power = (value.abs().log10() + 1e-9).floor() as i32;
    let mantissa = trimmed(value / 10f64.powi(power), (power - last).clamp(0, 6) as usize);
    let exponent = superscript(power);
    match mantissa.as_str() {
        "1" => format!("10{exponent}"),
        "−1" => format!("−10{exponent}"),
        _ => format!("{mantissa}×10{exponent}"),
    }
}

/// Three significant digits.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let power = value.abs().log10().floor() as i32;
    match power {
        -3..=3 => trimmed(value, (2 - power).clamp(0, 6) as usize),
        4..=6 => grouped(value),
        _ => scientific(value, power - 2),
    }
}

/// A whole number with a comma after every three digits.
/// A number of things, such as `1 point` or `20 points`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 && digits != "0" { "−".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn minus(text: String) -> String {
    text.replace('-', "−")
}

fn superscript(power: i32) -> String {
    let raised = |sign: char| match sign {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    };
    power.to_string().chars().map(raised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: Axis, values: [f64; 2]) -> Vec<String> {
        Scale::of(&axis, values, 6).ticks.into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([0, 1, 20].map(|count| counted(count, "point")), ["0 points", "1 point", "20 points"]);
    }

    #[test]
    fn ticks_are_those_a_person_would_choose() {
        assert_eq!(texts(Axis::new("").within([0.0, 1.0]), [0.0; 2]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(Axis::integers("epoch"), [1.0, 3.0]), ["1", "2", "3"]);
        assert_eq!(texts(Axis::integers("epoch"), [1.0, 1.0]), ["1"]);
        assert_eq!(texts(Axis::integers("epoch"), [1.0, 50.0]), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(texts(Axis::shares("accuracy"), [0.913, 0.952]), ["92 %", "93 %", "94 %", "95 %"]);
        assert_eq!(texts(Axis::new(""), [0.0, 5e-5]), ["0", "10⁻⁵", "2×10⁻⁵", "3×10⁻⁵", "4×10⁻⁵", "5×10⁻⁵"]);
        assert_eq!(texts(Axis::new(""), [0.0, 40_000.0]), ["0", "10,000", "20,000", "30,000", "40,000"]);
        assert_eq!(texts(Axis::new(""), [-1.0, 1.0]), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(texts(Axis::log("rate"), [1e-7, 1.0]).len(), 4);
        assert_eq!(texts(Axis::log("rate"), [1e-5, 1e-2]), ["10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²"]);
        assert_eq!(texts(Axis::log("rate"), [1e-6, 100.0]), ["10⁻⁶", "10⁻⁴", "10⁻²", "10⁰", "10²"]);
        assert_eq!(texts(Axis::log("C"), [0.01, 100.0]), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(texts(Axis::log("rate"), [1e-3, 1e-3]), ["5×10⁻⁴", "10⁻³", "2×10⁻³"]);
        assert_eq!(texts(Axis::log("rate"), [0.1, 0.11]), ["0.100", "0.102", "0.104", "0.106", "0.108", "0.110"]);
    }

    #[test]
    fn values_are_written_with_three_digits() {
        let written =
            [0.0, 1.0, 0.5, 1234.0, 123_456.0, 1.5e-5, -2e-9, f64::NAN].map(|value| Format::Number.text(value));
        assert_eq!(written, ["0", "1", "0.5", "1234", "123,456", "1.5×10⁻⁵", "−2×10⁻⁹", "–"]);
        assert_eq!(Format::Percent.text(0.333), "33.3 %");
    }

    proptest::proptest! {
        #[test]
        fn ticks_are_few_rise_and_lie_inside(low in -1e9f64..1e9, span in 1e-6f64..1e9, most in 2_usize..12) {
            let found = ticks(low, low + span, most);
            proptest::prop_assert!(found.len() <= most);
            proptest::prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            let slack = 1e-6 * span;
            proptest::prop_assert!(found.iter().all(|&tick| tick >= low - slack && tick <= low + span + slack));
            // With 1, 2 and 5 the next finer step is at most 2.5 times as fine.
            proptest::prop_assert!(most < 5 || found.len() as f64 >= most as f64 / 2.5 - 1.0, "{found:?}");
        }

        #[test]
        fn log_ticks_are_few_rise_and_lie_inside(low in -12f64..6.0, span in 0.001f64..12.0, most in 3_usize..9) {
            let range = [10f64.powf(low), 10f64.powf(low + span)];
            let scale = Scale::of(&Axis::log("").within(range), [], most);
            proptest::prop_assert!(!scale.ticks.is_empty() && scale.ticks.len() <= most, "{:?}", scale.ticks);
            proptest::prop_assert!(scale.ticks.windows(2).all(|pair| pair[0].value < pair[1].value && pair[0].text != pair[1].text));
            proptest::prop_assert!(scale.ticks.iter().all(|tick| scale.holds(tick.value)));
        }

        #[test]
        fn linear_ticks_have_texts_of_their_own(low in -1e3f64..1e3, span in 1e-3f64..1e4) {
            let scale = Scale::of(&Axis::new("").within([low, low + span]), [], 6);
            proptest::prop_assert!(scale.ticks.windows(2).all(|pair| pair[0].text != pair[1].text), "{:?}", scale.ticks);
        }
    }
}
