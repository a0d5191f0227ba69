//! `retune umap`: maps features in two dimensions.

mod onto;
mod page;

use std::iter::repeat_n;
use std::path::{Path, PathBuf};

use clap::Args;
use retune::analysis::neighbors::Metric;
use retune::analysis::overlap::overlap;
use retune::analysis::trustworthiness::trustworthiness;
use retune::analysis::umap::{UmapOptions, umap};
use retune::features::{self, FeatureTable};
use retune::inference::layers::{Positions, for_each_batch_at};
use retune::inference::{Layer, most_likely};
use retune::models::imagenet;
use retune::monitor::Monitor;
use retune::pixels::decode::DecodeLimits;
use retune::report::findings::map::{MapFacts, Placed};
use retune::report::findings::{self, Findings, NextStep};
use retune::report::plot::Plot;
use retune::run::record::Thumbnails;
use retune::sources::{ImageSource, SampleList, SplitName};
use retune::wording::counted;
use serde::Serialize;

use self::onto::KnownMap;
use super::eval::with_model_classes;
use crate::arguments::data::{BatchArguments, leave_out_unreadable, open_source_with};
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::output_file::{Format, OutputFile, csv_cell};
use crate::arguments::parse::{self, named};
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::output::{Console, results};

/// Neighbors over which a map is judged.
const JUDGED_NEIGHBORS: usize = 15;
/// Judging takes time in proportion to the square of the number of images.
const MAX_JUDGED: usize = 10_000;

/// Options of `retune umap`.
#[derive(Args)]
pub struct UmapArguments {
    /// Files that `retune features` wrote; the images of all files go into one map
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Features")]
    features: Vec<PathBuf>,
    /// Images to extract features from with --model, instead of --features
    #[arg(short, long, value_name = "PATH", conflicts_with = "features", help_heading = "Features")]
    data: Option<PathBuf>,
    /// Split of --data to read [default: every image]
    #[arg(long, value_name = "NAME", conflicts_with = "features", help_heading = "Features")]
    split: Option<String>,
    /// Skip images that cannot be read, and list them [default: stop at the first]
    #[arg(long, conflicts_with = "features", help_heading = "Features")]
    skip_bad: bool,
    /// Layer: input, pooled (what the head sees), cls+mean (a transformer's class token and the mean of its patches),
    /// logits, or a name that `retune layers` lists
    #[arg(long, value_name = "NAME", default_value = "pooled", help_heading = "Features")]
    layer: String,
    #[command(flatten)]
    batches: BatchArguments,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
    /// Size of a neighborhood; smaller ones show finer structure
    #[arg(long = "neighbors", alias = "neighbors", value_name = "N", default_value = "15", value_parser = parse::count, allow_hyphen_values = true,
          help_heading = "Map")]
    neighbors: usize,
    /// Minimum distance of points, from 0 to 1
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse::share, allow_hyphen_values = true,
          help_heading = "Map")]
    minimum_distance: f64,
    /// Distance between features
    #[arg(long, value_name = "NAME", default_value = "euclidean", value_parser = named::<Metric>(Metric::ALL.map(Metric::name)),
          help_heading = "Map")]
    metric: Metric,
    /// Random seed of the layout
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse::seed, allow_hyphen_values = true, help_heading = "Map")]
    seed: u64,
    /// Epochs of the layout [default: 500, or 200 for more than 10,000 images]
    #[arg(long, value_name = "N", value_parser = parse::count, allow_hyphen_values = true, help_heading = "Map")]
    epochs: Option<usize>,
    /// Color points by this property; file needs several --features, and split, prediction, and correctness need --data
    #[arg(long, value_name = "WHAT", default_value = "class",
          value_parser = ["class", "file", "split", "prediction", "correctness"],
          help_heading = "Map")]
    color: String,
    /// Folder of the images whose paths are in --features, for thumbnails in an .html map
    #[arg(long, value_name = "FOLDER", requires = "features", help_heading = "Features")]
    images: Option<PathBuf>,
    /// Place the images on this map, on which nothing else moves: a run, or a .csv or .json map with --onto-features. Use the
    /// options that it was made with
    #[arg(long, value_name = "MAP", help_heading = "Map")]
    onto: Option<PathBuf>,
    /// Features of the images on the map of --onto: the files that it was made of, in order
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "onto", help_heading = "Map")]
    onto_features: Vec<PathBuf>,
    /// Write the map to this file: .html (interactive), .png or .svg (a picture), .csv, or .json
    #[arg(short, long, value_name = "FILE")]
    out: OutputFile,
}

