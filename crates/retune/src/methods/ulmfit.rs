//! ULMFiT's classifier fine-tuning (Howard & Ruder 2018, arXiv 1801.06146, section 3.3): one more
//! layer is unfrozen each epoch, from the last; each layer's rate is that of the next ÷ 2.6; and the
//! rate follows a slanted triangle over the whole of training, as the paper's equation 3 has it.
//!
//! It is one phase whose blocks join in one after the other, and not a phase for each block: so the
//! triangle spans all steps, and the optimizer keeps what it knows of the blocks that trained
//! before.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::discriminative::{self, falling_rate_factors};
use super::layers::{Granularity, Selected};
use super::options::{Kind, MethodOption};
use super::{Method, MethodOptions, Paper};
use crate::models::Block;
use crate::plan::{Gradient, Phase, Schedule};

pub const METHOD: Method = Method {
    name: "ulmfit",
    summary: "one more layer unfrozen each epoch, rates ÷ 2.6, slanted triangle",
    paper: Some(Paper { authors: "Howard & Ruder", year: 2018, arxiv: "1801.06146" }),
    schedule: Schedule::Slanted,
    options: &[&GRANULARITY, &DECAY, &UNFREEZE],
    phases: |blocks, options| Ok(vec![phase(blocks, options)]),
    ..Method::PLAIN
};

const GRANULARITY: MethodOption<Granularity> = discriminative::GRANULARITY.or(Granularity::Stage);

/// The paper's factor is for a model of four layers. By tensor, of which there are over a hundred, nothing would train.
const DECAY: MethodOption<Option<f64>> = discriminative::DECAY.or(None).by_default("1/2.6, or 0.9 by tensor");

const UNFREEZE: MethodOption<UnfreezeOrder> = MethodOption::new(
    "unfreeze",
    "ORDER",
    Kind::Choice(&["last-to-first", "first-to-last"]),
    UnfreezeOrder::LastToFirst,
    "Order in which layers are unfrozen",
);

/// In which order gradual unfreezing goes; both are in the literature.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UnfreezeOrder {
    /// From the head down (ULMFiT).
    LastToFirst,
    /// From the stem up (a baseline of Lee et al. 2023).
    FirstToLast,
}

fn phase(blocks: &[Block], options: &MethodOptions) -> Phase {
    let granularity = options.get(&GRANULARITY);
    let usual_decay = if granularity == Granularity::Tensor { 0.9 } else { 1.0 / 2.6 };
    let decay = options.get(&DECAY).unwrap_or(usual_decay);
    let everything = vec![Selected::Whole; blocks.len()];
    let factor = |layers_back: usize, _| decay.powf(layers_back as f64);
    Gradient {
        schedule: options.schedule.unwrap_or(METHOD.schedule),
        rate_factors: falling_rate_factors(blocks, &everything, granularity, factor),
        frozen_epochs: frozen_epochs(blocks, granularity, options),
        ..options.gradient()
    }
    .into_phase("gradual unfreezing")
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
    if options.get(&UNFREEZE) == UnfreezeOrder::LastToFirst {
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
