//! What a run's figures show, the same in files and on pages.

use indexmap::IndexMap;
use retune_analysis::calibration::Calibration;
use retune_figures::figure::{self, HeatMap, Line, Lines, Ranked, Ranking, Reliability};
use retune_figures::{Axis, Format};

use super::confusion::{Confusion, Hard, group_names, group_size};
use super::layer_rates::RateLines;
use super::verdict::percent;
use crate::inference::Evaluation;
use crate::run::CurvePoint;
use crate::train::metrics::MetricsRow;
use crate::wording::grouped;

/// Classes that a matrix tells everything of.
const FEW: usize = 30;
/// Entries of each list beside a matrix of more.
const ENTRIES: usize = 10;

/// Lines over the epochs of training.
pub(super) fn over_epochs(y: Axis, lines: Vec<Line>) -> Lines {
    Lines { x: Axis::integers("epoch"), y, lines, ..Lines::default() }
}

/// A value of training and of validation at each epoch.
pub(super) fn by_split<'a>(
    rows: impl Iterator<Item = &'a MetricsRow> + Clone,
    y: Axis,
    value: impl Fn(&MetricsRow) -> f64,
) -> Lines {
    let line = |split: &str, name: &str| {
        let rows = rows.clone().filter(|row| row.split == split);
        Line::new(name, rows.map(|row| (row.epoch as f64, value(row))).collect())
    };
    over_epochs(y, vec![line("train", "training"), line("val", "validation")])
}

/// The layers' learning rates by epoch; `None` without any. Where many layers have rates of their own, some are left out,
/// and the title says how many.
pub(super) fn layer_rates<'a>(title: &str, rows: impl Iterator<Item = &'a MetricsRow> + Clone) -> Option<Lines> {
    let rates = RateLines::of(rows);
    if rates.lines.is_empty() {
        return None;
    }
    let title = match (title.is_empty(), rates.shown < rates.of) {
        (_, false) => title.to_owned(),
        (true, true) => format!("{} of {} different rates", rates.shown, rates.of),
        (false, true) => format!("{title}: {} of {} different rates", rates.shown, rates.of),
    };
    let lines = rates.lines.into_iter().map(|(name, points)| Line::new(name, points)).collect();
    let log = Axis::log("mean learning rate");
    Some(Lines { title, noun: "layers".into(), ordered: true, ..over_epochs(log, lines) })
}

/// The factors on the layers' rates that a method measured at each epoch; `None` if it measured nothing.
pub(super) fn multipliers<'a>(title: &str, rows: impl Iterator<Item = &'a MetricsRow>) -> Option<HeatMap> {
    let measured: Vec<(usize, &IndexMap<String, f64>)> =
        rows.filter_map(|row| Some((row.epoch, row.rate_multipliers.as_ref()?))).collect();
    // Blocks may join in later; the longest measure names them all.
    let (_, longest) = measured.iter().max_by_key(|(_, layers)| layers.len())?;
    let rows: Vec<String> = longest.keys().cloned().collect();
    let values = rows.iter().map(|layer| measured.iter().map(|(_, layers)| layers.get(layer).copied()).collect());
    Some(HeatMap {
        title: title.to_owned(),
        x_label: "epoch".into(),
        value_label: "factor on the learning rate".into(),
        columns: measured.iter().map(|(epoch, _)| epoch.to_string()).collect(),
        values: values.collect(),
        rows,
        range: Some([0.0, 1.0]),
        decimals: 2,
        ..HeatMap::default()
    })
}

/// Confidence against accuracy.
pub(super) fn reliability(title: &str, found: &Calibration) -> Reliability {
    let bin = |bin: &retune_analysis::calibration::Bin| figure::Bin {
        n: bin.n,
        confidence: bin.confidence,
        accuracy: bin.accuracy,
    };
    Reliability {
        title: title.to_owned(),
        bins: found.bins.iter().map(bin).collect(),
        expected_error: found.expected_error,
        confidence: found.confidence,
        accuracy: found.accuracy,
    }
}