/// An image on the map.
#[derive(Serialize)]
struct Point {
    x: f32,
    y: f32,
    label: Option<String>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<String>,
}

#[derive(Serialize)]
struct Document {
    images: usize,
    width: usize,
    /// Over 15 neighbors; none for more than 10,000 images, or fewer than 31.
    trustworthiness: Option<f64>,
    points: Vec<Point>,
}

/// The features of all images, and what is known of each.
#[derive(Default)]
struct Images {
    features: Vec<f32>,
    width: usize,
    labels: Vec<Option<String>>,
    paths: Vec<String>,
    files: Vec<String>,
    splits: Vec<String>,
    predictions: Vec<String>,
    /// Whether predictions and labels are of the same classes, so that a prediction can be right.
    is_matched: bool,
    thumbnails: Option<Thumbnails>,
}

/// Maps, writes and prints.
pub fn run(arguments: &UmapArguments, console: &Console) -> Result<(), Failure> {
    arguments.out.check()?;
    let images = match &arguments.data {
        Some(data) => Images::of_model(arguments, data, console)?,
        None => Images::of_files(&arguments.features)?.with_thumbnails(arguments, console)?,
    };
    let known = arguments.onto.as_ref().map(|map| KnownMap::read(map, &arguments.onto_features)).transpose()?;
    let new = images.labels.len();
    let (images, placed) = match &known {
        Some(known) => images.after(known)?,
        None => (images, None),
    };
    let missing = |what: &str| Err(Failure::Mistake(format!("--color {}: {what}", arguments.color)));
    match arguments.color.as_str() {
        "file" if images.files.is_empty() => return missing("pass several files to --features"),
        "split" if images.splits.is_empty() => {
            return missing("pass --data with several splits, and leave out --split");
        }
        "prediction" | "correctness" if images.predictions.is_empty() => {
            return missing("pass --data and a --model with a classifier");
        }
        _ => {}
    }
    let UmapArguments { neighbors, minimum_distance, metric, seed, epochs, .. } = *arguments;
    let options = UmapOptions { neighbors, minimum_distance, metric, seed, epochs };
    let layout = match &known {
        Some(known) => {
            let features = &images.features[known.layout.len() * known.width..];
            [known.layout.clone(), known.place(features, images.width, &options)?].concat()
        }
        None => umap(&images.features, images.width, &options).map_err(|error| Failure::Mistake(error.to_string()))?,
    };
    let judged = layout.len() <= MAX_JUDGED;
    let trust = judged.then(|| trustworthiness(&images.features, images.width, &layout, JUDGED_NEIGHBORS, metric).ok());
    let document = Document {
        images: layout.len(),
        width: images.width,
        trustworthiness: trust.flatten(),
        points: images.points(&layout),
    };
    let title = page::title(document.images, placed.as_ref(), arguments);
    let typed = arguments.data.is_some().then_some(&console.command_line);
    let findings = images.findings(&options, document.trustworthiness, placed, typed);
    let map = images.map(&layout, &arguments.color);
    let page = || images.page(title.clone(), map.clone(), &options, arguments, &findings);
    let plot = || Plot::from(map.figure(&format!("UMAP of {}", counted(document.images, "image")), map.colored_by));
    arguments.out.write(plot, &document, || csv(&document.points), page)?;
    console.print(&document, || {
        let trust = document.trustworthiness.map_or_else(String::new, |trust| {
            format!("\ntrustworthiness over {JUDGED_NEIGHBORS} neighbors: {trust:.4}")
        });
        let made = match &known {
            Some(known) => format!("{} placed among {} of {}", counted(new, "image"), known.layout.len(), known.name),
            None => format!("map of {}", counted(document.images, "image")),
        };
        let width = counted(document.width, "feature");
        let made = format!("{made}, {width} each: {}", arguments.out.path.display());
        format!("{}{made}{trust}", results::found(&findings))
    })
}

