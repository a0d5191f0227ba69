//! Many points in a plane, colored by their group.

use std::collections::HashSet;

use crate::Drawing;
use crate::canvas::{Canvas, Tone};
use crate::color::OTHERS;
use crate::figure::PointMap;
use crate::frame::{EDGE, NAME, fitted, heading, nothing};
use crate::legend::{Legend, ROW, Swatch, stamp};
use crate::looks::{Look, MAX_IN_FILES, looks};
use crate::scale::counted;

/// Points from which places that look the same are drawn once.
const MANY: usize = 20_000;

/// Members of a group in a look.
struct Group {
    name: String,
    shape: usize,
    color: String,
    order: usize,
    members: Vec<[f64; 2]>,
}

pub(super) fn draw(figure: &PointMap, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    let groups = groups(figure, &canvas, 0.3 * width);
    let count: usize = groups.iter().map(|group| group.members.len()).sum();
    let top = heading(&mut canvas, &figure.title, width);
    let entry = |group: &Group| (Swatch::Marker(group.shape, group.color.clone()), group.name.clone());
    let legend = Legend { entries: groups.iter().map(entry).collect() };
    let [low, high] = ends(&groups);
    let spans = [0, 1].map(|axis| (high[axis] - low[axis]).max(1e-9));
    // One column of names is read most easily.
    let rows = ROW * groups.len() as f64;
    let beside = if groups.is_empty() { 0.0 } else { 20.0 + legend.width(rows) };
    let across = (width - 2.0 * EDGE - beside).max(0.5 * width);
    // Both axes at the same scale, in a frame that is neither flat nor tall.
    let height = (across * spans[1] / spans[0]).clamp(0.6 * across, across).max(rows);
    let scale = ((across - 24.0) / spans[0]).min((height - 24.0) / spans[1]);
    let origin = [EDGE + (across - scale * spans[0]) / 2.0, top + (height + scale * spans[1]) / 2.0];
    let place = |[x, y]: [f64; 2]| [origin[0] + scale * (x - low[0]), origin[1] - scale * (y - low[1])];
    let grid = canvas.tone(Tone::Grid);
    canvas.rectangle_with([EDGE, top, across, height], "none", &format!(r#" stroke="{grid}""#));
    let radius = (60.0 / (count as f64).sqrt()).clamp(1.2, 4.0);
    let mut order: Vec<&Group> = groups.iter().collect();
    order.sort_by_key(|group| group.order);
    for group in order {
        let data = outlines(group, place, radius, count > MANY);
        let tip = canvas.tip(|| format!("{}\n{}", group.name, counted(group.members.len(), "point")));
        canvas.path(&data, &format!(r#"fill="{}" fill-opacity="0.8"{tip}"#, group.color));
    }
    if groups.is_empty() {
        nothing(&mut canvas, [EDGE, top, EDGE + across, top + height]);
    }
    legend.draw(&mut canvas, [EDGE + across + 20.0, top], height);
    let whole = if groups.is_empty() { width } else { EDGE + across + 20.0 + legend.width(height) + EDGE };
    canvas.finish(whole, top + height + EDGE, &format!("{}: {}", figure.title, counted(count, "point")))
}

/// Groups with points, in the order of the legend.
fn groups(figure: &PointMap, canvas: &Canvas, room: f64) -> Vec<Group> {
    let mut members: Vec<Vec<[f64; 2]>> = vec![Vec::new(); figure.names.len()];
    for (point, &group) in figure.points.iter().zip(&figure.groups) {
        if let Some(members) = members.get_mut(group).filter(|_| point.iter().all(|place| place.is_finite())) {
            members.push(point.map(f64::from));
        }
    }
    let counts: Vec<usize> = members.iter().map(Vec::len).collect();
    let group = |look: Look| Group {
        name: fitted(&look.name, NAME, room),
        shape: look.shape,
        color: look.series.map_or_else(|| OTHERS.to_owned(), |series| canvas.series(series)),
        order: look.order,
        members: look.groups.iter().flat_map(|&group| std::mem::take(&mut members[group])).collect(),
    };
    looks(&counts, &figure.names, MAX_IN_FILES).into_iter().map(group).collect()
}

/// The least and the largest places.
fn ends(groups: &[Group]) -> [[f64; 2]; 2] {
    let mut ends = [[f64::INFINITY; 2], [f64::NEG_INFINITY; 2]];
    for point in groups.iter().flat_map(|group| &group.members) {
        for axis in 0..2 {
            ends[0][axis] = ends[0][axis].min(point[axis]);
            ends[1][axis] = ends[1][axis].max(point[axis]);
        }
    }
    if ends[0][0] > ends[1][0] { [[0.0; 2], [1.0; 2]] } else { ends }
}

/// The markers of a group as one path.
fn outlines(group: &Group, place: impl Fn([f64; 2]) -> [f64; 2], radius: f64, many: bool) -> String {
    let mut seen = HashSet::new();
    let mut data = String::new();
    let (start, rest) = stamp(group.shape, radius, 1);
    for &member in &group.members {
        let [x, y] = place(member);
        let pixel = [x, y].map(|at| (2.0 * at).round() as i32);
        if many && !seen.insert(pixel) {
            continue;
        }
        let [x, y] = [x + start[0], y + start[1]].map(|at| (10.0 * at).round() / 10.0);
        data.push_str(&format!("M{x} {y}{rest}"));
    }
    data
}
