//! A file for each kind of figure.

mod bars;
mod confusion;
mod contact_sheet;
mod heat_map;
mod lines;
mod matrix;
mod merged;
mod point_map;
mod reliability;
pub(crate) mod scatter;

use crate::canvas::Canvas;
use crate::{Drawing, Figure, Style};

impl Figure {
    /// Draws the figure.
    pub fn draw(&self, style: &Style) -> Drawing {
        let canvas = Canvas::new(style);
        match self {
            Self::Lines(figure) => lines::draw(figure, canvas),
            Self::Scatter(figure) => scatter::draw(figure, canvas),
            Self::PointMap(figure) => point_map::draw(figure, canvas),
            Self::HeatMap(figure) => heat_map::draw(figure, canvas),
            Self::Confusion(figure) => confusion::draw(figure, canvas),
            Self::Reliability(figure) => reliability::draw(figure, canvas),
            Self::Bars(figure) => bars::draw(figure, canvas),
            Self::ContactSheet(figure) => contact_sheet::draw(figure, canvas),
        }
    }
}