impl Images {
    /// These images after those of a map, of which nothing but labels and paths is known, and what these have in common
    /// with those.
    fn after(self, known: &KnownMap) -> Result<(Self, Option<Placed>), Failure> {
        if self.width != known.width {
            let reason = format!("its images have {}, the new ones {}", counted(known.width, "feature"), self.width);
            return Err(Failure::in_file(Path::new(&known.name), reason));
        }
        let placed = known.compared(&self.features, &self.labels, &self.predictions, JUDGED_NEIGHBORS);
        let new = match self.files.is_empty() {
            true => vec!["new".to_owned(); self.labels.len()],
            false => self.files,
        };
        let all = Self {
            features: [known.features.as_slice(), &self.features].concat(),
            width: self.width,
            labels: [known.labels.as_slice(), &self.labels].concat(),
            paths: [known.paths.as_slice(), &self.paths].concat(),
            files: vec![known.name.clone(); known.layout.len()].into_iter().chain(new).collect(),
            ..Self::default()
        };
        Ok((all, Some(placed)))
    }

    fn of_files(files: &[PathBuf]) -> Result<Self, Failure> {
        if files.is_empty() {
            return Err(Failure::Mistake(
                "pass files with --features, or a model and images with --model and --data".into(),
            ));
        }
        let mut images = Self::default();
        for path in files {
            let table = features::read(path)?;
            if images.width > 0 && table.width != images.width {
                let reason =
                    format!("its images have {}, those before {}", counted(table.width, "feature"), images.width);
                return Err(Failure::in_file(path, reason));
            }
            images.width = table.width;
            if files.len() > 1 {
                images.files.extend(repeat_n(path.display().to_string(), table.len()));
            }
            images.take(table);
        }
        Ok(images)
    }

    fn take(&mut self, table: FeatureTable) {
        let name = |label: usize| table.classes.get(label).cloned().unwrap_or_else(|| label.to_string());
        self.labels.extend(table.labels.iter().map(|label| label.map(name)));
        self.paths.extend((0..table.len()).map(|row| table.paths.get(row).cloned().unwrap_or_default()));
        self.features.extend(table.features);
    }

    fn of_model(arguments: &UmapArguments, data: &Path, console: &Console) -> Result<Self, Failure> {
        let split = arguments.split.as_deref().map_or(SplitName::All, SplitName::from);
        let source = open_source_with(data, arguments.skip_bad, console)?;
        let mut dataset = source.split(&split)?;
        let mut splits: Vec<String> = Vec::new();
        if split == SplitName::All && source.splits.len() > 1 {
            let of_split = |(name, samples): (&SplitName, &SampleList)| repeat_n(name.to_string(), samples.len());
            splits.extend(source.splits.iter().flat_map(of_split));
        }
        if arguments.skip_bad {
            let left_out = leave_out_unreadable(&mut dataset, data.display(), console)?;
            let mut place = 0..;
            splits.retain(|_| place.next().is_some_and(|place| left_out.binary_search(&place).is_err()));
        }
        let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
        let model = arguments.batches.in_precision(model, console)?;
        // Labels that the model does not know can be shown, but not be right or wrong.
        let (dataset, is_matched) = match with_model_classes(&dataset, &model, console) {
            Ok(matched) => (matched, true),
            Err(failure) if arguments.color == "correctness" => return Err(failure),
            Err(_) => (dataset, false),
        };
        let classes = model.config().num_classes();
        let mut layers = vec![Layer::parse(&arguments.layer, &model)?];
        if classes > 0 {
            layers.push(Layer::Logits);
        }
        // Without names of its own, the model's are those that the data's were matched with.
        let names = model.config().shown_classes().or_else(|| is_matched.then(|| dataset.classes.clone()));
        let names = names.unwrap_or_default();
        let loader = arguments.batches.loader(dataset, &model, console)?;
        let dataset = loader.dataset();
        let mut images = Self { is_matched, ..Self::default() };
        let (mut features, mut predictions) = (Vec::new(), Vec::new());
        let mut thumbnails = wants_thumbnails(arguments).then(|| Thumbnails::for_images(dataset.len()));
        console.progress.start("features", dataset.len());
        for_each_batch_at(&model, &loader, &layers, Positions::All, &console.progress, |batch, outputs| {
            if let Some(thumbnails) = &mut thumbnails {
                thumbnails.add_batch(batch, model.config().preprocessing());
            }
            features.extend_from_slice(&outputs[0]);
            if let Some(logits) = outputs.get(1) {
                predictions.extend(logits.chunks_exact(classes).map(most_likely));
            }
        })?;
        console.progress.finish();
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
        images.splits = splits;
        images.thumbnails = thumbnails;
        images.width = features.len() / dataset.len();
        images.features = features;
        images.predictions = predictions.into_iter().map(name).collect();
        let classes = imagenet::shown(&dataset.classes);
        let label = |label: usize| classes.get(label).cloned().unwrap_or_else(|| label.to_string());
        images.labels = dataset.samples.iter().map(|sample| sample.label.map(label)).collect();
        images.paths = dataset.samples.iter().map(|sample| sample.name.to_string()).collect();
        Ok(images)
    }

