//! Markers, and the legend that says what they stand for.

use crate::canvas::{Canvas, Text, Tone, short, widest};

/// Distance of two lines of a legend.
pub(crate) const ROW: f64 = 18.0;
const SWATCH: f64 = 24.0;
const SIZE: f64 = 12.0;
const GAP: f64 = 18.0;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Swatch {
    /// A line by its position and its attributes.
    Line(usize, String),
    /// A marker by its shape and color.
    Marker(usize, String),
}

/// Names with what they stand for.
pub(crate) struct Legend {
    pub entries: Vec<(Swatch, String)>,
}

impl Legend {
    /// Columns that hold the entries in a height.
    fn columns(&self, height: f64) -> Vec<&[(Swatch, String)]> {
        let rows = ((height / ROW) as usize).max(1);
        // Columns of about the same length.
        let columns = self.entries.len().div_ceil(rows).max(1);
        self.entries.chunks(self.entries.len().div_ceil(columns).max(1)).collect()
    }

    /// The width that it takes in a height.
    pub fn width(&self, height: f64) -> f64 {
        let column =
            |entries: &&[(Swatch, String)]| SWATCH + 6.0 + widest(entries.iter().map(|(_, name)| name.as_str()), SIZE);
        let columns = self.columns(height);
        columns.iter().map(column).sum::<f64>() + GAP * columns.len().saturating_sub(1) as f64
    }

    /// The least height in which it is at most so wide; that of one column if there is none.
    pub fn height_within(&self, width: f64) -> f64 {
        let rows = (1..self.entries.len()).find(|&rows| self.width(ROW * rows as f64) <= width);
        ROW * rows.unwrap_or(self.entries.len()).max(1) as f64
    }

    /// Draws it from its upper left corner.
    pub fn draw(&self, canvas: &mut Canvas, [left, top]: [f64; 2], height: f64) {
        let mut left = left;
        for entries in self.columns(height) {
            for (row, (swatch, name)) in entries.iter().enumerate() {
                let middle = top + (row as f64 + 0.5) * ROW;
                let text = Text::at(left + SWATCH + 6.0, middle + 4.2, name, SIZE);
                match swatch {
                    Swatch::Line(index, attributes) => canvas.as_legend(*index, name, |canvas| {
                        let data = format!("M{} {}h{SWATCH}", short(left), short(middle));
                        canvas.path(&data, attributes);
                        canvas.text(text, Tone::Ink);
                    }),
                    Swatch::Marker(shape, color) => {
                        let data = marker(*shape, left + SWATCH / 2.0, middle, 4.5);
                        canvas.path(&data, &format!(r#"fill="{color}""#));
                        canvas.text(text, Tone::Ink);
                    }
                }
            }
            left += SWATCH + 6.0 + widest(entries.iter().map(|(_, name)| name.as_str()), SIZE) + GAP;
        }
    }
}

/// Corners of the markers of a radius of 1, those of each series in turn; none for a circle.
pub const SHAPES: [&[[f64; 2]]; 7] = [
    &[],
    &[[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
    &[[0.0, -1.25], [1.12, 0.8], [-1.12, 0.8]],
    &[[0.0, -1.3], [1.05, 0.0], [0.0, 1.3], [-1.05, 0.0]],
    &[[0.0, 1.25], [1.12, -0.8], [-1.12, -0.8]],
    &[
        [-0.38, -1.15],
        [0.38, -1.15],
        [0.38, -0.38],
        [1.15, -0.38],
        [1.15, 0.38],
        [0.38, 0.38],
        [0.38, 1.15],
        [-0.38, 1.15],
        [-0.38, 0.38],
        [-1.15, 0.38],
        [-1.15, -0.38],
        [-0.38, -0.38],
    ],
    &[
        [0.0, -1.45],
        [0.36, -0.49],
        [1.38, -0.45],
        [0.58, 0.19],
        [0.85, 1.17],
        [0.0, 0.61],
        [-0.85, 1.17],
        [-0.58, 0.19],
        [-1.38, -0.45],
        [-0.36, -0.49],
    ],
];

/// A marker as the start of its outline, from its middle, and the rest of the path's data, the same at every place.
pub(crate) fn stamp(shape: usize, radius: f64, digits: i32) -> ([f64; 2], String) {
    let rounded = |value: f64| (value * 10f64.powi(digits)).round() / 10f64.powi(digits) + 0.0;
    let corners = SHAPES[shape % SHAPES.len()];
    let Some((first, others)) = corners.split_first() else {
        let (radius, across) = (rounded(radius), short(2.0 * rounded(radius)));
        let arc = |across: f64| format!("a{radius} {radius} 0 1 0 {across} 0");
        return ([-radius, 0.0], format!("{}{}z", arc(across), arc(-across)));
    };
    let place = |corner: &[f64; 2]| corner.map(|at| rounded(radius * at));
    let start = place(first);
    let mut before = start;
    let mut rest = "l".to_owned();
    for (index, corner) in others.iter().enumerate() {
        let [x, y] = place(corner);
        let separator = if index == 0 { "" } else { " " };
        rest.push_str(&format!("{separator}{} {}", short(x - before[0]), short(y - before[1])));
        before = [x, y];
    }
    rest.push('z');
    (start, rest)
}

/// The outline of a marker as the data of a path.
pub(crate) fn marker(shape: usize, x: f64, y: f64, radius: f64) -> String {
    let ([left, top], rest) = stamp(shape, radius, 2);
    format!("M{} {}{rest}", short(x + left), short(y + top))
}
