//! Auto-SNR (Lee et al. 2023, arXiv 2210.11466, section 4): before every epoch, the layers whose
//! gradients disagree between batches are frozen. All else is as in [`super::auto_rgn`].

use serde::{Deserialize, Serialize};

use super::auto_rgn::{BATCHES, GRANULARITY, measured};
use super::options::{Interval, Kind, MethodOption};
use super::{Layers, Method, MethodOptions, Paper};
use crate::models::Block;
use crate::plan::{Criterion, Phase, PlanError};

pub const METHOD: Method = Method {
    name: "auto-snr",
    summary: "each epoch, the layers whose gradients agree between batches",
    paper: Some(Paper { authors: "Lee et al.", year: 2023, arxiv: "2210.11466" }),
    layers: Layers::Taken,
    probes_new_head: true,
    options: &[&BATCHES, &GRANULARITY, &MODE, &THRESHOLD],
    phases,
    ..Method::PLAIN
};

const MODE: MethodOption<SignalToNoise> = MethodOption::new(
    "snr_mode",
    "NAME",
    Kind::Choice(&["paper", "official"]),
    SignalToNoise::Paper,
    "Definition of the signal-to-noise ratio",
)
.formerly("snr");

/// The authors' code has 0.95 for its ratio; the paper tunes its threshold and names no value, so the
/// middle of its 0 to 1 is taken.
const THRESHOLD: MethodOption<Option<f64>> = MethodOption::new(
    "snr_threshold",
    "X",
    Kind::Number(Interval::at_least(0.0)),
    None,
    "Freeze layers with a lower ratio for the epoch",
)
.by_default("0.5 for paper, 0.95 for official");

/// Definition of the signal-to-noise ratio is taken.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SignalToNoise {
    /// The paper's: [`Criterion::SignalToNoise`].
    Paper,
    /// The authors' code's: [`Criterion::SignalToNoiseOfficial`].
    Official,
}

fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let (criterion, usual_threshold) = match options.get(&MODE) {
        SignalToNoise::Paper => (Criterion::SignalToNoise, 0.5),
        SignalToNoise::Official => (Criterion::SignalToNoiseOfficial, 0.95),
    };
    let threshold = options.get(&THRESHOLD).unwrap_or(usual_threshold);
    Ok(vec![measured(blocks, options, criterion, Some(threshold))?.into_phase("auto-SNR")])
}
