//! Accuracy along a line of weights.

use retune_figures::Axis;
use retune_figures::figure::{Point, Scatter};

use super::{RunRecord, RunSection, Sheets};
use crate::report::figures;
use crate::report::page::Section;
use crate::report::verdict::in_distribution;
use crate::run::CurvePoint;

pub(super) const SECTION: RunSection =
    RunSection { id: "interpolation", title: "Between probe and fine-tuning", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let curve = record.summary.interpolation.as_ref()?;
    let (own, _) = in_distribution(&record.summary, &record.shifted())?;
    let note = "Models on the line between two sets of weights (Wortsman et al. 2022). α = 0 is the linear probe, \
                α = 1 the fine-tuned model.";
    let mut section = SECTION.noted(note);
    for set in record.shifted() {
        let point = |point: &CurvePoint| {
            let (x, y) = (point.splits.get(own)?, point.splits.get(&set)?);
            Some(Point {
                label: format!("α = {}", point.alpha),
                x: x.accuracy,
                y: y.accuracy,
                x_interval: None,
                y_interval: None,
            })
        };
        let scatter = Scatter {
            x: Axis::shares(format!("accuracy on {own}")),
            y: Axis::shares(format!("accuracy on {set}")),
            points: curve.iter().filter_map(point).collect(),
            joined: true,
            diagonal: true,
            ..Scatter::default()
        };
        section = section.with(format!("{own} against {set}"), scatter);
    }
    Some(section.with("Along α", figures::interpolation("", curve)))
}
