//! `retune cka`: compares representations across resampling filters, layers, or models.

mod page;

use std::path::{Path, PathBuf};

use clap::Args;
use retune::inference::Layer;
use retune::inference::layers::every_layer;
use retune::models::Model;
use retune::monitor::Monitor;
use retune::pixels::resize::Interpolation;
use retune::report::findings::{self, Command, Findings, NextStep};
use retune::report::plot::{Plot, table_map};
use retune::run::{self, FitOptions};
use retune::similarity::{self, CkaMatrix, CkaOptions, View};
use retune::wording::{self, counted};
use serde::Serialize;

use crate::arguments::cka::{ComparisonArguments, InterpolationArguments, SimilarityArguments};
use crate::arguments::data::DataArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments, absolute};
use crate::arguments::output_file::{OutputFile, csv_cell};
use crate::failure::Failure;
use crate::output::table::{Align, Table};
use crate::output::{Console, Subject, results};

/// Options of `retune cka`.
#[derive(Args)]
pub struct CkaArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    interpolations: InterpolationArguments,
    /// Compare the model's layers with each other instead of resampling filters
    #[arg(long, conflicts_with_all = ["interpolations", "against"], help_heading = "Comparison")]
    layers: bool,
    /// Compare the model's layers with those of another model or run, such as its pretrained model
    #[arg(long, value_name = "MODEL", conflicts_with = "interpolations", help_heading = "Comparison")]
    against: Option<String>,
    /// Layers, separated by commas: names that `retune layers` lists, input, pooled, logits, or all [default: pooled
    /// between resampling filters, else all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Comparison")]
    layer: Vec<String>,
    /// Write the result to this file: .html, .png, or .svg (heat maps), .json, or .csv
    #[arg(short, long, value_name = "FILE")]
    out: Option<OutputFile>,
    #[command(flatten)]
    similarity: SimilarityArguments,
    #[command(flatten)]
    comparison: ComparisonArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// What was compared.
#[derive(Serialize)]
#[serde(untagged)]
enum Document {
    /// One matrix.
    One(Box<CkaMatrix>),
    /// A matrix for each layer.
    Several {
        /// The model's own way of resizing, first in each.
        own: Interpolation,
        matrices: Vec<CkaMatrix>,
    },
}

/// Compares, writes and prints.
pub fn run(arguments: &CkaArguments, console: &Console) -> Result<(), Failure> {
    arguments.out.as_ref().map_or(Ok(()), OutputFile::check)?;
    let change = arguments.preprocessing.change();
    let batches = &arguments.data.batches;
    let model = batches.in_precision(arguments.model.load(&change, console)?, console)?;
    let dataset = arguments.data.open_for(&model, console)?;
    console.tell_unused_range(&dataset, &model);
    let options = arguments.comparison.options(batches, console);
    let options = arguments.similarity.apply(options);
    let own = view("model", &model);
    let document = match &arguments.against {
        Some(against) => {
            let other = arguments.model.load_other(against, model.config().preprocessing(), console)?;
            let other = other.with_precision(model.precision())?;
            let (rows, columns) = (layers(arguments, &model, true)?, layers(arguments, &other, true)?);
            let other = view("against", &other);
            let result =
                similarity::between_models((&own, &rows), (&other, &columns), &dataset, &options, &console.progress)?;
            Document::One(Box::new(result))
        }
        None if arguments.layers => {
            let rows = layers(arguments, &model, true)?;
            Document::One(Box::new(similarity::between_layers(&own, &rows, &dataset, &options, &console.progress)?))
        }
        None => between_interpolations(arguments, &model, &dataset, &options, console)?,
    };
    for warning in document.warnings() {
        console.progress.message(&format!("note: {warning}"));
    }
    let subject = Subject::new(arguments.model.typed(), &arguments.data.data);
    let findings = document.findings(arguments, model.config().preprocessing().interpolation, console);
    let against = arguments.against.as_deref();
    if let Some(out) = &arguments.out {
        out.write(|| document.plot(), &document, || document.csv(), || document.page(&subject, against, &findings))?;
    }
    console.print(&document, || format!("{}\n{}", document.text().trim_end(), results::found(&findings)))
}

fn between_interpolations(
    arguments: &CkaArguments,
    model: &Model,
    dataset: &retune::sources::Dataset,
    options: &CkaOptions,
    console: &Console,
) -> Result<Document, Failure> {
    let own = model.config().preprocessing().interpolation;
    let resized = |interpolation: Interpolation| {
        let mut view = view(interpolation.name(), model);
        view.preprocessing.interpolation = interpolation;
        view
    };
    let views: Vec<View> = arguments.interpolations.with_own(own).into_iter().map(resized).collect();
    let layers = layers(arguments, model, false)?;
    let mut matrices = similarity::between_views(&views, &layers, dataset, options, &console.progress)?;
    Ok(match matrices.pop() {
        Some(only) if matrices.is_empty() => Document::One(Box::new(only)),
        last => {
            matrices.extend(last);
            Document::Several { own, matrices }
        }
    })
}

