//! Every kind of figure with few and many classes, long names, other scripts, broken numbers and no data.

use std::time::Instant;

use resvg::usvg::{Group, Node};
use retune_figures::figure::{
    Bar, Bars, Bin, Confusion, ContactSheet, HeatMap, Line, Lines, Marked, Point, PointMap, Ranked, Ranking,
    Reliability, Scatter, Tile,
};
use retune_figures::{Axis, Drawing, Figure, FileFormat, Format, Style};

/// Names of classes: short ones, long ones, and some in other scripts.
fn names(count: usize) -> Vec<String> {
    let name = |at: usize| match at % 7 {
        3 => format!("a rather long name of a class, number {at}, of the kind that data sets have"),
        4 => format!("Ελληνικά {at}"),
        5 => format!("Лиса {at}"),
        _ => format!("class {at}"),
    };
    (0..count).map(name).collect()
}

fn lines(count: usize) -> Lines {
    let line = |(at, name): (usize, String)| {
        let points: Vec<(f64, f64)> =
            (1..9).map(|epoch| (f64::from(epoch), 2.0 / f64::from(epoch) + 0.01 * at as f64)).collect();
        let band = points.iter().map(|(_, y)| [y - 0.05, y + 0.05]).collect();
        Line { band, ..Line::new(name, points) }
    };
    Lines {
        title: format!(
            "Loss of {count} runs, and a title that is long enough to need more than one line of the figure"
        ),
        x: Axis::integers("epoch"),
        y: Axis::new("loss"),
        lines: names(count).into_iter().enumerate().map(line).collect(),
        marks: vec![(3.0, "kept".into()), (3.2, "stopped".into())],
        ..Lines::default()
    }
}

fn range_test() -> Lines {
    let rate = |at: i32| 10f64.powf(-7.0 + f64::from(at) / 10.0);
    let curve = |shift: f64| {
        (0..70).map(|at| (rate(at), 1.0 + shift - 0.8 * (-(f64::from(at) - 50.0).powi(2) / 200.0).exp())).collect()
    };
    Lines {
        title: "Learning-rate range test".into(),
        x: Axis::log("learning rate"),
        y: Axis::new("smoothed loss"),
        lines: vec![Line::new("all", curve(0.0)), Line::new("layer4", curve(0.1))],
        points: vec![
            Marked { line: 0, x: rate(43), y: 0.56, label: "valley 2×10⁻³".into() },
            Marked { line: 0, x: rate(50), y: 0.2, label: "minimum 0.01".into() },
            Marked { line: 1, x: rate(44), y: 0.6, label: "valley 2.5×10⁻³".into() },
        ],
        ..Lines::default()
    }
}

fn scatter(count: usize) -> Scatter {
    let point = |(at, label): (usize, String)| {
        let (x, y) = (0.6 + 0.3 * ((at * 7 % 11) as f64) / 11.0, 0.4 + 0.5 * ((at * 5 % 13) as f64) / 13.0);
        Point { label, x, y, x_interval: Some([x - 0.02, x + 0.02]), y_interval: Some([y - 0.03, y + 0.04]) }
    };
    Scatter {
        title: "In distribution and under shift".into(),
        x: Axis::shares("accuracy on test"),
        y: Axis::shares("accuracy on shifted"),
        points: names(count).into_iter().enumerate().map(point).collect(),
        ..Scatter::default()
    }
}

fn map(count: usize, points: usize) -> PointMap {
    let place = |at: usize| {
        let angle = (at % count) as f32 * 2.4;
        let away = 2.0 + ((at * 7919) % 1000) as f32 / 1000.0;
        let turn = ((at * 104_729) % 1000) as f32 / 1000.0;
        [away * (angle + turn).cos() * (1.0 + turn), away * (angle + turn).sin()]
    };
    PointMap {
        title: format!("UMAP of {points} images"),
        points: (0..points).map(place).collect(),
        groups: (0..points).map(|at| at % count).collect(),
        names: names(count),
    }
}

fn heat_map(count: usize) -> HeatMap {
    let value = |row: usize, column: usize| {
        (row + 2 * column != 3).then(|| 1.0 - (row as f64 - column as f64).abs() / count as f64)
    };
    HeatMap {
        title: "CKA at pooled, 1,024 images".into(),
        value_label: "CKA".into(),
        rows: names(count),
        columns: names(count),
        values: (0..count).map(|row| (0..count).map(|column| value(row, column)).collect()).collect(),
        range: Some([0.0, 1.0]),
        decimals: 2,
        ..HeatMap::default()
    }
}

