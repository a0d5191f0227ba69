//! Which blocks to tune for a target, told from a few batches.
//!
//! Surgical fine-tuning (Lee et al. 2023, arXiv 2210.11466) tunes one part of a model and leaves the rest; which part
//! is best depends on how the target differs from what the model knows. Three kinds of evidence are gathered for each
//! candidate, a stage or a few neighboring ones:
//!
//! ```text
//! target images ─┬─ gradients:  ‖gradient‖ / ‖weights‖ before anything trains
//!                ├─ similarity: CKA of what source and target images become there   (with source images)
//!                └─ trial:      the candidate alone tuned for some steps, judged on held-out images
//!                      └─► verdict
//! ```
//!
//! The trial decides, because it measures what is asked; gradients settle what it cannot tell apart ([`Verdict`] has
//! the rule). How often that is right, and how often each evidence is by itself, is measured in
//! `book/src/measurements/analysis.md`.

mod candidates;
mod judgment;
pub mod learning_rate;
mod similarity;
mod trial;
mod verdict;

use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

pub use self::candidates::Candidate;
pub use self::similarity::{Pairing, Similarity};
pub use self::trial::Trial;
pub use self::verdict::{FULL, Reason, Standing, Tuned, UNTUNED, Verdict};
use crate::inference::{Evaluation, InferenceError};
use crate::methods::layers::LayerSelection;
use crate::methods::{Method, MethodOptions};
use crate::models::{HeadInitialization, Model};
use crate::monitor::{MetricsRow, Monitor};
use crate::plan::PlanError;
use crate::run::{self, FitData, FitError, FitOptions};
use crate::sources::split::{SplitFractions, by_rarest_label, stratified_split};
use crate::sources::{DataError, DataNote, Dataset, LabelSets, ReadImages};
use crate::train::{Shared, TrainError, Trained, Trainer};
use crate::wording::counted;

/// What progress calls the model before any tuning.
const AS_IT_IS: &str = "the model as it is";

/// What is looked at, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdviceOptions {
    /// The most candidates; at least 3. Neighboring stages are put together where there are more.
    pub candidates: usize,
    /// Training batches whose gradients are measured.
    pub gradient_batches: usize,
    /// Training images that a trial sees, and source images that are compared with.
    pub trial_images: usize,
    /// The most validation images that a trial is judged on.
    pub held_out_images: usize,
    /// Passes over the trial's images.
    pub trial_epochs: usize,
    /// Learning rates of a trial, of which the held-out images choose.
    pub trial_rates: Vec<f64>,
    /// Images like those that the model was trained on.
    pub source: Option<PathBuf>,
}

impl Default for AdviceOptions {
    fn default() -> Self {
        Self {
            candidates: 6,
            gradient_batches: 5,
            trial_images: 500,
            held_out_images: 1000,
            trial_epochs: 10,
            trial_rates: vec![1e-3, 1e-2],
            source: None,
        }
    }
}

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdviseError {
    /// Data, model or training is at fault.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The source's images have nothing to do with the target's.
    #[error(
        "{path} shares no image and no {kind} ('{class}', …) with the data: name the same classes, or advise without a \
         source", path = path.display()
    )]
    SourceUnrelated {
        /// The source.
        path: PathBuf,
        /// What its images are of: a class, or a combination of labels.
        kind: &'static str,
        /// One of the target.
        class: String,
    },
    /// There are too few source images to compare.
    #[error(
        "{path} and the data have {pairs} of images of the same {kind}, but the comparison needs {needed}: add source \
         images of each {kind}, or advise without a source", path = path.display(), pairs = counted(*.found, "pair")
    )]
    FewPairs {
        /// The source.
        path: PathBuf,
        /// What the images of a pair share: a class, or a combination of labels.
        kind: &'static str,
        /// Pairs there are.
        found: usize,
        /// Pairs needed.
        needed: usize,
    },
    /// No trial came to an end.
    #[error("every trial diverged at every learning rate ({}); try smaller ones", rates(.0))]
    AllDiverged(Vec<f64>),
}

fn rates(rates: &[f64]) -> String {
    rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(", ")
}

