//! The search among a phase's learning rates: which training comes next, and which of those that were made is best.
//!
//! A search has no state but the trainings made so far. What comes next follows from the plan and from them, so a run that
//! is resumed goes on as it would have.

use serde::{Deserialize, Serialize};

use crate::inference::{Evaluation, Metric};
use crate::plan::{Gradient, Rung};

/// A training at one of the learning rates that a phase tries, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The learning rate.
    pub learning_rate: f64,
    /// Epochs for which it was to train; fewer than the phase's in short trainings.
    pub epochs: usize,
    /// The best of its epochs, from 1; 0 if it diverged.
    pub epoch: usize,
    /// How good the model was after that epoch; `None` if the training diverged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Evaluation>,
}

/// The learning rate that came closest to the chosen one, and how close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunnerUp {
    /// The learning rate.
    pub learning_rate: f64,
    /// Epochs of the trainings that are compared: the longest in which the chosen rate has another beside it.
    pub epochs: usize,
    /// The chosen rate's [score](Evaluation::score) on validation minus this one's; below 0 if this one's was higher.
    pub lead: f64,
    /// Standard error of the chosen rate's score.
    pub standard_error: f64,
    /// What the score is.
    pub score: &'static str,
}

impl RunnerUp {
    /// The best of the learning rates beside the chosen one, by the score; `None` where no other gave a model.
    pub(super) fn of(chosen: f64, tried: &[Tried]) -> Option<Self> {
        let trained = tried.iter().filter_map(|tried| Some((tried, tried.validation.as_ref()?)));
        let others = trained.clone().filter(|(tried, _)| tried.learning_rate != chosen);
        let mut own: Vec<_> = trained.filter(|(tried, _)| tried.learning_rate == chosen).collect();
        own.sort_by_key(|(tried, _)| std::cmp::Reverse(tried.epochs));
        own.into_iter().find_map(|(chosen, validation)| {
            let beside = others.clone().filter(|(tried, _)| tried.epochs == chosen.epochs);
            let (next, next_best) = beside.max_by(|one, other| one.1.score_order(other.1))?;
            Some(Self {
                learning_rate: next.learning_rate,
                epochs: next.epochs,
                lead: validation.score() - next_best.score(),
                standard_error: validation.standard_error(),
                score: validation.score_name(),
            })
        })
    }

    /// Whether the validation images tell the two apart: by more than one standard error.
    pub fn is_told_apart(&self) -> bool {
        self.lead.abs() > self.standard_error
    }
}

/// A training to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Position of its learning rate.
    pub position: usize,
    /// Its epochs.
    pub epochs: usize,
    /// Epochs of this training and of those that are sure to follow.
    pub passes: usize,
    /// How many trainings these are.
    pub trainings: usize,
    /// Whether it is a training in full, whose model may be handed on.
    pub in_full: bool,
}

/// What keeps a search short.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SearchLimits {
    /// Begin with the rates in the middle of the list.
    pub from_middle: bool,
    /// Short trainings after which the search ended before its time.
    pub ended_after: Option<usize>,
}

impl SearchLimits {
    /// Positions of so many learning rates in the order in which they are tried.
    fn order(self, rates: usize) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..rates).collect();
        if self.from_middle {
            positions.sort_by_key(|position| (2 * position + 1).abs_diff(rates));
        }
        positions
    }
}

/// Epochs of all trainings of a phase in which none diverges.
pub(super) fn epochs_in_all(settings: &Gradient) -> usize {
    let mut trainings = settings.learning_rates.len();
    let mut epochs = 0;
    for rung in &settings.rungs {
        epochs += trainings * rung.epochs;
        trainings = trainings.min(rung.keep);
    }
    epochs + trainings * settings.epochs
}

