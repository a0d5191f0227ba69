//! Static plots as SVG and PNG.
//!
//! The first colors are Okabe and Ito's, which color-blind readers can distinguish. Every series also has its own
//! marker or dash. A plot is laid out separately for each format, because the formats spell names differently (see
//! [`names`](super::names)).

mod confusion_map;
mod maps;

use std::path::{Path, PathBuf};

use kuva::backend::raster::RasterBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::scatter::MarkerShape;
use kuva::prelude::{ColorMap, Heatmap, Layout, LegendPosition, LinePlot, LineStyle, Plot as Drawn, ScatterPlot};
use kuva::render::render::{Scene, render_multiple};

pub use self::confusion_map::confusion_map;
pub use self::maps::{point_map, table_map};
use super::names::Medium;
use crate::files::{self, FileError};

/// Why a plot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ending is neither `.svg` nor `.png`.
    #[error("{path} must end with .svg or .png", path = .0.display())]
    UnknownFormat(PathBuf),
    /// The picture could not be drawn.
    #[error("cannot draw {path}: {reason}", path = path.display())]
    Drawing {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Okabe and Ito's eight colors, then twelve that were chosen one by one, each as far as possible in OKLab from those
/// before it, also as readers without red or green cones see them.
const COLOURS: [&str; 20] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F", "#690000", "#3C0087",
    "#5AF0A5", "#0000FF", "#962D69", "#9669FF", "#4B5A00", "#691EC3", "#003C3C", "#96B487", "#B4D2FF", "#D2D200",
];
const MARKERS: [MarkerShape; 7] = [
    MarkerShape::Circle,
    MarkerShape::Square,
    MarkerShape::Triangle,
    MarkerShape::Diamond,
    MarkerShape::TriangleDown,
    MarkerShape::Star,
    MarkerShape::Pentagon,
];
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 420.0;
/// Characters of a title that fit in a line.
const TITLE_CHARACTERS: usize = 42;
/// Columns of a name in a legend or beside an axis, at most.
const NAME_COLUMNS: usize = 32;
/// Pixels of a PNG for each unit of the drawing.
const PNG_SCALE: f32 = 2.0;

/// A drawing that can be saved.
pub struct Plot {
    svg: Scene,
    png: Scene,
}

/// A point with a name, and intervals of its coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterPoint {
    /// Its name in the legend.
    pub label: String,
    /// Its place.
    pub x: f64,
    /// Its place.
    pub y: f64,
    /// From and to where it may lie.
    pub x_interval: Option<[f64; 2]>,
    /// From and to where it may lie.
    pub y_interval: Option<[f64; 2]>,
}

/// A named line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in order.
    pub points: Vec<(f64, f64)>,
}

/// Which axes of a line plot are logarithmic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogAxes {
    /// The horizontal one.
    pub x: bool,
    /// The vertical one.
    pub y: bool,
}

/// Points with error bars, such as accuracy in distribution against accuracy under shift.
pub fn scatter(title: &str, x_label: &str, y_label: &str, points: &[ScatterPoint]) -> Plot {
    let reach = |value: f64, interval: Option<[f64; 2]>| {
        let [low, high] = interval.unwrap_or([value, value]);
        (value - low.min(value), high.max(value) - value)
    };
    let drawable = |point: &&ScatterPoint| point.x.is_finite() && point.y.is_finite();
    Plot::draw(|medium| {
        let part = |(index, point): (usize, &ScatterPoint)| -> Drawn {
            let drawn = ScatterPlot::new()
                .with_data([(point.x, point.y)])
                .with_x_err_asymmetric([reach(point.x, point.x_interval)])
                .with_y_err_asymmetric([reach(point.y, point.y_interval)])
                .with_color(COLOURS[index % COLOURS.len()])
                .with_marker(MARKERS[index % MARKERS.len()])
                .with_size(6.0)
                .with_legend(name(medium, &point.label));
            drawn.into()
        };
        let parts: Vec<Drawn> = points.iter().enumerate().filter(|(_, point)| drawable(point)).map(part).collect();
        let layout = layout(medium, &parts, [title, x_label, y_label]);
        (parts, layout)
    })
}

/// Named lines over one axis.
pub fn lines(title: &str, x_label: &str, y_label: &str, log: LogAxes, series: &[Series]) -> Plot {
    let drawable = |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!log.x || x > 0.0) && (!log.y || y > 0.0);
    let styles = [LineStyle::Solid, LineStyle::Dashed, LineStyle::Dotted];
    Plot::draw(|medium| {
        let mut parts = Vec::new();
        for (index, series) in series.iter().enumerate() {
            let points: Vec<(f64, f64)> = series.points.iter().copied().filter(drawable).collect();
            let colour = COLOURS[index % COLOURS.len()];
            if let [only] = points.as_slice() {
                let point = ScatterPlot::new().with_data([*only]).with_color(colour).with_size(4.0);
                parts.push(point.with_legend(name(medium, &series.name)).into());
            } else if !points.is_empty() {
                let line = LinePlot::new().with_data(points).with_color(colour).with_stroke_width(2.0);
                let style = styles[index / COLOURS.len() % styles.len()].clone();
                parts.push(line.with_line_style(style).with_legend(name(medium, &series.name)).into());
            }
        }
        let mut layout = layout(medium, &parts, [title, x_label, y_label]);
        if log.x {
            layout = layout.with_log_x();
        }
        if log.y {
            layout = layout.with_log_y();
        }
        (parts, layout)
    })
}

