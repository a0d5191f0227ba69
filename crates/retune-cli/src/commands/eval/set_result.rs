//! What a model does on one set.

use retune::analysis::calibration::Calibration;
use retune::inference::{self, Evaluation, InferenceError, LogitComparison, most_likely, softmax, softmax_at};
use retune::loading::{Batch, Loader};
use retune::models::{Model, imagenet};
use retune::monitor::Monitor;
use retune::report::confusion::{ClassAccuracy, Confusion};

use super::label_answers::LabelAnswers;
use crate::output::results::CalibrationError;

/// What a model does on one set.
pub struct SetResult {
    /// Accuracy, loss, and what else is measured of all images.
    pub evaluation: Evaluation,
    /// How far confidence is from accuracy; `None` where images have several labels.
    pub calibration: Option<CalibrationError>,
    /// Confidence against accuracy at the temperature that predictions have.
    pub confidence: Option<Calibration>,
    /// Where images have several labels.
    labels: Option<LabelAnswers>,
    confusion: Confusion,
    /// The classes as they are shown.
    shown: Vec<String>,
}

impl SetResult {
    /// Evaluates a model on a set; `comparison` hears of the logits.
    ///
    /// # Errors
    /// As [`inference::evaluate_batches`].
    pub fn measure(
        model: &Model,
        loader: &Loader,
        task: &str,
        mut comparison: Option<&mut LogitComparison>,
        monitor: &dyn Monitor,
    ) -> Result<Self, InferenceError> {
        let dataset = loader.dataset();
        let (classes, temperature) = (model.config().num_classes(), model.config().temperature());
        let (mut answers, mut plain, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
        let mut labels = match model.config().is_multi_label() {
            true => LabelAnswers::of(model, dataset)?,
            false => None,
        };
        let mut answer = |label, logits: &[f32]| {
            if let Some(labels) = &mut labels {
                return labels.add(label, logits);
            }
            let class = most_likely(logits);
            plain.push((softmax(logits)[class], class == label));
            scaled.extend(temperature.map(|temperature| (softmax_at(temperature, logits)[class], class == label)));
            answers.push((label, class));
        };
        let observe = |batch: &Batch, logits: &[f32]| {
            logits.chunks_exact(classes).zip(&batch.labels).for_each(|(logits, &label)| answer(label, logits));
            if let Some(comparison) = &mut comparison {
                comparison.add(batch, logits);
            }
        };
        let mut evaluation = inference::evaluate_batches(model, loader, task, monitor, observe)?;
        evaluation.mean_average_precision_interval = evaluation
            .mean_average_precision
            .and_then(|_| labels.as_ref()?.mean_average_precision())
            .map(|found| found.interval);
        let (plain, scaled) = (Calibration::measure(plain), Calibration::measure(scaled));
        let error = |found: &Calibration| found.expected_error;
        let calibration = plain.as_ref().map(error);
        Ok(Self {
            evaluation,
            calibration: calibration
                .map(|softmax| CalibrationError { softmax, at_temperature: scaled.as_ref().map(error) }),
            confidence: scaled.or(plain),
            labels,
            confusion: Confusion::count(answers),
            shown: imagenet::shown(&dataset.classes),
        })
    }

    /// Recall and precision of each class or label.
    pub fn classes(&self) -> Vec<ClassAccuracy> {
        match &self.labels {
            Some(labels) => labels.of_each(),
            None => self.confusion.of_classes(&self.shown),
        }
    }

    /// Which classes were taken for which, with the classes' names; `None` where images have several labels.
    pub fn mistakes(&self) -> Option<(Confusion, Vec<String>)> {
        self.labels.is_none().then(|| (self.confusion.clone(), self.shown.clone()))
    }
}
