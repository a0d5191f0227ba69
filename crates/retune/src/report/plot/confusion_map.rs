//! A confusion matrix of many classes: colors without numbers, and lists of the most important entries beside them.

use kuva::prelude::ColorMap;
use kuva::render::color::Color;
use kuva::render::render::{Primitive, Scene, TextAnchor};
use unicode_width::UnicodeWidthStr;

use super::{Medium, Plot};
use crate::report::confusion::{Confusion, Hard, group_names, group_size};
use crate::report::page::grouped;
use crate::report::verdict::percent;

/// Fonts, best first; widths are those of the first.
const FONTS: &str = "DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif";
/// Side of the matrix, at most.
const SIDE: f64 = 440.0;
/// Room above the matrix and the lists.
const TOP: f64 = 64.0;
/// Columns of a name beside the matrix, and of one in a list.
const AXIS_COLUMNS: usize = 24;
const LIST_COLUMNS: usize = 20;
/// Width of a column of text of size 9.
const COLUMN: f64 = 6.0;
/// Least distance of two names beside the matrix.
const NAME_DISTANCE: f64 = 13.0;
/// Entries of each list.
const ENTRIES: usize = 10;
const ENTRY_HEIGHT: f64 = 27.0;
const LIST_WIDTH: f64 = 400.0;
const INK: &str = "#1B1D21";
const MUTED: &str = "#585E69";
const BAR: &str = "#0072B2";
const TRACK: &str = "#E9EBEE";

/// Shares of each true class as colors, the first class at the top; more than a hundred classes are grouped. Beside the
/// matrix are the pairs confused most often and the classes with the lowest recall.
pub fn confusion_map(title: &str, classes: &[String], found: &Confusion) -> Plot {
    let size = group_size(classes.len());
    let matrix = Matrix::of(&found.grouped(size), group_names(classes, size), size);
    Plot::of_scenes(|medium| {
        let mut drawing = Drawing { medium, parts: Vec::new() };
        let left = 20.0 + drawing.widest(&matrix.names);
        let bottom = drawing.matrix(&matrix, left);
        let lists = left + matrix.side() + 48.0;
        let after = drawing.confused(lists, classes, found);
        let end = drawing.hardest(lists, after + 22.0, classes, found);
        let width = lists + LIST_WIDTH + 20.0;
        drawing.text(width / 2.0, 28.0, medium.text(title), 16, TextAnchor::Middle, INK);
        let mut scene = Scene::new(width, bottom.max(end) + 20.0);
        scene.font_family = Some(FONTS.to_owned());
        scene.elements = drawing.parts;
        scene
    })
}

/// What the matrix shows.
struct Matrix {
    /// Of each row and column.
    names: Vec<String>,
    /// Classes in a row.
    size: usize,
    /// Row, column, share of the row's images; those above 0.
    shares: Vec<(usize, usize, f64)>,
    /// The largest share.
    most: f64,
    /// Side of a cell.
    cell: f64,
}

impl Matrix {
    fn of(counts: &Confusion, names: Vec<String>, size: usize) -> Self {
        let totals = counts.totals(names.len());
        let share = |&(row, column, n): &(usize, usize, usize)| (row, column, n as f64 / totals[row] as f64);
        let shares: Vec<(usize, usize, f64)> = counts.counts.iter().map(share).collect();
        let most = shares.iter().map(|&(_, _, share)| share).fold(0.0, f64::max);
        // Whole cells leave no seams between them.
        let cell = (SIDE / names.len().max(1) as f64).floor().max(1.0);
        Self { names, size, shares, most, cell }
    }

    fn side(&self) -> f64 {
        self.cell * self.names.len() as f64
    }
}

/// A drawing that grows.
struct Drawing {
    medium: Medium,
    parts: Vec<Primitive>,
}