/// The training that comes after `done` others, of which `tried` tells; `None` after the last. Where nothing is left out on
/// the way, only their number matters, as a checkpoint of an earlier version has no more.
pub(super) fn next(
    settings: &Gradient,
    tried: &[Tried],
    done: usize,
    metric: Metric,
    limits: SearchLimits,
) -> Option<Next> {
    let mut left = limits.order(settings.learning_rates.len());
    let mut keep = left.len();
    let mut before = 0;
    for rung in &settings.rungs {
        let ended = limits.ended_after.map(|ended| ended.saturating_sub(before));
        let trainings = left.len().min(keep).min(ended.unwrap_or(usize::MAX));
        keep = rung.keep;
        // Without a training to go by, the order of the list decides.
        if trainings == 0 {
            continue;
        }
        left.truncate(trainings);
        if let Some(&position) = left.get(done - before) {
            let trainings = before + trainings - done;
            let passes = rung.epochs * trainings + settings.epochs;
            return Some(Next { position, epochs: rung.epochs, passes, trainings: trainings + 1, in_full: false });
        }
        left = ranked(&left, tried.get(before..before + trainings)?, rung, settings, metric);
        before += trainings;
    }
    let in_full = done - before;
    // A rate that is good for a few epochs can diverge in more; then the next best has its turn.
    let diverged = |tried: &Tried| tried.validation.is_none();
    let goes_on = in_full < keep || tried.get(before..done)?.iter().all(diverged);
    let &position = left.get(in_full).filter(|_| goes_on)?;
    let trainings = keep.min(left.len()).saturating_sub(in_full).max(1);
    Some(Next { position, epochs: settings.epochs, passes: settings.epochs * trainings, trainings, in_full: true })
}

/// The learning rates of a rung that did not diverge, in the order in which they go on: the best first, of equal ones the
/// one named first, and at the last place that goes on the largest that is about as good.
fn ranked(positions: &[usize], tried: &[Tried], rung: &Rung, settings: &Gradient, metric: Metric) -> Vec<usize> {
    let evaluated = positions.iter().copied().zip(tried);
    let mut found: Vec<(usize, &Evaluation)> =
        evaluated.filter_map(|(position, tried)| Some((position, tried.validation.as_ref()?))).collect();
    found.sort_by(|one, other| metric.order(other.1, one.1));
    let last_place = rung.keep - 1;
    if rung.keep_largest
        && let Some(place) = largest_about_as_good(&found, &settings.learning_rates)
        && place > last_place
    {
        let largest = found.remove(place);
        found.insert(last_place, largest);
    }
    found.into_iter().map(|(position, _)| position).collect()
}

