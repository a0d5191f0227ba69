//! Which classes are taken for which.

use std::collections::{BTreeMap, BTreeSet};

use super::matrix::{Cell, ColorScale, Matrix};
use crate::canvas::{Anchor, Canvas, Text, Tone, widest};
use crate::color;
use crate::figure::{Confusion, Ranking};
use crate::frame::{EDGE, NAME, TICK, fitted, heading, nothing};
use crate::{Axis, Drawing, Format, font};

/// Classes with numbers in the cells, at most.
const NUMBERED: usize = 30;
/// Rows that are drawn.
const MAX_ROWS: usize = 400;
/// Side of a matrix without numbers.
const SIDE: f64 = 440.0;
/// Width of the lists beside the matrix.
const LIST: f64 = 380.0;
const ENTRY: f64 = 27.0;
/// Height of the scale of colors, at least: its title needs as much.
const MIN_SCALE: f64 = 132.0;

pub(super) fn draw(figure: &Confusion, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    let count = figure.classes.len().min(MAX_ROWS);
    if count == 0 {
        let top = heading(&mut canvas, &figure.title, width);
        nothing(&mut canvas, [EDGE, top, width - EDGE, top + 80.0]);
        return canvas.finish(width, top + 80.0 + EDGE, &figure.title);
    }
    let classes = &figure.classes[..count];
    let numbered = count <= NUMBERED;
    let unit = if figure.group > 1 { "share of the true classes" } else { "share of the true class" };
    let scale = color_scale(unit, numbered);
    let beside = 20.0 + scale.width();
    let room = 0.25 * width;
    let names: Vec<String> = classes.iter().map(|name| fitted(name, TICK, room)).collect();
    let left = 2.0 * EDGE + 30.0 + widest(names.iter().map(String::as_str), TICK);
    let side = match numbered {
        true => ((width - left - beside) / count as f64).clamp(23.0, 46.0),
        false => (SIDE / count as f64).floor().max(1.0),
    };
    let matrix = Matrix {
        rows: classes,
        columns: classes,
        x_label: "predicted class",
        y_label: "true class",
        cells: cells(figure, classes, numbered),
        cell: [side; 2],
        room,
        // Most cells have no image: they are not drawn one by one.
        background: &color::hex(color::value(0.0)),
        empty: (&without_images(figure, count), canvas.missing()),
    };
    let lists = left + side * count as f64 + beside + 24.0;
    let has_lists = !figure.rankings.is_empty();
    let whole = if has_lists { lists + LIST + EDGE } else { lists - 24.0 }.max(0.5 * width);
    let top = heading(&mut canvas, &figure.title, whole);
    let drawn = matrix.draw(&mut canvas, [EDGE, top]);
    let [left, top, right, bottom] = drawn.area;
    let grid = canvas.tone(Tone::Muted);
    canvas.rectangle_with(
        [left, top, right - left, bottom - top],
        "none",
        &format!(r#" stroke="{grid}" stroke-width="0.6""#),
    );
    scale.draw(&mut canvas, [right + 20.0, top, (bottom - top).clamp(MIN_SCALE, 240.0)]);
    let mut end = drawn.end.max(top + MIN_SCALE + 8.0);
    if figure.group > 1 {
        let note = format!("Each row and column stands for {} classes in their order.", figure.group);
        canvas.text(Text::at(EDGE, end + 14.0, &note, TICK), Tone::Muted);
        end += 20.0;
    }
    let mut list = top;
    for ranking in &figure.rankings {
        list = ranked(&mut canvas, ranking, [lists, list]) + 20.0;
    }
    canvas.finish(whole, end.max(list - 20.0) + EDGE, &format!("{}: predicted class by true class", figure.title))
}

/// Colors by the share, or by its square root where no number says it: then one in a hundred can be seen beside a diagonal.
fn color_scale(unit: &str, numbered: bool) -> ColorScale {
    if numbered {
        return ColorScale::linear(Axis::shares(unit), [0.0, 1.0], 180.0);
    }
    let tick = |percent: f64| ((percent / 100.0).sqrt(), format!("{percent} %"));
    ColorScale { label: unit.to_owned(), ticks: [0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0].map(tick).into() }
}

/// Rows of classes that have no image here.
fn without_images(figure: &Confusion, count: usize) -> Vec<usize> {
    let known: BTreeSet<usize> = figure.counts.iter().filter(|count| count.2 > 0).map(|count| count.0).collect();
    (0..count).filter(|row| !known.contains(row)).collect()
}

fn cells(figure: &Confusion, classes: &[String], numbered: bool) -> Vec<Cell> {
    let mut totals = vec![0; classes.len()];
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for &(row, column, n) in &figure.counts {
        if row < classes.len() && column < classes.len() && n > 0 {
            totals[row] += n;
            *counts.entry((row, column)).or_default() += n;
        }
    }
    let cell = |((row, column), n): ((usize, usize), usize)| {
        let share = n as f64 / totals[row] as f64;
        Cell {
            row,
            column,
            color: Some(color::value(if numbered { share } else { share.sqrt() })),
            text: if numbered { percent(share) } else { String::new() },
            tip: format!(
                "{} → {}\n{n} of {}, {}",
                classes[row],
                classes[column],
                totals[row],
                Format::Percent.text(share)
            ),
        }
    };
    counts.into_iter().map(cell).collect()
}

/// A share in percent without a sign, which the scale has.
fn percent(share: f64) -> String {
    match 100.0 * share {
        little if little < 1.0 => "<1".to_owned(),
        // Not quite all is not all.
        nearly if (99.5..100.0).contains(&nearly) => ">99".to_owned(),
        other => format!("{other:.0}"),
    }
}

/// A list of shares as bars; returns where it ends.
fn ranked(canvas: &mut Canvas, ranking: &Ranking, [left, top]: [f64; 2]) -> f64 {
    let title = fitted(&ranking.title, NAME * 1.08, LIST);
    canvas.text(Text { bold: true, ..Text::at(left, top + 10.0, &title, NAME) }, Tone::Ink);
    let mut top = top + 22.0;
    if ranking.entries.is_empty() {
        canvas.text(Text::at(left, top + 11.0, "none", TICK), Tone::Muted);
        return top + ENTRY;
    }
    let (grid, color) = (canvas.tone(Tone::Grid), canvas.series(0));
    for entry in &ranking.entries {
        let numbers = fitted(&entry.numbers, TICK, 0.5 * LIST);
        let room = LIST - font::width(&numbers, TICK, false) - 12.0;
        let arrows = entry.names.len().saturating_sub(1) as f64;
        let each = (room - arrows * font::width(" → ", TICK, false)) / entry.names.len().max(1) as f64;
        let names: Vec<String> = entry.names.iter().map(|name| fitted(name, TICK, each)).collect();
        canvas.text(Text::at(left, top + 11.0, &names.join(" → "), TICK), Tone::Ink);
        canvas.text(Text::at(left + LIST, top + 11.0, &numbers, TICK).anchored(Anchor::End), Tone::Muted);
        canvas.rectangle([left, top + 16.0, LIST, 4.0], grid);
        canvas.rectangle([left, top + 16.0, LIST * entry.share.clamp(0.0, 1.0), 4.0], &color);
        top += ENTRY;
    }
    top
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn shares_are_whole_percents_and_never_hide_a_mistake() {
        assert_eq!([1.0, 0.999, 0.994, 0.5, 0.01, 0.001].map(percent), ["100", ">99", "99", "50", "1", "<1"]);
    }
}
