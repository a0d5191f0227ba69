//! Confidence against accuracy (Guo et al. 2017, *On Calibration of Modern Neural Networks*, figure 4).

use crate::canvas::{Anchor, Canvas, Text, Tone, widest};
use crate::figure::{Bin, Reliability};
use crate::frame::{BELOW, EDGE, Frame, READERS_FONT, TICK, heading, nothing, upright};
use crate::scale::{Scale, counted};
use crate::{Axis, Drawing, Format};

/// Side of the diagram, at most, and height of the histogram above it.
const SIDE: f64 = 360.0;
const HISTOGRAM: f64 = 64.0;
/// Colors of the gaps between confidence and accuracy, by their series.
const OVER: usize = 1;
const UNDER: usize = 2;
/// Height of a row of the legend, and the side of its colors.
const ROW: f64 = 18.0;
const SWATCH: f64 = 11.0;

pub(super) fn draw(figure: &Reliability, mut canvas: Canvas) -> Drawing {
    let left = EDGE + 62.0;
    let side = (canvas.style.width - left - EDGE - 12.0).clamp(160.0, SIDE);
    let whole = left + side + EDGE + 12.0;
    let top = heading(&mut canvas, &figure.title, whole);
    let upper = top + HISTOGRAM + 14.0;
    let bottom = upper + side;
    let axes = ["confidence", "accuracy"].map(|label| Axis::shares(label).within([0.0, 1.0]));
    let frame = Frame::draw(&mut canvas, [&axes[0], &axes[1]], [vec![], vec![]], [upper, left + side, bottom]);
    let total: usize = figure.bins.iter().map(|bin| bin.n).sum();
    histogram(&mut canvas, figure, &frame, [top, upper - 14.0], total);
    let across = (frame.area[2] - frame.area[0]) / figure.bins.len().max(1) as f64;
    for (index, bin) in figure.bins.iter().enumerate().filter(|(_, bin)| bin.n > 0) {
        bar(&mut canvas, &frame, bin, [frame.area[0] + index as f64 * across, across]);
    }
    frame.diagonal(&mut canvas);
    if total == 0 {
        nothing(&mut canvas, frame.area);
    } else {
        note(&mut canvas, figure, &frame);
    }
    let end = legend(&mut canvas, figure, [bottom + BELOW, whole - EDGE]);
    canvas.finish(whole, end + 4.0, &format!("{}: accuracy by confidence", figure.title))
}

fn bar(canvas: &mut Canvas, frame: &Frame, bin: &Bin, [left, across]: [f64; 2]) {
    let (Some(zero), Some(right), Some(said)) = (
        frame.y.place(0.0),
        frame.y.place(bin.accuracy.clamp(0.0, 1.0)),
        frame.y.place(bin.confidence.clamp(0.0, 1.0)),
    ) else {
        return;
    };
    let tip = canvas.tip(|| {
        format!(
            "{}\nconfidence {}\naccuracy {}",
            counted(bin.n, "image"),
            Format::Percent.text(bin.confidence),
            Format::Percent.text(bin.accuracy)
        )
    });
    let inner = [left + 1.0, across - 2.0];
    let (upper, lower) = (said.min(right), said.max(right));
    canvas.rectangle_with([inner[0], right, inner[1], zero - right], &canvas.series(0), &tip);
    gap(canvas, [inner[0] + 0.5, upper, inner[1] - 1.0, lower - upper], bin.confidence > bin.accuracy, &tip);
}