/// The options of the run whose model is compared, and the model that it began with.
fn base(arguments: &CkaArguments) -> Option<(FitOptions, PathBuf)> {
    let options = run::read_options(arguments.model.run()?).ok()?;
    let base = options.model.path.clone()?;
    Some((options, base))
}

/// What to do with what fine-tuning changed: choose layers from the run's own training images, for these may be test
/// images. Of two models that have nothing to do with each other, measure accuracy.
fn after_models(arguments: &CkaArguments, command: impl Fn(&str) -> Command) -> NextStep {
    let against = arguments.against.as_deref().map(|against| absolute(Path::new(against)));
    match base(arguments).filter(|(_, base)| Some(base) == against.as_ref()) {
        Some((options, _)) => {
            let advise = Command::of_run("advise", &options, None).without(&["eval", "budget"]);
            NextStep::new("measure which layers are worth tuning on the training images", &advise)
        }
        None => NextStep::new("measure accuracy on these images", &command("eval")),
    }
}

fn view<'a>(name: &str, model: &'a Model) -> View<'a> {
    View { name: name.to_owned(), model, preprocessing: model.config().preprocessing().clone() }
}

/// The layers asked for, each with its name.
fn layers(arguments: &CkaArguments, model: &Model, all: bool) -> Result<Vec<(String, Layer)>, Failure> {
    let names = arguments.layer.iter().map(String::as_str).collect::<Vec<_>>();
    match names.as_slice() {
        [] if all => Ok(every_layer(model)),
        [] => Ok(vec![("pooled".to_owned(), Layer::Pooled)]),
        ["all"] => Ok(every_layer(model)),
        names => {
            let mut layers: Vec<(String, Layer)> = Vec::new();
            for &name in names {
                if layers.iter().all(|(known, _)| known != name) {
                    layers.push((name.to_owned(), Layer::parse(name, model)?));
                }
            }
            Ok(layers)
        }
    }
}

impl Document {
    fn matrices(&self) -> &[CkaMatrix] {
        match self {
            Self::One(matrix) => std::slice::from_ref(matrix),
            Self::Several { matrices, .. } => matrices,
        }
    }

    /// Each warning once.
    fn warnings(&self) -> Vec<&str> {
        let mut warnings: Vec<&str> = Vec::new();
        for matrix in self.matrices() {
            for warning in &matrix.warnings {
                if !warnings.contains(&warning.as_str()) {
                    warnings.push(warning);
                }
            }
        }
        warnings
    }

    fn text(&self) -> String {
        match self {
            Self::One(matrix) => describe(matrix),
            Self::Several { own, matrices } => {
                let mut columns = vec![("layer".to_owned(), Align::Left)];
                columns.extend(matrices[0].names[1..].iter().map(|name| (name.clone(), Align::Right)));
                let mut table = Table::new(columns);
                for matrix in matrices {
                    let layer = matrix.layer.clone().unwrap_or_default();
                    table.row(std::iter::once(layer).chain(matrix.matrix[0][1..].iter().copied().map(number)));
                }
                format!("{}\n\nbetween {own}, the model's own, and:\n{table}", heading(&matrices[0], None))
            }
        }
    }

    fn csv(&self) -> String {
        let mut text = "layer,row,column,cka,low,high\n".to_owned();
        for matrix in self.matrices() {
            for (row, values) in matrix.matrix.iter().enumerate() {
                for (column, value) in values.iter().enumerate() {
                    let interval = matrix.intervals.get(row).and_then(|row| row[column]);
                    let names = [
                        matrix.layer.as_deref().unwrap_or_default(),
                        &matrix.names[row],
                        &matrix.column_names()[column],
                    ];
                    let numbers = [*value, interval.map(|[low, _]| low), interval.map(|[_, high]| high)];
                    let names = names.map(csv_cell).join(",");
                    let numbers = numbers.map(|number| number.map(|number| number.to_string()).unwrap_or_default());
                    text.push_str(&format!("{names},{}\n", numbers.join(",")));
                }
            }
        }
        text
    }

    /// What is most and least alike.
    fn findings(&self, arguments: &CkaArguments, own: Interpolation, console: &Console) -> Findings {
        let command = |to: &str| console.command_line.turned_into(to);
        match self {
            Self::One(matrix) if matrix.columns.is_some() => {
                findings::similarity::between_models(matrix, after_models(arguments, command))
            }
            Self::One(matrix) if matrix.layer.is_none() => {
                let base = base(arguments).map(|(_, base)| findings::typed(&base));
                findings::similarity::between_layers(matrix, command, base.as_deref())
            }
            _ => findings::similarity::between_filters(self.matrices(), own.name(), command),
        }
    }

