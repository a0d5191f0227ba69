//! What the training loop says on its way: to the user, and in `metrics.jsonl`.

use std::time::Duration;

use indexmap::IndexMap;

use super::Trial;
use crate::inference::Evaluation;
use crate::plan::{Adaptive, Criterion, Phase, Solver};
use crate::train::TrainError;
use crate::train::learning_rates::RateFactors;
use crate::train::metrics::MetricsRow;
use crate::train::options::{BatchNormPolicy, TrainOptions};
use crate::train::run::Run;
use crate::train::search;
use crate::train::state::Training;
use crate::wording::counted;

impl Trial<'_> {
    /// What `epoch` (from 0) of a training is called.
    pub fn task(&self, epoch: usize, training: &Training) -> String {
        let Self { phase, settings, learning_rates, next, .. } = self;
        let trial = match settings.learning_rates.len() {
            1 => String::new(),
            _ => format!(", rate {:e}", learning_rates.learning_rate()),
        };
        let trial = if next.in_full { trial } else { format!(" (short){trial}") };
        format!("{}{trial}, epoch {}/{}", phase.name, epoch + 1, training.epochs_in_all(settings))
    }

    fn row(&self, epochs: usize, split: &str, loss: f64, accuracy: f64, seconds: f64) -> MetricsRow {
        MetricsRow {
            epoch: epochs,
            step: epochs * self.steps_per_epoch,
            seconds,
            learning_rate: Some(self.learning_rates.learning_rate()),
            short_epochs: (!self.next.in_full).then_some(self.next.epochs),
            ..MetricsRow::new(&self.phase.name, split, loss, accuracy)
        }
    }
}

impl Run<'_> {
    /// Says how long the rest of the plan takes if each of its epochs takes as long as the last one.
    pub(super) fn tell_time_left(&self, trial: &Trial, epoch: Duration) {
        let here = trial.next.passes.saturating_sub(self.state.training.epoch);
        let later = self.plan.phases.iter().skip(self.state.outcomes.len() + 1);
        let of_phase = |phase: &Phase| match &phase.solver {
            Solver::Gradient(settings) => search::epochs_in_all(settings),
            Solver::LogisticRegression(_) | Solver::Interpolation(_) => 1,
        };
        let epochs = here + later.map(of_phase).sum::<usize>();
        self.monitor.time_left(epoch.saturating_mul(u32::try_from(epochs).unwrap_or(u32::MAX)));
    }

    /// Says what a batch of one image cannot do.
    pub(super) fn note_batches_of_one_image(&self) {
        let options = &self.trainer.options;
        let TrainOptions { batch_norm, balanced_classes, mix, .. } = options;
        let batch_size = options.images_of_update();
        let which = match self.trainer.train.len() % batch_size {
            _ if batch_size == 1 => "every batch",
            1 => "the last batch of each epoch",
            _ => return,
        };
        let tell = |effect: &str| self.monitor.message(&format!("note: {which} has one image: {effect}"));
        if *batch_norm != BatchNormPolicy::Frozen {
            tell("BatchNorm takes no statistics from it");
        }
        if *balanced_classes && !mix.is_active() {
            tell("the weight of its class cancels in its mean loss");
        }
    }

    /// Writes down how the present epoch went, at its end.
    pub(super) fn report_epoch(
        &mut self,
        trial: &Trial,
        rate_factors: &RateFactors,
        seconds: f64,
    ) -> Result<(), TrainError> {
        let training = &self.state.training;
        let images = training.totals.images.max(1) as f64;
        let (loss, accuracy) = (training.totals.loss / images, training.totals.correct as f64 / images);
        let mut row = trial.row(training.epoch + 1, "train", loss, accuracy, seconds);
        row.rates = Some(trial.learning_rates.means_of_epoch(&self.state.model, &training.pacing, rate_factors));
        row.rate_multipliers = training.measured.clone();
        self.record(&row)
    }

    /// Says and writes down how good the model is after the epochs done.
    pub(super) fn report_validation(
        &mut self,
        trial: &Trial,
        validation: &Evaluation,
        seconds: f64,
    ) -> Result<(), TrainError> {
        let epochs = self.state.training.epoch;
        self.monitor.message(&format!(
            "{}: {} {:.1} % on validation, loss {:.4}",
            trial.task(epochs - 1, &self.state.training),
            validation.score_name(),
            100.0 * validation.score(),
            validation.loss
        ));
        let row = trial.row(epochs, "val", validation.loss, validation.accuracy, seconds);
        let mean_average_precision = validation.mean_average_precision;
        self.record(&MetricsRow { mean_average_precision, ..row })
    }
}

/// What a measure found, in a line: the layers that train fastest, or how many train at all.
pub(super) fn describe(adaptive: &Adaptive, rate_factors: &IndexMap<String, f64>) -> String {
    const SHOWN: usize = 4;
    let name = match adaptive.criterion {
        Criterion::RelativeGradientNorm => "relative gradient norm",
        Criterion::CumulativeGradientNorm => "relative gradient norms so far",
        Criterion::SignalToNoise | Criterion::SignalToNoiseOfficial => "signal-to-noise ratio",
    };
    if adaptive.threshold.is_some() {
        let on = rate_factors.values().filter(|value| **value > 0.0).count();
        return {
            let (layers, verb) =
                (counted(rate_factors.len(), "layer"), if on == 1 { "trains by its" } else { "train by their" });
            format!("{on} of {layers} {verb} {name}")
        };
    }
    let mut sorted: Vec<(&String, &f64)> = rate_factors.iter().collect();
    sorted.sort_by(|one, other| other.1.total_cmp(one.1));
    let shown: Vec<String> =
        sorted.into_iter().take(SHOWN).map(|(layer, value)| format!("{layer} × {}", shown(*value))).collect();
    format!("rates by {name}: {}, …", shown.join(", "))
}

/// A factor with two digits that count.
fn shown(value: f64) -> String {
    if value == 0.0 || value >= 0.1 { format!("{value:.2}") } else { format!("{value:.1e}") }
}
