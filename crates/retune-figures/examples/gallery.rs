//! A figure of every kind, as SVG and PNG in a folder:
//! `cargo run --release -p retune-figures --example gallery -- FOLDER`

use std::error::Error;
use std::path::PathBuf;

use retune_figures::figure::{HeatMap, Line, Lines, PointMap, Scatter};
use retune_figures::{Axis, Figure, Style, figure};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    std::fs::create_dir_all(&folder)?;
    for (name, figure) in [("lines", lines()), ("scatter", scatter()), ("map", map()), ("heat_map", heat_map())] {
        let drawing = figure.draw(&Style::default());
        for ending in ["svg", "png"] {
            let path = folder.join(format!("{name}.{ending}"));
            std::fs::write(&path, drawing.encode_for(&path)?)?;
        }
        // The description alone is enough to draw it again.
        std::fs::write(folder.join(format!("{name}.json")), serde_json::to_string(&figure)?)?;
    }
    Ok(())
}

fn lines() -> Figure {
    let rate = |scale: f64| (1..=8).map(|epoch| (f64::from(epoch), scale * 0.7f64.powi(epoch))).collect();
    let mut lines: Vec<Line> = (0..12).map(|layer| Line::new(format!("layer{layer}"), rate(1e-4))).collect();
    lines.push(Line::new("head", rate(1e-2)));
    Lines {
        title: "Learning rates of the layers".into(),
        x: Axis::integers("epoch"),
        y: Axis::log("learning rate"),
        lines,
        noun: "layers".into(),
        ..Lines::default()
    }
    .into()
}

fn scatter() -> Figure {
    let point = |label: &str, x: f64, y: f64| figure::Point {
        label: label.into(),
        x,
        y,
        x_interval: Some([x - 0.01, x + 0.01]),
        y_interval: Some([y - 0.03, y + 0.03]),
    };
    Scatter {
        title: "In distribution and under shift".into(),
        x: Axis::shares("accuracy on test"),
        y: Axis::shares("accuracy under shift"),
        points: vec![point("lp", 0.91, 0.62), point("ft", 0.95, 0.55), point("lp-ft", 0.95, 0.64)],
        ..Scatter::default()
    }
    .into()
}

fn map() -> Figure {
    let place = |at: usize| {
        let (angle, away) = (at as f32 * 2.4, (at as f32).sqrt() / 40.0);
        let middle = (at % 5) as f32 * 1.257;
        [3.0 * middle.cos() + away * angle.cos(), 3.0 * middle.sin() + away * angle.sin()]
    };
    PointMap {
        title: "Five groups".into(),
        points: (0..2000).map(place).collect(),
        groups: (0..2000).map(|at| at % 5).collect(),
        names: ["cat", "dog", "лиса", "αλεπού", "fox"].map(str::to_owned).into(),
    }
    .into()
}

fn heat_map() -> Figure {
    let names: Vec<String> = ["nearest", "bilinear", "bicubic", "lanczos"].map(str::to_owned).into();
    let values =
        (0..4).map(|row: i32| (0..4).map(|column| Some(1.0 - 0.07 * f64::from((row - column).abs()))).collect());
    HeatMap {
        title: "CKA at pooled, 512 images".into(),
        value_label: "CKA".into(),
        values: values.collect(),
        rows: names.clone(),
        columns: names,
        range: Some([0.0, 1.0]),
        decimals: 2,
        ..HeatMap::default()
    }
    .into()
}