    /// The same with thumbnails of the images that the features are of, where they are wanted.
    fn with_thumbnails(mut self, arguments: &UmapArguments, console: &Console) -> Result<Self, Failure> {
        if let Some(root) = arguments.images.as_ref().filter(|_| wants_thumbnails(arguments)) {
            let mut thumbnails = Thumbnails::for_images(self.paths.len());
            console.progress.start("thumbnails", self.paths.len());
            for path in &self.paths {
                thumbnails.add(&ImageSource::File(root.join(path).into()).load(&DecodeLimits::default())?);
                console.progress.advance(1);
            }
            console.progress.finish();
            self.thumbnails = Some(thumbnails);
        }
        Ok(self)
    }

    /// The classes of all labels and predictions, sorted.
    fn classes(&self) -> Vec<&String> {
        let mut classes: Vec<&String> = self.labels.iter().flatten().chain(&self.predictions).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    /// Whether classes are apart in the features, how often the model is right, and how good the map is.
    /// `typed` is the command line where it names the images.
    fn findings(
        &self,
        options: &UmapOptions,
        trust: Option<f64>,
        placed: Option<Placed>,
        typed: Option<&CommandLine>,
    ) -> Findings {
        let classes: Vec<String> = self.classes().into_iter().cloned().collect();
        let labels: Vec<Option<usize>> =
            self.labels.iter().map(|label| classes.binary_search(label.as_ref()?).ok()).collect();
        let judged = self.labels.len() <= MAX_JUDGED && classes.len() > 1;
        let overlap =
            judged.then(|| overlap(&self.features, self.width, &labels, JUDGED_NEIGHBORS, options.metric)).flatten();
        let answers = self.labels.iter().zip(&self.predictions).filter(|(label, _)| label.is_some());
        let right = answers.clone().filter(|(label, predicted)| label.as_ref() == Some(*predicted)).count();
        let facts = MapFacts {
            classes: &classes,
            overlap,
            right: self.is_matched.then(|| (right, answers.count())),
            trustworthiness: trust.map(|trust| (trust, JUDGED_NEIGHBORS)),
            placed,
        };
        let mut findings = findings::map::of(&facts);
        if let Some(typed) = typed
            && (facts.right.is_some_and(|(_, of)| of > 0)
                || facts.placed.as_ref().is_some_and(|new| new.predicted.1 > 0))
        {
            let eval = typed.turned_into("eval").switch("per-class");
            findings.next.push(NextStep::new("see recall and precision of every class", &eval));
        }
        findings
    }

    fn points(&self, layout: &[[f32; 2]]) -> Vec<Point> {
        let point = |(row, &[x, y]): (usize, &[f32; 2])| Point {
            x,
            y,
            label: self.labels[row].clone(),
            path: self.paths[row].clone(),
            file: self.files.get(row).cloned(),
            split: self.splits.get(row).cloned(),
            prediction: self.predictions.get(row).cloned(),
        };
        layout.iter().enumerate().map(point).collect()
    }
}

fn wants_thumbnails(arguments: &UmapArguments) -> bool {
    arguments.out.format == Format::Html
}

fn csv(points: &[Point]) -> String {
    let optional = |name: &str, present: bool| if present { format!(",{name}") } else { String::new() };
    let has = |value: fn(&Point) -> bool| points.first().is_some_and(value);
    let columns = [
        optional("file", has(|point| point.file.is_some())),
        optional("split", has(|point| point.split.is_some())),
        optional("prediction", has(|point| point.prediction.is_some())),
    ];
    let mut text = format!("x,y,label,path{}\n", columns.concat());
    for point in points {
        let cell = |value: &Option<String>| value.as_deref().map(csv_cell).unwrap_or_default();
        text.push_str(&format!("{},{},{},{}", point.x, point.y, cell(&point.label), csv_cell(&point.path)));
        for value in [&point.file, &point.split, &point.prediction].into_iter().filter(|value| value.is_some()) {
            text.push_str(&format!(",{}", cell(value)));
        }
        text.push('\n');
    }
    text
}
