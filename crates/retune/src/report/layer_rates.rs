//! Rates of many layers, thinned until they can be told apart in a figure or table.

use std::ops::RangeInclusive;

use indexmap::IndexMap;

use crate::train::metrics::MetricsRow;

/// Maximum number of lines in a picture, and of rows of a phase in a table.
pub(super) const MAX: usize = 30;

/// How far rates may be apart, as a share, and still count as equal: the mean over a schedule rounds differently with a
/// layer's factor.
const ROUNDING: f64 = 1e-9;

/// A layer's rate at each epoch.
pub(super) type Points = Vec<(f64, f64)>;

/// The rates of each layer over epochs, from input to head. Where more than [`MAX`] of them differ, evenly many of the
/// different ones are left out, but neither the first nor the last.
pub(super) struct RateLines {
    /// Names and points; lines that are equal but for rounding have the points of the first.
    pub lines: Vec<(String, Points)>,
    /// The different lines among them.
    pub shown: usize,
    /// The different lines of which these were taken.
    pub of: usize,
}

impl RateLines {
    pub fn of<'a>(rows: impl Iterator<Item = &'a MetricsRow> + Clone) -> Self {
        // Layers may join in later; the row that has most names them in the model's order.
        let longest = rows.clone().filter_map(|row| row.rates.as_ref()).max_by_key(|rates| rates.len());
        let names = longest.into_iter().flat_map(|rates| rates.keys().map(String::as_str));
        let mut layers: IndexMap<&str, Points> = names.map(|name| (name, Vec::new())).collect();
        for row in rows {
            for (layer, &rate) in row.rates.iter().flatten() {
                layers.entry(layer).or_default().push((row.epoch as f64, rate));
            }
        }
        let mut different: Vec<&Points> = Vec::new();
        let kinds: Vec<usize> = layers
            .values()
            .map(|points| {
                different.iter().position(|known| are_equal(known, points)).unwrap_or_else(|| {
                    different.push(points);
                    different.len() - 1
                })
            })
            .collect();
        let of = different.len();
        let is_shown = |kind: &usize| of <= MAX || is_kept(*kind, of);
        let lines = layers.keys().zip(&kinds).filter(|(_, kind)| is_shown(kind));
        Self {
            lines: lines.map(|(name, &kind)| ((*name).to_owned(), different[kind].clone())).collect(),
            shown: of.min(MAX),
            of,
        }
    }
}

/// Whether two lines differ by rounding alone.
fn are_equal(one: &Points, other: &Points) -> bool {
    let close = |(one, other): (&(f64, f64), &(f64, f64))| {
        one.0 == other.0 && (one.1 - other.1).abs() <= ROUNDING * one.1.abs().max(other.1.abs())
    };
    one.len() == other.len() && one.iter().zip(other).all(close)
}

/// Whether the line at a position is one of the [`MAX`] that are spread evenly over `of`.
fn is_kept(at: usize, of: usize) -> bool {
    let position = |turn: usize| turn * (of - 1) / (MAX - 1);
    (0..MAX).any(|turn| position(turn) == at)
}

/// Merges neighbors with equal values, and names them by the first and the last.
fn merged<T: PartialEq>(layers: Vec<(String, T)>) -> Vec<(String, T)> {
    let mut groups: Vec<(String, Option<String>, T)> = Vec::new();
    for (name, value) in layers {
        match groups.last_mut().filter(|(_, _, known)| *known == value) {
            Some((_, last, _)) => *last = Some(name),
            None => groups.push((name, None, value)),
        }
    }
    groups.into_iter().map(|(first, last, value)| (named(first, last), value)).collect()
}

fn named(first: String, last: Option<String>) -> String {
    match last {
        Some(last) => format!("{first} … {last}"),
        None => first,
    }
}

