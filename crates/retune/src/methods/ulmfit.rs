//! ULMFiT's classifier fine-tuning (Howard & Ruder 2018, arXiv 1801.06146, section 3.3): one more
//! layer is unfrozen each epoch, from the last; each layer's rate is that of the next ÷ 2.6; and the
//! rate follows a slanted triangle over the whole of training, as the paper's equation 3 has it.
//!
//! It is one phase whose blocks join in one after the other, and not a phase for each block: so the
//! triangle spans all steps, and the optimizer keeps what it knows of the blocks that trained
//! before.

use indexmap::IndexMap;

use super::discriminative::{self, falling_rates};
use super::layers::{Granularity, Selected};
use super::{MethodOptions, UnfreezeOrder, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase, Schedule};

const DECAY: f64 = 1.0 / 2.6;

/// The paper's factor is for a model of four layers. By tensor, of which there are over a hundred, nothing would train.
fn default_decay(granularity: Granularity) -> f64 {
    if granularity == Granularity::Tensor { discriminative::DECAY } else { DECAY }
}

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let granularity = options.granularity.unwrap_or(Granularity::Stage);
    let decay = options.decay.unwrap_or_else(|| default_decay(granularity));
    let everything = vec![Selected::Whole; blocks.len()];
    let gradient = Gradient {
        schedule: options.schedule.unwrap_or(Schedule::Slanted),
        rates: falling_rates(blocks, &everything, granularity, |layers_back, _| decay.powf(layers_back as f64)),
        frozen_epochs: frozen_epochs(blocks, granularity, options),
        ..options.gradient()
    };
    vec![phase("gradual unfreezing", gradient)]
}

/// One more layer joins every epoch; where there are fewer epochs than layers, several do, so that
/// all of them train in the last epoch. A new head is one layer, which never waits.
fn frozen_epochs(blocks: &[Block], granularity: Granularity, options: &MethodOptions) -> IndexMap<String, usize> {
    let mut selected = vec![Selected::Whole; blocks.len()];
    let splits_new_head = options.new_head && granularity == Granularity::Tensor;
    if let Some(head) = selected.last_mut().filter(|_| splits_new_head) {
        *head = Selected::Nothing;
    }
    let mut layers = granularity.selected(blocks, &selected);
    let head = blocks.last().map(|block| block.name.clone()).filter(|_| options.new_head);
    if splits_new_head {
        layers.extend(head.clone().map(|head| vec![head]));
    }
    if options.unfreeze == UnfreezeOrder::LastToFirst {
        layers.reverse();
    }
    let count = layers.len();
    let mut frozen = IndexMap::new();
    for (turn, layer) in layers.into_iter().enumerate() {
        let epoch = if options.epochs >= count { turn } else { turn * options.epochs / count };
        for name in layer.into_iter().filter(|name| epoch > 0 && Some(name) != head.as_ref()) {
            frozen.insert(name, epoch);
        }
    }
    frozen
}