/// Values in cells, rows from the bottom up, as a network is drawn from its input.
pub fn heat_map(title: &str, x_label: &str, rows: &[String], columns: &[String], values: &[Vec<f64>]) -> Plot {
    const ROW_HEIGHT: f64 = 15.0;
    Plot::draw(|medium| {
        let map = Heatmap::new().with_data(values.to_vec()).with_color_map(ColorMap::Cividis).with_cell_size(1.0);
        let parts: Vec<Drawn> = vec![map.into()];
        let mut layout = layout(medium, &parts, [title, x_label, ""]);
        let names = |names: &[String]| names.iter().map(|each| name(medium, each)).collect::<Vec<_>>();
        // A heat map without rows or columns has no axis to name.
        if !rows.is_empty() && !columns.is_empty() {
            layout = layout.with_x_categories(names(columns)).with_y_categories(names(rows));
        }
        let height = (rows.len() as f64 * ROW_HEIGHT + 120.0).max(HEIGHT / 2.0);
        (parts, layout.with_height(height).with_tick_size(9))
    })
}

/// A frame with a title, axes with labels, and the legend outside.
fn layout(medium: Medium, parts: &[Drawn], [title, x_label, y_label]: [&str; 3]) -> Layout {
    let text = |text: &str| escaped(&medium.text(text));
    Layout::auto_from_plots(parts)
        .with_title(text(title))
        .with_title_wrap(TITLE_CHARACTERS)
        .with_x_label(text(x_label))
        .with_y_label(text(y_label))
        .with_legend_position(LegendPosition::OutsideRightTop)
        .with_width(WIDTH)
        .with_height(HEIGHT)
}

impl Plot {
    /// What `parts` makes for either format.
    fn draw(parts: impl Fn(Medium) -> (Vec<Drawn>, Layout)) -> Self {
        Self::of_scenes(|medium| {
            let (parts, layout) = parts(medium);
            render_multiple(parts, layout)
        })
    }

    fn of_scenes(scene: impl Fn(Medium) -> Scene) -> Self {
        Self { svg: scene(Medium::Svg), png: scene(Medium::Png) }
    }

    /// The drawing as SVG.
    pub fn svg(&self) -> String {
        SvgBackend.render_scene(&self.svg)
    }

    /// Writes the drawing, as SVG or PNG by the file's ending.
    ///
    /// # Errors
    /// Another ending; a file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PlotError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let bytes = match ending.as_deref() {
            Some("svg") => self.svg().into_bytes(),
            Some("png") => RasterBackend::new()
                .with_scale(PNG_SCALE)
                .render_scene(&self.png)
                .map_err(|reason| PlotError::Drawing { path: path.to_owned(), reason })?,
            _ => return Err(PlotError::UnknownFormat(path.to_owned())),
        };
        Ok(files::write_atomically(path, |file| file.write_all(&bytes))?)
    }

    /// Writes the drawing beside each other as `name.svg` and `name.png`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_both(&self, folder: &Path, name: &str) -> Result<(), PlotError> {
        self.save(&folder.join(format!("{name}.svg")))?;
        self.save(&folder.join(format!("{name}.png")))
    }
}

/// A name for a legend or an axis.
fn name(medium: Medium, name: &str) -> String {
    escaped(&medium.label(name, NAME_COLUMNS))
}

/// A label in which the drawing library finds no mathematics.
fn escaped(label: &str) -> String {
    label.replace('$', "\\$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(label: &str, x: f64, y: f64) -> ScatterPoint {
        ScatterPoint { label: label.into(), x, y, x_interval: Some([x - 0.01, x + 0.02]), y_interval: None }
    }

    #[test]
    fn plots_hold_their_labels_and_both_formats_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let plots = [
            scatter("accuracy <&>", "ID", "OOD", &[point("lp", 0.9, 0.8), point("ft $2", 0.95, 0.7)]),
            lines(
                "loss",
                "rate",
                "loss",
                LogAxes { x: true, y: false },
                &[Series { name: "lp".into(), points: vec![(1e-4, 1.0), (1e-3, 0.5), (0.0, f64::NAN)] }],
            ),
            heat_map("rates", "epoch", &["lp".into(), "stem".into()], &["1".into()], &[vec![0.1], vec![1.0]]),
        ];
        for plot in plots {
            assert!(plot.svg().starts_with("<svg") && plot.svg().contains("lp"));
            plot.save_both(folder.path(), "plot").unwrap();
            let png = image::open(folder.path().join("plot.png")).unwrap();
            assert!(f64::from(png.width()) >= WIDTH);
        }
        let error = lines("", "", "", LogAxes::default(), &[]).save(Path::new("plot.gif")).unwrap_err().to_string();
        assert!(error.contains("plot.gif") && error.contains(".svg or .png"), "{error}");
    }

    #[test]
    fn nothing_to_draw_is_drawn_too() {
        for plot in
            [scatter("", "", "", &[]), lines("", "", "", LogAxes::default(), &[]), heat_map("", "", &[], &[], &[])]
        {
            assert!(plot.svg().starts_with("<svg"));
        }
    }
}
