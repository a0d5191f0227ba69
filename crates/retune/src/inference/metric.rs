//! The number by which models are compared on validation images.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Evaluation;

/// The number by which models are compared on validation images. Of equal ones, that of lower loss is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The share of images that are right.
    #[default]
    Accuracy,
    /// The mean over classes of the accuracy in each.
    BalancedAccuracy,
    /// The mean over classes of the F1 score of each.
    MacroF1,
    /// The mean cross-entropy; of equal ones, the more accurate is better.
    Loss,
    /// The mean over classes of the area under the ROC curve of each against all others.
    Auroc,
    /// The mean over labels of their average precision, where images have several labels.
    #[serde(rename = "map")]
    MeanAveragePrecision,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Accuracy, Self::BalancedAccuracy, Self::MacroF1, Self::Loss, Self::Auroc, Self::MeanAveragePrecision];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced-accuracy",
            Self::MacroF1 => "macro-f1",
            Self::Loss => "loss",
            Self::Auroc => "auroc",
            Self::MeanAveragePrecision => "map",
        }
    }

    /// Whether it is the one to take where nothing is said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `one` is better than `other`.
    pub fn is_better(self, one: &Evaluation, other: &Evaluation) -> bool {
        self.order(one, other).is_gt()
    }

    /// How `one` compares with `other`: the greater is better.
    pub fn order(self, one: &Evaluation, other: &Evaluation) -> Ordering {
        let loss = other.loss.total_cmp(&one.loss);
        match self {
            Self::Accuracy => one.order(other),
            Self::BalancedAccuracy => one.balanced_accuracy.total_cmp(&other.balanced_accuracy).then(loss),
            Self::MacroF1 => f1(one).total_cmp(&f1(other)).then(loss),
            Self::Loss => loss.then(one.accuracy.total_cmp(&other.accuracy)),
            Self::Auroc => auroc(one).total_cmp(&auroc(other)).then(loss),
            Self::MeanAveragePrecision => precision(one).total_cmp(&precision(other)).then(loss),
        }
    }

    /// Whether `one` has as good a value of this metric as `other`, whatever else tells them apart.
    pub fn is_as_good(self, one: &Evaluation, other: &Evaluation) -> bool {
        match self {
            Self::Accuracy => one.accuracy >= other.accuracy,
            Self::BalancedAccuracy => one.balanced_accuracy >= other.balanced_accuracy,
            Self::MacroF1 => f1(one) >= f1(other),
            Self::Loss => one.loss <= other.loss,
            Self::Auroc => auroc(one) >= auroc(other),
            Self::MeanAveragePrecision => precision(one) >= precision(other),
        }
    }
}

impl Metric {
    /// Whether it goes by the ranks of images, for which all logits have to be kept.
    pub(crate) fn ranks_images(self) -> bool {
        self == Self::Auroc
    }
}

impl std::str::FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|metric| metric.name() == name);
        known.ok_or_else(|| format!("expected {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The macro F1 score; older results have none, and count as the worst.
fn f1(evaluation: &Evaluation) -> f64 {
    evaluation.macro_f1.unwrap_or(0.0)
}

/// The area under the ROC curve; where there is none, as without an image of some class, the loss decides.
fn auroc(evaluation: &Evaluation) -> f64 {
    evaluation.auroc.unwrap_or(0.0)
}

/// The mean average precision; without any positive there is none, and the loss decides.
fn precision(evaluation: &Evaluation) -> f64 {
    evaluation.mean_average_precision.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_orders_by_its_own_number_and_then_by_loss() {
        let of = |accuracy: f64, balanced_accuracy: f64, loss: f64| Evaluation {
            n: 10,
            accuracy,
            accuracy_interval: [0.0, 1.0],
            balanced_accuracy,
            loss,
            macro_f1: Some(balanced_accuracy),
            auroc: Some(balanced_accuracy),
            mean_average_precision: Some(balanced_accuracy),
            ..Evaluation::default()
        };
        let (common, rare) = (of(0.9, 0.5, 0.4), of(0.8, 0.7, 0.3));
        assert_eq!(Metric::Accuracy.order(&common, &rare), Ordering::Greater);
        assert_eq!(Metric::BalancedAccuracy.order(&common, &rare), Ordering::Less);
        assert_eq!(Metric::MacroF1.order(&common, &rare), Ordering::Less);
        assert_eq!(Metric::Loss.order(&common, &rare), Ordering::Less);
        assert_eq!(Metric::Auroc.order(&common, &rare), Ordering::Less);
        assert_eq!(Metric::MeanAveragePrecision.order(&common, &rare), Ordering::Less);
        let surer = of(0.9, 0.5, 0.2);
        assert!(Metric::ALL.iter().all(|metric| metric.order(&surer, &common) == Ordering::Greater));
        assert!(Metric::ALL.iter().all(|metric| metric.name().parse() == Ok(*metric)));
    }
}