    fn plot(&self) -> Plot {
        let values = |row: &[Option<f64>]| row.iter().map(|value| value.unwrap_or(f64::NAN)).collect::<Vec<_>>();
        match self {
            Self::One(matrix) => {
                let place = matrix.layer.as_ref().map(|layer| format!(" at {layer}")).unwrap_or_default();
                let title = format!("CKA{place}, {}", counted(matrix.n, "image"));
                let rows: Vec<Vec<f64>> = matrix.matrix.iter().map(|row| values(row)).collect();
                table_map(&title, "CKA", &matrix.names, matrix.column_names(), &rows)
            }
            Self::Several { own, matrices } => {
                let layers: Vec<String> = matrices.iter().filter_map(|matrix| matrix.layer.clone()).collect();
                let rows: Vec<Vec<f64>> = matrices.iter().map(|matrix| values(&matrix.matrix[0][1..])).collect();
                let title = format!("CKA with {own}, {}", counted(matrices[0].n, "image"));
                table_map(&title, "CKA", &layers, &matrices[0].names[1..], &rows)
            }
        }
    }
}

/// A matrix as text, and its most asked-for part with intervals.
fn describe(matrix: &CkaMatrix) -> String {
    let mut columns = vec![("".to_owned(), Align::Left)];
    columns.extend(matrix.column_names().iter().map(|name| (name.clone(), Align::Right)));
    let mut table = Table::new(columns);
    for (name, values) in matrix.names.iter().zip(&matrix.matrix) {
        table.row(std::iter::once(name.clone()).chain(values.iter().copied().map(number)));
    }
    let mut text = heading(matrix, matrix.layer.as_deref());
    if let Some(preprocessing) = &matrix.preprocessing {
        text.push_str(&format!("\nboth models see images at {preprocessing}"));
    }
    text.push_str(&format!("\n\n{table}"));
    if let Some(list) = with_intervals(matrix) {
        text.push_str(&format!("\n{list}"));
    }
    let mut reasons: Vec<&str> = matrix.undefined.iter().map(|cell| cell.reason.as_str()).collect();
    reasons.dedup();
    for reason in reasons {
        let cells = matrix.undefined.iter().filter(|cell| cell.reason == reason);
        let count = cells.count();
        let are = if count == 1 { "is" } else { "are" };
        text.push_str(&format!("\n{} {are} undefined: {reason}", counted(count, "value")));
    }
    text
}

/// A pair's name, with its value and interval where they exist.
type Pair = (String, Option<f64>, Option<[f64; 2]>);

/// The first row, where rows are columns (the model's own way of resizing against the others); same-named layers, where
/// two models are compared.
fn asked_for(matrix: &CkaMatrix) -> Vec<Pair> {
    let cells: Vec<(String, usize, usize)> = match (&matrix.columns, &matrix.layer) {
        (Some(columns), _) => {
            let same = |(row, name): (usize, &String)| {
                let column = columns.iter().position(|column| column == name)?;
                Some((name.clone(), row, column))
            };
            matrix.names.iter().enumerate().filter_map(same).collect()
        }
        (None, Some(_)) => {
            let others = matrix.names.iter().enumerate().skip(1);
            others.map(|(column, name)| (format!("{}, {name}", matrix.names[0]), 0, column)).collect()
        }
        (None, None) => Vec::new(),
    };
    let found = |(name, row, column): (String, usize, usize)| {
        let interval = matrix.intervals.get(row).and_then(|row| row[column]);
        (name, matrix.matrix[row][column], interval)
    };
    cells.into_iter().map(found).collect()
}

/// The same as text.
fn with_intervals(matrix: &CkaMatrix) -> Option<Table> {
    let pairs = asked_for(matrix);
    if pairs.is_empty() {
        return None;
    }
    let mut table = Table::new([("between", Align::Left), ("CKA", Align::Right), ("95 % interval", Align::Right)]);
    for (name, value, interval) in pairs {
        let interval = interval.map(|ends| wording::interval(ends, 4)).unwrap_or_default();
        let value = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
        table.row([name, value, interval]);
    }
    Some(table)
}

/// What was computed; `at` is the layer, unless there are several.
fn heading(matrix: &CkaMatrix, at: Option<&str>) -> String {
    let minibatches = match matrix.minibatches {
        1 => String::new(),
        count => format!(" in {count} minibatches of {}", matrix.n / count),
    };
    let place = at.map(|layer| format!(" at {layer}")).unwrap_or_default();
    format!("{} CKA{place}, {}{minibatches}", matrix.estimator, counted(matrix.n, "image"))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}