impl AdviseError {
    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Fit(error) if error.is_interruption())
    }
}

impl From<DataError> for AdviseError {
    fn from(error: DataError) -> Self {
        Self::Fit(error.into())
    }
}

impl From<InferenceError> for AdviseError {
    fn from(error: InferenceError) -> Self {
        Self::Fit(error.into())
    }
}

impl From<TrainError> for AdviseError {
    fn from(error: TrainError) -> Self {
        Self::Fit(error.into())
    }
}

impl From<PlanError> for AdviseError {
    fn from(error: PlanError) -> Self {
        Self::Fit(error.into())
    }
}

/// The evidence and what follows from it. Serialized without times, so that the same seed gives the same bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// timm's name of the architecture.
    pub architecture: String,
    /// The seed of every choice.
    pub seed: u64,
    /// Whether the head is new; then it trains along in every trial.
    pub new_head: bool,
    /// Images that trials were trained on.
    pub trial_images: usize,
    /// Images that trials were judged on.
    pub held_out_images: usize,
    /// The model before any tuning, on the held-out images; none with a new head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untuned: Option<Evaluation>,
    /// How source and target images were paired, where source images were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// How alike source and target images are before the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_similarity: Option<Similarity>,
    /// The candidates from input to output.
    pub candidates: Vec<Evidence>,
    /// Full fine-tuning, for comparison; none where it diverged.
    pub full: Option<Trial>,
    /// What follows.
    pub verdict: Verdict,
}

/// What is known of a candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// The layers.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Norm of the gradient over the norm of the weights, averaged over batches, normalization layers left out (Lee et
    /// al. 2023, section 4); none where the weights are all 0, and for a new head.
    pub relative_gradient_norm: Option<f64>,
    /// How alike source and target images are once they have passed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Similarity>,
    /// The trial; none where it diverged at every rate.
    pub trial: Option<Trial>,
}

/// Gathers the evidence for tuning a model to `options.data`, and decides.
///
/// Training images give gradients and trials, validation images judge the trials; no other set is looked at. A new head
/// is trained along in every trial, and to the optimum before gradients are measured, because a head of zeros passes
/// none on.
///
/// # Errors
/// As a fit; a source that cannot be compared with; an interruption; divergence of every trial.
pub fn advise(options: &FitOptions, advice: &AdviceOptions, monitor: &dyn Monitor) -> Result<Advice, AdviseError> {
    let (model, mut data) = run::open(options)?;
    model.tell_notes(monitor);
    data.tell_notes(monitor);
    if options.skip_bad {
        data.leave_out_unreadable(&options.data, &ReadImages::default(), monitor)?;
    }
    let seed = options.train.seed;
    let of_labels = options.multi_label;
    let data = FitData {
        train: proportional(&data.train, advice.trial_images, of_labels, seed)?,
        validation: proportional(&data.validation, advice.held_out_images, of_labels, seed)?,
        evaluations: Vec::new(),
        notes: Vec::new(),
    };
    let pairs = advice.source.as_ref().map(|path| similarity::pair(path, &data.train, of_labels, seed)).transpose()?;
    let candidates = candidates::of(&model, advice.candidates);
    let new_head = options.head_initialization != HeadInitialization::Keep;
    let target = Target { model: &model, data: &data, options, advice, new_head, shared: Shared::default(), monitor };

    let untuned = match new_head {
        true => None,
        false => Some(run::evaluate_set(&model, AS_IT_IS, &data.validation, &options.train, monitor)?),
    };
    let untuned_judgment = untuned.as_ref().map(|_| target.judged(&model, AS_IT_IS)).transpose()?;
    let norms = target.gradient_norms(&candidates)?;
    let compared = pairs.map(|pairs| target.compare(&pairs, &candidates)).transpose()?;
    let (pairing, input_similarity, similarities) = match compared {
        Some(found) => (Some(found.pairing), Some(found.input), found.candidates.into_iter().map(Some).collect()),
        None => (None, None, vec![None; candidates.len()]),
    };
    let trial = |candidate: &Candidate| target.trial(&candidate.name, Method::SURGICAL, candidate.layers());
    let trials = candidates.iter().map(trial).collect::<Result<Vec<_>, _>>()?;
    let full = target.trial("full fine-tuning", Method::FT, LayerSelection::All)?;

    let evidence = candidates.into_iter().zip(norms).zip(similarities).zip(trials);
    let candidates: Vec<Evidence> = evidence
        .map(|(((candidate, relative_gradient_norm), similarity), trial)| Evidence {
            candidate,
            relative_gradient_norm,
            similarity,
            trial,
        })
        .collect();
    let verdict =
        verdict::decide(&candidates, input_similarity.as_ref(), full.as_ref(), untuned_judgment.as_ref(), new_head);
    let verdict = verdict.ok_or_else(|| AdviseError::AllDiverged(advice.trial_rates.clone()))?;
    Ok(Advice {
        architecture: model.config().architecture().to_owned(),
        seed,
        new_head,
        trial_images: data.train.len(),
        held_out_images: data.validation.len(),
        untuned,
        pairing,
        input_similarity,
        candidates,
        full,
        verdict,
    })
}

