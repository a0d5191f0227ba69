//! How training keeps to a budget: it goes through its plan faster.
//!
//! Where the epochs that are left of a plan would take longer than what is left of the budget, each epoch of training stands
//! for more than one of the plan. Schedule, warm-up, unfreezing, and averaging go by the plan's epochs, so all of them come
//! sooner and still end where they should. The pace is set anew after every epoch, by the seconds that the last one took.
//! Where even one epoch for each learning rate is too much, the search among them ends early.

use serde::{Deserialize, Serialize};

use super::run::Run;
use super::search::{self, Next, SearchLimits};
use super::state::Training;
use crate::plan::{Gradient, Solver};
use crate::wording::counted;

/// By how much an epoch may take longer than the one before it without going beyond the budget.
const SLACK: f64 = 0.1;

/// How far a training is in the epochs of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pacing {
    /// Epochs of the plan that are done.
    pub position: f64,
    /// Epochs of the plan that the present epoch stands for.
    pub pace: f64,
    /// Whether another epoch would go beyond the budget.
    pub out_of_time: bool,
}

impl Pacing {
    /// At the plan's own pace after so many epochs.
    pub fn after(epochs: usize) -> Self {
        Self { position: epochs as f64, pace: 1.0, out_of_time: false }
    }

    /// Epochs that are left at this pace of a plan of so many.
    pub fn epochs_left(&self, planned: usize) -> usize {
        ((planned as f64 - self.position) / self.pace).round() as usize
    }

    /// Ends an epoch; the last one ends exactly where the plan does.
    pub fn advance(&mut self, planned: usize) {
        self.position = if self.epochs_left(planned) <= 1 { planned as f64 } else { self.position + self.pace };
    }

    /// Sets the pace so that what is left of this plan and `later` epochs of others fit into as many epochs as can be
    /// afforded: each gives up the same share, and this one keeps at least an epoch.
    fn fit(&mut self, planned: usize, later: f64, affordable: f64) {
        let remaining = planned as f64 - self.position;
        if remaining <= 0.0 {
            return;
        }
        let speedup = ((remaining + later) / affordable.max(f64::MIN_POSITIVE)).max(1.0);
        self.pace = remaining / (remaining / speedup).floor().max(1.0);
    }
}

/// What a phase has taken of a budget, and what was left out for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PhaseTime {
    /// Seconds of the run's work when the present epoch began.
    epoch_began: f64,
    /// Seconds of the last epoch, its validation included.
    epoch_seconds: Option<f64>,
    /// Short trainings after which the search ended.
    pub search_ended: Option<usize>,
    /// Whether some learning rates were left out.
    left_out: bool,
    not_in_full: Vec<f64>,
    shortened: Vec<ShortenedTraining>,
}

/// What a phase left out to keep to a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BudgetCut {
    /// Trainings of fewer epochs than the plan's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortened: Vec<ShortenedTraining>,
    /// Learning rates that were not tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untried: Vec<f64>,
    /// Learning rates that a search found and that were not trained in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_in_full: Vec<f64>,
}

/// A training of fewer epochs than the plan's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShortenedTraining {
    /// The learning rate.
    pub learning_rate: f64,
    /// The plan's epochs.
    pub planned: usize,
    /// The epochs that there was time for.
    pub epochs: usize,
}

