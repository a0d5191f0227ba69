//! One model out of several: the best, a soup, or a point on the line between two.

use super::Run;
use crate::inference::Evaluation;
use crate::models::Parameters;
use crate::plan::{Combine, Gradient, Interpolation, Phase};
use crate::train::average::{average, interpolate};
use crate::train::metrics::MetricsRow;
use crate::train::state::BestEpoch;
use crate::train::{PhaseOutcome, TrainError};

impl Run<'_> {
    /// Makes one model of what the learning rates gave.
    pub fn combine(&mut self, phase: &Phase, settings: &Gradient) -> Result<PhaseOutcome, TrainError> {
        let mut ingredients = std::mem::take(&mut self.state.candidates);
        // A stable sort: of equal ones, the learning rate named first comes first.
        let metric = self.select();
        ingredients.sort_by(|one, other| metric.order(&other.validation, &one.validation));
        let learning_rate = |best: &BestEpoch| settings.learning_rates[best.candidate];
        let (first_rate, first_epoch) = (learning_rate(&ingredients[0]), ingredients[0].epoch);
        let (chosen, validation) = match settings.combine {
            Combine::Best => (1, Some(ingredients[0].validation.clone())),
            Combine::UniformSoup => (ingredients.len(), None),
            Combine::GreedySoup => {
                let (chosen, validation) = self.greedy(&mut ingredients)?;
                (chosen, Some(validation))
            }
        };
        ingredients.truncate(chosen);
        let models = ingredients.iter().map(|ingredient| &ingredient.parameters);
        let mut parameters = average(models).expect("at least one learning rate gave a model");
        if chosen > 1 {
            parameters = self.renewed(parameters, &self.state.phase_start)?;
        }
        let validation = match validation {
            Some(validation) => validation,
            None => self.evaluate(parameters.clone(), "validation of the soup")?,
        };
        self.state.model.parameters = parameters;
        self.state.merged_adapters = match ingredients.as_slice() {
            [only] => only.adapters.clone(),
            _ => None,
        };
        let soup = settings.combine != Combine::Best;
        let tried = std::mem::take(&mut self.state.tried);
        Ok(PhaseOutcome {
            learning_rate: (!soup).then_some(first_rate),
            soup: soup.then(|| ingredients.iter().map(learning_rate).collect()),
            tried: if settings.learning_rates.len() > 1 { tried } else { Vec::new() },
            ..PhaseOutcome::new(&phase.name, first_epoch, validation)
        })
    }

    /// Moves the ingredients of the greedy soup to the front; their number and how good they are
    /// together.
    fn greedy(&self, ingredients: &mut [BestEpoch]) -> Result<(usize, Evaluation), TrainError> {
        let mut chosen = 1;
        let mut validation = ingredients[0].validation.clone();
        for candidate in 1..ingredients.len() {
            ingredients.swap(chosen, candidate);
            let soup = average(ingredients[..=chosen].iter().map(|ingredient| &ingredient.parameters));
            let Some(soup) = soup else { break };
            let soup = self.renewed(soup, &self.state.phase_start)?;
            let tried = self.evaluate(soup, "validation of a larger soup")?;
            if self.select().is_as_good(&tried, &validation) {
                validation = tried;
                chosen += 1;
            }
        }
        Ok((chosen, validation))
    }

    /// Takes the point on the line over the phase before that is best on validation.
    pub(super) fn interpolate(&mut self, phase: &Phase, settings: &Interpolation) -> Result<PhaseOutcome, TrainError> {
        let end = self.state.model.parameters.clone();
        let start = self.state.previous_start.clone().unwrap_or_else(|| self.state.phase_start.clone());
        let mut best: Option<(f64, Evaluation)> = None;
        for &alpha in &settings.alphas {
            let between = self.between(&start, &end, alpha)?;
            let found = self.evaluate(between, &format!("validation at alpha {alpha}"))?;
            let row = MetricsRow::new(&phase.name, "val", found.loss, found.accuracy);
            self.record(&MetricsRow { alpha: Some(alpha), ..row })?;
            if best.as_ref().is_none_or(|(_, best)| self.select().is_better(&found, best)) {
                best = Some((alpha, found));
            }
        }
        let (alpha, validation) = best.expect("a plan that was checked has an alpha");
        self.state.model.parameters = self.between(&start, &end, alpha)?;
        self.state.merged_adapters = None;
        Ok(PhaseOutcome { alpha: Some(alpha), ..PhaseOutcome::new(&phase.name, 0, validation) })
    }

    /// The point on the line between two models; its ends are the models themselves.
    fn between(&self, start: &Parameters, end: &Parameters, alpha: f64) -> Result<Parameters, TrainError> {
        let weights = interpolate(start, end, alpha);
        if alpha <= 0.0 || alpha >= 1.0 { Ok(weights) } else { self.renewed(weights, start) }
    }
}
