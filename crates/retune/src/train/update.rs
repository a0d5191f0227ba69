//! One update of a model by a batch's gradients.

use super::anchor::{add_l2_sp, pull_to};
use super::gradient::LossGradients;
use super::low_rank::TrainedAdapters;
use super::optimizer::Optimizer;
use super::running_statistics;
use crate::device::values;
use crate::models::{Model, Parameters};
use crate::plan::Anchor;

/// What an update depends on besides the gradients.
pub(super) struct Update<'a> {
    /// One for each parameter.
    pub learning_rates: &'a [f64],
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// L2-SP's penalty on leaving `pretrained`.
    pub anchor: Option<Anchor>,
    pub pretrained: &'a Parameters,
    /// The weights that low-rank changes are added to.
    pub phase_start: &'a Parameters,
}

impl Update<'_> {
    pub fn apply(
        &self,
        found: LossGradients,
        model: &mut Model,
        optimizer: &mut Optimizer,
        mut adapters: Option<&mut TrainedAdapters>,
    ) {
        let LossGradients { mut gradients, observed, .. } = found;
        // Low-rank changes have no weights of their own to pull, so the penalty reaches their factors as a gradient.
        let decouples = optimizer.is_adaptive() && adapters.is_none();
        if let Some(anchor) = self.anchor.filter(|_| !decouples) {
            add_l2_sp(&mut gradients, &model.parameters, anchor, self.pretrained, model.head());
        }
        let mut of_factors = match &mut adapters {
            Some(adapters) => adapters.take_gradients(&mut gradients),
            None => Vec::new(),
        };
        if let Some(limit) = self.clip_norm {
            let of_factors = of_factors.iter_mut().flatten().flat_map(|factors| [&mut factors.a, &mut factors.b]);
            values::clip_norm(gradients.iter_mut().flatten().chain(of_factors).collect(), limit);
        }
        if let Some(anchor) = self.anchor.filter(|_| decouples) {
            let head = model.head();
            pull_to(self.pretrained, &mut model.parameters, &gradients, anchor, head, self.learning_rates);
        }
        optimizer.step(&mut model.parameters, gradients, self.learning_rates);
        if let Some(adapters) = adapters {
            adapters.step(&of_factors, self.learning_rates, self.phase_start, &mut model.parameters);
        }
        running_statistics::follow(&mut model.parameters, observed);
    }
}
