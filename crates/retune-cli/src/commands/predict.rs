//! `retune predict`: predicts the classes of images.

use std::path::{Path, PathBuf};

use clap::Args;
use retune::files;
use retune::inference::{self, InferenceError, Layer, softmax_at};
use retune::models::imagenet;
use retune::sources::{DataNote, Dataset, Sample};
use serde::Serialize;

use crate::arguments::data::{BatchArguments, open_source};
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::output_file::{Format, OutputFile, csv_cell};
use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::results::images_in_words;
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
}

/// Prints the top classes of every image.
pub fn run(arguments: &PredictArguments, console: &Console) -> Result<(), Failure> {
    arguments.out.as_ref().map_or(Ok(()), OutputFile::check)?;
    let dataset = images(&arguments.images, console)?;
    let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
    let classes = model.config().num_classes();
    if classes == 0 {
        return Err(InferenceError::NoClassifier.into());
    }
    let known = model.config().classes();
    console.tell(known.presumed_by_count().map(DataNote::ClassesPresumed));
    let names = known.names().map(|ids| ClassLabels { ids, shown: imagenet::shown(ids) });
    let temperature = arguments.temperature.or(model.config().temperature()).unwrap_or(1.0);
    let loader = arguments.batches.loader(dataset, &model, console)?;

    let mut predictions = Vec::with_capacity(loader.dataset().len());
    inference::for_each_batch(&model, &loader, Layer::Logits, "predicting", &console.progress, |batch, rows| {
        for (logits, &index) in rows.chunks_exact(classes).zip(&batch.indices) {
            let path = loader.dataset().samples[index].name.to_string();
            let classes = most_likely(logits, temperature, arguments.top, names.as_ref());
            predictions.push(Prediction { path, classes });
        }
    })?;
    let Some(out) = &arguments.out else { return console.print(&predictions, || table(&predictions).to_string()) };
    match out.format {
        Format::Json => out.write_json(&predictions)?,
        _ => files::write_atomically(&out.path, |file| file.write_all(csv(&predictions).as_bytes()))?,
    }
    console.print(&predictions, || {
        format!("predictions for {}: {}", images_in_words(predictions.len()), out.path.display())
    })
}

/// All images at the paths, named as the user would name them.
fn images(paths: &[PathBuf], console: &Console) -> Result<Dataset, Failure> {
    let mut samples = Vec::new();
    for path in paths {
        let found = open_source(path, console)?.all();
        // One image is called what the user called it; what a folder holds, by its path in it; what a list holds, by its
        // path beside the list.
        let named = |sample: Sample| {
            let name = match (path.is_file(), found.len()) {
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
fn most_likely(logits: &[f32], temperature: f64, top: usize, names: Option<&ClassLabels>) -> Vec<ClassProbability> {
    let probabilities = softmax_at(temperature, logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&one, &other| logits[other].total_cmp(&logits[one]));
    let entry = |&index: &usize| {
        let (class, id) = names.and_then(|names| names.of(index)).unwrap_or_else(|| (index.to_string(), None));
        ClassProbability { class, id, index, probability: probabilities[index] }
    };
    order.iter().take(top).map(entry).collect()
}

fn csv(predictions: &[Prediction]) -> String {
    let mut text = "path,rank,class,index,probability\n".to_owned();
    for Prediction { path, classes } in predictions {
        for (rank, ClassProbability { class, index, probability, .. }) in classes.iter().enumerate() {
            let (path, class) = (csv_cell(path), csv_cell(class));
            text.push_str(&format!("{path},{},{class},{index},{probability}\n", rank + 1));
        }
    }
    text
}

fn table(predictions: &[Prediction]) -> Table {
    let mut table = Table::new([("image", Align::Left), ("class", Align::Left), ("probability", Align::Right)]);
    for prediction in predictions {
        for (rank, class) in prediction.classes.iter().enumerate() {
            let path = if rank == 0 { prediction.path.as_str() } else { "" };
            table.row([path, &class.class, &percent(class.probability)]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_classes_come_first_with_names_where_there_are_some() {
        let top = most_likely(&[0.0, 2.0, 2.0, 1.0], 1.0, 3, None);
        assert_eq!(top.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(top[0].class, "1");
        // By hand: e² / (1 + 2e² + e).
        let e = std::f64::consts::E;
        assert!((top[0].probability - e * e / (1.0 + 2.0 * e * e + e)).abs() < 1e-6);
        // At temperature 2, of half the logits.
        let (half, root) = (most_likely(&[0.0, 2.0, 2.0, 1.0], 2.0, 3, None), e.sqrt());
        assert_eq!(half.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert!((half[0].probability - e / (1.0 + 2.0 * e + root)).abs() < 1e-6);
        let ids = ["n01440764".to_owned(), "bee".to_owned()];
        let names = ClassLabels { ids: &ids, shown: imagenet::shown(&ids) };
        let top = most_likely(&[0.0, 1.0], 1.0, 5, Some(&names));
        assert_eq!((top[0].class.as_str(), &top[0].id), ("bee", &None));
        assert_eq!((top[1].class.as_str(), top[1].id.as_deref()), ("tench", Some("n01440764")));
    }
}
