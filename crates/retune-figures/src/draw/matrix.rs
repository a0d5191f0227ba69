//! Cells in rows and columns with the names beside them, and the scale of their colors.

use std::io::Cursor;

use crate::canvas::{Anchor, Canvas, Text, Tone, short, widest};
use crate::color::{self, Rgb};
use crate::embedded::address;
use crate::font;
use crate::frame::{NAME, TICK, fitted, upright};
use crate::scale::{Axis, Scale};

/// Cells that are drawn one by one; more are a picture with a pixel for each.
const MAX_SHAPES: usize = 2_500;
/// Length of a name that stands upright.
const UPRIGHT: f64 = 130.0;
/// Room that the title of the rows takes, and that between their names and the cells.
pub(super) const SIDE_TITLE: f64 = 20.0;
pub(super) const NAME_GAP: f64 = 7.0;
/// Distance of two names.
const NAME_DISTANCE: f64 = 14.0;

/// A cell with a value.
pub(super) struct Cell {
    pub row: usize,
    pub column: usize,
    /// `None` where there is something to say but no value.
    pub color: Option<Rgb>,
    /// What is written in it, where there is room.
    pub text: String,
    /// What a page says of it.
    pub tip: String,
}

/// Cells with names.
pub(super) struct Matrix<'a> {
    pub rows: &'a [String],
    pub columns: &'a [String],
    pub x_label: &'a str,
    pub y_label: &'a str,
    pub cells: Vec<Cell>,
    /// Width and height of a cell.
    pub cell: [f64; 2],
    /// Width of the longest name, at most.
    pub room: f64,
    /// What is seen where there is no cell.
    pub background: &'a str,
    /// Rows without any value, whose cells are not like others without a cell, and their color.
    pub empty: (&'a [usize], &'a str),
}

/// Where a matrix was drawn.
pub(super) struct Drawn {
    /// Left, top, right, bottom of the cells.
    pub area: [f64; 4],
    /// Below the names of the columns and their title.
    pub end: f64,
}

impl Matrix<'_> {
    /// Draws it with its upper left corner, names included, at a place.
    pub fn draw(&self, canvas: &mut Canvas, [left, top]: [f64; 2]) -> Drawn {
        let fits = |names: &[String], room: f64| names.iter().map(|name| fitted(name, TICK, room)).collect::<Vec<_>>();
        let (rows, columns) = (fits(self.rows, self.room), fits(self.columns, self.room.min(UPRIGHT)));
        let longest = |names: &[String]| widest(names.iter().map(String::as_str), TICK);
        let title = if self.y_label.is_empty() { 0.0 } else { SIDE_TITLE };
        let left = left + title + longest(&rows) + NAME_GAP;
        let (right, bottom) = (left + self.cell[0] * columns.len() as f64, top + self.cell[1] * rows.len() as f64);
        let area = [left, top, right, bottom];
        canvas.rectangle([left, top, right - left, bottom - top], self.background);
        for &row in self.empty.0 {
            let from = top + row as f64 * self.cell[1];
            canvas.rectangle([left, from, right - left, self.cell[1]], self.empty.1);
        }
        self.cells(canvas, area);
        upright(canvas, left - longest(&rows) - 17.0, [top, bottom.max(top + 60.0)], self.y_label);
        for (at, name) in rows.iter().enumerate().step_by(every(self.cell[1])) {
            let middle = top + (at as f64 + 0.5) * self.cell[1];
            canvas.text(Text::at(left - 6.0, middle + 4.0, name, TICK).anchored(Anchor::End), Tone::Ink);
        }
        let below = self.column_names(canvas, &columns, area);
        let label = fitted(self.x_label, NAME, (right - left).max(160.0));
        let middle = ((left + right) / 2.0).max(left - title + font::width(&label, NAME, false) / 2.0);
        canvas.text(Text::at(middle, below + 16.0, &label, NAME).anchored(Anchor::Middle), Tone::Ink);
        Drawn { area, end: below + if label.is_empty() { 4.0 } else { 24.0 } }
    }

    /// Names of columns, level where they have room and else upward; returns where they end.
    fn column_names(&self, canvas: &mut Canvas, names: &[String], [left, _, _, bottom]: [f64; 4]) -> f64 {
        let longest = widest(names.iter().map(String::as_str), TICK);
        let middle = |at: usize| left + (at as f64 + 0.5) * self.cell[0];
        if longest + 6.0 <= self.cell[0] {
            for (at, name) in names.iter().enumerate() {
                canvas.text(Text::at(middle(at), bottom + 15.0, name, TICK).anchored(Anchor::Middle), Tone::Ink);
            }
            return bottom + 18.0;
        }
        // Short names that stand level are read more easily, even if not all of them.
        if longest <= 24.0 {
            let step = ((longest + 8.0) / self.cell[0]).ceil() as usize;
            for (at, name) in names.iter().enumerate().step_by(step.max(1)) {
                canvas.text(Text::at(middle(at), bottom + 15.0, name, TICK).anchored(Anchor::Middle), Tone::Ink);
            }
            return bottom + 18.0;
        }
        for (at, name) in names.iter().enumerate().step_by(every(self.cell[0])) {
            let text = Text::at(middle(at) + 4.0, bottom + 7.0, name, TICK).anchored(Anchor::End);
            canvas.text(Text { turn: -90.0, ..text }, Tone::Ink);
        }
        bottom + 10.0 + longest
    }

    fn cells(&self, canvas: &mut Canvas, [left, top, right, bottom]: [f64; 4]) {
        if self.cells.len() > MAX_SHAPES {
            if let Some(address) = self.picture() {
                let pixels = r#" style="image-rendering:pixelated" image-rendering="optimizeSpeed""#;
                canvas.image([left, top, right - left, bottom - top], &address, pixels);
            }
            return;
        }
        let [width, height] = self.cell;
        for cell in &self.cells {
            let (x, y) = (left + cell.column as f64 * width, top + cell.row as f64 * height);
            let tip = canvas.tip(|| cell.tip.clone());
            let fill = cell.color.map_or_else(|| self.background.to_owned(), color::hex);
            canvas.rectangle_with([x, y, width, height], &fill, &tip);
        }
        let size = 11.0_f64.min(0.62 * height);
        for cell in self.cells.iter().filter(|cell| !cell.text.is_empty() && size >= 7.0) {
            if font::width(&cell.text, size, false) + 3.0 > width {
                continue;
            }
            let (x, y) = (left + (cell.column as f64 + 0.5) * width, top + (cell.row as f64 + 0.5) * height);
            let fill = if cell.color.is_some_and(color::is_dark) { "#ffffff" } else { "#1b1d21" };
            canvas.text_in(Text::at(x, y + 0.36 * size, &cell.text, short(size)).anchored(Anchor::Middle), fill);
        }
    }

    /// A pixel for each cell as a PNG file.
    fn picture(&self) -> Option<String> {
        let mut pixels = image::RgbaImage::new(self.columns.len() as u32, self.rows.len() as u32);
        for cell in &self.cells {
            let Some([red, green, blue]) = cell.color else { continue };
            if (cell.column, cell.row) < (self.columns.len(), self.rows.len()) {
                pixels.put_pixel(cell.column as u32, cell.row as u32, image::Rgba([red, green, blue, 255]));
            }
        }
        let mut bytes = Cursor::new(Vec::new());
        pixels.write_to(&mut bytes, image::ImageFormat::Png).ok()?;
        address(&bytes.into_inner())
    }
}

