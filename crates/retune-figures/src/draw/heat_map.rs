//! Values in cells.

use std::collections::HashMap;

use super::matrix::{Cell, ColorScale, Matrix, NAME_GAP, SIDE_TITLE};
use crate::canvas::{Canvas, widest};
use crate::color;
use crate::figure::HeatMap;
use crate::frame::{EDGE, NAME, TICK, fitted, heading, nothing};
use crate::{Axis, Drawing, Format, font};

/// Rows and columns that are drawn; more are put together.
const MAX_CELLS: usize = 400;
/// Rows and columns with numbers, at most.
const NUMBERED: usize = 24;
/// How much wider than its place a figure with numbers may be.
const MOST_SHRUNK: f64 = 1.3;
/// Height of the scale of colors, at most.
const SCALE: f64 = 300.0;

pub(super) fn draw(figure: &HeatMap, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    if figure.rows.is_empty() || figure.columns.is_empty() {
        let top = heading(&mut canvas, &figure.title, width);
        nothing(&mut canvas, [EDGE, top, width - EDGE, top + 80.0]);
        return canvas.finish(width, top + 80.0 + EDGE, &figure.title);
    }
    let (rows, columns, values) = thinned(figure);
    let scales = Scales::of(figure, &values);
    let (axis, range) = (scales.axis(figure), scales.range());
    let beside = 20.0 + ColorScale::linear(axis.clone(), range, SCALE).width();
    let longest = |names: &[String], room: f64| {
        let names: Vec<String> = names.iter().map(|name| fitted(name, TICK, room)).collect();
        widest(names.iter().map(String::as_str), TICK)
    };
    let room = 0.3 * width;
    let title = if figure.y_label.is_empty() { 0.0 } else { SIDE_TITLE };
    let left = EDGE + title + longest(&rows, room) + NAME_GAP;
    let text = |value: f64| written(figure, value);
    let label =
        values.iter().flatten().flatten().map(|&value| font::width(&text(value), 11.0, false)).fold(0.0, f64::max);
    let across = (width - left - beside - EDGE) / columns.len() as f64;
    let wanted = (label + 8.0).max(20.0);
    // A figure that is much wider than its place is shrunk, and its numbers are too small to read.
    let fits = left + wanted * columns.len() as f64 + beside + EDGE <= MOST_SHRUNK * width;
    let numbered = rows.len() <= NUMBERED && columns.len() <= NUMBERED && fits;
    let least = if numbered { wanted } else { 1.0 };
    let cell = [
        across.clamp(least, 72.0),
        (across.min(420.0 / rows.len() as f64)).clamp(if numbered { 20.0 } else { 1.0 }, 30.0),
    ];
    // A square matrix has square cells where numbers need no more.
    let cell = if rows.len() == columns.len() && !numbered { [cell[0].min(cell[1]); 2] } else { cell };
    let mut notes: HashMap<(usize, usize), String> = HashMap::new();
    if (rows.len(), columns.len()) == (figure.rows.len(), figure.columns.len()) {
        for (row, column, note) in &figure.notes {
            notes.entry((*row, *column)).or_default().push_str(&format!("\n{note}"));
        }
    }
    let mut cells = Vec::new();
    for (row, values) in values.iter().enumerate() {
        for (column, &value) in values.iter().enumerate() {
            let value = value.filter(|value| value.is_finite());
            let note = notes.get(&(row, column)).map_or("", String::as_str);
            if value.is_none() && note.is_empty() {
                continue;
            }
            let color = value.map(|value| {
                let shown = if numbered { rounded(figure, value) } else { value };
                color::value(scales.share(column, shown))
            });
            let said = value.map_or_else(|| "–".to_owned(), |value| figure.format.text(value));
            cells.push(Cell {
                row,
                column,
                color,
                text: value.filter(|_| numbered).map(text).unwrap_or_default(),
                tip: format!("{}, {}\n{} {said}{note}", rows[row], columns[column], figure.value_label),
            });
        }
    }
    let matrix = Matrix {
        rows: &rows,
        columns: &columns,
        x_label: &figure.x_label,
        y_label: &figure.y_label,
        cells,
        cell,
        room,
        background: canvas.missing(),
        empty: (&[], ""),
    };
    let whole = width.max(left + cell[0] * columns.len() as f64 + beside + EDGE);
    let top = heading(&mut canvas, &figure.title, whole);
    let drawn = matrix.draw(&mut canvas, [EDGE, top]);
    let [_, top, right, bottom] = drawn.area;
    // The scale's title is as long as the scale, at most.
    let title = font::width(&axis.label, NAME, false) + 4.0;
    let height = (bottom - top).max(title).clamp(60.0, SCALE);
    ColorScale::linear(axis, range, height).draw(&mut canvas, [right + 20.0, top, height]);
    let whole = (right + beside + EDGE).max(0.5 * width);
    let description = format!("{}: {} by {} and {}", figure.title, figure.value_label, figure.y_label, figure.x_label);
    canvas.finish(whole.max(width.min(whole)), drawn.end.max(top + height) + EDGE, &description)
}

/// What the colors of a figure's columns stand for.
enum Scales {
    /// The same for all, from a value to another.
    Shared([f64; 2]),
    /// The largest value of each.
    OfColumns(Vec<f64>),
}

