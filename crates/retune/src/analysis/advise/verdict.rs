//! What follows from the evidence.

use serde::Serialize;

use super::{Evidence, Similarity, Trial};
use crate::inference::Evaluation;
use crate::statistics::matched_difference;

/// A fall of similarity that points to a block. Where none falls as much, what has changed is not the images.
const NOTABLE_FALL: f64 = 0.1;

/// What to tune.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tuned {
    /// The layers of a candidate, by surgical fine-tuning.
    Layers {
        /// The first layer.
        first: String,
        /// The last layer.
        last: String,
    },
    /// Every layer.
    Everything,
    /// The model is as good as any trial made it.
    Nothing,
}

/// How a trial stands to the best one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The candidate, or `ft`.
    pub name: String,
    /// Share of the held-out images by which the best is ahead.
    pub behind: f64,
    /// Its 95 % interval (Agresti & Min 2005), of the same images under both.
    pub interval: [f64; 2],
    /// Whether the interval leaves out 0.
    pub told_apart: bool,
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What to tune.
    pub tuned: Tuned,
    /// The candidate chosen, or `ft`; none where nothing is to be tuned.
    pub chosen: Option<String>,
    /// The learning rate of its trial.
    pub learning_rate: Option<f64>,
    /// The candidate that was best in the trial, or `ft`.
    pub by_trial: String,
    /// The candidate with the largest relative gradient norm.
    pub by_gradients: Option<String>,
    /// The candidate that source and target images lose the most likeness in; the last where they lose none.
    pub by_similarity: Option<String>,
    /// All trials.
    pub standings: Vec<Standing>,
}

/// Name of full fine-tuning among the candidates.
pub(super) const FULL: &str = "ft";

/// Decides; `None` where every trial diverged.
pub(super) fn decide(
    candidates: &[Evidence],
    input: Option<&Similarity>,
    full: Option<&Trial>,
    untuned: Option<&Evaluation>,
) -> Option<Verdict> {
    let of_candidates =
        candidates.iter().filter_map(|evidence| Some((&*evidence.candidate.name, evidence.trial.as_ref()?)));
    let trials: Vec<(&str, &Trial)> = of_candidates.chain(full.map(|full| (FULL, full))).collect();
    let (leader, best) = best_of(trials.iter().copied())?;
    let standings: Vec<Standing> = trials.iter().map(|(name, trial)| standing(name, trial, best)).collect();
    let in_the_running = |name: &str| standings.iter().any(|standing| standing.name == name && !standing.told_apart);
    let chosen = best_of(trials.iter().copied().filter(|(name, _)| *name != FULL && in_the_running(name)));
    let (chosen, trial) = chosen.unwrap_or((FULL, best));
    let tuned = match candidates.iter().find(|evidence| evidence.candidate.name == chosen) {
        _ if untuned.is_some_and(|untuned| untuned.accuracy >= best.accuracy) => Tuned::Nothing,
        Some(evidence) => {
            Tuned::Layers { first: evidence.candidate.first.clone(), last: evidence.candidate.last.clone() }
        }
        None => Tuned::Everything,
    };
    let something = tuned != Tuned::Nothing;
    Some(Verdict {
        tuned,
        chosen: something.then(|| chosen.to_owned()),
        learning_rate: something.then_some(trial.learning_rate),
        by_trial: leader.to_owned(),
        by_gradients: by_gradients(candidates).map(str::to_owned),
        by_similarity: by_similarity(candidates, input).map(str::to_owned),
        standings,
    })
}

/// The most accurate, then of lower loss, then the one nearest the input.
fn best_of<'a>(trials: impl Iterator<Item = (&'a str, &'a Trial)>) -> Option<(&'a str, &'a Trial)> {
    trials.reduce(|best, other| {
        let order = other.1.accuracy.total_cmp(&best.1.accuracy).then(best.1.loss.total_cmp(&other.1.loss));
        if order.is_gt() { other } else { best }
    })
}

fn standing(name: &str, trial: &Trial, best: &Trial) -> Standing {
    let difference = matched_difference(&best.right, &trial.right);
    Standing {
        name: name.to_owned(),
        behind: difference.mean,
        interval: difference.interval,
        told_apart: difference.interval[0] > 0.0,
    }
}

fn by_gradients(candidates: &[Evidence]) -> Option<&str> {
    let norms = candidates.iter().filter_map(|evidence| Some((evidence, evidence.relative_gradient_norm?)));
    let largest = norms.reduce(|largest, other| if other.1 > largest.1 { other } else { largest });
    largest.map(|(evidence, _)| &*evidence.candidate.name)
}

fn by_similarity<'a>(candidates: &'a [Evidence], input: Option<&Similarity>) -> Option<&'a str> {
    let kept = |evidence: &Evidence| evidence.similarity.as_ref().and_then(|similarity| similarity.kept);
    let mut before = input.and_then(|similarity| similarity.kept).unwrap_or(1.0);
    let mut largest: Option<(&Evidence, f64)> = None;
    for evidence in candidates {
        let Some(now) = kept(evidence) else { continue };
        if largest.is_none_or(|(_, fall)| before - now > fall) {
            largest = Some((evidence, before - now));
        }
        before = now;
    }
    let (evidence, fall) = largest?;
    let pointed = if fall >= NOTABLE_FALL { evidence } else { candidates.last()? };
    Some(&pointed.candidate.name)
}