/// Accuracy that is missing above a bar, or confidence that is missing in it.
fn gap(canvas: &mut Canvas, area: [f64; 4], is_over: bool, tip: &str) {
    let color = canvas.series(if is_over { OVER } else { UNDER });
    let opacity = if is_over { 0.35 } else { 0.8 };
    canvas.rectangle_with(
        area,
        &color,
        &format!(r#" fill-opacity="{opacity}" stroke="{color}" stroke-width="1"{tip}"#),
    );
}

/// What the colors of the bars stand for, as far as they occur, in as many rows as they need; returns where they end.
fn legend(canvas: &mut Canvas, figure: &Reliability, [top, right]: [f64; 2]) -> f64 {
    let [mut x, mut y] = [EDGE, top];
    for (name, gap_of) in colors(figure) {
        let room = SWATCH + 5.0 + READERS_FONT * widest(std::iter::once(name), TICK);
        if x > EDGE && x + room > right {
            [x, y] = [EDGE, y + ROW];
        }
        let swatch = [x, y + 2.5, SWATCH, SWATCH];
        if gap_of != Some(true) {
            canvas.rectangle(swatch, &canvas.series(0));
        }
        if let Some(is_over) = gap_of {
            gap(canvas, swatch, is_over, "");
        }
        canvas.text(Text::at(x + SWATCH + 5.0, y + 12.0, name, TICK), Tone::Ink);
        x += room + 14.0;
    }
    y + ROW
}

/// Names of the colors that occur; of a gap, whether it is one of too much confidence.
fn colors(figure: &Reliability) -> Vec<(&'static str, Option<bool>)> {
    let gaps = || figure.bins.iter().filter(|bin| bin.n > 0).map(|bin| bin.confidence - bin.accuracy);
    let known = [
        ("accuracy", None, gaps().next().is_some()),
        ("overconfident by", Some(true), gaps().any(|gap| gap > 0.0)),
        ("underconfident by", Some(false), gaps().any(|gap| gap < 0.0)),
    ];
    known.into_iter().filter(|(_, _, occurs)| *occurs).map(|(name, gap, _)| (name, gap)).collect()
}

fn histogram(canvas: &mut Canvas, figure: &Reliability, frame: &Frame, [top, bottom]: [f64; 2], total: usize) {
    let [left, _, right, _] = frame.area;
    let share = |bin: &Bin| bin.n as f64 / total.max(1) as f64;
    let most = figure.bins.iter().map(share).fold(0.0, f64::max);
    let axis = Axis::shares("images").within([0.0, most.max(0.01)]);
    let scale = Scale::of(&axis, [], 3).placed([bottom, top]);
    let (grid, muted) = (canvas.tone(Tone::Grid), canvas.tone(Tone::Muted));
    for tick in &scale.ticks {
        let Some(at) = scale.place(tick.value) else { continue };
        canvas.line([left, at, right, at], grid, 1.0, "");
        canvas.text(Text::at(left - 8.0, at + 4.0, &tick.text, TICK).anchored(Anchor::End), Tone::Muted);
    }
    let across = (right - left) / figure.bins.len().max(1) as f64;
    for (index, bin) in figure.bins.iter().enumerate().filter(|(_, bin)| bin.n > 0) {
        let Some(height) = scale.place(share(bin)) else { continue };
        let tip = canvas.tip(|| format!("{}\n{}", counted(bin.n, "image"), Format::Percent.text(share(bin))));
        canvas.rectangle_with(
            [left + index as f64 * across + 1.0, height, across - 2.0, bottom - height],
            "#8A909A",
            &tip,
        );
    }
    canvas.line([left, bottom, right, bottom], muted, 0.8, "");
    upright(canvas, EDGE + 10.0, [top - 8.0, bottom + 8.0], "images");
}

/// What there is to know in numbers, in the corner that a good model leaves free.
fn note(canvas: &mut Canvas, figure: &Reliability, frame: &Frame) {
    let [left, top, ..] = frame.area;
    let lines = [
        format!("calibration error {}", Format::Percent.text(figure.expected_error)),
        format!("confidence {}", Format::Percent.text(figure.confidence)),
        format!("accuracy {}", Format::Percent.text(figure.accuracy)),
    ];
    let width = widest(lines.iter().map(String::as_str), TICK) + 16.0;
    let surface = canvas.tone(Tone::Surface);
    canvas.rectangle_with([left + 5.0, top + 5.0, width, 55.0], surface, r#" fill-opacity="0.88" rx="3""#);
    for (at, line) in lines.iter().enumerate() {
        canvas.text(Text::at(left + 13.0, top + 21.0 + 16.0 * at as f64, line, TICK), Tone::Ink);
    }
}