impl Drawing {
    fn text(&mut self, x: f64, y: f64, content: String, size: u32, anchor: TextAnchor, color: &str) {
        self.parts.push(Primitive::Text {
            x,
            y,
            content: super::escaped(&content),
            size,
            anchor,
            rotate: None,
            bold: false,
            color: Some(color.into()),
        });
    }

    fn rectangle(&mut self, [x, y, width, height]: [f64; 4], fill: &str) {
        let fill = fill.into();
        self.parts.push(Primitive::Rect { x, y, width, height, fill, stroke: None, stroke_width: None, opacity: None });
    }

    fn widest(&self, names: &[String]) -> f64 {
        let width = |name: &String| self.medium.name(name, AXIS_COLUMNS).width();
        COLUMN * names.iter().map(width).max().unwrap_or(0) as f64
    }

    /// The matrix with names and the scale of its colors; returns where it ends.
    fn matrix(&mut self, matrix: &Matrix, left: f64) -> f64 {
        let (side, cell, colors) = (matrix.side(), matrix.cell, ColorMap::Cividis);
        let scaled = |share: f64| if matrix.most > 0.0 { share / matrix.most } else { 0.0 };
        self.rectangle([left, TOP, side, side], &colors.map(0.0));
        let place = |at: usize, start: f64| start + at as f64 * cell;
        self.parts.push(Primitive::RectBatch {
            x: matrix.shares.iter().map(|&(_, column, _)| place(column, left)).collect(),
            y: matrix.shares.iter().map(|&(row, _, _)| place(row, TOP)).collect(),
            w: vec![cell; matrix.shares.len()],
            h: vec![cell; matrix.shares.len()],
            fills: matrix.shares.iter().map(|&(_, _, share)| Color::from(colors.map(scaled(share)))).collect(),
        });
        for (at, name) in matrix.names.iter().enumerate().step_by((NAME_DISTANCE / cell).ceil() as usize) {
            let name = self.medium.label(name, AXIS_COLUMNS);
            let middle = (at as f64 + 0.5) * cell;
            self.text(left - 6.0, TOP + middle + 3.0, name.clone(), 9, TextAnchor::End, INK);
            self.parts.push(Primitive::Text {
                x: left + middle + 3.0,
                y: TOP + side + 10.0,
                content: super::escaped(&name),
                size: 9,
                anchor: TextAnchor::End,
                rotate: Some(-60.0),
                bold: false,
                color: Some(INK.into()),
            });
        }
        // The sine of 60 degrees.
        let scale = TOP + side + 24.0 + 0.87 * self.widest(&matrix.names);
        self.scale(matrix, left, scale)
    }

    fn scale(&mut self, matrix: &Matrix, left: f64, top: f64) -> f64 {
        const STEPS: usize = 24;
        let (width, colors) = (120.0, ColorMap::Cividis);
        self.text(left, top + 9.0, "0 %".to_owned(), 10, TextAnchor::Start, MUTED);
        for step in 0..STEPS {
            let x = left + 28.0 + width * step as f64 / STEPS as f64;
            let color = colors.map(step as f64 / (STEPS - 1) as f64);
            self.rectangle([x, top, width / STEPS as f64, 10.0], &color);
        }
        let unit = if matrix.size == 1 { "the true class" } else { "the true classes" };
        let most = format!("{}   share of {unit}", percent(matrix.most));
        self.text(left + width + 34.0, top + 9.0, most, 10, TextAnchor::Start, MUTED);
        if matrix.size > 1 {
            let rows = format!("Each row and column stands for {} classes in their order.", grouped(matrix.size));
            self.text(left, top + 28.0, rows, 10, TextAnchor::Start, MUTED);
            return top + 32.0;
        }
        top + 14.0
    }

    fn heading(&mut self, left: f64, top: f64, text: &str) {
        self.text(left, top, text.to_owned(), 13, TextAnchor::Start, INK);
    }

