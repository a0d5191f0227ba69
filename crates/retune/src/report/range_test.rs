//! The picture of a learning-rate range test.

use super::plot::{LogAxes, Plot, Series, lines};
use crate::advise::learning_rate::GroupTest;

/// The curves of all groups in one picture.
pub fn plot(tests: &[GroupTest]) -> Plot {
    let series: Vec<Series> = tests
        .iter()
        .map(|test| {
            let points = test.curve.points.iter().map(|point| (point.rate, point.smoothed));
            Series { name: test.group.clone(), points: points.collect() }
        })
        .collect();
    lines("Learning-rate range test", "learning rate", "smoothed loss", LogAxes { x: true, y: false }, &series)
}
