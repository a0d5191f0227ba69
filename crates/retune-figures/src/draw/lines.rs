//! Lines over one axis.

use super::merged::{Merged, merged};
use crate::canvas::{Anchor, Canvas, Text, Tone, short, widest};
use crate::figure::{Line, Lines};
use crate::frame::{BELOW, EDGE, Frame, NAME, TICK, fitted, heading, nothing};
use crate::labels::{Places, apart};
use crate::legend::{Legend, ROW, Swatch, marker};
use crate::scale::Scale;
use crate::{Drawing, Theme, font};

/// Most lines that are named at their ends.
const NAMED_AT_ENDS: usize = 6;
/// The share of the width that a name takes, at most, and the room that it has on a phone.
const NAME_SHARE: f64 = 0.32;
const MIN_NAME: f64 = 130.0;
/// Names that the legend has room for in one column.
const COLUMN: usize = 30;
/// Most points of a line that have a dot each.
const DOTS: usize = 12;
/// Places and lines that a page says the values of.
const MAX_COLUMNS: usize = 200;
const MAX_VALUES: usize = 14;
/// Height of a row of marks' names.
const MARK_ROW: f64 = 16.0;
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];

/// A line's look.
struct Look {
    color: String,
    dash: &'static str,
    width: f64,
    opacity: f64,
}

pub(super) fn draw(figure: &Lines, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    let lines = merged(&figure.lines, &figure.noun);
    let looks: Vec<Look> = (0..lines.len()).map(|index| look(&canvas, figure, &lines, index)).collect();
    let shown: Vec<usize> = (0..lines.len()).filter(|&index| lines[index].line.points.iter().any(is_finite)).collect();
    let top = heading(&mut canvas, &figure.title, width);
    let at_ends = shown.len() <= NAMED_AT_ENDS;
    let names: Vec<String> = lines.iter().map(|line| line.fitted((NAME_SHARE * width).max(MIN_NAME))).collect();
    let legend = Legend {
        entries: shown
            .iter()
            .map(|&index| (Swatch::Line(index, looks[index].attributes()), names[index].clone()))
            .collect(),
    };
    let height = (0.52 * width).clamp(200.0, 420.0);
    let height = if at_ends { height } else { height.max(ROW * shown.len().min(COLUMN) as f64) };
    let beside = match (shown.is_empty(), at_ends) {
        (true, _) => 8.0,
        (false, true) => 10.0 + widest(shown.iter().map(|&index| names[index].as_str()), NAME),
        (false, false) => 14.0 + legend.width(height),
    };
    let plot = (width - EDGE - beside.max(12.0)).max(0.5 * width);
    let whole = plot + beside.max(12.0) + EDGE;
    let rows = mark_rows(figure, plot);
    let top = top + rows as f64 * MARK_ROW;
    let bottom = top + height;
    let frame = Frame::draw(&mut canvas, [&figure.x, &figure.y], values(figure), [top, plot, bottom]);
    if figure.diagonal {
        frame.diagonal(&mut canvas);
    }
    vertical_marks(figure, &frame, rows, &mut canvas);
    let [left, right] = [frame.area[0], frame.area[2]];
    // Where an axis ends on purpose, lines that go on do not run into what stands above the plot.
    let above = if figure.y.range.is_some() { 1.0 } else { 6.0 };
    canvas.clipped([left - 6.0, top - above, right - left + 12.0, height + 2.0 * above], |canvas| {
        // What is not chosen lies behind.
        let (behind, before): (Vec<usize>, Vec<usize>) =
            shown.iter().rev().partition(|&&index| lines[index].line.faint);
        for index in behind.into_iter().chain(before) {
            canvas.in_series(index, |canvas| line(canvas, &frame, &lines[index], &looks[index]));
        }
    });
    points(figure, &frame, &lines, &looks, &mut canvas);
    if canvas.style.theme == Theme::Page {
        columns(figure, &frame, &lines, &mut canvas);
    }
    if shown.is_empty() {
        nothing(&mut canvas, frame.area);
    } else if at_ends {
        name_ends(&mut canvas, &frame, &lines, &looks, &shown, &names);
    } else {
        legend.draw(&mut canvas, [right + 14.0, top], height);
    }
    let description = format!("{}: {} by {}", figure.title, figure.y.label, figure.x.label);
    canvas.finish(whole, bottom + BELOW, &description)
}

