//! What stands around data: the heading, axes with ticks, and names that fit.

use crate::canvas::{Anchor, Canvas, Text, Tone, widest};
use crate::font;
use crate::names;
use crate::scale::{Axis, Format, Scale};

/// Room at the edges of a figure.
pub(crate) const EDGE: f64 = 16.0;
/// Sizes of text.
pub(crate) const TITLE: f64 = 15.0;
pub(crate) const NAME: f64 = 12.0;
pub(crate) const TICK: f64 = 11.5;

/// How much wider than in the embedded font a text may be in that of a reader of a page, such as DejaVu Sans.
pub(crate) const READERS_FONT: f64 = 1.14;

/// A name that is at most `room` wide, by an ellipsis in its middle.
pub(crate) fn fitted(name: &str, size: f64, room: f64) -> String {
    let whole = names::label(name, 60);
    if font::width(&whole, size, false) <= room {
        return whole;
    }
    let shorter = (1..60).rev().map(|columns| names::label(name, columns));
    shorter.into_iter().find(|name| font::width(name, size, false) <= room).unwrap_or_else(|| "…".to_owned())
}

/// Draws a heading in as many lines as it needs, three at most; returns where it ends.
pub(crate) fn heading(canvas: &mut Canvas, title: &str, width: f64) -> f64 {
    const LINE: f64 = 20.0;
    let room = width - 2.0 * EDGE;
    let title = names::visible(title);
    let mut lines: Vec<String> = Vec::new();
    for word in title.split_whitespace() {
        let word =
            if font::width(word, TITLE, true) > room { fitted(word, TITLE * 1.08, room) } else { word.to_owned() };
        match lines.last_mut() {
            Some(line) if font::width(&format!("{line} {word}"), TITLE, true) <= room => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    let cut = lines.len() > 3;
    lines.truncate(3);
    if let Some(last) = lines.last_mut().filter(|_| cut) {
        last.push('…');
    }
    for (at, line) in lines.iter().enumerate() {
        let y = EDGE + 13.0 + LINE * at as f64;
        canvas.text(Text { bold: true, ..Text::at(EDGE, y, line, TITLE) }, Tone::Ink);
    }
    if lines.is_empty() { EDGE } else { EDGE + LINE * lines.len() as f64 + 8.0 }
}

/// Axes around a plot.
pub(crate) struct Frame {
    pub x: Scale,
    pub y: Scale,
    /// Left, top, right, bottom of the plot.
    pub area: [f64; 4],
}

/// Room below a plot for ticks and the axis's title.
pub(crate) const BELOW: f64 = 46.0;

impl Frame {
    /// Draws axes on which values lie, in the area from a top and to a right end and bottom.
    pub fn draw(canvas: &mut Canvas, axes: [&Axis; 2], values: [Vec<f64>; 2], [top, right, bottom]: [f64; 3]) -> Self {
        let [x_axis, y_axis] = axes;
        let [x_values, y_values] = values;
        let y = Scale::of(y_axis, y_values, (((bottom - top) / 44.0) as usize).clamp(3, 8)).placed([bottom, top]);
        let title = if y_axis.label.is_empty() { 0.0 } else { 20.0 };
        let ticks = READERS_FONT * widest(y.ticks.iter().map(|tick| tick.text.as_str()), TICK);
        let left = EDGE + title + ticks + 8.0;
        let x = fitting(x_axis, &x_values, right - left).placed([left, right]);
        let frame = Self { x, y, area: [left, top, right, bottom] };
        frame.lines(canvas);
        frame.titles(canvas, x_axis, y_axis);
        frame
    }

    fn lines(&self, canvas: &mut Canvas) {
        let [left, top, right, bottom] = self.area;
        let (grid, muted) = (canvas.tone(Tone::Grid), canvas.tone(Tone::Muted));
        for value in &self.x.minor {
            if let Some(at) = self.x.place(*value) {
                canvas.line([at, bottom, at, bottom + 3.0], muted, 0.6, "");
            }
        }
        for value in &self.y.minor {
            if let Some(at) = self.y.place(*value) {
                canvas.line([left - 3.0, at, left, at], muted, 0.6, "");
            }
        }
        for tick in &self.y.ticks {
            let Some(at) = self.y.place(tick.value) else { continue };
            canvas.line([left, at, right, at], grid, 1.0, "");
            canvas.line([left - 4.0, at, left, at], muted, 0.8, "");
            canvas.text(Text::at(left - 8.0, at + 4.0, &tick.text, TICK).anchored(Anchor::End), Tone::Muted);
        }
        for tick in &self.x.ticks {
            let Some(at) = self.x.place(tick.value) else { continue };
            canvas.line([at, top, at, bottom], grid, 1.0, "");
            canvas.line([at, bottom, at, bottom + 4.0], muted, 0.8, "");
            canvas.text(Text::at(at, bottom + 17.0, &tick.text, TICK).anchored(Anchor::Middle), Tone::Muted);
        }
        canvas.line([left, bottom, right, bottom], muted, 0.8, "");
        canvas.line([left, top, left, bottom], muted, 0.8, "");
    }

    fn titles(&self, canvas: &mut Canvas, x: &Axis, y: &Axis) {
        let [left, top, right, bottom] = self.area;
        let label = fitted(&x.label, NAME, right - left);
        canvas.text(Text::at((left + right) / 2.0, bottom + 38.0, &label, NAME).anchored(Anchor::Middle), Tone::Ink);
        upright(canvas, EDGE + 10.0, [top, bottom], &y.label);
    }

    /// The place of a point; `None` where it has none or lies outside.
    pub fn place(&self, x: f64, y: f64) -> Option<[f64; 2]> {
        if !x.is_finite() || !y.is_finite() || !self.x.holds(x) || !self.y.holds(y) {
            return None;
        }
        Some([self.x.place(x)?, self.y.place(y)?])
    }

    /// Draws the line on which both values are the same.
    pub fn diagonal(&self, canvas: &mut Canvas) {
        let [x, y] = [self.x.range(), self.y.range()];
        let (low, high) = (x[0].max(y[0]), x[1].min(y[1]));
        if low < high
            && let (Some([x1, y1]), Some([x2, y2])) = (self.place(low, low), self.place(high, high))
        {
            let muted = canvas.tone(Tone::Muted);
            canvas.line([x1, y1, x2, y2], muted, 1.0, r#" stroke-dasharray="4 3""#);
        }
    }
}

/// Draws an axis's title that reads upward, in the middle of a range.
pub(crate) fn upright(canvas: &mut Canvas, x: f64, [top, bottom]: [f64; 2], label: &str) {
    let label = fitted(label, NAME, bottom - top);
    let text = Text { turn: -90.0, ..Text::at(x, (top + bottom) / 2.0, &label, NAME).anchored(Anchor::Middle) };
    canvas.text(text, Tone::Ink);
}

/// The scale with the most ticks whose texts keep apart in a width.
fn fitting(axis: &Axis, values: &[f64], width: f64) -> Scale {
    let most = if axis.format == Format::Integer { 20 } else { 7 }.min((width / 36.0) as usize).max(2);
    let scale = |most: usize| Scale::of(axis, values.iter().copied(), most);
    let fits = |scale: &Scale| {
        let room = |tick: &str| font::width(tick, TICK, false) + 14.0;
        let placed = scale.clone().placed([0.0, width]);
        placed.ticks.windows(2).all(|pair| {
            let [Some(one), Some(other)] = [&pair[0], &pair[1]].map(|tick| placed.place(tick.value)) else {
                return true;
            };
            other - one >= (room(&pair[0].text) + room(&pair[1].text)) / 2.0
        })
    };
    (2..=most).rev().map(scale).find(fits).unwrap_or_else(|| scale(2))
}

/// Says that there is nothing to draw, in the middle of an area.
pub(crate) fn nothing(canvas: &mut Canvas, [left, top, right, bottom]: [f64; 4]) {
    let text = Text::at((left + right) / 2.0, (top + bottom) / 2.0, "no data", NAME).anchored(Anchor::Middle);
    canvas.text(text, Tone::Muted);
}
