//! Accuracy along a line of weights.

use retune_figures::Axis;
use retune_figures::figure::{Point, Scatter};

use super::{RunRecord, RunSection, Sheets};
use crate::inference::Evaluation;
use crate::report::figures;
use crate::report::page::Section;
use crate::report::verdict::in_distribution;
use crate::run::CurvePoint;

pub(super) const SECTION: RunSection =
    RunSection { id: "interpolation", title: "Between probe and fine-tuning", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let curve = record.summary.interpolation.as_ref()?;
    let (own, _) = in_distribution(&record.summary, &record.shifted())?;
    let chosen = record.summary.phases.iter().rev().find_map(|phase| phase.alpha);
    let note = "Models on the line between two sets of weights (Wortsman et al. 2022). α = 0 is the linear probe, \
                α = 1 the fine-tuned model.";
    let mut section = SECTION.noted(note);
    let score = record.summary.splits.values().next().map_or("accuracy", Evaluation::score_name);
    for set in record.shifted() {
        let point = |point: &CurvePoint| {
            let (x, y) = (point.splits.get(own)?, point.splits.get(&set)?);
            Some(Point {
                label: named(point.alpha, chosen),
                x: x.score(),
                y: y.score(),
                x_interval: None,
                y_interval: None,
            })
        };
        let scatter = Scatter {
            x: Axis::shares(format!("{score} on {own}")),
            y: Axis::shares(format!("{score} on {set}")),
            points: curve.iter().filter_map(point).collect(),
            joined: true,
            named: marked(curve, chosen),
            diagonal: true,
            ..Scatter::default()
        };
        section = section.with(format!("{own} against {set}"), scatter);
    }
    Some(section.with("Along α", figures::interpolation("", curve, chosen)))
}

fn named(alpha: f64, chosen: Option<f64>) -> String {
    format!("α = {alpha}{}", if Some(alpha) == chosen { ", chosen" } else { "" })
}

/// The positions of both ends and of the model that was chosen.
fn marked(curve: &[CurvePoint], chosen: Option<f64>) -> Vec<usize> {
    let is_marked = |alpha: f64| alpha == 0.0 || alpha == 1.0 || Some(alpha) == chosen;
    (0..curve.len()).filter(|&at| is_marked(curve[at].alpha)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_and_the_chosen_model_are_named() {
        let curve: Vec<CurvePoint> =
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|alpha| CurvePoint { alpha, splits: indexmap::IndexMap::new() }).to_vec();
        assert_eq!(marked(&curve, Some(0.5)), [0, 2, 4]);
        assert_eq!(marked(&curve, None), [0, 4]);
        assert_eq!([named(0.5, Some(0.5)), named(1.0, Some(0.5))], ["α = 0.5, chosen", "α = 1"]);
    }
}