/// Every how many cells there is room for a name.
fn every(cell: f64) -> usize {
    ((NAME_DISTANCE / cell).ceil() as usize).max(1)
}

/// What the colors beside a matrix stand for.
pub(super) struct ColorScale {
    /// What is measured.
    pub label: String,
    /// Places from 0 (pale) to 1 (dark) with the values there.
    pub ticks: Vec<(f64, String)>,
}

const SCALE_WIDTH: f64 = 14.0;

impl ColorScale {
    /// Colors that are proportional to values in a range, on a scale of a height.
    pub fn linear(axis: Axis, range: [f64; 2], height: f64) -> Self {
        let scale = Scale::of(&axis.clone().within(range), range, ((height / 24.0) as usize).clamp(3, 6));
        let ticks = scale.ticks.iter().filter_map(|tick| Some((scale.place(tick.value)?, tick.text.clone())));
        Self { ticks: ticks.collect(), label: axis.label }
    }

    /// Width that it takes beside a matrix.
    pub fn width(&self) -> f64 {
        let label = if self.label.is_empty() { 0.0 } else { 24.0 };
        SCALE_WIDTH + 8.0 + self.longest() + label
    }

    fn longest(&self) -> f64 {
        widest(self.ticks.iter().map(|(_, text)| text.as_str()), TICK)
    }

    /// Draws it from its upper left corner.
    pub fn draw(&self, canvas: &mut Canvas, [left, top, height]: [f64; 3]) {
        const STEPS: usize = 48;
        for step in 0..STEPS {
            let y = top + height * (1.0 - (step + 1) as f64 / STEPS as f64);
            let color = color::hex(color::value(step as f64 / (STEPS - 1) as f64));
            // A little more than its share leaves no seams.
            canvas.rectangle([left, y, SCALE_WIDTH, height / STEPS as f64 + 0.4], &color);
        }
        let muted = canvas.tone(Tone::Muted);
        let right = left + SCALE_WIDTH;
        for (share, text) in &self.ticks {
            let at = top + height * (1.0 - share);
            canvas.line([right, at, right + 4.0, at], muted, 0.8, "");
            canvas.text(Text::at(right + 7.0, at + 4.0, text, TICK), Tone::Muted);
        }
        upright(canvas, right + self.longest() + 24.0, [top, top + height], &self.label);
    }
}
