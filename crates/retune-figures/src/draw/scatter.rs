//! Named points with intervals.

use crate::canvas::{Canvas, Text, Tone};
use crate::figure::{Point, Scatter};
use crate::frame::{BELOW, EDGE, Frame, NAME, READERS_FONT, fitted, heading, nothing};
use crate::labels::Places;
use crate::legend::{Legend, ROW, Swatch, marker};
use crate::scale::Scale;
use crate::{Drawing, font};

/// Most points that are named beside them.
const NAMED_BESIDE: usize = 24;
/// Names that the legend has room for in one column.
const COLUMN: usize = 30;
/// From this width on, a legend stands beside the plot, and below it in a narrower figure.
const ROOM_BESIDE: f64 = 480.0;
/// Points from which on the intervals are drawn lightly, or they would hide the points.
const MANY: usize = 8;

pub(super) fn draw(figure: &Scatter, mut canvas: Canvas) -> Drawing {
    let width = canvas.style.width;
    let points = placeable(figure);
    let top = heading(&mut canvas, &figure.title, width);
    let height = (0.6 * width).clamp(240.0, 460.0);
    let name = |(at, point): (usize, &&Point)| {
        if is_named(figure, at) { fitted(&point.label, NAME, 0.32 * width) } else { String::new() }
    };
    let names: Vec<String> = points.iter().enumerate().map(name).collect();
    let beside = places(figure, &points, &names, [top, width - EDGE - 8.0, top + height], &canvas);
    let entry = |(index, name): (usize, &String)| (Swatch::Marker(index, canvas.series(index)), name.clone());
    let legend = Legend { entries: names.iter().enumerate().map(entry).collect() };
    let below = beside.is_none() && width < ROOM_BESIDE;
    let is_plain = beside.is_some() || below;
    let height = if is_plain { height } else { height.max(ROW * points.len().min(COLUMN) as f64) };
    let bottom = top + height;
    let right = match is_plain {
        true => width - EDGE - 8.0,
        false => (width - EDGE - 14.0 - legend.width(height)).max(0.5 * width),
    };
    let whole = if is_plain { width } else { right + 14.0 + legend.width(height) + EDGE };
    let frame = Frame::draw(&mut canvas, [&figure.x, &figure.y], values(&points), [top, right, bottom]);
    if figure.diagonal {
        frame.diagonal(&mut canvas);
    }
    if figure.joined {
        let color = canvas.series(0);
        let placed: Vec<[f64; 2]> = points.iter().filter_map(|point| frame.place(point.x, point.y)).collect();
        for pair in placed.windows(2) {
            canvas.line([pair[0][0], pair[0][1], pair[1][0], pair[1][1]], &color, 1.6, "");
        }
    }
    for (index, point) in points.iter().enumerate() {
        let color = canvas.series(shape(figure, index));
        intervals(&mut canvas, &frame, point, &color, points.len() > MANY);
    }
    for (index, point) in points.iter().enumerate() {
        mark(&mut canvas, figure, &frame, index, point);
    }
    let mut end = bottom + BELOW;
    match beside {
        _ if points.is_empty() => nothing(&mut canvas, frame.area),
        Some(places) => {
            for (name, place) in names.iter().zip(places) {
                if let Some([left, base]) = place {
                    canvas.text(Text::at(left, base, name, NAME), Tone::Ink);
                }
            }
        }
        None if below => {
            let rows = legend.height_within(width - 2.0 * EDGE);
            legend.draw(&mut canvas, [EDGE, end], rows);
            end += rows + EDGE;
        }
        None => legend.draw(&mut canvas, [right + 14.0, top], height),
    }
    let description = format!("{}: {} against {}", figure.title, figure.y.label, figure.x.label);
    canvas.finish(whole, end, &description)
}

/// Whether some value lies on both axes, so that there are places where both are the same.
pub(crate) fn has_diagonal(figure: &Scatter) -> bool {
    let [x, y] = values(&placeable(figure));
    // How many ticks there are changes nothing about the ends.
    let [x, y] = [Scale::of(&figure.x, x, 6), Scale::of(&figure.y, y, 6)].map(|scale| scale.range());
    x[0].max(y[0]) < x[1].min(y[1])
}

fn placeable(figure: &Scatter) -> Vec<&Point> {
    figure.points.iter().filter(|point| point.x.is_finite() && point.y.is_finite()).collect()
}

/// Whether a point has its name beside it.
fn is_named(figure: &Scatter, at: usize) -> bool {
    !figure.joined || figure.named.is_empty() || figure.named.contains(&at)
}

fn values(points: &[&Point]) -> [Vec<f64>; 2] {
    let ends = |value: f64, interval: Option<[f64; 2]>| [Some([value; 2]), interval].into_iter().flatten().flatten();
    [
        points.iter().flat_map(|point| ends(point.x, point.x_interval)).collect(),
        points.iter().flat_map(|point| ends(point.y, point.y_interval)).collect(),
    ]
}