/// Where in a ranking the largest learning rate stands whose score is at most three standard errors below that of the first.
fn largest_about_as_good(ranked: &[(usize, &Evaluation)], learning_rates: &[f64]) -> Option<usize> {
    let (_, best) = ranked.first()?;
    let least = best.score() - 3.0 * best.standard_error();
    let about_as_good = ranked.iter().enumerate().filter(|(_, (_, found))| found.score() >= least);
    let (place, _) =
        about_as_good.max_by(|(_, one), (_, other)| learning_rates[one.0].total_cmp(&learning_rates[other.0]))?;
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(learning_rate: f64, epochs: usize, loss: Option<f64>) -> Tried {
        let validation = loss.map(|loss| Evaluation {
            n: 10,
            accuracy: 0.5,
            accuracy_interval: [0.0, 1.0],
            balanced_accuracy: 0.5,
            loss,
            ..Evaluation::default()
        });
        Tried { learning_rate, epochs, epoch: 1, validation }
    }

    /// The learning rates and epochs that a search trains, where each rate has a loss of its own for each number of epochs.
    fn search(settings: &Gradient, loss: impl Fn(f64, usize) -> Option<f64>) -> Vec<(f64, usize)> {
        limited(settings, SearchLimits::default(), loss)
    }

    fn limited(
        settings: &Gradient,
        limits: SearchLimits,
        loss: impl Fn(f64, usize) -> Option<f64>,
    ) -> Vec<(f64, usize)> {
        let mut done = Vec::new();
        let next = |done: &[Tried]| next(settings, done, done.len(), Metric::Accuracy, limits);
        while let Some(next) = next(&done) {
            let rate = settings.learning_rates[next.position];
            assert_eq!(next.in_full, next.epochs == settings.epochs);
            done.push(tried(rate, next.epochs, loss(rate, next.epochs)));
        }
        done.iter().map(|tried| (tried.learning_rate, tried.epochs)).collect()
    }

    fn settings(learning_rates: &[f64], rungs: Vec<Rung>) -> Gradient {
        Gradient { epochs: 8, learning_rates: learning_rates.into(), rungs, ..Gradient::default() }
    }

    fn rung(epochs: usize, keep: usize) -> Rung {
        Rung { epochs, keep, keep_largest: false }
    }

    #[test]
    fn the_largest_rate_within_three_standard_errors_goes_on_with_the_best() {
        let mut settings = settings(&[1.0, 2.0, 3.0, 4.0], vec![Rung { epochs: 1, keep: 2, keep_largest: true }]);
        // Of 10 images, 0.9 has a standard error of 0.095: 0.62 and above are about as good.
        let accurate = |accuracies: [f64; 4]| {
            let of = |(place, accuracy): (usize, f64)| {
                let mut tried = tried(place as f64 + 1.0, 1, Some(1.0));
                tried.validation.as_mut().unwrap().accuracy = accuracy;
                tried
            };
            accuracies.into_iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let in_full = |settings: &Gradient, made: &[Tried]| -> Vec<f64> {
            let mut made = made.to_vec();
            while let Some(next) = next(settings, &made, made.len(), Metric::Accuracy, SearchLimits::default()) {
                made.push(tried(settings.learning_rates[next.position], next.epochs, Some(1.0)));
            }
            made[4..].iter().map(|tried| tried.learning_rate).collect()
        };
        assert_eq!(in_full(&settings, &accurate([0.9, 0.8, 0.7, 0.5])), [1.0, 3.0]);
        // The second best is the largest, or the best is: then the second place is by rank.
        assert_eq!(in_full(&settings, &accurate([0.9, 0.1, 0.2, 0.8])), [1.0, 4.0]);
        assert_eq!(in_full(&settings, &accurate([0.7, 0.8, 0.7, 0.9])), [4.0, 2.0]);
        settings.rungs[0].keep_largest = false;
        assert_eq!(in_full(&settings, &accurate([0.9, 0.8, 0.7, 0.5])), [1.0, 2.0]);
    }

    /// With several labels, no image may be right in all of them, whatever the rate.
    #[test]
    fn the_largest_rate_about_as_good_is_found_by_precision_where_images_have_several_labels() {
        let of = |learning_rate: f64, precision: f64| {
            let mut found = tried(learning_rate, 2, Some(1.0));
            let validation = found.validation.as_mut().unwrap();
            (validation.accuracy, validation.n) = (0.0, 100);
            (validation.micro_f1, validation.mean_average_precision) = (Some(0.5), Some(precision));
            found
        };
        let rung = Rung { epochs: 2, keep: 2, keep_largest: true };
        let settings = settings(&[1.0, 2.0, 3.0, 4.0], vec![rung]);
        // √(0.8 · 0.2 / 100) = 0.04: within three of these are 0.75 and 0.70, and 0.1 is not.
        let made = [of(1.0, 0.8), of(2.0, 0.75), of(3.0, 0.70), of(4.0, 0.1)];
        let rates = settings.learning_rates.iter().copied();
        let positions: Vec<usize> = rates.enumerate().map(|(position, _)| position).collect();
        let metric = Metric::MeanAveragePrecision;
        assert_eq!(ranked(&positions, &made, &settings.rungs[0], &settings, metric)[..2], [0, 2]);
    }

    #[test]
    fn the_better_half_goes_on_and_the_best_trains_in_full() {
        let rungs = vec![rung(1, 2), rung(2, 1)];
        let settings = settings(&[1.0, 2.0, 3.0, 4.0], rungs);
        let found = search(&settings, |rate, _| Some((rate - 3.2).abs()));
        assert_eq!(found, [(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1), (3.0, 2), (4.0, 2), (3.0, 8)]);
    }

    #[test]
    fn without_rungs_every_rate_trains_in_full_whatever_is_known_of_the_others() {
        let settings = settings(&[1.0, 2.0], Vec::new());
        assert_eq!(search(&settings, |_, _| None), [(1.0, 8), (2.0, 8)]);
        // As a checkpoint of an earlier version has it.
        let limits = SearchLimits::default();
        let second = next(&settings, &[], 1, Metric::Accuracy, limits).unwrap();
        assert_eq!(second, Next { position: 1, epochs: 8, passes: 8, trainings: 1, in_full: true });
        assert_eq!(next(&settings, &[], 0, Metric::Accuracy, limits).unwrap().passes, 16);
    }

    #[test]
    fn a_search_with_limits_begins_in_the_middle_and_ends_where_they_say() {
        let settings =
            settings(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![Rung { epochs: 2, keep: 1, keep_largest: false }]);
        let found = |ended_after| {
            let limits = SearchLimits { from_middle: true, ended_after };
            limited(&settings, limits, |rate, _| Some((rate - 2.2).abs()))
        };
        let all = [(3.0, 2), (4.0, 2), (2.0, 2), (5.0, 2), (1.0, 2), (6.0, 2), (2.0, 8)];
        assert_eq!(found(None), all);
        assert_eq!(epochs_in_all(&settings), all.iter().map(|(_, epochs)| epochs).sum::<usize>());
        assert_eq!(found(Some(2)), [(3.0, 2), (4.0, 2), (3.0, 8)]);
        // Without a search, the middle is as good a guess as any.
        assert_eq!(found(Some(0)), [(3.0, 8)]);
    }

    #[test]
    fn rates_that_diverge_are_left_out() {
        let settings = settings(&[1.0, 2.0, 3.0], vec![rung(1, 1)]);
        let found = search(&settings, |rate, _| (rate < 3.0).then_some(4.0 - rate));
        assert_eq!(found, [(1.0, 1), (2.0, 1), (3.0, 1), (2.0, 8)]);
        assert_eq!(search(&settings, |_, _| None).len(), 3);
        // The best of the rung diverges in full: the next best trains.
        let found = search(&settings, |rate, epochs| (rate < 3.0 || epochs == 1).then_some(4.0 - rate));
        assert_eq!(found[3..], [(3.0, 8), (2.0, 8)]);
    }

    #[test]
    fn the_runner_up_trained_as_long_as_the_chosen_rate() {
        let of = |rate: f64, epochs: usize, accuracy: f64| {
            let mut tried = tried(rate, epochs, Some(1.0));
            let validation = tried.validation.as_mut().unwrap();
            (validation.accuracy, validation.n) = (accuracy, 100);
            tried
        };
        let made =
            [of(1.0, 1, 0.9), of(2.0, 1, 0.5), of(3.0, 1, 0.6), of(2.0, 2, 0.8), of(3.0, 2, 0.75), of(2.0, 8, 0.9)];
        let found = RunnerUp::of(2.0, &made).unwrap();
        assert_eq!((found.learning_rate, found.epochs), (3.0, 2));
        // √(0.8 · 0.2 / 100) = 0.04, and the lead is 0.05.
        assert!((found.lead - 0.05).abs() < 1e-12 && (found.standard_error - 0.04).abs() < 1e-12, "{found:?}");
        assert!(found.is_told_apart());
        assert_eq!(RunnerUp::of(2.0, &[of(2.0, 8, 0.9), tried(3.0, 8, None)]), None);
    }
}
