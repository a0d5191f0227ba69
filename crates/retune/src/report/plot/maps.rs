//! Maps of many points, and tables of values as colors.

use std::sync::Arc;

use kuva::prelude::{ColorMap, Heatmap, ScatterPlot};
use unicode_width::UnicodeWidthStr;

use super::{COLOURS, Drawn, MARKERS, Plot, layout, name};
use crate::report::page::grouped;

/// Groups with their own name and color in the legend; if there are more, the smallest are drawn as one.
const MOST_GROUPS: usize = COLOURS.len();
/// The color of points without a group of their own.
const OTHERS: &str = "#BBBBBB";
/// The color of a cell without a value.
const MISSING: &str = "#F2F2F2";
const SIDE: f64 = 560.0;
/// Room for a legend beside a map.
const LEGEND: f64 = 160.0;

/// Points on a map, colored by their group (positions in `names`), with the same scale on both axes.
///
/// Of more than twenty groups, those with the fewest points share a gray. A point without a group, or without finite
/// coordinates, is left out.
pub fn point_map(title: &str, points: &[[f32; 2]], groups: &[usize], names: &[String]) -> Plot {
    let mut members: Vec<Vec<(f64, f64)>> = vec![Vec::new(); names.len()];
    for (&[x, y], &group) in points.iter().zip(groups) {
        if let Some(members) = members.get_mut(group).filter(|_| x.is_finite() && y.is_finite()) {
            members.push((f64::from(x), f64::from(y)));
        }
    }
    let mut by_size: Vec<usize> = (0..names.len()).filter(|&group| !members[group].is_empty()).collect();
    by_size.sort_by_key(|&group| std::cmp::Reverse(members[group].len()));
    let few = if by_size.len() > MOST_GROUPS { by_size.split_off(MOST_GROUPS - 1) } else { Vec::new() };
    let size = if points.len() > 5000 {
        1.6
    } else if points.len() > 1000 {
        2.2
    } else {
        3.5
    };
    let dots = |members: Vec<(f64, f64)>, colour: &str| {
        ScatterPlot::new().with_data(members).with_color(colour).with_size(size).with_marker_opacity(0.8)
    };
    let others: Vec<(f64, f64)> = few.iter().flat_map(|&group| std::mem::take(&mut members[group])).collect();
    // In the order of the names, which a reader looks for.
    by_size.sort_unstable();
    Plot::draw(|medium| {
        let mut parts: Vec<Drawn> = Vec::new();
        if !few.is_empty() {
            parts.push(dots(others.clone(), OTHERS).with_legend(format!("{} others", grouped(few.len()))).into());
        }
        for (number, &group) in by_size.iter().enumerate() {
            let marker = MARKERS[number % MARKERS.len()];
            let part = dots(members[group].clone(), COLOURS[number % COLOURS.len()]).with_marker(marker);
            parts.push(part.with_legend(name(medium, &names[group])).into());
        }
        let layout = layout(medium, &parts, [title, "", ""]).with_equal_aspect().with_show_grid(false);
        (parts, layout.with_width(SIDE + LEGEND).with_height(SIDE))
    })
}

/// A table of values, each cell colored and with its number; the first row is on top. A cell without a value (NaN) is
/// pale gray.
pub fn table_map(title: &str, rows: &[String], columns: &[String], values: &[Vec<f64>]) -> Plot {
    const CELL_WIDTH: f64 = 44.0;
    const CELL_HEIGHT: f64 = 24.0;
    const COLUMN: f64 = 6.5;
    // The drawing library counts rows from the bottom.
    let values: Vec<Vec<f64>> = values.iter().rev().cloned().collect();
    Plot::draw(|medium| {
        let map = Heatmap::new().with_data(values.clone()).with_color_map(light()).with_cell_size(1.0).with_values();
        let parts: Vec<Drawn> = vec![map.into()];
        let mut layout = layout(medium, &parts, [title, "", ""]).with_tick_size(9).with_body_size(9);
        let spelled = |names: &[String]| names.iter().map(|each| name(medium, each)).collect::<Vec<_>>();
        let (mut row_names, column_names) = (spelled(rows), spelled(columns));
        row_names.reverse();
        let longest = |names: &[String]| names.iter().map(|name| name.width()).max().unwrap_or(0) as f64;
        let width = columns.len() as f64 * CELL_WIDTH + longest(&row_names) * COLUMN + 130.0;
        let height = rows.len() as f64 * CELL_HEIGHT + longest(&column_names) * COLUMN * 0.7 + 90.0;
        if !rows.is_empty() && !columns.is_empty() {
            layout = layout.with_x_categories(column_names).with_y_categories(row_names).with_x_tick_rotate(-45.0);
        }
        (parts, layout.with_width(width.max(360.0)).with_height(height.max(200.0)))
    })
}

/// The part of cividis on which black numbers are legible, and a pale gray for missing values.
fn light() -> ColorMap {
    const DARKEST: f64 = 0.45;
    ColorMap::Custom(Arc::new(|value| {
        if value.is_nan() {
            return MISSING.to_owned();
        }
        ColorMap::Cividis.map(DARKEST + (1.0 - DARKEST) * value.clamp(0.0, 1.0))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("class {number}")).collect()
    }

    #[test]
    fn every_group_is_named_until_there_are_too_many() {
        let points: Vec<[f32; 2]> = (0..300).map(|at| [(at % 17) as f32, (at / 17) as f32]).collect();
        let groups = |count: usize| (0..300).map(|at| at % count).collect::<Vec<_>>();
        let svg = point_map("map", &points, &groups(12), &names(12)).svg();
        assert!((0..12).all(|group| svg.contains(&format!("class {group}<"))), "{}", &svg[..2000]);
        let svg = point_map("map", &points, &groups(30), &names(30)).svg();
        assert!(svg.contains("11 others") && svg.contains("class 0<") && !svg.contains("class 29<"));
    }

    #[test]
    fn points_without_a_place_or_a_group_are_left_out() {
        let points = [[0.0, 1.0], [f32::NAN, 0.0], [2.0, 2.0]];
        let svg = point_map("", &points, &[0, 1, 7], &names(2)).svg();
        assert!(svg.contains("class 0<") && !svg.contains("class 1<"));
        assert!(point_map("", &[], &[], &[]).svg().starts_with("<svg"));
    }

    #[test]
    fn a_table_shows_its_values() {
        let svg = table_map("CKA", &names(2), &names(2), &[vec![1.0, 0.25], vec![0.25, f64::NAN]]).svg();
        assert!(svg.contains("0.25") && svg.contains("class 1"));
        assert!(table_map("", &[], &[], &[]).svg().starts_with("<svg"));
    }
}
