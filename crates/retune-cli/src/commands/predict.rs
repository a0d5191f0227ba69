//! `retune predict`: predicts the classes of images.

use std::path::{Path, PathBuf};

use clap::Args;
use retune::files;
use retune::inference::{self, InferenceError, Layer, sigmoid, softmax_at};
use retune::models::{Model, imagenet};
use retune::sources::{DataNote, Dataset, Sample, memory};
use retune::wording::{counted, listed};
use serde::Serialize;

use crate::arguments::data::{BatchArguments, leave_out_unreadable, open_source_with};
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::output_file::{Format, OutputFile, csv_cell};
use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::results::percent;
use crate::output::table::{Align, Table};

/// Options of `retune predict`.
#[derive(Args)]
pub struct PredictArguments {
    /// Image files, folders, or lists
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Number of classes to show for each image
    #[arg(long, value_name = "K", default_value = "5", value_parser = parse::count, allow_hyphen_values = true)]
    top: usize,
    /// Write the predictions to this file instead of printing them: .csv (a row for each class of each image) or .json
    #[arg(short, long, value_name = "FILE", value_parser = table_file)]
    out: Option<OutputFile>,
    /// Temperature of the probabilities: a number above 0, or none for the softmax of the logits as they are [default: the
    /// model's, which retune fit measures on validation; 1 if it has none]
    #[arg(long, value_name = "T", value_parser = parse::temperature, allow_hyphen_values = true)]
    temperature: Option<f64>,
    /// Skip images that cannot be read, and list them [default: stop at the first]
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    batches: BatchArguments,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

fn table_file(text: &str) -> Result<OutputFile, String> {
    let file = text.parse::<OutputFile>().ok().filter(|file| matches!(file.format, Format::Csv | Format::Json));
    file.ok_or_else(|| "must end with .csv or .json".to_owned())
}

/// The model's prediction for an image.
#[derive(Serialize)]
struct Prediction {
    path: String,
    classes: Vec<ClassProbability>,
}

#[derive(Serialize)]
struct ClassProbability {
    /// The class's name, or its index where the model has no names.
    class: String,
    /// The class's WordNet id, where that is what the model calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    index: usize,
    probability: f64,
    /// Whether the image is taken to have the label, where it may have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<bool>,
}

/// How logits become probabilities.
enum Probabilities {
    /// The softmax of the logits divided by a temperature: an image has one class.
    Softmax { temperature: f64 },
    /// The sigmoid of each logit, and where a label begins to count: an image may have several.
    Sigmoid { thresholds: Vec<f64> },
}

impl Probabilities {
    fn of(model: &Model, temperature: Option<f64>) -> Result<Self, Failure> {
        let config = model.config();
        if !config.is_multi_label() {
            return Ok(Self::Softmax { temperature: temperature.or(config.temperature()).unwrap_or(1.0) });
        }
        if temperature.is_some() {
            let reason = "--temperature is for models that give each image one class; leave it out";
            return Err(Failure::Mistake(reason.to_owned()));
        }
        let thresholds = config.thresholds().filter(|thresholds| thresholds.len() == config.num_classes());
        Ok(Self::Sigmoid { thresholds: thresholds.unwrap_or_else(|| vec![0.5; config.num_classes()]) })
    }
}

/// Prints the top classes of every image.
pub fn run(arguments: &PredictArguments, console: &Console) -> Result<(), Failure> {
    arguments.out.as_ref().map_or(Ok(()), OutputFile::check)?;
    let mut dataset = images(&arguments.images, arguments.skip_bad, console)?;
    if arguments.skip_bad {
        let named: Vec<String> = arguments.images.iter().map(|path| path.display().to_string()).collect();
        leave_out_unreadable(&mut dataset, listed(&named), console)?;
    }
    let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
    let model = arguments.batches.in_precision(model, console)?;
    let classes = model.config().num_classes();
    if classes == 0 {
        return Err(InferenceError::NoClassifier.into());
    }
    let known = model.config().classes();
    console.tell(known.presumed_by_count().map(DataNote::ClassesPresumed));
    let names = known.names().map(|ids| ClassLabels { ids, shown: imagenet::shown(ids) });
    let kind = Probabilities::of(&model, arguments.temperature)?;
    let loader = arguments.batches.loader(dataset, &model, console)?;

    let mut predictions = Vec::with_capacity(loader.dataset().len());
    inference::for_each_batch(&model, &loader, Layer::Logits, "predicting", &console.progress, |batch, rows| {
        for (logits, &index) in rows.chunks_exact(classes).zip(&batch.indices) {
            let path = loader.dataset().samples[index].name.to_string();
            let classes = most_likely(logits, &kind, arguments.top, names.as_ref());
            predictions.push(Prediction { path, classes });
        }
    })?;
    let Some(out) = &arguments.out else { return console.print(&predictions, || table(&predictions).to_string()) };
    match out.format {
        Format::Json => out.write_json(&predictions)?,
        _ => files::write_atomically(&out.path, |file| file.write_all(csv(&predictions).as_bytes()))?,
    }
    console.print(&predictions, || {
        format!("predictions for {}: {}", counted(predictions.len(), "image"), out.path.display())
    })
}

/// All images at the paths, named as the user would name them.
fn images(paths: &[PathBuf], skip_bad: bool, console: &Console) -> Result<Dataset, Failure> {
    let mut samples = Vec::new();
    for path in paths {
        let found = open_source_with(path, skip_bad, console)?.all();
        // One image is called what the user called it; what a folder holds, by its path in it; what a list holds, by its
        // path beside the list; what is in memory, by its own name.
        let named = |sample: Sample| {
            let name = match (path.is_file(), found.len()) {
                _ if memory::is_location(path) => PathBuf::from(&*sample.name),
                (true, 1) => path.clone(),
                (true, _) => path.with_file_name(&*sample.name),
                (false, _) => path.join(&*sample.name),
            };
            Sample { name: name.display().to_string().into(), label: None, ..sample }
        };
        samples.extend(found.samples.iter().cloned().map(named));
    }
    Ok(Dataset { samples: samples.into(), ..Dataset::from_files::<&Path>(&[]) })
}

/// What a model calls its classes, and what people do.
struct ClassLabels<'a> {
    ids: &'a [String],
    shown: Vec<String>,
}

