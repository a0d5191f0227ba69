//! Full fine-tuning: every block trains at the same rate.

use super::MethodOptions;
use crate::models::Block;
use crate::plan::{Gradient, Phase, Solver};

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let solver = Solver::Gradient(Gradient {
        epochs: options.epochs,
        learning_rates: options.learning_rates.clone(),
        schedule: options.schedule,
        warmup_epochs: options.warmup_epochs,
        rates: blocks.iter().map(|block| (block.name.clone(), 1.0)).collect(),
    });
    vec![Phase { name: "fine-tuning".into(), solver }]
}