fn confusion(count: usize) -> Confusion {
    let counts = (0..count).flat_map(|row| [(row, row, 90), (row, (row + 1) % count, 9), (row, (row + 3) % count, 1)]);
    let entry = |at: usize| Ranked {
        names: vec![names(count)[at].clone(), names(count)[(at + 1) % count].clone()],
        numbers: "9 of 100, 9 %".into(),
        share: 0.09,
    };
    let ranking = Ranking { title: "Confused most often".into(), entries: (0..count.min(10)).map(entry).collect() };
    Confusion {
        title: "val".into(),
        classes: names(count),
        group: 1,
        counts: counts.collect(),
        rankings: if count > 30 { vec![ranking.clone(), ranking] } else { Vec::new() },
    }
}

fn reliability(images: usize) -> Reliability {
    let bin = |at: usize| Bin { n: at * images, confidence: (at as f64 + 0.5) / 15.0, accuracy: at as f64 / 18.0 };
    Reliability {
        title: "val: confidence against accuracy".into(),
        bins: (0..15).map(bin).collect(),
        expected_error: 0.083,
        confidence: 0.8,
        accuracy: 0.717,
    }
}

fn bars(count: usize) -> Bars {
    let bar = |(at, name): (usize, String)| Bar {
        name,
        value: 0.9 / (at + 1) as f64,
        interval: Some([0.8 / (at + 1) as f64, 0.95 / (at + 1) as f64]),
    };
    Bars {
        title: "Accuracy".into(),
        x: Axis::shares("accuracy"),
        bars: names(count).into_iter().enumerate().map(bar).collect(),
    }
}

fn sheet(count: usize) -> ContactSheet {
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([30 * x as u8, 30 * y as u8, 128]));
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let tile = |name: String| Tile {
        image: png.get_ref().clone(),
        caption: vec![format!("true: {name}"), "said: another class".into(), "97.1 %".into()],
        right: Some(false),
    };
    ContactSheet {
        title: "Highest loss on val".into(),
        tiles: names(count).into_iter().map(tile).collect(),
        side: 96.0,
        key: None,
    }
}

fn figures(count: usize) -> Vec<(&'static str, Figure)> {
    vec![
        ("lines", lines(count).into()),
        ("ordered", Lines { ordered: true, noun: "layers".into(), y: Axis::log("rate"), ..lines(count) }.into()),
        ("range", range_test().into()),
        ("scatter", scatter(count).into()),
        ("map", map(count, 500).into()),
        ("heat_map", heat_map(count).into()),
        ("confusion", confusion(count).into()),
        ("reliability", reliability(count).into()),
        ("bars", bars(count).into()),
        ("sheet", sheet(count).into()),
    ]
}

/// What can be seen of each text: left, top, right, bottom, and what it says.
fn texts(group: &Group, found: &mut Vec<([f32; 4], String)>) {
    for node in group.children() {
        match node {
            Node::Group(group) => texts(group, found),
            Node::Text(text) => {
                let ink = text.flattened().bounding_box().transform(text.abs_transform()).unwrap();
                let said = text.chunks().iter().map(|chunk| chunk.text()).collect();
                found.push(([ink.left(), ink.top(), ink.right(), ink.bottom()], said));
            }
            _ => {}
        }
    }
}

/// Checks where texts are; with a folder in `FIGURES`, the drawing is written there to be looked at.
fn check(name: &str, drawing: &Drawing) {
    if let Some(folder) = std::env::var_os("FIGURES") {
        let path = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, drawing.encode(FileFormat::Png).unwrap()).unwrap();
    }
    let mut found = Vec::new();
    texts(drawing.tree().unwrap().root(), &mut found);
    assert!(!found.is_empty(), "{name} says nothing");
    for (at, (one, said)) in found.iter().enumerate() {
        assert!(
            one[0] >= 0.0 && one[1] >= 0.0 && f64::from(one[2]) <= drawing.width && f64::from(one[3]) <= drawing.height,
            "{name}: '{said}' is cut off: {one:?} in {} × {}",
            drawing.width,
            drawing.height
        );
        for (other, also) in &found[..at] {
            let apart = one[0] >= other[2] || other[0] >= one[2] || one[1] >= other[3] || other[1] >= one[3];
            assert!(apart, "{name}: '{said}' {one:?} lies on '{also}' {other:?}");
        }
    }
}