/// About `count` images with the classes in the proportions that they have; all where there are no more. An image with
/// several labels counts as one of its rarest label, as where validation images are held out: most combinations of labels
/// have too few images to be divided.
fn proportional(images: &Dataset, count: usize, of_labels: bool, seed: u64) -> Result<Dataset, DataError> {
    if images.len() <= count {
        return Ok(images.clone());
    }
    let fractions = SplitFractions { validation: count as f64 / images.len() as f64, test: 0.0 };
    if !of_labels {
        return Ok(images.select(&stratified_split(&images.samples, fractions, seed)?.validation));
    }
    let sets = LabelSets::of(&images.classes);
    let strata = by_rarest_label(&images.samples, &sets, &sets.counts(&images.class_counts()));
    Ok(images.select(&stratified_split(&strata, fractions, seed)?.validation))
}

/// What evidence is gathered from.
struct Target<'a> {
    model: &'a Model,
    data: &'a FitData,
    options: &'a FitOptions,
    advice: &'a AdviceOptions,
    new_head: bool,
    shared: Shared,
    monitor: &'a dyn Monitor,
}

impl Target<'_> {
    /// Trains a copy of the model on the target's images.
    fn train(&self, method: Method, layers: LayerSelection, monitor: &dyn Monitor) -> Result<Trained, AdviseError> {
        let method_options = MethodOptions {
            epochs: self.advice.trial_epochs,
            learning_rates: self.advice.trial_rates.clone(),
            new_head: self.new_head,
            layers,
            ..MethodOptions::default()
        };
        let plan = method.plan(self.model.blocks(), &method_options)?;
        Ok(self.trainer().run(&plan, self.model.clone(), monitor)?)
    }

    fn trainer(&self) -> Trainer {
        let trainer = Trainer::new(&self.data.train, &self.data.validation);
        trainer.options(self.options.train.clone()).sharing(&self.shared)
    }

    /// The relative gradient norm of each candidate.
    fn gradient_norms(&self, candidates: &[Candidate]) -> Result<Vec<Option<f64>>, AdviseError> {
        let probed = match self.new_head {
            true => Some(self.train(Method::LP, LayerSelection::All, &Quiet(self.monitor))?.model),
            false => None,
        };
        let model = probed.as_ref().unwrap_or(self.model);
        let groups: Vec<Range<usize>> = candidates.iter().map(|candidate| candidate.blocks.clone()).collect();
        let batches = self.advice.gradient_batches;
        let mut norms = self.trainer().relative_gradient_norms(model, &groups, batches, self.monitor)?;
        // At the probe's optimum there is nothing left to learn for the head itself.
        if let Some(head) = norms.last_mut().filter(|_| self.new_head) {
            *head = None;
        }
        Ok(norms)
    }
}

/// Passes on how far the work is, and that it should stop, and keeps messages to itself.
struct Quiet<'a>(&'a dyn Monitor);

impl Monitor for Quiet<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.0)
    }

    fn message(&self, _: &str) {}

    fn detail(&self, _: &str) {}

    fn note(&self, _: &DataNote) {}

    fn measured(&self, _: &MetricsRow) {}
}
