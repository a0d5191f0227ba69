//! Bars, one below the other.

use crate::Drawing;
use crate::canvas::{Anchor, Canvas, Text, Tone, widest};
use crate::figure::{Bar, Bars};
use crate::font;
use crate::frame::{EDGE, NAME, TICK, fitted, heading, nothing};
use crate::scale::Scale;

/// Bars that are drawn.
const MAX: usize = 200;
const ROW: f64 = 24.0;

pub(super) fn draw(figure: &Bars, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    let top = heading(&mut canvas, &figure.title, width);
    let bars = &figure.bars[..figure.bars.len().min(MAX)];
    let names: Vec<String> = bars.iter().map(|bar| fitted(&bar.name, NAME, 0.35 * width)).collect();
    let value = |bar: &Bar| if bar.value.is_finite() { figure.x.format.text(bar.value) } else { "–".to_owned() };
    let values: Vec<String> = bars.iter().map(value).collect();
    let left = EDGE + widest(names.iter().map(String::as_str), NAME) + 8.0;
    let right = width - EDGE - widest(values.iter().map(String::as_str), TICK) - 8.0;
    let bottom = top + ROW * bars.len().max(2) as f64;
    // Bars are compared by their lengths, so they start at zero.
    let ends = bars.iter().flat_map(|bar| [Some([bar.value; 2]), bar.interval]).flatten().flatten().chain([0.0]);
    let scale = Scale::of(&figure.x, ends, ((right - left) / 64.0) as usize).placed([left, right]);
    let color = canvas.series(0);
    let grid = canvas.tone(Tone::Grid);
    for tick in &scale.ticks {
        let Some(at) = scale.place(tick.value) else { continue };
        canvas.line([at, top, at, bottom], grid, 1.0, "");
        canvas.text(Text::at(at, bottom + 16.0, &tick.text, TICK).anchored(Anchor::Middle), Tone::Muted);
    }
    for (at, bar) in bars.iter().enumerate() {
        let middle = top + (at as f64 + 0.5) * ROW;
        canvas.text(Text::at(left - 8.0, middle + 4.2, &names[at], NAME).anchored(Anchor::End), Tone::Ink);
        canvas.text(Text::at(right + 8.0, middle + 4.2, &values[at], TICK), Tone::Muted);
        let (Some(zero), Some(end)) = (scale.place(0.0), scale.place(bar.value)) else { continue };
        let tip = canvas.tip(|| format!("{}\n{} {}", bar.name, figure.x.label, values[at]));
        canvas.rectangle_with([zero.min(end), middle - 7.0, (end - zero).abs(), 14.0], &color, &tip);
        if let Some([low, high]) = bar.interval.and_then(|ends| Some([scale.place(ends[0])?, scale.place(ends[1])?])) {
            let ink = canvas.tone(Tone::Ink);
            canvas.line([low, middle, high, middle], ink, 1.3, "");
        }
    }
    if bars.is_empty() {
        nothing(&mut canvas, [left, top, right, bottom]);
    }
    let label = fitted(&figure.x.label, NAME, width - 2.0 * EDGE);
    let middle = ((left + right) / 2.0).min(width - EDGE - font::width(&label, NAME, false) / 2.0);
    canvas.text(Text::at(middle, bottom + 36.0, &label, NAME).anchored(Anchor::Middle), Tone::Ink);
    canvas.finish(width, bottom + 46.0, &format!("{}: {}", figure.title, figure.x.label))
}
