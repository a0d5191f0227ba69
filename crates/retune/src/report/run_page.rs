//! The page of one run. Each of its sections is a file of `run_page/` and a line in the list below.

mod descents;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use indexmap::IndexMap;
use retune_analysis::calibration::Calibration;
use retune_analysis::intervals::Estimate;
use retune_pixels::preprocess::Preprocessing;

use super::findings::Findings;
use super::heat_maps;
use super::page::{Page, PageSheet, Section};
use super::verdict;
use crate::files::{self, FileError};
use crate::methods::{Method, MethodOptions};
use crate::models::{CONFIG_FILE, ModelConfig, imagenet};
use crate::plan::{Plan, Solver};
use crate::run::record::{LabelPredictions, Predictions, SampleMap, Samples, Sheet};
use crate::run::{self, FitError, FitOptions, Summary};
use crate::train::metrics::{self, MetricsRow};
use crate::wording::grouped;

/// Makes the list of sections, of a file for each, in their order on the page.
macro_rules! sections {
    ($($file:ident,)+) => {
        $(mod $file;)+

        const SECTIONS: &[RunSection] = &[$($file::SECTION),+];
    };
}

sections! {
    accuracy,
    label_precision,
    map,
    label_map,
    confusion,
    hardest_classes,
    calibration,
    highest_losses,
    highest_label_losses,
    interpolation,
    learning_curves,
    rates_tried,
    block_rates,
    measured_factors,
    penalties,
    plan_and_options,
}

pub(super) use self::label_map::described as described_label_map;
pub(super) use self::map::described as described_map;

/// A section of a run's page.
struct RunSection {
    /// What a link to it ends with.
    id: &'static str,
    /// The heading.
    title: &'static str,
    /// Whether a comparison shows it of each run, and nothing like it of all runs together.
    of_each_run: bool,
    /// The section; nothing where the run has nothing to show in it. One without views is left out, too.
    content: fn(&RunRecord, Sheets) -> Option<Section>,
}

impl RunSection {
    /// The section without any view yet.
    fn noted(&self, note: impl Into<String>) -> Section {
        Section { id: self.id.to_owned(), ..Section::new(self.title, note) }
    }
}

/// Where a page has a run's thumbnails, if it has them.
#[derive(Clone, Copy, Default)]
struct Sheets {
    /// Those of the images whose features are kept.
    samples: Option<usize>,
    /// Those of the images with the highest loss.
    hardest: Option<usize>,
    /// The same with what speaks for the predicted class painted over them, and with what speaks for the true one.
    heat_maps: [Option<usize>; 2],
}

impl Sheets {
    /// Adds a run's thumbnails to a page, `with_heat_maps` also what the model looked at.
    fn add(page: &mut Page, record: &RunRecord, with_heat_maps: bool) -> Self {
        let Samples { thumbnails, hardest, heat_maps } = &record.samples;
        let mut add = |sheet: Option<Sheet>| page.add_sheet(PageSheet::from(sheet?));
        let (samples, hardest_sheet) = (add(thumbnails.clone()), add(hardest.clone()));
        let maps = hardest.as_ref().zip(heat_maps.as_ref()).filter(|_| with_heat_maps && hardest_sheet.is_some());
        let heat_maps = match maps {
            Some((sheet, maps)) => [&maps.predicted, &maps.label].map(|maps| add(heat_maps::painted(sheet, maps))),
            None => [None; 2],
        };
        Self { samples, hardest: hardest_sheet, heat_maps }
    }
}

/// Maximum number of classes that a matrix shows completely.
const FEW_CLASSES: usize = 30;

/// Why a page of a run could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The directory is no run, or its files cannot be understood.
    #[error(transparent)]
    Run(Box<FitError>),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run is not finished.
    #[error("{path} is not finished", path = .0.display())]
    Unfinished(PathBuf),
}

impl From<FitError> for ReportError {
    fn from(error: FitError) -> Self {
        Self::Run(Box::new(error))
    }
}

/// Everything that a finished run's directory holds for a report.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The directory.
    pub directory: PathBuf,
    /// Its resolved options.
    pub options: FitOptions,
    /// Its plan.
    pub plan: Plan,
    /// Its results.
    pub summary: Summary,
    /// Its metrics by epoch.
    pub metrics: Vec<MetricsRow>,
    /// Its predictions; `None` for runs from before predictions were kept, and where images have several labels.
    pub predictions: Option<Predictions>,
    /// The same of a run on images with several labels.
    pub labels: Option<LabelPredictions>,
    /// The mean average precision on each set, once it was asked for: it takes many resamples.
    mean_average_precisions: OnceLock<IndexMap<String, Estimate>>,
    /// Thumbnails of its images.
    pub samples: Samples,
    /// A map of its samples, if one was made.
    pub map: Option<SampleMap>,
    /// The preprocessing of its model, if the model is still there.
    pub preprocessing: Option<Preprocessing>,
    /// The command that made it, where that was kept.
    pub command: Option<String>,
    /// Its method with its options; `None` if its plan was written by hand.
    pub method: Option<(Method, MethodOptions)>,
}

