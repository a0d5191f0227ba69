//! The batches of an epoch, which begin at the images or, where that is kept, at what enters the first trained block.

use std::sync::Arc;

use super::Run;
use crate::device::{DeviceError, values};
use crate::loading::{Batch, Order};
use crate::models::{Activation, Model, Parameters};
use crate::train::TrainError;
use crate::train::frozen_activations::FrozenActivations;
use crate::train::gradient::first_trained;
use crate::train::learning_rates::RateFactors;

/// What is kept for the epochs that train from the same block on.
pub(super) struct Entered {
    block: usize,
    view: u64,
    training: Arc<FrozenActivations>,
    /// Absent where there is no room for both.
    validation: Option<Arc<FrozenActivations>>,
}

/// A batch, and what enters the first trained block of it where that is kept.
type EpochBatch = (Batch, Option<Activation>);

impl Run<'_> {
    /// The batches of the present epoch from the one that a run was interrupted at on; `passes` epochs, this one
    /// included, are still to come.
    pub fn epoch_batches(
        &mut self,
        rate_factors: &RateFactors,
        passes: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<EpochBatch, TrainError>>>, TrainError> {
        let (epoch, start) = (self.state.training.epoch as u64, self.state.training.batch);
        let (view, order) = self.view_and_order(epoch);
        self.enter(rate_factors, view, passes)?;
        let loader = self.loaders.training.loader.clone();
        let Some(entered) = &self.entered else {
            let numbers = (start..loader.batches_per_epoch()).collect();
            let batches = loader.batches(view, order, numbers, self.trainer.options.turns());
            return Ok(Box::new(batches.map(|batch| Ok((batch?, None)))));
        };
        let activations = entered.training.clone();
        let device = self.state.model.parameters.tensors()[0].device();
        Ok(Box::new(loader.epoch_without_images(view, order, start).map(move |batch| {
            let entry = activations.batch(&batch.indices, &device).ok_or(TrainError::ActivationsLost)?;
            Ok((batch, Some(entry)))
        })))
    }

    /// The number under which an epoch's images are drawn, and their order. Where images are
    /// augmented in a few ways only, the epochs take turns with them.
    pub fn view_and_order(&self, epoch: u64) -> (u64, Order) {
        let options = &self.trainer.options;
        let order = |seed| options.order(seed);
        match options.activations.views {
            None => (epoch, order(options.seed)),
            Some(views) => {
                let seed = retune_random::hash(&[options.seed.to_le_bytes(), epoch.to_le_bytes()].concat());
                (epoch % views.max(1) as u64, order(seed))
            }
        }
    }

    /// Sees to it that what enters the first trained block is at hand, where keeping it pays.
    fn enter(&mut self, rate_factors: &RateFactors, view: u64, passes: usize) -> Result<(), TrainError> {
        let trainer = self.trainer;
        let options = &trainer.options.activations;
        let model = &self.state.model;
        let block = first_trained(model, &rate_factors.trained);
        // What is trained below makes what was kept above it invalid.
        self.entered = self.entered.take().filter(|entered| entered.block <= block);
        let augments = !trainer.options.augmentation.is_deterministic();
        let view = if augments { view } else { 0 };
        let changes = trainer.options.mix.is_active() || (augments && options.views.is_none());
        // Which images a process computes changes with the order of every epoch.
        let changes = changes || trainer.options.processes.are_several();
        if block == 0 || block >= model.blocks().len() || options.memory_bytes == 0 || changes {
            self.entered = None;
            return Ok(());
        }
        if self.entered.as_ref().is_some_and(|entered| (entered.block, entered.view) == (block, view)) {
            return Ok(());
        }
        self.entered = None;
        // A single pass over the images computes everything once in any case; but where activations are rounded, what a
        // step computes must not depend on how many passes are left, which a resumed run counts otherwise.
        let pays = options.views.map_or(passes, |views| passes / views.max(1)) > 1;
        let pays = pays || options.half;
        let kept = |model: &Model, images| self.shared.activations(model, images, block, pays, options, self.monitor);
        let frozen = model.in_precision(trainer.options.frozen_precision);
        let Some(training) = kept(&frozen, (&self.loaders.training, view))? else { return Ok(()) };
        let validation = kept(model, (&self.loaders.validation, 0))?;
        self.entered = Some(Entered { block, view, training, validation });
        Ok(())
    }

    /// Forgets what was kept of frozen blocks, where their parameters may change.
    pub fn leave_frozen_blocks(&mut self) {
        self.entered = None;
    }

    /// What enters the first trained block of the validation images, if `parameters` are the
    /// model's below it.
    ///
    /// # Errors
    /// What the device failed in.
    pub(super) fn entered_validation(
        &self,
        parameters: &Parameters,
    ) -> Result<Option<Arc<FrozenActivations>>, DeviceError> {
        let Some(entered) = self.entered.as_ref() else { return Ok(None) };
        let own = self.state.model.parameters.tensors().iter();
        let below = parameters.specs().iter().map(|spec| spec.block < entered.block);
        let pairs = own.zip(parameters.tensors()).zip(below).filter(|(_, below)| *below).map(|(pair, _)| pair);
        let unchanged = values::are_same(pairs)?.into_iter().all(|same| same);
        Ok(entered.validation.clone().filter(|_| unchanged))
    }
}