impl Run<'_> {
    /// The next training of a phase; `None` after the last, or when there is no time for another and one has given a model.
    pub(super) fn next_training(&mut self, settings: &Gradient) -> Option<Next> {
        loop {
            let next = search::next(settings, &self.state.tried, self.state.candidate, self.select(), self.limits())?;
            if self.state.training.has_begun() || self.has_time_for(next, settings) {
                return Some(next);
            }
            let rate = settings.learning_rates[next.position];
            if next.in_full && !settings.rungs.is_empty() {
                self.tell_of_budget(&format!("no time is left to train rate {rate:e} in full"));
                self.state.time.not_in_full.push(rate);
                return None;
            }
            self.tell_of_budget("no time is left to try every learning rate");
            self.state.time.left_out = true;
            if next.in_full {
                return None;
            }
            self.state.time.search_ended = Some(self.state.candidate);
        }
    }

    /// Rates from the middle come first where there may be no time for all of them: best rates are rarely at an end.
    fn limits(&self) -> SearchLimits {
        let from_middle = self.trainer.options.budget.is_some();
        SearchLimits { from_middle, ended_after: self.state.time.search_ended }
    }

    fn seconds_left(&self) -> Option<f64> {
        Some(self.trainer.options.budget?.seconds() - self.seconds())
    }

    /// Epochs for which there is time; `None` without a budget, and as long as nothing is known of an epoch.
    fn affordable_epochs(&self) -> Option<f64> {
        let left = self.seconds_left()?;
        match self.state.time.epoch_seconds {
            _ if left <= 0.0 => Some(0.0),
            Some(seconds) => Some(left / (seconds * (1.0 + SLACK)).max(f64::MIN_POSITIVE)),
            None => None,
        }
    }

    /// Whether a training that has not begun may begin. One in full always may as long as none has given a model; after a
    /// search, the next best may if its epochs fit whole. A short one may if an epoch for all that are to follow is left, or
    /// as long as the search has taken no more than half of the epochs.
    fn has_time_for(&self, next: Next, settings: &Gradient) -> bool {
        let Some(affordable) = self.affordable_epochs() else { return true };
        let needed = if settings.rungs.is_empty() { 1 } else { next.epochs };
        match next.in_full {
            true => self.state.candidates.is_empty() || affordable >= needed as f64,
            false => affordable >= next.trainings as f64 || affordable >= (self.state.candidate + 2) as f64,
        }
    }

    /// Sets the pace of a training before its first epoch.
    pub(super) fn begin_pacing(&mut self, next: Next, settings: &Gradient) {
        self.state.time.epoch_began = self.seconds();
        self.set_pace(next, settings);
    }

    /// Sets the pace of a training after an epoch and its validation, by the time that they took.
    pub(super) fn keep_pace(&mut self, next: Next, settings: &Gradient) {
        let (now, time) = (self.seconds(), &mut self.state.time);
        let seconds = now - time.epoch_began;
        (time.epoch_began, time.epoch_seconds) = (now, Some(seconds));
        let pacing = &self.state.training.pacing;
        if self.seconds_left().is_some_and(|left| left < seconds) && pacing.epochs_left(settings.epochs) > 0 {
            self.state.training.pacing.out_of_time = true;
            return self.tell_of_budget("no time is left for another epoch");
        }
        self.set_pace(next, settings);
    }

    fn set_pace(&mut self, next: Next, settings: &Gradient) {
        let Some(affordable) = self.affordable_epochs() else { return };
        let of_later_phases = self.epochs_of_later_phases();
        let others = next.passes.saturating_sub(next.epochs);
        let all = settings.epochs as f64 - self.state.training.pacing.position + (others + of_later_phases) as f64;
        // After a search, the best rate has the time of the next best if there is not enough for both.
        let gives_up_others = next.in_full && !settings.rungs.is_empty() && affordable < all;
        let later = of_later_phases + if gives_up_others { 0 } else { others };
        let before = self.state.training.epochs_in_all(settings);
        self.state.training.pacing.fit(settings.epochs, later as f64, affordable);
        let now = self.state.training.epochs_in_all(settings);
        if now != before {
            let rate = settings.learning_rates[next.position];
            let time = counted(now, "epoch");
            self.tell_of_budget(&format!("rate {rate:e} has time for {time} of {}", settings.epochs));
        }
    }

    fn epochs_of_later_phases(&self) -> usize {
        let later = self.plan.phases.iter().skip(self.state.outcomes.len() + 1);
        let epochs = later.map(|phase| match &phase.solver {
            Solver::Gradient(settings) => search::epochs_in_all(settings),
            _ => 0,
        });
        epochs.sum()
    }

    fn tell_of_budget(&self, what: &str) {
        if let Some(budget) = self.trainer.options.budget {
            self.monitor.message(&format!("budget of {budget}: {what}"));
        }
    }

    /// Notes that a training is over, if it had fewer epochs than planned for want of time.
    pub(super) fn note_if_shortened(&mut self, next: Next, learning_rate: f64) {
        let Training { epoch, pacing, .. } = self.state.training;
        if pacing.out_of_time || pacing.position > epoch as f64 {
            let shortened = ShortenedTraining { learning_rate, planned: next.epochs, epochs: epoch };
            self.state.time.shortened.push(shortened);
        }
    }

    /// What the present phase left out for the budget, when its trainings are over.
    pub(super) fn cut(&self, settings: &Gradient) -> Option<BudgetCut> {
        let PhaseTime { shortened, left_out, not_in_full, .. } = &self.state.time;
        let is_tried = |rate: &f64| self.state.tried.iter().any(|tried| tried.learning_rate == *rate);
        let untried = settings.learning_rates.iter().copied().filter(|rate| *left_out && !is_tried(rate)).collect();
        let cut = BudgetCut { shortened: shortened.clone(), untried, not_in_full: not_in_full.clone() };
        (cut != BudgetCut::default()).then_some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs that a training of `planned` epochs makes if `affordable(done)` are left after so many.
    fn positions(planned: usize, later: f64, affordable: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut pacing = Pacing::after(0);
        let mut found = Vec::new();
        while pacing.position < planned as f64 {
            pacing.advance(planned);
            found.push(pacing.position);
            pacing.fit(planned, later, affordable(found.len()));
        }
        found
    }

    #[test]
    fn with_time_enough_every_epoch_is_one_of_the_plan() {
        let expected: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(positions(10, 0.0, |done| 10.0 - done as f64), expected);
        assert_eq!(positions(10, 12.0, |_| 1000.0), expected);
    }

    #[test]
    fn the_plan_ends_within_the_epochs_that_can_be_afforded() {
        // One is known after the first: three more fit, so that each stands for three of the nine left.
        assert_eq!(positions(10, 0.0, |done| 4.0 - done as f64), [1.0, 4.0, 7.0, 10.0]);
        // Epochs become slower on the way: there is time for six more, then for four, then for none.
        assert_eq!(positions(10, 0.0, |done| [6.0, 4.0, 0.0][done.min(3) - 1]), [1.0, 2.5, 4.375, 10.0]);
        // Nothing is left: the rest passes in one epoch.
        assert_eq!(positions(10, 0.0, |_| 0.0), [1.0, 10.0]);
    }

    #[test]
    fn later_trainings_get_their_share() {
        // 9 + 9 epochs are left, and time for 6: half of that is this training's.
        assert_eq!(positions(10, 9.0, |done| if done == 1 { 6.0 } else { 100.0 })[1], 4.0);
    }
}
