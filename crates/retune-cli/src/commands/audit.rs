//! `retune audit`: measures what changes if images are prepared differently from training.

use clap::Args;
use indicatif::HumanCount;
use retune::audit::{self, Audit, AuditRow, Share};
use retune::figures::Format;
use retune::figures::figure::HeatMap;
use retune::inference;
use retune::models::Model;
use retune::monitor::Monitor;
use retune::pixels::input_size::InputSize;
use retune::pixels::preprocess::Preprocessing;
use retune::report::findings::{self, Findings};
use retune::report::page::{self, Cell, Page, Section};
use retune::report::plot::Plot;
use retune::run::PreprocessingChange;
use retune::similarity::View;
use retune::sources::Dataset;
use retune::wording::{counted, interval, sentence};

use super::eval::with_model_classes;
use crate::arguments::cka::{ComparisonArguments, InterpolationArguments};
use crate::arguments::data::DataArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::output_file::{OutputFile, csv_cell};
use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::results::{self, percent};
use crate::output::table::{Align, Table};
use crate::output::{Console, Subject};

/// Options of `retune audit`.
#[derive(Args)]
pub struct AuditArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    interpolations: InterpolationArguments,
    /// Other input sizes to try, in pixels, separated by commas
    #[arg(long, value_name = "N|HxW", value_delimiter = ',', value_parser = parse::input_size, allow_hyphen_values = true,
          help_heading = "Comparison")]
    sizes: Vec<InputSize>,
    /// Other crop fractions to try, separated by commas
    #[arg(long, value_name = "X", value_delimiter = ',', value_parser = parse::crop_fraction, allow_hyphen_values = true,
          help_heading = "Comparison")]
    crop_pcts: Vec<f64>,
    /// Write the result to this file: .html (a page), .png or .svg (a heat map), .json, or .csv
    #[arg(short, long, value_name = "FILE")]
    out: Option<OutputFile>,
    #[command(flatten)]
    comparison: ComparisonArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// Measures, writes and prints.
pub fn run(arguments: &AuditArguments, console: &Console) -> Result<(), Failure> {
    arguments.out.as_ref().map_or(Ok(()), OutputFile::check)?;
    let change = arguments.preprocessing.change();
    let batches = &arguments.data.batches;
    let model = batches.in_precision(arguments.model.load(&change, console)?, console)?;
    let dataset = arguments.data.open_for(&model, console)?;
    console.tell_unused_range(&dataset, &model);
    let dataset = comparable(dataset, &model, console);

    // A transformer's position embedding depends on the size, so each size has a model of its own.
    let sized = |&size: &InputSize| {
        let change = PreprocessingChange { size: Some(size), ..change.clone() };
        Ok((size, arguments.model.load(&change, console)?.with_precision(model.precision())?))
    };
    let sized = arguments.sizes.iter().map(sized).collect::<Result<Vec<(InputSize, Model)>, Failure>>()?;
    let own = model.config().preprocessing().clone();
    let view = |name: String, model, preprocessing: Preprocessing| View { name, model, preprocessing };
    let mut variants = Vec::new();
    for interpolation in arguments.interpolations.with_own(own.interpolation).into_iter().skip(1) {
        variants.push(view(interpolation.to_string(), &model, Preprocessing { interpolation, ..own.clone() }));
    }
    for (size, model) in &sized {
        variants.push(view(format!("size {size}"), model, model.config().preprocessing().clone()));
    }
    for &crop_pct in &arguments.crop_pcts {
        variants.push(view(format!("crop-pct {crop_pct}"), &model, Preprocessing { crop_pct, ..own.clone() }));
    }

    let own = view(format!("{} (own)", own.interpolation), &model, own.clone());
    let options = arguments.comparison.options(batches, console);
    let audit = audit::audit(&own, &variants, &dataset, &options, &console.progress)?;
    if audit.resizing_changes_nothing() {
        console.progress.message(&format!("note: {NO_DIFFERENCE}"));
    }
    let subject = Subject::new(arguments.model.typed(), &arguments.data.data);
    let findings = findings::audit::of(&audit, |to| console.command_line.turned_into(to));
    if let Some(out) = &arguments.out {
        out.write(|| plot(&audit), &audit, || csv(&audit), || page(&audit, &subject, &findings))?;
    }
    console.print(&audit, || format!("{}\n{}", text(&audit), results::found(&findings)))
}

const NO_DIFFERENCE: &str =
    "all resampling filters gave the same pixels; images that already have the model's input size are not resized";