/// Where names go beside their points; `None` where a legend has to name them. Along a curve, names that find no room are
/// left out.
fn places(
    figure: &Scatter,
    points: &[&Point],
    names: &[String],
    around: [f64; 3],
    canvas: &Canvas,
) -> Option<Vec<Option<[f64; 2]>>> {
    if points.len() > NAMED_BESIDE && !figure.joined {
        return None;
    }
    // Drawn once more, where the frame would be without a legend.
    let mut trial = Canvas::new(&canvas.style);
    let frame = Frame::draw(&mut trial, [&figure.x, &figure.y], values(points), around);
    let mut places = Places::new(frame.area);
    for point in points {
        let Some([x, y]) = frame.place(point.x, point.y) else { continue };
        places.take([x - 7.0, y - 7.0, x + 7.0, y + 7.0]);
        if let Some([low, high]) =
            point.x_interval.and_then(|ends| Some([frame.x.place(ends[0])?, frame.x.place(ends[1])?]))
        {
            places.take([low, y - 1.0, high, y + 1.0]);
        }
        if let Some([low, high]) =
            point.y_interval.and_then(|ends| Some([frame.y.place(ends[0])?, frame.y.place(ends[1])?]))
        {
            places.take([x - 1.0, high, x + 1.0, low]);
        }
    }
    if figure.joined {
        let placed: Vec<[f64; 2]> = points.iter().filter_map(|point| frame.place(point.x, point.y)).collect();
        placed.windows(2).for_each(|pair| places.take_line(pair[0], pair[1]));
    }
    let mut found = Vec::new();
    for (point, name) in points.iter().zip(names) {
        let width = READERS_FONT * font::width(name, NAME, false) + 2.0;
        let place = frame.place(point.x, point.y).filter(|_| !name.is_empty()).and_then(|[x, y]| {
            // Along a curve, a name that is not beside its point would be taken for that of another.
            if figure.joined { places.beside(x, y, width) } else { places.near(x, y, width) }
        });
        if place.is_none() && !figure.joined {
            return None;
        }
        found.push(place);
    }
    Some(found)
}

/// Which marker and color a point has.
fn shape(figure: &Scatter, index: usize) -> usize {
    if figure.joined { 0 } else { index }
}

/// The intervals of a point, below all markers.
fn intervals(canvas: &mut Canvas, frame: &Frame, point: &Point, color: &str, among_many: bool) {
    let Some([x, y]) = frame.place(point.x, point.y) else { return };
    let (width, error) =
        if among_many { (1.0, r#" stroke-opacity="0.35""#) } else { (1.3, r#" stroke-opacity="0.75""#) };
    let ends = |scale: &Scale, interval: Option<[f64; 2]>| {
        interval.and_then(|ends| Some([scale.place(ends[0])?, scale.place(ends[1])?]))
    };
    if let Some([low, high]) = ends(&frame.x, point.x_interval) {
        canvas.line([low, y, high, y], color, width, error);
    }
    if let Some([low, high]) = ends(&frame.y, point.y_interval) {
        canvas.line([x, low, x, high], color, width, error);
    }
}

fn mark(canvas: &mut Canvas, figure: &Scatter, frame: &Frame, index: usize, point: &Point) {
    let Some([x, y]) = frame.place(point.x, point.y) else { return };
    let shape = shape(figure, index);
    let color = canvas.series(shape);
    let tip = canvas.tip(|| {
        let written = |axis: &crate::Axis, value: f64, interval: Option<[f64; 2]>| match interval {
            Some([low, high]) => format!(
                "{} {} ({}–{})",
                axis.label,
                axis.format.text(value),
                axis.format.text(low),
                axis.format.text(high)
            ),
            None => format!("{} {}", axis.label, axis.format.text(value)),
        };
        format!(
            "{}\n{}\n{}",
            point.label,
            written(&figure.x, point.x, point.x_interval),
            written(&figure.y, point.y, point.y_interval)
        )
    });
    let surface = canvas.tone(Tone::Surface);
    let radius = match (figure.named.is_empty(), is_named(figure, index)) {
        (true, _) => 5.0,
        (false, true) => 6.0,
        (false, false) => 3.5,
    };
    canvas.path(&marker(shape, x, y, radius), &format!(r#"fill="{color}" stroke="{surface}" stroke-width="1"{tip}"#));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, Figure, Style};

    fn scatter(points: &[[f64; 2]]) -> Scatter {
        let point =
            |(index, &[x, y]): (usize, &[f64; 2])| Point { label: format!("method {index}"), x, y, ..Point::default() };
        Scatter {
            x: Axis::shares("x"),
            y: Axis::shares("y"),
            points: points.iter().enumerate().map(point).collect(),
            diagonal: true,
            ..Scatter::default()
        }
    }

    #[test]
    fn a_diagonal_shows_where_both_axes_have_some_value() {
        let (near, far) = (scatter(&[[0.8, 0.7], [0.9, 0.85]]), scatter(&[[0.8, 0.2], [0.9, 0.25]]));
        assert!(near.shows_diagonal() && !far.shows_diagonal());
        assert!(!Scatter { diagonal: false, ..near.clone() }.shows_diagonal());
        let dashed = |figure: Scatter| Figure::from(figure).draw(&Style::default()).svg().contains("stroke-dasharray");
        assert!(dashed(near) && !dashed(far));
    }

    #[test]
    fn in_a_narrow_figure_the_plot_keeps_its_width() {
        // Too many marks in one place to be named beside them.
        let crowded = scatter(&vec![[0.5, 0.5]; 16]);
        let names = |width: f64| {
            let svg = Figure::from(crowded.clone()).draw(&Style::page(width)).svg().to_owned();
            let place = |name: &str| {
                let text = svg.split(&format!(">{name}</text>")).next().unwrap().rsplit("<text").next().unwrap();
                let number = |name: &str| -> f64 {
                    text.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
                };
                [number("x"), number("y")]
            };
            place("method 0")
        };
        let ([left, _], [narrow_left, below]) = (names(860.0), names(330.0));
        assert!(left > 430.0 && narrow_left < 100.0 && below > 240.0, "{left} {narrow_left} {below}");
    }
}
