//! `retune eval`: measures accuracy and loss of a model on any data.

mod label_answers;
mod set_result;

use clap::Args;
use indexmap::IndexMap;
use retune::inference::{Evaluation, InferenceError, LogitComparison, LogitLoss};
use retune::models::Model;
use retune::pixels::preprocess::Preprocessing;
use retune::report::confusion::ClassAccuracy;
use retune::report::findings::{self, Confidence, Findings, NextStep};
use retune::run::{self, CalibrationErrors, Caveat, EvaluationSource, TemperatureScaling, evaluation_split};
use retune::similarity::feature_change::{self, FeatureChange};
use retune::sources::{ClassMapping, Dataset, SplitName, shift};
use retune::wording::sentence;
use serde::Serialize;

use self::set_result::SetResult;
use crate::arguments::data::{DataArguments, EvaluationArguments, open_source_for};
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::output::results::CalibrationError;
use crate::output::{Console, results};

/// Options of `retune eval`.
#[derive(Args)]
pub struct EvalArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    evaluations: EvaluationArguments,
    /// Also measure how far the features moved from those of this model, such as the pretrained one
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// Also show recall and precision of every class
    #[arg(long)]
    per_class: bool,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    /// What the precision changes, where it is another than float32.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<LogitLoss>,
    splits: &'a IndexMap<String, Evaluation>,
    /// What makes the numbers of some sets say less than they seem to.
    #[serde(skip_serializing_if = "<[Caveat]>::is_empty")]
    caveats: &'a [Caveat],
    /// The model's, where it has one; losses are of the logits as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    calibration: &'a IndexMap<String, CalibrationError>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    classes: &'a IndexMap<String, Vec<ClassAccuracy>>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    feature_change: &'a IndexMap<String, FeatureChange>,
    /// How both models see images, where features are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessing: Option<&'a Preprocessing>,
}

/// Evaluates the model on every set.
pub fn run(arguments: &EvalArguments, console: &Console) -> Result<(), Failure> {
    let batches = &arguments.data.batches;
    let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
    let model = batches.in_precision(model, console)?;
    let several_labels = model.config().is_multi_label();
    let further = arguments.evaluations.sources(console)?;
    let own = set_name(&arguments.data.split_name(), &further)?;
    let sets = open(arguments, &model, own, further, console)?;
    let caveats = match arguments.model.run() {
        Some(run) => run::caveats_of_sets(run, &sets, &console.progress)?,
        None => Vec::new(),
    };
    let sets = matched(sets, &model, arguments.model.run().is_some(), console)?;

    let preprocessing = model.config().preprocessing();
    let other = |against: &String| -> Result<Model, Failure> {
        Ok(arguments.model.load_other(against, preprocessing, console)?.with_precision(model.precision())?)
    };
    let before = arguments.against.as_ref().map(other).transpose()?;
    let mut comparison = LogitComparison::of(&model, sets.iter().map(|(_, dataset)| dataset.len()).sum());
    let (mut results, mut feature_change) = (IndexMap::new(), IndexMap::new());
    for (name, dataset) in sets {
        let loader = batches.loader(dataset, &model, console)?;
        let task = format!("evaluating {name}");
        let result = SetResult::measure(&model, &loader, &task, comparison.as_mut(), &console.progress)?;
        results.insert(name.clone(), result);
        if let Some(before) = &before {
            let change = feature_change::measure(before, &model, &loader, &console.progress)?;
            feature_change.insert(name, change);
        }
    }
    let temperature = model.config().temperature();
    let splits = of_each(&results, |result| Some(result.evaluation.clone()));
    let calibration = of_each(&results, |result| result.calibration.clone());
    let classes = of_each(&results, |result| arguments.per_class.then(|| result.classes()));
    let precision = comparison.and_then(|comparison| comparison.found());
    let architecture = model.config().architecture();
    let preprocessing = before.as_ref().map(|_| preprocessing);
    let typed = &console.command_line;
    let document = Document {
        architecture,
        precision,
        splits: &splits,
        caveats: &caveats,
        temperature,
        calibration: &calibration,
        classes: &classes,
        feature_change: &feature_change,
        preprocessing,
    };
    console.print(&document, || {
        let seen = preprocessing.map(|seen| format!("both models see images at {seen}\n")).unwrap_or_default();
        let lost = precision.map(|loss| format!("{loss}\n")).unwrap_or_default();
        let tables = [
            results::table(&splits).to_string(),
            results::label_table(&splits),
            if several_labels { String::new() } else { results::further_table(&splits, &calibration, temperature) },
            results::group_tables(&splits),
            results::class_tables(&classes),
        ];
        let mistakes = |set: &str| results.get(set)?.mistakes();
        let scaling = temperature.map(|temperature| scaling(temperature, &calibration));
        let of_set = |set: &str| results.get(set)?.confidence.clone();
        let confidence = Confidence { calibration: &of_set, temperature, scaling: scaling.as_ref() };
        let mut found = findings::evaluated(&splits, &confidence, mistakes);
        found.extend(caveats.iter().map(|caveat| sentence(&caveat.to_string())));
        let findings = Findings { sentences: found, next: next(arguments, &splits, typed) };
        format!("{}{}{seen}{lost}\n{}", tables.concat(), moved(&feature_change), results::found(&findings))
    })
}

/// The images of `--data`, under the name `own`, and those of each further set.
fn open(
    arguments: &EvalArguments,
    model: &Model,
    own: String,
    further: Vec<EvaluationSource>,
    console: &Console,
) -> Result<Vec<(String, Dataset)>, Failure> {
    let dataset = arguments.data.open_for(model, console)?;
    let mut sets = vec![(own, dataset.clone())];
    for source in further {
        let set = match shift::is_of_same_images(&source.path) {
            true => dataset.shifted(&shift::of_same_images(&source.path)?),
            false => {
                let set = evaluation_split(&open_source_for(model, &source.path, console)?)?;
                arguments.data.readable(set, console)?
            }
        };
        sets.push((source.name, set));
    }
    Ok(sets)
}