/// The dataset with labels that the model's classes can be compared with, or without any.
fn comparable(dataset: Dataset, model: &Model, console: &Console) -> Dataset {
    let several_labels = model.config().is_multi_label();
    let matched = || match several_labels {
        // Combinations of labels need no match: their labels get one where they are compared.
        true => inference::label_sets(model, &dataset).map(|_| dataset.clone()).map_err(Failure::from),
        false => with_model_classes(&dataset, model, console),
    };
    let aligned = matched().and_then(|aligned| {
        aligned.labels()?;
        Ok(aligned)
    });
    aligned.unwrap_or_else(|failure| {
        if let Ok(reason) = failure.into_reason() {
            let what = if several_labels { "mean average precision" } else { "accuracy" };
            console.progress.message(&format!("note: {what} is not measured: {reason}"));
        }
        let mut unlabeled = dataset;
        unlabeled.classes.clear();
        unlabeled.samples.iter_mut().for_each(|sample| sample.label = None);
        unlabeled
    })
}

fn text(audit: &Audit) -> String {
    let several_labels = audit.several_labels;
    let mut columns = vec![("preprocessing", Align::Left)];
    columns.push((if several_labels { "mAP" } else { "accuracy" }, Align::Right));
    columns.push(("95 % interval", Align::Right));
    columns.extend(several_labels.then_some(("all labels right", Align::Right)));
    columns.extend([
        (if several_labels { "labels changed" } else { "predictions changed" }, Align::Right),
        ("logits changed", Align::Right),
        ("pixels changed, gray levels", Align::Right),
        ("CKA", Align::Right),
        ("95 % interval", Align::Right),
    ]);
    let mut table = Table::new(columns);
    let best = audit.rows.iter().filter_map(AuditRow::score).map(|share| share.value).fold(0.0, f64::max);
    for row in &audit.rows {
        let mut cells = vec![row.name.clone()];
        cells.push(row.score().map_or_else(none, |share| percent(share.value)));
        cells.push(row.score().map_or_else(none, |Share { interval: [low, high], .. }| {
            format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)
        }));
        cells.extend(several_labels.then(|| row.accuracy.map_or_else(none, |share| percent(share.value))));
        cells.extend([
            row.changed_predictions.map_or_else(none, |share| percent(share.value)),
            row.logit_change.map_or_else(none, |change| format!("{change:.3}")),
            row.pixel_difference.map_or_else(none, |difference| format!("{difference:.2}")),
            row.cka.map_or_else(none, |cka| format!("{cka:.4}")),
            row.cka_interval.map_or_else(none, |ends| interval(ends, 4)),
        ]);
        table.row(cells);
        if row.score().is_some_and(|share| share.value == best) {
            table.emphasize();
        }
    }
    format!("{}, compared with the model's own preprocessing\n\n{table}", counted(audit.n, "image"))
}

fn none() -> String {
    "–".to_owned()
}

fn csv(audit: &Audit) -> String {
    let mut text = "preprocessing,interpolation,height,width,crop_pct,n,accuracy,accuracy_low,accuracy_high,\
                    changed_predictions,logit_change,pixel_difference,cka,cka_low,cka_high"
        .to_owned();
    if audit.several_labels {
        text.push_str(",mean_average_precision,mean_average_precision_low,mean_average_precision_high");
    }
    text.push('\n');
    for row in &audit.rows {
        let AuditRow { interpolation, size: [height, width], crop_pct, .. } = row;
        let known = format!("{},{interpolation},{height},{width},{crop_pct},{}", csv_cell(&row.name), audit.n);
        let measured = [
            row.accuracy.map(|share| share.value),
            row.accuracy.map(|share| share.interval[0]),
            row.accuracy.map(|share| share.interval[1]),
            row.changed_predictions.map(|share| share.value),
            row.logit_change,
            row.pixel_difference,
            row.cka,
            row.cka_interval.map(|[low, _]| low),
            row.cka_interval.map(|[_, high]| high),
        ];
        let precision = row.mean_average_precision;
        let precision = [
            precision.map(|share| share.value),
            precision.map(|share| share.interval[0]),
            precision.map(|share| share.interval[1]),
        ];
        let measured = measured.into_iter().chain(precision.into_iter().filter(|_| audit.several_labels));
        let measured: Vec<String> =
            measured.map(|value| value.map(|value| value.to_string()).unwrap_or_default()).collect();
        text.push_str(&format!("{known},{}\n", measured.join(",")));
    }
    text
}