/// At most [`MAX`] rows of layers with the smallest and the largest of their factors. Neighbors with the same factor
/// share a row. If that is not enough, as many neighbors as necessary share one.
pub(super) fn factor_rows(rates: &IndexMap<String, f64>) -> Vec<(String, RangeInclusive<f64>)> {
    let layers = merged(rates.iter().map(|(name, &rate)| (name.clone(), rate)).collect());
    let together = layers.len().div_ceil(MAX).max(1);
    let row = |layers: &[(String, f64)]| {
        let rates = || layers.iter().map(|(_, rate)| *rate);
        let ends = rates().fold(f64::INFINITY, f64::min)..=rates().fold(0.0, f64::max);
        (ends_of(layers), ends)
    };
    layers.chunks(together).map(row).collect()
}

/// The name of several neighbors, each of which may already stand for several.
fn ends_of(layers: &[(String, f64)]) -> String {
    let (first, last) = (&layers[0].0, &layers[layers.len() - 1].0);
    if layers.len() == 1 {
        return first.clone();
    }
    let first = first.split(" … ").next().unwrap_or(first);
    let last = last.split(" … ").last().unwrap_or(last);
    format!("{first} … {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rates: &[(String, f64)]) -> MetricsRow {
        let text = r#"{"phase":"p","epoch":1,"step":1,"split":"train","loss":1.0,"accuracy":0.5,"seconds":1.0}"#;
        let row: MetricsRow = serde_json::from_str(text).unwrap();
        MetricsRow { rates: Some(rates.iter().cloned().collect()), ..row }
    }

    fn tensors(rate: impl Fn(usize) -> f64) -> Vec<(String, f64)> {
        (0..161).map(|index| (format!("t{index}"), rate(index))).collect()
    }

    #[test]
    fn few_layers_are_a_line_each() {
        let few = &tensors(|_| 0.1)[..MAX];
        let found = RateLines::of([row(few)].iter());
        assert_eq!((found.lines.len(), found.shown, found.of), (MAX, 1, 1));
        // Equal ones share a row of a table.
        assert_eq!(factor_rows(&few.iter().cloned().collect()), [("t0 … t29".to_owned(), 0.1..=0.1)]);
    }

    #[test]
    fn rates_that_differ_by_rounding_are_one_line() {
        // As two blocks of a run had them.
        let rates = [2.945_379_157_749_808_3e-5, 2.945_379_157_749_808_6e-5, 2.945e-5];
        let layers: Vec<(String, f64)> =
            ["stem", "blocks.0", "head"].map(str::to_owned).into_iter().zip(rates).collect();
        let found = RateLines::of([row(&layers)].iter());
        assert_eq!((found.lines.len(), found.of), (3, 2));
        assert!(found.lines[0].1 == found.lines[1].1 && found.lines[1].1 != found.lines[2].1);
    }

    #[test]
    fn many_layers_with_few_rates_all_stay() {
        let many = tensors(|index| if index < 100 { 0.1 } else { 0.2 });
        let found = RateLines::of([row(&many)].iter());
        assert_eq!((found.lines.len(), found.shown, found.of), (161, 2, 2));
        let rows = factor_rows(&many.into_iter().collect());
        assert_eq!(rows, [("t0 … t99".to_owned(), 0.1..=0.1), ("t100 … t160".to_owned(), 0.2..=0.2)]);
    }

    #[test]
    fn many_layers_with_many_rates_are_thinned_evenly_and_the_ends_stay() {
        let many = tensors(|index| 0.9f64.powi(160 - index as i32));
        let found = RateLines::of([row(&many)].iter());
        assert_eq!((found.lines.len(), found.of), (MAX, 161));
        assert_eq!((found.lines[0].0.as_str(), found.lines[MAX - 1].0.as_str()), ("t0", "t160"));
        let few = ["stem", "layer1", "head"].map(|name| (name.to_owned(), if name == "head" { 1.0 } else { 0.5 }));
        assert_eq!(factor_rows(&few.into()), [("stem … layer1".to_owned(), 0.5..=0.5), ("head".to_owned(), 1.0..=1.0)]);
        let rows = factor_rows(&many.into_iter().collect());
        // Six together are the fewest that fit.
        assert_eq!(rows.len(), 27);
        assert_eq!(rows[0].0, "t0 … t5");
        assert_eq!(*rows[26].1.end(), 1.0);
    }
}
