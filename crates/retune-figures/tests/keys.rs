//! What stands beside data: keys of colors, legends, and names of points.

use retune_figures::figure::{
    Bin, ColorKey, Confusion, ContactSheet, HeatMap, Line, Lines, Point, Reliability, Scatter, Tile,
};
use retune_figures::{Axis, Figure, Style};

fn svg(figure: impl Into<Figure>) -> String {
    figure.into().draw(&Style::default()).svg().to_owned()
}

/// Numbers of an attribute of each shape that has a color, in order.
fn places(svg: &str, fill: &str, attribute: &str) -> Vec<f64> {
    let shapes = svg.split('<').filter(|shape| shape.contains(&format!("fill=\"{fill}\"")));
    let value = |shape: &str| shape.split(&format!(" {attribute}=\"")).nth(1)?.split('"').next()?.parse().ok();
    shapes.filter_map(value).collect()
}

#[test]
fn a_sheet_says_what_its_colors_stand_for() {
    let tiles = vec![Tile { image: Vec::new(), caption: vec!["a".into()], right: None }];
    let colors = vec![[1, 2, 3], [100, 110, 120], [250, 251, 252]];
    let key = Some(ColorKey { low: "little".into(), high: "much".into(), colors });
    let drawn = svg(ContactSheet { tiles: tiles.clone(), key, ..ContactSheet::default() });
    assert!(drawn.contains(">little<") && drawn.contains(">much<"));
    let at = ["#010203", "#646e78", "#fafbfc"].map(|color| places(&drawn, color, "x")[0]);
    assert!(at[0] < at[1] && at[1] < at[2], "{at:?}");
    assert!(!svg(ContactSheet { tiles, ..ContactSheet::default() }).contains(">much<"));
}

#[test]
fn a_diagram_names_the_colors_that_occur() {
    let bin = |confidence: f64, accuracy: f64| Bin { n: 5, confidence, accuracy };
    let of = |bins: Vec<Bin>| svg(Reliability { bins, ..Reliability::default() });
    let over = of(vec![bin(0.5, 0.3), Bin::default()]);
    assert!(over.contains(">accuracy<") && over.contains(">overconfident by<") && !over.contains("underconfident"));
    let both = of(vec![bin(0.5, 0.3), bin(0.7, 0.9)]);
    assert!(both.contains(">underconfident by<"));
}

#[test]
fn a_cell_without_images_is_zero_and_a_row_without_images_is_missing() {
    let classes = ["a", "b"].map(str::to_owned).to_vec();
    let drawn = |theme: &Style| {
        let figure = Confusion { classes: classes.clone(), group: 1, counts: vec![(0, 0, 3)], ..Confusion::default() };
        Figure::from(figure).draw(theme).svg().to_owned()
    };
    let file = drawn(&Style::default());
    let [zero, missing] = [retune_figures::value_color(0.0), [0xED, 0xEE, 0xF0]]
        .map(|[red, green, blue]| format!("#{red:02x}{green:02x}{blue:02x}"));
    // The whole matrix, and the first step of the scale.
    assert!(places(&file, &zero, "x").len() >= 2);
    assert_eq!(places(&file.to_lowercase(), &missing, "x").len(), 1);
    assert!(!drawn(&Style::page(520.0)).contains("fill=\"#ffffff\" "));
}

#[test]
fn the_title_of_a_scale_is_written_out_beside_a_low_matrix() {
    let value_label = "change: 0 is no change, 1 is all".to_owned();
    let names = |count: usize| (0..count).map(|at| format!("n{at}")).collect();
    let figure = HeatMap {
        rows: names(2),
        columns: names(2),
        values: vec![vec![Some(0.1), Some(1.0)]; 2],
        value_label: value_label.clone(),
        ..HeatMap::default()
    };
    assert!(svg(figure).contains(&format!(">{value_label}<")));
}

#[test]
fn along_a_curve_only_the_points_to_name_are_named_and_they_are_larger() {
    let point = |at: usize| Point { label: format!("α = {at}"), x: 0.5, y: at as f64 / 20.0, ..Point::default() };
    let figure = Scatter {
        x: Axis::shares("x"),
        y: Axis::shares("y"),
        points: (0..11).map(point).collect(),
        joined: true,
        named: vec![0, 5, 10],
        ..Scatter::default()
    };
    let drawn = svg(figure.clone());
    let is_named = |at: usize| drawn.contains(&format!(">α = {at}<"));
    assert_eq!((0..11).filter(|&at| is_named(at)).collect::<Vec<_>>(), [0, 5, 10]);
    let radii = |radius: &str| drawn.matches(&format!("a{radius} {radius} ")).count() / 2;
    assert_eq!((radii("6"), radii("3.5")), (3, 8));
    // At the pointer, a page names them all.
    assert_eq!(Figure::from(figure).draw(&Style::page(520.0)).svg().matches("data-tip=\"α = ").count(), 11);
}

#[test]
fn a_line_that_leaves_a_fixed_range_is_cut_at_the_frame_and_named_where_it_leaves() {
    let line = |name: &str, start: f64| Line::new(name, vec![(1.0, start), (2.0, 0.4), (3.0, 90.0)]);
    let y = Axis::new("loss").within([0.0, 1.0]);
    let figure = Lines { y, x: Axis::new("rate"), lines: vec![line("one", 0.5), line("", 0.6)], ..Lines::default() };
    let drawn = svg(figure);
    // Lines are drawn in an SVG of their own, which cuts them.
    let clip = drawn.split("<svg ").nth(2).unwrap();
    let numbers = |attribute: &str| -> f64 {
        clip.split(&format!("{attribute}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
    };
    // The frame's top is where its vertical axis ends: the smallest y of a line of the frame.
    let top = drawn
        .split("<line ")
        .skip(1)
        .filter_map(|line| line.split("y1=\"").nth(1)?.split('"').next()?.parse::<f64>().ok())
        .fold(f64::INFINITY, f64::min);
    assert!(numbers("y") >= top - 1.5, "{} {top}", numbers("y"));
    assert!(drawn.contains(">one<"));
    // Only what has a name is led to it.
    assert_eq!(drawn.matches("stroke-opacity=\"0.7\"").count(), 1);
}