/// The table, and every measure of change as a heat map.
fn page(audit: &Audit, subject: &Subject, findings: &Findings) -> Page {
    let several_labels = audit.several_labels;
    let mut columns = vec![("Preprocessing", false)];
    columns.extend(several_labels.then_some(("Mean average precision (95 % interval)", true)));
    columns.push((if several_labels { "All labels right (95 % interval)" } else { "Accuracy (95 % interval)" }, true));
    columns.push((
        if several_labels { "Labels changed (95 % interval)" } else { "Predictions changed (95 % interval)" },
        true,
    ));
    columns.extend([("Logits changed", true), ("Pixels changed, gray levels", true), ("CKA (95 % interval)", true)]);
    let share = |share: Option<Share>| {
        let cell = |Share { value, interval: [low, high] }: Share| Cell {
            interval: Some([low, high]),
            ..Cell::number(format!("{} ({:.1}–{:.1})", percent(value), 100.0 * low, 100.0 * high), value)
        };
        share.map_or_else(|| Cell::text(none()), cell)
    };
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| Cell::text(none()), |value| Cell::number(format!("{value:.digits$}"), value))
    };
    let row = |row: &AuditRow| {
        let mut cells = vec![Cell::text(&row.name)];
        cells.extend(several_labels.then(|| share(row.mean_average_precision)));
        cells.extend([
            share(row.accuracy),
            share(row.changed_predictions),
            number(row.logit_change, 3),
            number(row.pixel_difference, 2),
            match (row.cka, row.cka_interval) {
                (Some(cka), Some(ends)) => Cell::number(format!("{cka:.4} ({})", interval(ends, 4)), cka),
                (cka, _) => number(cka, 4),
            },
        ]);
        cells
    };
    let table = page::Table {
        columns: columns
            .into_iter()
            .map(|(heading, number)| page::Column { heading: heading.into(), number })
            .collect(),
        rows: audit.rows.iter().map(row).collect(),
        caption: String::new(),
    };
    let mut page = Page::new(format!("Preprocessing audit of {}", subject.names()));
    page.facts = subject.facts();
    page.facts.push(("Images".into(), HumanCount(audit.n as u64).to_string()));
    page.facts.extend(audit.rows.first().map(own_preprocessing).into_iter().flatten());
    (page.verdict, page.next) = (findings.sentences.clone(), findings.next.clone());
    page.verdict.extend(audit.resizing_changes_nothing().then(|| sentence(NO_DIFFERENCE)));
    let note = "Each preprocessing compared with the model’s own, which comes first.";
    page.sections.push(Section::new("Measures", note).wide().with("", table));
    let (predictions, spread) = match several_labels {
        true => ("the images whose predicted labels change", "over images"),
        false => ("the predictions that change", "over classes"),
    };
    let note = format!(
        "Every measure as a change in percent: the {} lost (below 0, it rises), {predictions}, the change of the logits as a \
         share of their spread {spread}, 1 − CKA, and the difference of the pixels as a share of their range. The measures \
         differ in kind, so each column has its own color scale, from no change to its largest value.",
        audit.score_name()
    );
    page.sections.push(Section::new("Changes", note).with("", changes_map(audit, String::new())));
    page
}

/// The model's own preprocessing, with which the others are compared.
fn own_preprocessing(own: &AuditRow) -> [(String, String); 3] {
    let size = match own.size {
        [height, width] if height == width => height.to_string(),
        [height, width] => format!("{height}×{width}"),
    };
    let facts = [
        ("Own filter", own.interpolation.to_string()),
        ("Own input size", size),
        ("Own crop fraction", own.crop_pct.to_string()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value))
}

/// Every measure as a change that is 0 where nothing changes, as a share; NaN where it is unknown.
fn changes(audit: &Audit) -> (Vec<String>, Vec<Vec<f64>>) {
    let (lost, predictions) =
        if audit.several_labels { ("mAP lost", "labels") } else { ("accuracy lost", "predictions") };
    let columns = [lost, predictions, "logits", "1 − CKA", "pixels"];
    let own = audit.rows.first().and_then(AuditRow::score).map(|share| share.value);
    let changes = |row: &AuditRow| {
        let lost = own.zip(row.score()).map(|(own, share)| own - share.value);
        let changes = [
            lost,
            row.changed_predictions.map(|share| share.value),
            row.logit_change,
            row.cka.map(|cka| 1.0 - cka),
            row.pixel_difference.map(|difference| difference / 255.0),
        ];
        changes.map(|change| change.unwrap_or(f64::NAN)).to_vec()
    };
    let mut values: Vec<Vec<f64>> = audit.rows.iter().map(changes).collect();
    // What could not be measured at all has no column.
    let measured: Vec<usize> =
        (0..columns.len()).filter(|&column| values.iter().any(|row| !row[column].is_nan())).collect();
    values.iter_mut().for_each(|row| *row = measured.iter().map(|&column| row[column]).collect());
    (measured.iter().map(|&column| columns[column].to_owned()).collect(), values)
}

/// The changes as a heat map.
fn changes_map(audit: &Audit, title: String) -> HeatMap {
    let (columns, changes) = changes(audit);
    let finite = |row: &Vec<f64>| row.iter().map(|&change| change.is_finite().then_some(change)).collect();
    HeatMap {
        title,
        value_label: "change".into(),
        rows: audit.rows.iter().map(|row| row.name.clone()).collect(),
        columns,
        values: changes.iter().map(finite).collect(),
        by_column: true,
        format: Format::Percent,
        decimals: 1,
        ..HeatMap::default()
    }
}

/// The changes in a file.
fn plot(audit: &Audit) -> Plot {
    changes_map(audit, format!("Change by preprocessing, {}", counted(audit.n, "image"))).into()
}
