//! What a model answers for each label of images that have several.

use retune::analysis::intervals::Estimate;
use retune::analysis::label_resampling::{self, LabelScores};
use retune::analysis::multilabel::LabelCounts;
use retune::inference::{self, InferenceError};
use retune::models::Model;
use retune::report::confusion::ClassAccuracy;
use retune::sources::{Dataset, LabelSets};

/// Starts the resamples of an interval, the same as those of a comparison and of a run's report.
const SEED: u64 = 0;
/// Scores that are kept for an interval, 256 MiB of them.
const MAX_SCORES: usize = 1 << 26;

/// What a model answers for each label of images that have several.
pub struct LabelAnswers {
    sets: LabelSets,
    thresholds: Vec<f64>,
    counts: Vec<LabelCounts>,
    /// The logit of each label, and whether the image has it, a row for each image; none of more than [`MAX_SCORES`].
    scores: Vec<f32>,
    has: Vec<bool>,
    keeps: bool,
}

impl LabelAnswers {
    /// `None` of a model that gives each image one class.
    pub fn of(model: &Model, dataset: &Dataset) -> Result<Option<Self>, InferenceError> {
        let of_sets = |sets: LabelSets| {
            let labels = sets.names().len();
            let thresholds = inference::thresholds(model, labels);
            let counts = vec![LabelCounts::default(); labels];
            let keeps = dataset.len().saturating_mul(labels) <= MAX_SCORES;
            Self { sets, thresholds, counts, scores: Vec::new(), has: Vec::new(), keeps }
        };
        Ok(inference::label_sets(model, dataset)?.map(of_sets))
    }

    /// Counts an image of this class with these logits.
    pub fn add(&mut self, class: usize, logits: &[f32]) {
        let has = self.sets.of_class(class);
        for (label, (&logit, counts)) in logits.iter().zip(&mut self.counts).enumerate() {
            let has = has.contains(&label);
            counts.add(has, inference::sigmoid(logit) >= self.thresholds[label]);
            if self.keeps {
                self.scores.push(logit);
                self.has.push(has);
            }
        }
    }

    /// The mean average precision with its 95 % interval over images.
    pub fn mean_average_precision(&self) -> Option<Estimate> {
        let labels = self.sets.names().len();
        let run = LabelScores { scores: &self.scores, has: &self.has, labels };
        self.keeps.then(|| label_resampling::mean_average_precision(run, SEED))
    }

    /// Recall and precision of each label.
    pub fn of_each(&self) -> Vec<ClassAccuracy> {
        let of_label = |(name, counts): (&String, &LabelCounts)| ClassAccuracy::of_label(name, counts);
        self.sets.names().iter().zip(&self.counts).map(of_label).collect()
    }
}