impl RunRecord {
    /// Reads a run directory.
    ///
    /// # Errors
    /// A directory that is no run, or an unfinished one; files that cannot be read.
    pub fn read(run: &Path) -> Result<Self, ReportError> {
        let options = run::read_options(run)?;
        let mut summary = run::finished(run)?.ok_or_else(|| ReportError::Unfinished(run.to_owned()))?;
        let plan = Plan::from_toml(&files::read_text(&run.join("plan.toml"))?).map_err(FitError::from)?;
        let predictions = Predictions::read(run, &summary.classes)?;
        summary.classes = imagenet::shown(&summary.classes);
        let labels = LabelPredictions::read(run)?;
        let samples = match (&predictions, &labels) {
            (Some(predictions), _) => Samples::read(run, predictions)?,
            (None, Some(labels)) => Samples::read_of_labels(run, labels)?,
            (None, None) => Samples::default(),
        };
        Ok(Self {
            directory: run.to_owned(),
            metrics: metrics::read(&run.join("metrics.jsonl"))?,
            map: SampleMap::read(run)?,
            preprocessing: ModelConfig::read(&run.join("model").join(CONFIG_FILE))
                .ok()
                .map(|config| config.preprocessing().clone()),
            command: run::read_command(run)?,
            method: run::read_method(run)?,
            samples,
            labels,
            mean_average_precisions: OnceLock::new(),
            predictions,
            options,
            plan,
            summary,
        })
    }

    /// The further sets, in the order of `--eval`, without one that stands for data as in training.
    pub fn shifted(&self) -> Vec<String> {
        let further: Vec<String> = self.options.evaluations.iter().map(|source| source.name.clone()).collect();
        let own = verdict::in_distribution(&self.summary, &further).map(|(name, _)| name.clone());
        further.into_iter().filter(|name| Some(name) != own.as_ref()).collect()
    }

    /// Confidence against accuracy on a set.
    pub fn calibration(&self, set: &str) -> Option<Calibration> {
        let predictions = self.predictions.as_ref()?;
        let set = predictions.sets.iter().position(|name| name == set)?;
        Calibration::measure(predictions.of_set(set).map(|row| (row.probability, row.predicted == row.label)))
    }

    /// The mean average precision on a set with its 95 % interval over images; `None` where images have one label.
    pub fn mean_average_precision(&self, set: &str) -> Option<Estimate> {
        let labels = self.labels.as_ref()?;
        let found = self.mean_average_precisions.get_or_init(|| label_precision::means(labels));
        found.get(set).copied()
    }

    /// What was found, and what to do next.
    pub fn findings(&self) -> Findings {
        verdict::of_run(self)
    }

    /// The page.
    pub fn page(&self) -> Page {
        let summary = &self.summary;
        let mut page = Page::new(format!("{} on {}", summary.method, summary.architecture));
        let Findings { sentences, next } = self.findings();
        (page.verdict, page.next) = (sentences, next);
        page.facts = self.facts();
        page.sections = self.sections(&mut page, true, |_| true);
        if self.predictions.is_none() && self.labels.is_none() {
            page.verdict.push(
                "This run is from before predictions were kept, so confusion, calibration, and images are missing."
                    .into(),
            );
        }
        page
    }

    /// Sections for a comparison's page, with what the comparison does not show of all runs together. Their thumbnails
    /// are added to that page, without heat maps, whose room those of the other runs may need.
    pub fn sections_to_compare(&self, page: &mut Page, with_map: bool) -> Vec<Section> {
        self.sections(page, false, |section| section.of_each_run && (with_map || section.id != map::SECTION.id))
    }

    /// The sections that are shown, without empty ones. Their thumbnails are added to the page.
    fn sections(&self, page: &mut Page, heat_maps: bool, shows: impl Fn(&RunSection) -> bool) -> Vec<Section> {
        let sheets = Sheets::add(page, self, heat_maps);
        let shown = SECTIONS.iter().filter(|section| shows(section));
        shown
            .filter_map(|section| (section.content)(self, sheets))
            .filter(|section| !section.views.is_empty())
            .collect()
    }

    /// Images whose features are kept, which a map would show.
    pub fn sampled_images(&self) -> usize {
        // Older runs on images with several labels keep none.
        if let Some(labels) = self.labels.as_ref().filter(|_| self.samples.thumbnails.is_some()) {
            return labels.sampled().len();
        }
        let predictions = self.predictions.iter().flat_map(|predictions| &predictions.rows);
        predictions.filter(|row| row.sample.is_some()).count()
    }

    /// Images on the map.
    pub fn mapped_images(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.points.len())
    }

    fn facts(&self) -> Vec<(String, String)> {
        let Self { summary, options, .. } = self;
        let model = match (&options.model.path, &options.model.architecture) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(architecture)) => format!("{architecture} from scratch"),
            (None, None) => summary.architecture.clone(),
        };
        let facts = [
            ("Method", summary.method.clone()),
            ("Architecture", summary.architecture.clone()),
            ("Model", model),
            ("Data", options.data.display().to_string()),
            ("Training images", grouped(summary.training_images)),
            ("Classes", grouped(summary.classes.len())),
            ("Trained parameters", grouped(summary.trained_parameters)),
            ("Training time", duration(summary.seconds)),
            ("Seed", summary.seed.to_string()),
        ];
        facts.into_iter().chain(self.training_facts()).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// How the model was trained, as far as that can be said in a word.
    fn training_facts(&self) -> Vec<(&'static str, String)> {
        let rate = self.summary.phases.iter().rev().find_map(|phase| phase.learning_rate);
        let epochs = self.plan.phases.iter().rev().find_map(|phase| match &phase.solver {
            Solver::Gradient(settings) => Some(settings.epochs),
            Solver::LogisticRegression(_) | Solver::Interpolation(_) => None,
        });
        let facts = [
            ("Learning rate", rate.map(|rate| format!("{rate:e}"))),
            ("Epochs", epochs.map(|epochs| epochs.to_string())),
            ("Batch size", epochs.map(|_| grouped(self.options.train.batch_size))),
            ("Input size", self.preprocessing.as_ref().map(|found| format!("{}×{}", found.height, found.width))),
        ];
        facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Seconds in words.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}