#[test]
fn no_text_lies_on_another_or_is_cut_off() {
    for count in [1, 2, 6, 17, 100] {
        for width in [420.0, 640.0, 1000.0] {
            for (name, figure) in figures(count) {
                let style = Style { width, ..Style::default() };
                check(&format!("{name} of {count}, {width} wide"), &figure.draw(&style));
            }
        }
    }
}

#[test]
fn no_data_and_broken_numbers_are_drawn_too() {
    let nothing: [Figure; 8] = [
        Lines::default().into(),
        Scatter::default().into(),
        PointMap::default().into(),
        HeatMap::default().into(),
        Confusion::default().into(),
        Reliability::default().into(),
        Bars::default().into(),
        ContactSheet::default().into(),
    ];
    for figure in nothing {
        let drawing = figure.draw(&Style::default());
        assert!(drawing.svg().contains(">no data<"), "{figure:?}");
        check("nothing", &drawing);
    }
    let broken: Vec<(f64, f64)> = vec![(1.0, f64::NAN), (2.0, 0.5), (f64::INFINITY, 1.0), (4.0, -1.0), (5.0, 1e300)];
    for axis in [Axis::new("y"), Axis::log("y"), Axis::shares("y"), Axis::integers("y")] {
        let lines = Lines { y: axis, lines: vec![Line::new("a", broken.clone())], ..Lines::default() };
        check("broken", &Figure::from(lines).draw(&Style::default()));
    }
    let values = vec![vec![Some(f64::NAN), None], vec![Some(f64::INFINITY), Some(2.0)], vec![]];
    let map = HeatMap { rows: names(3), columns: names(2), values, ..HeatMap::default() };
    check("broken", &Figure::from(map).draw(&Style::default()));
    let points = vec![Point { label: "a".into(), x: f64::NAN, ..Point::default() }];
    assert!(Figure::from(Scatter { points, ..Scatter::default() }).draw(&Style::default()).svg().contains("no data"));
    let outside =
        Confusion { classes: names(2), counts: vec![(0, 7, 1), (9, 0, 1), (0, 0, 0)], ..Confusion::default() };
    check("outside", &Figure::from(outside).draw(&Style::default()));
}

#[test]
fn equal_lines_are_drawn_once_and_named_together() {
    let layer = |name: String| Line::new(name, vec![(1.0, 1e-3), (2.0, 5e-4)]);
    let lines =
        (0..19).map(|at| layer(format!("layer{at}"))).chain([Line::new("head", vec![(1.0, 1e-2), (2.0, 5e-3)])]);
    let figure = Lines { lines: lines.collect(), noun: "layers".into(), y: Axis::log("rate"), ..Lines::default() };
    let svg = Figure::from(figure).draw(&Style::default()).svg().to_owned();
    assert!(svg.contains("layer0 … layer18 (19 layers)") && svg.contains(">head<"));
    assert_eq!(svg.matches("stroke-linejoin").count(), 2);
}

#[test]
fn a_page_can_show_each_line_alone_and_a_file_is_the_same_without_that() {
    for count in [2, 12] {
        let figure = Figure::from(lines(count));
        let page = figure.draw(&Style::page(640.0)).svg().to_owned();
        for line in 0..count {
            // The line itself, and its name.
            assert_eq!(page.matches(&format!("data-series=\"{line}\"")).count(), 2, "{count}: {line}");
            assert_eq!(page.matches(&format!("data-series=\"{line}\" data-legend")).count(), 1, "{count}: {line}");
        }
        assert!(!figure.draw(&Style::default()).svg().contains("data-"));
    }
}

/// What a figure's texts say, in order.
fn said(svg: &str) -> Vec<&str> {
    svg.split("</text>").filter_map(|part| part.rsplit_once("\">")).map(|(_, text)| text).collect()
}