impl ClassLabels<'_> {
    /// The name of a class, and the model's own where that is another.
    fn of(&self, class: usize) -> Option<(String, Option<String>)> {
        let (id, shown) = (self.ids.get(class)?, self.shown.get(class)?);
        Some((shown.clone(), (id != shown).then(|| id.clone())))
    }
}

/// The `top` classes of the largest logits; of equal ones, the first.
fn most_likely(logits: &[f32], kind: &Probabilities, top: usize, names: Option<&ClassLabels>) -> Vec<ClassProbability> {
    let probabilities: Vec<f64> = match kind {
        Probabilities::Softmax { temperature } => softmax_at(*temperature, logits),
        Probabilities::Sigmoid { .. } => logits.iter().map(|&logit| sigmoid(logit)).collect(),
    };
    let predicted = |index: usize| match kind {
        Probabilities::Softmax { .. } => None,
        Probabilities::Sigmoid { thresholds } => Some(probabilities[index] >= thresholds[index]),
    };
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&one, &other| logits[other].total_cmp(&logits[one]));
    let entry = |&index: &usize| {
        let (class, id) = names.and_then(|names| names.of(index)).unwrap_or_else(|| (index.to_string(), None));
        ClassProbability { class, id, index, probability: probabilities[index], predicted: predicted(index) }
    };
    order.iter().take(top).map(entry).collect()
}

fn has_several_labels(predictions: &[Prediction]) -> bool {
    predictions.iter().flat_map(|prediction| &prediction.classes).any(|class| class.predicted.is_some())
}

fn csv(predictions: &[Prediction]) -> String {
    let several = has_several_labels(predictions);
    let mut text = format!("path,rank,class,index,probability{}\n", if several { ",predicted" } else { "" });
    for Prediction { path, classes } in predictions {
        for (rank, ClassProbability { class, index, probability, predicted, .. }) in classes.iter().enumerate() {
            let (path, class) = (csv_cell(path), csv_cell(class));
            let predicted = predicted.map(|predicted| format!(",{}", u8::from(predicted))).unwrap_or_default();
            text.push_str(&format!("{path},{},{class},{index},{probability}{predicted}\n", rank + 1));
        }
    }
    text
}

fn table(predictions: &[Prediction]) -> Table {
    let several = has_several_labels(predictions);
    let mut columns = vec![("image", Align::Left), ("class", Align::Left), ("probability", Align::Right)];
    columns.extend(several.then_some(("predicted", Align::Left)));
    let mut table = Table::new(columns);
    for prediction in predictions {
        for (rank, class) in prediction.classes.iter().enumerate() {
            let path = if rank == 0 { prediction.path.as_str() } else { "" };
            let mut cells = vec![path.to_owned(), class.class.clone(), percent(class.probability)];
            cells.extend(class.predicted.map(|predicted| if predicted { "yes" } else { "no" }.to_owned()));
            table.row(cells);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_classes_come_first_with_names_where_there_are_some() {
        let at = |temperature: f64| Probabilities::Softmax { temperature };
        let top = most_likely(&[0.0, 2.0, 2.0, 1.0], &at(1.0), 3, None);
        assert_eq!(top.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(top[0].class, "1");
        // By hand: e² / (1 + 2e² + e).
        let e = std::f64::consts::E;
        assert!((top[0].probability - e * e / (1.0 + 2.0 * e * e + e)).abs() < 1e-6);
        // At temperature 2, of half the logits.
        let (half, root) = (most_likely(&[0.0, 2.0, 2.0, 1.0], &at(2.0), 3, None), e.sqrt());
        assert_eq!(half.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert!((half[0].probability - e / (1.0 + 2.0 * e + root)).abs() < 1e-6);
        let ids = ["n01440764".to_owned(), "bee".to_owned()];
        let names = ClassLabels { ids: &ids, shown: imagenet::shown(&ids) };
        let top = most_likely(&[0.0, 1.0], &at(1.0), 5, Some(&names));
        assert_eq!((top[0].class.as_str(), &top[0].id), ("bee", &None));
        assert_eq!((top[1].class.as_str(), top[1].id.as_deref()), ("tench", Some("n01440764")));
    }

    #[test]
    fn labels_are_likely_each_by_itself() {
        let kind = Probabilities::Sigmoid { thresholds: vec![0.5, 0.9, 0.2] };
        let top = most_likely(&[0.0, 2.0, -1.0], &kind, 3, None);
        // By hand: 1 / (1 + e⁻²), 1/2 and 1 / (1 + e).
        let found: Vec<(usize, Option<bool>)> = top.iter().map(|label| (label.index, label.predicted)).collect();
        assert_eq!(found, [(1, Some(false)), (0, Some(true)), (2, Some(true))]);
        let e = std::f64::consts::E;
        assert!((top[0].probability - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-9);
        assert!((top[2].probability - 1.0 / (1.0 + e)).abs() < 1e-9);
    }
}
