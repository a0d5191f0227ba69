//! The figure of a learning-rate range test.

use retune_figures::Axis;
use retune_figures::figure::{Line, Lines, Marked};

use super::plot::Plot;
use crate::advise::learning_rate::GroupTest;

/// The curves of all groups in one figure, with the rates that each suggests. `what` says what was trained on what.
pub fn plot(tests: &[GroupTest], what: &str) -> Plot {
    let several = tests.len() > 1;
    let line = |test: &GroupTest| {
        let points = test.curve.points.iter().map(|point| (point.rate, point.smoothed));
        Line::new(if several { named(test) } else { String::new() }, points.collect())
    };
    let y = Axis { range: visible_losses(tests), ..Axis::new("smoothed loss") };
    let marked = tests.iter().enumerate().flat_map(|(line, test)| marks(line, test, several));
    Lines {
        title: format!("Learning-rate range test: {what}"),
        x: Axis::log("learning rate"),
        y,
        lines: tests.iter().map(line).collect(),
        points: marked.collect(),
        marks: tests.first().and_then(|test| limit(test, several)).into_iter().collect(),
        ..Lines::default()
    }
    .into()
}

/// A group with the rate to take, where there is one: names beside a dozen marks would cover each other.
fn named(test: &GroupTest) -> String {
    match test.suggestions.steep {
        Some(rate) => format!("{}, steep {rate:.1e}", test.group),
        None => test.group.clone(),
    }
}

/// The rate that is certainly too large. A loss explodes only long after its curve has left the figure.
fn limit(test: &GroupTest, several: bool) -> Option<(f64, String)> {
    let above = test.curve.above_start().map(|rate| (rate, "loss above its start"));
    let (rate, what) = above.or(test.curve.too_large.map(|rate| (rate, "loss explodes")))?;
    let of = if several { format!("{}: ", test.group) } else { String::new() };
    Some((rate, format!("{of}{what}, {rate:.1e}")))
}

/// The losses that say something: from the least to a little more than at the start. Where a loss explodes, it would leave
/// no room for them.
fn visible_losses(tests: &[GroupTest]) -> Option<[f64; 2]> {
    let finite = |value: &f64| value.is_finite();
    let least = tests.iter().flat_map(|test| test.curve.points.iter().map(|point| point.smoothed)).filter(finite);
    let start = tests.iter().filter_map(|test| test.curve.points.first().map(|point| point.smoothed)).filter(finite);
    let (least, start) = (least.fold(f64::INFINITY, f64::min), start.fold(f64::NEG_INFINITY, f64::max));
    let fall = start - least;
    (fall > 0.0 && fall.is_finite()).then_some([least - 0.15 * fall, start + 0.3 * fall])
}

/// The suggested rates on a curve; of several curves the steepest alone, which is the one to take.
fn marks(line: usize, test: &GroupTest, several: bool) -> Vec<Marked> {
    let found = test.suggestions;
    let suggestions = [("steep", found.steep), ("valley", found.valley), ("minimum / 10", found.minimum)];
    let mark = |(name, rate): (&str, Option<f64>)| {
        let rate = rate?;
        let distance = |at: f64| (at.ln() - rate.ln()).abs();
        let nearest =
            test.curve.points.iter().min_by(|one, other| distance(one.rate).total_cmp(&distance(other.rate)))?;
        let label = if several { String::new() } else { format!("{name} {rate:.1e}") };
        Some(Marked { line, x: rate, y: nearest.smoothed, label })
    };
    suggestions.into_iter().take(if several { 1 } else { 3 }).filter_map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::range_test::{RangeCurve, RangePoint, RangeTestOptions};

    #[test]
    fn suggestions_are_marked_on_the_curve() {
        let point = |at: i32| {
            let rate = 10f64.powf(-6.0 + f64::from(at) / 10.0);
            let smoothed = 1.0 + (f64::from(at) - 40.0).powi(2) / 1600.0;
            RangePoint { rate, loss: smoothed, smoothed }
        };
        let curve = RangeCurve { points: (0..60).map(point).collect(), too_large: None };
        let options = RangeTestOptions { lowest: 1e-6, highest: 1.0, steps: 60 };
        let test = GroupTest { group: "all".into(), suggestions: curve.suggestions(&options), curve };
        let svg = plot(std::slice::from_ref(&test), "resnet18 on images").svg();
        // The smoothed loss is lowest at 10⁻²; a tenth of that is suggested.
        assert!(svg.contains("minimum / 10 1.0e-3<") && svg.contains("valley "), "{svg}");
        assert!(svg.contains("resnet18 on images") && !svg.contains(">all<"));
        // Equal curves would share a name.
        let mut head = GroupTest { group: "head".into(), ..test.clone() };
        head.curve.points[0].smoothed += 0.1;
        let svg = plot(&[test, head], "").svg();
        assert!(svg.contains(">all, steep ") && svg.contains(">head, steep ") && !svg.contains("valley"), "{svg}");
    }
}