/// Something of each set that has it.
fn of_each<T>(results: &IndexMap<String, SetResult>, of: impl Fn(&SetResult) -> Option<T>) -> IndexMap<String, T> {
    results.iter().filter_map(|(name, result)| Some((name.clone(), of(result)?))).collect()
}

/// What the model's temperature does to calibration on these sets.
fn scaling(temperature: f64, calibration: &IndexMap<String, CalibrationError>) -> TemperatureScaling {
    let errors = |(name, error): (&String, &CalibrationError)| {
        Some((name.clone(), CalibrationErrors { before: error.softmax, after: error.at_temperature? }))
    };
    TemperatureScaling { temperature, calibration_errors: calibration.iter().filter_map(errors).collect() }
}

/// The name of the set of `--data`: its split or, where nothing is picked, `all`. A further set may have that name too;
/// then all images are called `data`, so that no two sets share a name.
fn set_name(split: &SplitName, further: &[EvaluationSource]) -> Result<String, Failure> {
    let is_free = |name: &str| further.iter().all(|source| source.name != name);
    let own = split.to_string();
    let names = if *split == SplitName::All { vec![own.as_str(), "data"] } else { vec![own.as_str()] };
    names.into_iter().find(|name| is_free(name)).map(str::to_owned).ok_or_else(|| {
        Failure::Mistake(format!("--eval {own}= has the same name as the set of --data; choose another name"))
    })
}

/// What would say more about these images.
fn next(arguments: &EvalArguments, splits: &IndexMap<String, Evaluation>, typed: &CommandLine) -> Vec<NextStep> {
    if arguments.per_class {
        return vec![audit_of_worst(arguments, splits, typed)];
    }
    let per_class = typed.turned_into("eval").switch("per-class");
    let several_labels = splits.values().any(Evaluation::is_of_several_labels);
    let each = if several_labels { "label" } else { "class" };
    vec![NextStep::new(format!("see recall and precision of every {each}"), &per_class)]
}

/// An audit of the set on which the model does worst.
fn audit_of_worst(arguments: &EvalArguments, splits: &IndexMap<String, Evaluation>, typed: &CommandLine) -> NextStep {
    let worst = splits.iter().min_by(|one, other| one.1.score().total_cmp(&other.1.score()));
    let further = worst.and_then(|(name, _)| arguments.evaluations.named(name));
    let audit = typed.turned_into("audit");
    match further {
        Some(set) => NextStep::new(
            format!("check whether other preprocessing would do better on {}", set.name),
            &audit.without(&["split"]).with("data", set.path.display().to_string()),
        ),
        None => NextStep::new("check whether other preprocessing would do better", &audit),
    }
}

/// A line for each set on how far its features moved.
fn moved(changes: &IndexMap<String, FeatureChange>) -> String {
    let line = |(name, change): (&String, &FeatureChange)| {
        let share = 100.0 * change.relative;
        format!(
            "mean distance of the features of {name}: {:.3}, {share:.1} % of their length before\n",
            change.distance
        )
    };
    changes.iter().map(line).collect()
}

/// The dataset with labels that index the model's classes. Reports how they were matched if names did not decide.
pub fn with_model_classes(dataset: &Dataset, model: &Model, console: &Console) -> Result<Dataset, Failure> {
    if model.config().num_classes() == 0 {
        return Err(InferenceError::NoClassifier.into());
    }
    let (dataset, how) = dataset.match_classes(&model.config().classes())?;
    console.tell(how.note());
    Ok(dataset)
}

/// The sets with labels that index the model's classes. A run's data may have gained classes since: a model of a run is
/// evaluated on those that it knows.
fn matched(
    sets: Vec<(String, Dataset)>,
    model: &Model,
    of_run: bool,
    console: &Console,
) -> Result<Vec<(String, Dataset)>, Failure> {
    if model.config().num_classes() == 0 {
        return Err(InferenceError::NoClassifier.into());
    }
    // Combinations of labels need no match: their labels get one where they are evaluated.
    if model.config().is_multi_label() {
        return Ok(sets);
    }
    let (known, mut told) = (model.config().classes(), Vec::new());
    let mut matched = Vec::with_capacity(sets.len());
    for (name, dataset) in sets {
        let images = dataset.class_counts();
        let mapping = if of_run { ClassMapping::leaving_out } else { ClassMapping::new };
        let mapping = mapping(&dataset.root, &dataset.classes, &images, &known)?;
        let dataset = mapping.apply(&dataset);
        dataset.labels()?;
        for note in [mapping.how().note(), mapping.left_out()].into_iter().flatten() {
            if !told.contains(&note) {
                console.tell(Some(note.clone()));
                told.push(note);
            }
        }
        matched.push((name, dataset));
    }
    Ok(matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_are_called_data_beside_a_set_that_is_called_all() {
        let further = |names: &[&str]| -> Vec<EvaluationSource> {
            names.iter().map(|&name| EvaluationSource { name: name.into(), path: "images".into() }).collect()
        };
        let of = |split: &str, names: &[&str]| set_name(&SplitName::from(split), &further(names)).ok();
        assert_eq!(of("all", &["shifted", "data"]).as_deref(), Some("all"));
        assert_eq!(of("all", &["all"]).as_deref(), Some("data"));
        assert_eq!(of("all", &["data", "all"]), None);
        assert_eq!(of("test", &["all"]).as_deref(), Some("test"));
        assert_eq!(of("test", &["test"]), None);
    }
}