/// Accuracy along a line of weights, for every set, with a mark at the share that was chosen.
pub(super) fn interpolation(title: &str, curve: &[CurvePoint], chosen: Option<f64>) -> Lines {
    let sets = curve.first().map(|point| point.splits.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let score = curve.iter().flat_map(|point| point.splits.values()).next().map_or("accuracy", Evaluation::score_name);
    let line = |set: String| {
        let points = curve.iter().filter_map(|point| Some((point.alpha, point.splits.get(&set)?.score())));
        Line::new(set.clone(), points.collect())
    };
    Lines {
        title: title.to_owned(),
        x: Axis::new("share of the fine-tuned weights, α"),
        y: Axis::shares(score),
        lines: sets.into_iter().map(line).collect(),
        marks: chosen.map(|alpha| (alpha, "chosen".to_owned())).into_iter().collect(),
        ..Lines::default()
    }
}

/// Values from 0 to 1 in cells, such as similarities. Colors end at 1 and start at the tenth below the least value or, where
/// similarities are all high, at the hundredth or thousandth, so that they can be told apart; so do the decimals.
pub(super) fn shares(
    title: &str,
    value_label: &str,
    [rows, columns]: [&[String]; 2],
    values: Vec<Vec<Option<f64>>>,
) -> HeatMap {
    let least = values.iter().flatten().flatten().copied().filter(|value| value.is_finite()).fold(0.999, f64::min);
    let decimals = match least {
        ..0.9 => 1,
        ..0.99 => 2,
        _ => 3,
    };
    let step = 10f64.powi(decimals);
    HeatMap {
        title: title.to_owned(),
        value_label: value_label.to_owned(),
        rows: rows.to_vec(),
        columns: columns.to_vec(),
        values,
        range: Some([((step * least).floor() / step).max(0.0), 1.0]),
        format: Format::Number,
        decimals: decimals as usize + 1,
        ..HeatMap::default()
    }
}

/// Shares of each true class; of more than a hundred, of groups of them. Beside a matrix that is too large to read stand
/// the pairs confused most often and the classes of which the smallest share is right.
pub(super) fn confusion(title: &str, classes: &[String], found: &Confusion) -> figure::Confusion {
    let group = group_size(classes.len());
    let rankings =
        if classes.len() <= FEW { Vec::new() } else { vec![most_confused(classes, found), hardest(classes, found)] };
    figure::Confusion {
        title: title.to_owned(),
        classes: group_names(classes, group),
        group,
        counts: found.grouped(group).counts,
        rankings,
    }
}

fn most_confused(classes: &[String], found: &Confusion) -> Ranking {
    let totals = found.totals(classes.len());
    let entry = |(label, predicted, n): (usize, usize, usize)| {
        let share = n as f64 / totals[label] as f64;
        Ranked {
            names: vec![classes[label].clone(), classes[predicted].clone()],
            numbers: format!("{} of {}, {}", grouped(n), grouped(totals[label]), percent(share)),
            share,
        }
    };
    Ranking {
        title: "Confused most often: true class → predicted class".into(),
        entries: found.most_confused(ENTRIES).into_iter().map(entry).collect(),
    }
}

fn hardest(classes: &[String], found: &Confusion) -> Ranking {
    let hard = found.hardest(usize::MAX);
    let entry = |entry: &Hard| Ranked {
        names: vec![classes[entry.class].clone()],
        numbers: format!("{} of {}, {}", grouped(entry.right), grouped(entry.n), percent(entry.recall())),
        share: entry.recall(),
    };
    Ranking {
        title: format!("Hardest classes, of {} with mistakes: share that is right", grouped(hard.len())),
        entries: hard.iter().take(ENTRIES).map(entry).collect(),
    }
}

#[cfg(test)]
mod tests {
    use retune_figures::{Figure, Style};

    use super::*;

    /// `count` classes of which every third image is taken for the next class.
    fn confused(count: usize) -> (Vec<String>, Confusion) {
        let classes = (0..count).map(|class| format!("class {class}")).collect();
        let pairs = (0..3 * count).map(|image| {
            let class = image / 3;
            (class, if image % 3 == 0 { (class + 1) % count } else { class })
        });
        (classes, Confusion::count(pairs))
    }

    #[test]
    fn many_classes_make_a_small_picture() {
        for count in [31, 300, 10_000] {
            let (classes, found) = confused(count);
            let svg = Figure::from(confusion("val", &classes, &found)).draw(&Style::default()).svg().to_owned();
            assert!(svg.len() < 1_000_000, "{count}: {} bytes", svg.len());
            assert!(svg.contains("class 0 → class 1") && svg.contains("1 of 3, 33.3 %"), "{count}");
            assert_eq!(svg.contains("classes in their order"), count > 100);
        }
        let cells = (0..100).flat_map(|row| (0..100).map(move |column| (100 * row, 100 * column, 1)));
        let everything = Confusion { counts: cells.collect() };
        let (classes, _) = confused(10_000);
        assert!(Figure::from(confusion("", &classes, &everything)).draw(&Style::default()).svg().len() < 1_000_000);
    }

    #[test]
    fn similarities_that_are_all_high_are_told_apart() {
        let names = ["a".to_owned()];
        let map = |value: f64| shares("", "", [&names, &names], vec![vec![Some(value)]]);
        let looks = [0.42, 0.931, 0.9962, 1.0].map(|value| (map(value).range.unwrap()[0], map(value).decimals));
        assert_eq!(looks, [(0.4, 2), (0.93, 3), (0.996, 4), (0.999, 4)]);
    }

    #[test]
    fn no_mistakes_and_no_images_are_drawn_too() {
        let (classes, _) = confused(40);
        let right = Confusion::count((0..40).map(|class| (class, class)));
        let drawn =
            |found: &Confusion| Figure::from(confusion("", &classes, found)).draw(&Style::default()).svg().to_owned();
        assert!(drawn(&right).contains(">none<"));
        assert!(drawn(&Confusion::default()).starts_with("<svg"));
    }
}