fn is_finite(&(x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

fn values(figure: &Lines) -> [Vec<f64>; 2] {
    let points = || figure.lines.iter().flat_map(|line| line.points.iter().copied().filter(is_finite));
    let drawable = |&(x, y): &(f64, f64)| (!figure.x.log || x > 0.0) && (!figure.y.log || y > 0.0);
    let (mut x, mut y): (Vec<f64>, Vec<f64>) = points().filter(drawable).unzip();
    if !x.is_empty() {
        x.extend(figure.marks.iter().map(|(place, _)| *place));
    }
    y.extend(figure.lines.iter().flat_map(|line| line.band.iter().flatten().copied()));
    [x, y]
}

fn look(canvas: &Canvas, figure: &Lines, lines: &[Merged], index: usize) -> Look {
    let faint = lines[index].line.faint;
    // The place among all lines, so that a line has the same color as in other figures of the same lines.
    let series = lines[index].members[0];
    let color = if figure.ordered { canvas.ordered(index, lines.len()) } else { canvas.series(series) };
    // A second cue beside color; lines that have an order are told by their colors.
    let dash = match (faint, figure.ordered) {
        (true, _) => "4 3",
        (false, true) => "",
        (false, false) => DASHES[series / 7 % DASHES.len()],
    };
    let width = if faint { 1.3 } else { 2.0 };
    Look { color, dash, width, opacity: if faint { 0.65 } else { 1.0 } }
}

impl Look {
    fn attributes(&self) -> String {
        let Self { color, dash, width, opacity } = self;
        let dash = if dash.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{dash}""#) };
        let opacity = if *opacity < 1.0 { format!(r#" stroke-opacity="{opacity}""#) } else { String::new() };
        format!(r#"fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"{dash}{opacity}"#)
    }
}

fn line(canvas: &mut Canvas, frame: &Frame, merged: &Merged, look: &Look) {
    let Line { points, band, .. } = merged.line;
    let place = |(x, y): (f64, f64)| Some([frame.x.place(x)?, frame.y.place(y)?]);
    let placed: Vec<Option<[f64; 2]>> = points.iter().map(|&point| place(point)).collect();
    if band.len() == points.len() && !band.is_empty() {
        let edge = |end: usize| points.iter().zip(band).filter_map(move |(&(x, _), ends)| place((x, ends[end])));
        let mut around: Vec<[f64; 2]> = edge(0).collect();
        around.extend(edge(1).collect::<Vec<_>>().into_iter().rev());
        canvas.path(&path(&[around]), &format!(r#"fill="{}" fill-opacity="0.18""#, look.color));
    }
    let pieces: Vec<Vec<[f64; 2]>> =
        placed.split(|point| point.is_none()).map(|piece| piece.iter().flatten().copied().collect()).collect();
    let drawn: Vec<Vec<[f64; 2]>> = pieces.iter().filter(|piece: &&Vec<_>| piece.len() > 1).cloned().collect();
    if !drawn.is_empty() {
        canvas.path(&path(&drawn), &look.attributes());
    }
    let few = placed.len() <= DOTS;
    for &[left, top] in placed.iter().flatten() {
        let alone = pieces.iter().any(|piece| piece.len() == 1 && piece[0] == [left, top]);
        if few || alone {
            let radius = if alone { 4.0 } else { 2.8 };
            canvas.path(&marker(0, left, top, radius), &format!(r#"fill="{}""#, look.color));
        }
    }
}

/// Areas about each place on the horizontal axis that say what every line has there.
fn columns(figure: &Lines, frame: &Frame, lines: &[Merged], canvas: &mut Canvas) {
    let mut places: Vec<f64> = lines.iter().flat_map(|merged| merged.line.points.iter().map(|(x, _)| *x)).collect();
    places.retain(|&x| x.is_finite() && frame.x.holds(x));
    places.sort_by(f64::total_cmp);
    places.dedup();
    let step = places.len().div_ceil(MAX_COLUMNS).max(1);
    let places: Vec<(f64, f64)> =
        places.into_iter().step_by(step).filter_map(|x| Some((x, frame.x.place(x)?))).collect();
    let [left, top, right, bottom] = frame.area;
    for (at, &(x, middle)) in places.iter().enumerate() {
        let from = if at == 0 { left } else { (places[at - 1].1 + middle) / 2.0 };
        let to = places.get(at + 1).map_or(right, |next| (middle + next.1) / 2.0);
        let tip = canvas.tip(|| {
            let value = |merged: &Merged| {
                let (_, y) = merged.line.points.iter().find(|point| point.0 == x)?;
                Some(format!("\n{}: {}", merged.name, figure.y.format.text(*y)))
            };
            let values: Vec<String> = lines.iter().filter_map(value).collect();
            let more = values.len().saturating_sub(MAX_VALUES);
            let rest = if more > 0 { format!("\nand {more} more") } else { String::new() };
            let values: String = values.into_iter().take(MAX_VALUES).collect();
            format!("{} {}{values}{rest}", figure.x.label, figure.x.format.text(x))
        });
        canvas.rectangle_with([from, top, to - from, bottom - top], "transparent", &tip);
    }
}

/// Pieces of a line as the data of a path.
fn path(pieces: &[Vec<[f64; 2]>]) -> String {
    let mut data = String::new();
    for piece in pieces {
        for (at, [x, y]) in piece.iter().enumerate() {
            data.push_str(&format!("{}{} {}", if at == 0 { 'M' } else { 'L' }, short(*x), short(*y)));
        }
    }
    data
}

/// Names at the ends of lines, pushed apart.
fn name_ends(canvas: &mut Canvas, frame: &Frame, lines: &[Merged], looks: &[Look], shown: &[usize], names: &[String]) {
    let end = |index: usize| {
        let points = &lines[index].line.points;
        let last = points.iter().rev().filter(|point| is_finite(point)).find_map(|&(x, y)| frame.place(x, y));
        last.unwrap_or([frame.area[2], frame.area[3]])
    };
    let ends: Vec<[f64; 2]> = shown.iter().map(|&index| end(index)).collect();
    let wanted: Vec<f64> = ends.iter().map(|end| end[1].clamp(frame.area[1], frame.area[3])).collect();
    let places = apart(&wanted, 16.0, [frame.area[1] + 4.0, frame.area[3] - 4.0]);
    for ((&index, [x, y]), place) in shown.iter().zip(ends).zip(places) {
        if names[index].is_empty() {
            continue;
        }
        let right = frame.area[2];
        canvas.as_legend(index, &names[index], |canvas| {
            if (place - y).abs() > 3.0 || right - x > 12.0 {
                let from = (x + 5.0).min(right);
                let y = y.clamp(frame.area[1], frame.area[3]);
                canvas.line([from, y, right + 8.0, place], &looks[index].color, 0.8, r#" stroke-opacity="0.7""#);
            }
            canvas.text(Text::at(right + 10.0, place + 4.2, &names[index], NAME), Tone::Ink);
        });
    }
}

/// Names of marks above the plot: where they start, their row, and the mark's place.
fn mark_places(figure: &Lines, x: &Scale, [left, right]: [f64; 2]) -> Vec<(String, f64, usize, f64)> {
    let mut marks: Vec<(f64, &str)> =
        figure.marks.iter().filter_map(|(value, label)| Some((x.place(*value)?, label.as_str()))).collect();
    marks.retain(|(at, _)| (left - 0.5..=right + 0.5).contains(at));
    marks.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut ends: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for (at, label) in marks {
        let label = fitted(label, TICK, right - left);
        let width = font::width(&label, TICK, false);
        let start = (at - width / 2.0).clamp(left, (right - width).max(left));
        let row = ends.iter().position(|end| end + 8.0 <= start).unwrap_or(ends.len());
        ends.resize(ends.len().max(row + 1), f64::NEG_INFINITY);
        ends[row] = start + width;
        placed.push((label, start, row, at));
    }
    placed
}

/// Rows above the plot that the names of its marks take, before the plot's exact place is known.
fn mark_rows(figure: &Lines, right: f64) -> usize {
    let ends = [EDGE + 50.0, right];
    let [x, _] = values(figure);
    let scale = Scale::of(&figure.x, x, 6).placed(ends);
    mark_places(figure, &scale, ends).iter().map(|(_, _, row, _)| row + 1).max().unwrap_or(0)
}

/// Lines at places on the horizontal axis, with their names above the plot.
fn vertical_marks(figure: &Lines, frame: &Frame, rows: usize, canvas: &mut Canvas) {
    let [left, top, right, bottom] = frame.area;
    let muted = canvas.tone(Tone::Muted);
    for (label, start, row, at) in mark_places(figure, &frame.x, [left, right]) {
        canvas.line([at, top, at, bottom], muted, 1.0, r#" stroke-dasharray="2 3""#);
        if row < rows {
            canvas.text(Text::at(start, top - 5.0 - MARK_ROW * row as f64, &label, TICK), Tone::Muted);
        }
    }
}

/// Marked points of lines, each with what it is where there is room.
fn points(figure: &Lines, frame: &Frame, lines: &[Merged], looks: &[Look], canvas: &mut Canvas) {
    let mut places = Places::new(frame.area);
    for merged in lines {
        let placed: Vec<[f64; 2]> = merged.line.points.iter().filter_map(|&(x, y)| frame.place(x, y)).collect();
        for pair in placed.windows(2) {
            places.take_line(pair[0], pair[1]);
        }
    }
    let marked: Vec<_> =
        figure.points.iter().filter_map(|point| Some((point, frame.place(point.x, point.y)?))).collect();
    for (_, [x, y]) in &marked {
        places.take([x - 6.0, y - 6.0, x + 6.0, y + 6.0]);
    }
    for (point, [x, y]) in marked {
        let Some(index) = lines.iter().position(|merged| merged.members.contains(&point.line)) else { continue };
        let surface = canvas.tone(Tone::Surface);
        let tip = canvas.tip(|| format!("{}\n{} {}", point.label, figure.x.label, figure.x.format.text(point.x)));
        let attributes = format!(r#"fill="{surface}" stroke="{}" stroke-width="2"{tip}"#, looks[index].color);
        canvas.path(&marker(0, x, y, 5.0), &attributes);
        if point.label.is_empty() {
            continue;
        }
        let label = fitted(&point.label, TICK, 0.5 * (frame.area[2] - frame.area[0]));
        if let Some([left, base]) = places.near(x, y, font::width(&label, TICK, false)) {
            canvas.text(Text::at(left, base, &label, TICK).anchored(Anchor::Start), Tone::Ink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, Style};

    #[test]
    fn a_line_has_the_color_of_its_place_whatever_the_others_are() {
        let line = |name: &str, points: &[(f64, f64)]| Line::new(name, points.to_vec());
        let colors = |lines: Vec<Line>| {
            let svg = Figure::from(Lines { lines, ..Lines::default() }).draw(&Style::default()).svg().to_owned();
            crate::SERIES.map(|color| svg.contains(color))
        };
        let rising = [(1.0, 0.5), (2.0, 0.6)];
        // The first has nothing to draw, and the second and third are the same.
        let found = colors(vec![line("a", &[]), line("b", &rising), line("c", &rising), line("d", &[(1.0, 0.2)])]);
        assert_eq!(found[..4], [false, true, false, true]);
    }
}
