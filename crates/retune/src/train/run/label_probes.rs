//! A linear probe as a phase, for images with several labels: a logistic regression for each label, to its optimum.

use super::Run;
use super::logistic_regression::{ProbeFeatures, fit_probe};
use crate::inference::{self, Metric, Tally};
use crate::plan::{LogisticRegression, Phase};
use crate::sources::{Dataset, LabelSets};
use crate::train::metrics::MetricsRow;
use crate::train::probe::{ProbeOptions, SolverOptions, for_each_logits};
use crate::train::{PhaseOutcome, TrainError};

impl Run<'_> {
    /// Fits each label by itself with the solver of the probe, which of two classes, the label and its absence, is binary
    /// logistic regression. The validation loss of the label chooses its penalty.
    pub(super) fn label_probes(
        &mut self,
        phase: &Phase,
        settings: &LogisticRegression,
        features: &ProbeFeatures,
        sets: &LabelSets,
    ) -> Result<PhaseOutcome, TrainError> {
        let options = ProbeOptions {
            // Two rows of half a weight each have half the penalty of one row with all of it.
            inverse_strengths: settings.strengths.iter().map(|strength| strength / 2.0).collect(),
            select: Metric::Loss,
            solver: SolverOptions::default(),
        };
        let (train, validation) = (features.train.matrix()?, features.validation.matrix()?);
        let labels_of = |dataset: &Dataset, label: usize| -> Result<Vec<usize>, TrainError> {
            let has = |class: usize| usize::from(sets.of_class(class).binary_search(&label).is_ok());
            Ok(dataset.labels()?.into_iter().map(has).collect())
        };
        let monitor = self.monitor;
        let (mut weight, mut bias, mut strengths) = (Vec::new(), Vec::new(), Vec::new());
        for (label, name) in sets.names().iter().enumerate() {
            let of_train = labels_of(&self.trainer.train, label)?;
            let of_validation = labels_of(&self.trainer.validation, label)?;
            let task = format!("linear probe of {name}");
            let probe =
                fit_probe(&task, (train, &of_train[..]), (validation, &of_validation[..]), 2, &options, monitor)?;
            let (without, with) = probe.weight.split_at(probe.weight.len() / 2);
            weight.extend(with.iter().zip(without).map(|(with, without)| with - without));
            bias.push(probe.bias[1] - probe.bias[0]);
            strengths.push(2.0 * probe.inverse_strength);
        }
        strengths.sort_by(f64::total_cmp);
        let median = strengths[strengths.len() / 2];

        let (weight_index, bias_index) =
            self.state.model.head_parameters().ok_or(inference::InferenceError::NoClassifier)?;
        let mut tally = Tally::of_dataset(false, &self.state.model, &self.trainer.validation)?;
        let validation_labels = self.trainer.validation.labels()?;
        let mut images = validation_labels.iter().zip(&self.trainer.validation.samples);
        for_each_logits(validation, &weight, &bias, |logits| {
            for (row, (&label, sample)) in logits.chunks_exact(bias.len()).zip(&mut images) {
                tally.add(row, label, sample.group.as_deref());
            }
        })?;
        let validation = tally.evaluation();
        let row = MetricsRow::new(&phase.name, "val", validation.loss, validation.accuracy);
        self.record(&MetricsRow { inverse_strength: Some(median), ..row })?;
        self.state.model.parameters.set_values(weight_index, weight);
        self.state.model.parameters.set_values(bias_index, bias);
        Ok(PhaseOutcome { inverse_strength: Some(median), ..PhaseOutcome::new(&phase.name, 0, validation) })
    }
}