#[test]
fn a_file_and_a_page_of_the_same_width_say_the_same_at_the_same_places() {
    for (name, figure) in figures(6) {
        let file = figure.draw(&Style { width: 540.0, ..Style::default() });
        let page = figure.draw(&Style::page(540.0));
        assert_eq!((file.width, file.height), (page.width, page.height), "{name}");
        assert_eq!(said(file.svg()), said(page.svg()), "{name}");
        let places = |svg: &str| {
            svg.split("<text ")
                .skip(1)
                .filter_map(|part| part.split(" font-size").next())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(places(file.svg()), places(page.svg()), "{name}");
    }
}

#[test]
fn many_points_and_many_classes_stay_small_and_quick() {
    let start = Instant::now();
    let drawing = Figure::from(map(20, 10_000)).draw(&Style::default());
    assert!(drawing.svg().len() < 1_000_000, "{}", drawing.svg().len());
    let png = drawing.encode(FileFormat::Png).unwrap();
    assert!(png.len() < 1_000_000, "{}", png.len());
    let drawing = Figure::from(map(1_000, 100_000)).draw(&Style::default());
    assert!(drawing.svg().len() < 4_000_000, "{}", drawing.svg().len());
    for (name, figure) in [
        ("heat map", Figure::from(heat_map(1_000))),
        ("confusion", confusion(1_000).into()),
        ("map", map(1_000, 5_000).into()),
    ] {
        let drawing = figure.draw(&Style::default());
        let png = drawing.encode(FileFormat::Png).unwrap();
        assert!(
            drawing.svg().len() < 1_000_000 && png.len() < 1_000_000,
            "{name}: {} and {}",
            drawing.svg().len(),
            png.len()
        );
    }
    // A second or two on an idle core; what takes the square of the points would take hours.
    assert!(start.elapsed().as_secs() < 120);
}

#[test]
fn equal_labels_have_equal_colors_and_zeros_are_blank() {
    let values = vec![vec![Some(0.996), Some(1.0)], vec![Some(0.9999), None]];
    let map = HeatMap {
        rows: names(2),
        columns: names(2),
        values,
        range: Some([0.0, 1.0]),
        decimals: 2,
        ..HeatMap::default()
    };
    let svg = Figure::from(map).draw(&Style::default()).svg().to_owned();
    let darkest =
        svg.split("fill=\"").filter(|part| part.starts_with("#2") && part.contains("/><")).map(|part| &part[..7]);
    assert_eq!(svg.matches(">1.00<").count(), 3);
    // Three cells and the last step of the scale.
    let last = darkest.last().unwrap();
    assert!(svg.matches(last).count() >= 4, "{last}");

    let svg = Figure::from(confusion(17)).draw(&Style::default()).svg().to_owned();
    assert!(!svg.contains(">0<") && !svg.contains("0.00") && svg.matches(">90<").count() == 17);
    assert!(svg.contains(">true class<") && svg.contains(">predicted class<"));
}

#[test]
fn a_figure_is_plain_data() {
    for (name, figure) in figures(3) {
        let text = serde_json::to_string(&figure).unwrap();
        let read: Figure = serde_json::from_str(&text).unwrap();
        assert_eq!(read, figure, "{name}");
        let drawing = read.draw(&Style::default());
        assert_eq!(drawing.svg(), figure.draw(&Style::default()).svg());
        // Whatever the format, it is made from the SVG.
        let png = image::load_from_memory(&drawing.encode(FileFormat::Png).unwrap()).unwrap();
        assert_eq!(
            (f64::from(png.width()), f64::from(png.height())),
            (2.0 * drawing.width, 2.0 * drawing.height),
            "{name}"
        );
        #[cfg(feature = "pdf")]
        assert!(drawing.encode(FileFormat::Pdf).unwrap().starts_with(b"%PDF"));
    }
}

#[test]
fn any_name_is_text_and_nothing_else() {
    let hostile = "</text><script>alert(1)</script>\u{202E}\0 & \" ' \u{FFFF} كلب 北京 🐱";
    let figure = Lines {
        title: hostile.into(),
        lines: vec![Line::new(hostile, vec![(0.0, 1.0), (1.0, 2.0)])],
        x: Axis::new(hostile),
        ..Lines::default()
    };
    for style in [Style::default(), Style::page(520.0)] {
        let drawing = Figure::from(figure.clone()).draw(&style);
        assert!(!drawing.svg().contains("<script") && drawing.svg().contains("\\u{202e}"));
        drawing.tree().unwrap();
    }
}

#[test]
fn shares_are_in_percent() {
    assert_eq!(Format::Percent.text(0.5), "50 %");
    assert!(Figure::from(scatter(2)).draw(&Style::default()).svg().contains(" %</text>"));
}