    /// An entry of a list: what it says, numbers at its end, and a share as a bar.
    fn entry(&mut self, [left, top]: [f64; 2], text: &str, numbers: String, share: f64) {
        let text = self.medium.text(text);
        self.text(left, top + 11.0, text, 11, TextAnchor::Start, INK);
        self.text(left + LIST_WIDTH, top + 11.0, numbers, 11, TextAnchor::End, MUTED);
        self.rectangle([left, top + 16.0, LIST_WIDTH, 4.0], TRACK);
        self.rectangle([left, top + 16.0, LIST_WIDTH * share, 4.0], BAR);
    }

    fn confused(&mut self, left: f64, classes: &[String], found: &Confusion) -> f64 {
        self.heading(left, TOP + 10.0, "Confused most often: true class → predicted class");
        let totals = found.totals(classes.len());
        let mut top = TOP + 22.0;
        let pairs = found.most_confused(ENTRIES);
        if pairs.is_empty() {
            self.text(left, top + 11.0, "none".to_owned(), 11, TextAnchor::Start, MUTED);
        }
        for &(label, predicted, n) in &pairs {
            let [from, to] = [label, predicted].map(|class| self.medium.name(&classes[class], LIST_COLUMNS));
            let share = n as f64 / totals[label] as f64;
            let numbers = format!("{} of {}, {}", grouped(n), grouped(totals[label]), percent(share));
            self.entry([left, top], &format!("{from} → {to}"), numbers, share);
            top += ENTRY_HEIGHT;
        }
        top.max(TOP + 22.0 + ENTRY_HEIGHT)
    }

    fn hardest(&mut self, left: f64, top: f64, classes: &[String], found: &Confusion) -> f64 {
        let hard = found.hardest(usize::MAX);
        let heading = format!("Hardest classes, of {} with mistakes: recall", grouped(hard.len()));
        self.heading(left, top, &heading);
        let mut top = top + 12.0;
        for entry @ Hard { class, n, right, .. } in hard.iter().take(ENTRIES) {
            let name = self.medium.name(&classes[*class], 2 * LIST_COLUMNS);
            let numbers = format!("{} of {}, {}", grouped(*right), grouped(*n), percent(entry.recall()));
            self.entry([left, top], &name, numbers, entry.recall());
            top += ENTRY_HEIGHT;
        }
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` classes of which every third image is taken for the next class.
    fn confused(count: usize) -> (Vec<String>, Confusion) {
        let classes = (0..count).map(|class| format!("class {class}")).collect();
        let pairs = (0..3 * count).map(|image| {
            let class = image / 3;
            (class, if image % 3 == 0 { (class + 1) % count } else { class })
        });
        (classes, Confusion::count(pairs))
    }

    #[test]
    fn many_classes_make_a_small_picture() {
        for count in [31, 300, 10_000] {
            let (classes, found) = confused(count);
            let plot = confusion_map("val", &classes, &found);
            let svg = plot.svg();
            // What two million bytes hold is opened at once; the cells of 100 rows are at most half of that.
            assert!(svg.len() < 1_000_000, "{count}: {} bytes", svg.len());
            assert!(svg.contains("class 0 → class 1") && svg.contains("1 of 3, 33.3 %"), "{count}");
            assert_eq!(svg.contains("classes in their order"), count > 100);
            assert!(plot.png.elements.len() < 400);
        }
        let cells = (0..100).flat_map(|row| (0..100).map(move |column| (100 * row, 100 * column, 1)));
        let everything = Confusion { counts: cells.collect() };
        let (classes, _) = confused(10_000);
        assert!(confusion_map("val", &classes, &everything).svg().len() < 1_000_000);
    }

    #[test]
    fn no_mistakes_and_no_images_are_drawn_too() {
        let (classes, _) = confused(40);
        let right = Confusion::count((0..40).map(|class| (class, class)));
        assert!(confusion_map("val", &classes, &right).svg().contains(">none<"));
        assert!(confusion_map("val", &classes, &Confusion::default()).svg().starts_with("<svg"));
    }
}
