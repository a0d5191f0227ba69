//! Images with captions.

use crate::Drawing;
use crate::canvas::{Canvas, Text, Tone};
use crate::embedded::address;
use crate::figure::{ColorKey, ContactSheet};
use crate::frame::{EDGE, TICK, fitted, heading, nothing};
use crate::{color, font};

/// Images that are drawn.
const MAX: usize = 400;
const GAP: f64 = 12.0;
const LINE: f64 = 15.0;
/// Width and height of the scale of colors, and the room that it takes above the images.
const SCALE: [f64; 2] = [140.0, 10.0];
const KEY: f64 = 26.0;
/// Of answers that are right and wrong.
const EDGES: [&str; 2] = ["#D55E00", "#009E73"];

pub(super) fn draw(figure: &ContactSheet, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    let top = heading(&mut canvas, &figure.title, width);
    let tiles = &figure.tiles[..figure.tiles.len().min(MAX)];
    if tiles.is_empty() {
        nothing(&mut canvas, [EDGE, top, width - EDGE, top + 80.0]);
        return canvas.finish(width, top + 80.0 + EDGE, &figure.title);
    }
    let side = if figure.side > 0.0 { figure.side } else { 96.0 }.clamp(24.0, 1024.0);
    let columns = (((width - 2.0 * EDGE + GAP) / (side + GAP)) as usize).clamp(1, tiles.len());
    let mut y = top;
    if let Some(key) = figure.key.as_ref().filter(|key| !key.colors.is_empty()) {
        color_key(&mut canvas, key, y);
        y += KEY;
    }
    for row in tiles.chunks(columns) {
        for (at, tile) in row.iter().enumerate() {
            let x = EDGE + at as f64 * (side + GAP);
            if let Some(address) = address(&tile.image) {
                let tip = canvas.tip(|| tile.caption.join("\n"));
                canvas.image([x, y, side, side], &address, &tip);
            }
            if let Some(right) = tile.right {
                canvas.rectangle([x, y + side + 2.0, side, 3.0], EDGES[usize::from(right)]);
            }
            for (line, text) in tile.caption.iter().enumerate() {
                let text = fitted(text, TICK, side);
                let tone = if line == 0 { Tone::Ink } else { Tone::Muted };
                canvas.text(Text::at(x, y + side + 17.0 + LINE * line as f64, &text, TICK), tone);
            }
        }
        let lines = row.iter().map(|tile| tile.caption.len()).max().unwrap_or(0);
        y += side + 10.0 + LINE * lines as f64 + GAP;
    }
    let whole = (2.0 * EDGE + columns as f64 * (side + GAP) - GAP).max(0.5 * width);
    canvas.finish(whole, y - GAP + EDGE, &figure.title)
}

/// The colors in a row, between what the first and the last stand for.
fn color_key(canvas: &mut Canvas, key: &ColorKey, top: f64) {
    let [width, height] = SCALE;
    let mut x = EDGE;
    canvas.text(Text::at(x, top + height, &key.low, TICK), Tone::Muted);
    x += font::width(&key.low, TICK, false) + 8.0;
    let step = width / key.colors.len() as f64;
    for (at, color) in key.colors.iter().enumerate() {
        // A little more than its share leaves no seams.
        canvas.rectangle([x + at as f64 * step, top, step + 0.4, height], &color::hex(*color));
    }
    canvas.text(Text::at(x + width + 8.0, top + height, &key.high, TICK), Tone::Muted);
}