impl Scales {
    fn of(figure: &HeatMap, values: &[Vec<Option<f64>>]) -> Self {
        if !figure.by_column {
            return Self::Shared(range(figure, values));
        }
        let columns = values.first().map_or(0, Vec::len);
        let finite = |column: usize| values.iter().filter_map(move |row| row[column]).filter(|value| value.is_finite());
        Self::OfColumns((0..columns).map(|column| finite(column).fold(0.0, f64::max)).collect())
    }

    /// The place of a value on the scale of its column, from 0 to 1.
    fn share(&self, column: usize, value: f64) -> f64 {
        match self {
            Self::Shared([low, high]) if high > low => (value - low) / (high - low),
            Self::Shared(_) => 0.5,
            Self::OfColumns(largest) if largest[column] > 0.0 => value / largest[column],
            Self::OfColumns(_) => 0.0,
        }
    }

    /// The values that the scale beside the cells shows.
    fn range(&self) -> [f64; 2] {
        match self {
            Self::Shared(range) => *range,
            Self::OfColumns(_) => [0.0, 1.0],
        }
    }

    fn axis(&self, figure: &HeatMap) -> Axis {
        match self {
            Self::Shared(_) => Axis { label: figure.value_label.clone(), format: figure.format, ..Axis::default() },
            Self::OfColumns(_) => Axis::shares("of the largest"),
        }
    }
}

/// The number that a cell says.
fn rounded(figure: &HeatMap, value: f64) -> f64 {
    let factor = 10f64.powi(figure.decimals as i32) * if figure.format == Format::Percent { 100.0 } else { 1.0 };
    (value * factor).round() / factor
}

fn written(figure: &HeatMap, value: f64) -> String {
    let value = if figure.format == Format::Percent { 100.0 * value } else { value };
    let text = format!("{value:.*}", figure.decimals.min(6));
    // What rounds to zero has no sign.
    let zero = text.trim_start_matches('-').chars().all(|digit| matches!(digit, '0' | '.'));
    if zero { text.trim_start_matches('-').to_owned() } else { text.replace('-', "−") }
}

fn range(figure: &HeatMap, values: &[Vec<Option<f64>>]) -> [f64; 2] {
    if let Some(range) = figure.range.filter(|range| range[0] < range[1]) {
        return range;
    }
    let finite = || values.iter().flatten().flatten().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    match low < high {
        true => [low, high],
        false if low.is_finite() => [low - 0.5, low + 0.5],
        false => [0.0, 1.0],
    }
}

/// At most [`MAX_CELLS`] rows and columns: the mean of as many neighbors as it takes.
#[allow(clippy::type_complexity, reason = "rows, columns and values belong together here alone")]
fn thinned(figure: &HeatMap) -> (Vec<String>, Vec<String>, Vec<Vec<Option<f64>>>) {
    let [high, wide] = [&figure.rows, &figure.columns].map(|names| names.len().div_ceil(MAX_CELLS).max(1));
    let names = |names: &[String], size: usize| -> Vec<String> {
        let name = |group: &[String]| match group {
            [only] => only.clone(),
            [first, .., last] => format!("{first} … {last}"),
            [] => String::new(),
        };
        names.chunks(size).map(name).collect()
    };
    let value = |row: usize, column: usize| -> Option<f64> {
        let values = figure.values.get(row * high..)?.iter().take(high);
        let finite: Vec<f64> = values
            .flat_map(|row| row.iter().skip(column * wide).take(wide).flatten().copied())
            .filter(|value| value.is_finite())
            .collect();
        (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
    };
    let (rows, columns) = (names(&figure.rows, high), names(&figure.columns, wide));
    let values = (0..rows.len()).map(|row| (0..columns.len()).map(|column| value(row, column)).collect()).collect();
    (rows, columns, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, Style};

    fn map(side: usize) -> HeatMap {
        let names: Vec<String> = (0..side).map(|index| format!("layer{index}")).collect();
        HeatMap {
            rows: names.clone(),
            columns: names,
            values: (0..side)
                .map(|row| (0..side).map(|column| Some((row * column) as f64 / 1000.0)).collect())
                .collect(),
            decimals: 2,
            ..HeatMap::default()
        }
    }

    #[test]
    fn numbers_are_left_out_where_they_would_be_too_small() {
        let numbers = |side: usize, width: f64| {
            let svg = Figure::from(map(side)).draw(&Style::page(width)).svg().to_owned();
            // The last cell's number; the scale of colors ends at it, with another number of decimals.
            svg.contains(&format!(">{:.2}<", ((side - 1) * (side - 1)) as f64 / 1000.0))
        };
        assert!(numbers(5, 330.0) && numbers(21, 860.0));
        assert!(!numbers(21, 330.0));
    }

    #[test]
    fn unlike_columns_have_colors_of_their_own() {
        let values = vec![vec![Some(0.0), Some(-0.5), None], vec![Some(0.01), Some(20.0), None]];
        let figure = HeatMap { by_column: true, ..HeatMap::default() };
        let scales = Scales::of(&figure, &values);
        let shares = [scales.share(0, 0.01), scales.share(1, 10.0), scales.share(1, -0.5), scales.share(2, 1.0)];
        assert_eq!(shares, [1.0, 0.5, -0.025, 0.0]);
        let shared = Scales::of(&HeatMap::default(), &values);
        assert_eq!((shared.share(0, 20.0), shared.share(1, -0.5)), (1.0, 0.0));
    }
}
