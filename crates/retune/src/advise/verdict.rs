//! What follows from the evidence.
//!
//! The trial decides. Its best is taken where nothing else comes near. Where parts of the model cannot be told apart from
//! the best (the 95 % interval of the difference on the same held-out images includes 0), a part is preferred to the whole
//! because it leaves more of the model as it was: the one with the largest relative gradient norm if that is among them,
//! else the most accurate. For the same reason a model that cannot be told apart from the best is left as it is, and a new
//! head, which trains in every trial, if it does by itself what nothing beats. Likeness to the source only informs: by itself it pointed to the right part too rarely where
//! that was measured (`book/src/measurements/analysis.md`).

use serde::Serialize;

use super::judgment::Judgment;
use super::{Evidence, Similarity, Trial};

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
    /// No trial made the model better than it is.
    Nothing,
}

/// Why that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The model as it is cannot be told apart from the best.
    NothingHelps,
    /// A new head by itself cannot be told apart from the best.
    HeadSuffices,
    /// It was best in the trial, and no other part comes near.
    BestByItself,
    /// No part comes near to tuning everything.
    EverythingAlone,
    /// The trial cannot tell it apart from the best, and gradients point to it.
    GradientsAmongEqual,
    /// The trial cannot tell it apart from the best, gradients point elsewhere, and no other such part is as accurate.
    MostAccurateAmongEqual,
}

/// How a trial stands to the best one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The candidate, or `ft`.
    pub name: String,
    /// Share of the held-out images by which the best is ahead; where images have several labels, mean average precision.
    pub behind: f64,
    /// Its 95 % interval (Agresti & Min 2005; of mean average precision, by the bootstrap), of the same images under both.
    pub interval: [f64; 2],
    /// Whether the interval leaves out 0.
    pub told_apart: bool,
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What to tune.
    pub tuned: Tuned,
    /// Why.
    pub reason: Reason,
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
    /// How the model as it is stands to the best trial; none with a new head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untuned: Option<Standing>,
}

/// Name of full fine-tuning among the candidates.
pub const FULL: &str = "ft";
/// Name of the model as it is.
pub const UNTUNED: &str = "untuned";

/// Decides; `None` where every trial diverged. `untuned` is what the model as it is says of the held-out images.
pub(super) fn decide(
    candidates: &[Evidence],
    input: Option<&Similarity>,
    full: Option<&Trial>,
    untuned: Option<&Judgment>,
    new_head: bool,
) -> Option<Verdict> {
    let of_candidates =
        candidates.iter().filter_map(|evidence| Some((&*evidence.candidate.name, evidence.trial.as_ref()?)));
    let trials: Vec<(&str, &Trial)> = of_candidates.chain(full.map(|full| (FULL, full))).collect();
    let (leader, best) = best_of(trials.iter().copied())?;
    let standings: Vec<Standing> = trials.iter().map(|(name, trial)| standing(name, &trial.judgment, best)).collect();
    let untuned = untuned.map(|judgment| standing(UNTUNED, judgment, best));
    let gradients = by_gradients(candidates);
    let near = |name: &str| standings.iter().any(|standing| standing.name == name && !standing.told_apart);
    let parts: Vec<(&str, &Trial)> = trials.iter().copied().filter(|(name, _)| *name != FULL && near(name)).collect();
    let pointed = parts.iter().copied().find(|(name, _)| gradients == Some(name));
    let head = candidates.last().filter(|_| new_head).map(|evidence| evidence.candidate.name.as_str());
    let head = parts.iter().copied().find(|(name, _)| head == Some(name));
    let (reason, chosen) = match (parts.as_slice(), pointed) {
        _ if untuned.as_ref().is_some_and(|untuned| !untuned.told_apart) => (Reason::NothingHelps, None),
        ([], _) => (Reason::EverythingAlone, Some((FULL, best))),
        _ if head.is_some() => (Reason::HeadSuffices, head),
        ([only], _) if only.0 == leader => (Reason::BestByItself, Some(*only)),
        (_, Some(pointed)) => (Reason::GradientsAmongEqual, Some(pointed)),
        (several, None) => (Reason::MostAccurateAmongEqual, best_of(several.iter().copied())),
    };
    let part = candidates.iter().find(|evidence| chosen.is_some_and(|(name, _)| name == evidence.candidate.name));
    let tuned = match (part, chosen) {
        (_, None) => Tuned::Nothing,
        (None, _) => Tuned::Everything,
        (Some(Evidence { candidate, .. }), _) => {
            Tuned::Layers { first: candidate.first.clone(), last: candidate.last.clone() }
        }
    };
    Some(Verdict {
        tuned,
        reason,
        chosen: chosen.map(|(name, _)| name.to_owned()),
        learning_rate: chosen.map(|(_, trial)| trial.learning_rate),
        by_trial: leader.to_owned(),
        by_gradients: gradients.map(str::to_owned),
        by_similarity: by_similarity(candidates, input).map(str::to_owned),
        standings,
        untuned,
    })
}

/// The one with the highest score, then of lower loss, then the one nearest the input.
fn best_of<'a>(trials: impl Iterator<Item = (&'a str, &'a Trial)>) -> Option<(&'a str, &'a Trial)> {
    trials.reduce(|best, other| {
        let order = other.1.score().mean.total_cmp(&best.1.score().mean).then(best.1.loss.total_cmp(&other.1.loss));
        if order.is_gt() { other } else { best }
    })
}

fn standing(name: &str, judgment: &Judgment, best: &Trial) -> Standing {
    let difference = best.judgment.ahead_of(judgment);
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

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::*;

    /// The first `right` of 500 images are right.
    fn judgment(right: usize) -> Judgment {
        Judgment::Classes((0..500).map(|image| image < right).collect())
    }

    /// A trial in which the first `right` of 500 images are right.
    fn trial(right: usize) -> Trial {
        Trial {
            learning_rate: 1e-3,
            epoch: 1,
            accuracy: right as f64 / 500.0,
            accuracy_interval: [0.0, 1.0],
            mean_average_precision: None,
            mean_average_precision_interval: None,
            loss: 1.0,
            judgment: judgment(right),
            seconds: 0.0,
        }
    }

    fn kept(share: f64) -> Similarity {
        Similarity { cka: Some(share), interval: None, ceiling: Some(1.0), kept: Some(share), undefined: None }
    }

    /// Candidates of which each has a name, a gradient norm, what it keeps of the likeness, and images right.
    fn evidence(of: &[(&str, Option<f64>, Option<f64>, usize)]) -> Vec<Evidence> {
        let evidence = |&(name, relative_gradient_norm, share, right): &(&str, Option<f64>, Option<f64>, usize)| {
            let name = name.to_owned();
            Evidence {
                candidate: Candidate { first: name.clone(), last: name.clone(), name, parameters: 1, blocks: 0..1 },
                relative_gradient_norm,
                similarity: share.map(kept),
                trial: (right > 0).then(|| trial(right)),
            }
        };
        of.iter().map(evidence).collect()
    }

    fn told(of: &[(&str, Option<f64>, Option<f64>, usize)], full: Option<usize>) -> (Reason, Option<String>) {
        let full = full.map(trial);
        let verdict = decide(&evidence(of), None, full.as_ref(), None, false).unwrap();
        (verdict.reason, verdict.chosen)
    }

    #[test]
    fn what_is_clearly_best_is_taken_whatever_the_gradients_say() {
        let of = [("stem", Some(9.0), None, 300), ("layer1", Some(1.0), None, 400), ("head", Some(2.0), None, 350)];
        assert_eq!(told(&of, Some(380)), (Reason::BestByItself, Some("layer1".to_owned())));
        assert_eq!(told(&of, Some(450)), (Reason::EverythingAlone, Some("ft".to_owned())));
        assert_eq!(told(&of, None), (Reason::BestByItself, Some("layer1".to_owned())));
    }

    #[test]
    fn of_what_cannot_be_told_apart_gradients_choose_and_a_part_goes_before_the_whole() {
        // Two images of 500 are within chance (interval −0.2 to 1.0 points), forty are not.
        let of = [("stem", Some(9.0), None, 398), ("layer1", Some(1.0), None, 400), ("head", Some(2.0), None, 360)];
        assert_eq!(told(&of, Some(360)), (Reason::GradientsAmongEqual, Some("stem".to_owned())));
        assert_eq!(told(&of, Some(401)), (Reason::GradientsAmongEqual, Some("stem".to_owned())));
        let elsewhere = [("stem", Some(1.0), None, 398), ("layer1", None, None, 399), ("head", Some(2.0), None, 360)];
        assert_eq!(told(&elsewhere, Some(400)), (Reason::MostAccurateAmongEqual, Some("layer1".to_owned())));
    }

    #[test]
    fn a_model_that_no_trial_improves_by_more_than_chance_is_left_alone() {
        let told = |untuned: usize| {
            let untuned = judgment(untuned);
            let verdict = decide(&evidence(&[("stem", None, None, 400)]), None, None, Some(&untuned), false).unwrap();
            (verdict.tuned, verdict.reason, verdict.untuned.unwrap().behind)
        };
        assert_eq!(told(400), (Tuned::Nothing, Reason::NothingHelps, 0.0));
        assert_eq!(told(398), (Tuned::Nothing, Reason::NothingHelps, 0.004));
        let stem = || "stem".to_owned();
        let layers = Tuned::Layers { first: stem(), last: stem() };
        assert_eq!(told(360), (layers, Reason::BestByItself, 0.08));
    }

    #[test]
    fn a_new_head_that_does_as_well_by_itself_is_enough() {
        let chosen = |head: usize| {
            let of = [("stem", Some(9.0), None, 398), ("layer1", Some(1.0), None, 400), ("head", None, None, head)];
            let verdict = decide(&evidence(&of), None, Some(&trial(401)), None, true).unwrap();
            (verdict.reason, verdict.chosen)
        };
        assert_eq!(chosen(398), (Reason::HeadSuffices, Some("head".to_owned())));
        assert_eq!(chosen(300), (Reason::GradientsAmongEqual, Some("stem".to_owned())));
    }

    #[test]
    fn a_trial_that_diverged_is_left_out_and_of_none_nothing_follows() {
        let of = [("stem", Some(9.0), None, 0), ("head", Some(2.0), None, 350)];
        assert_eq!(told(&of, None), (Reason::BestByItself, Some("head".to_owned())));
        assert!(decide(&evidence(&[("stem", None, None, 0)]), None, None, None, false).is_none());
    }

    #[test]
    fn similarity_points_to_where_it_falls_most_and_to_the_head_where_it_does_not() {
        let pointed = |shares: [Option<f64>; 3], input: f64| {
            let [stem, layer1, head] = shares;
            let of = [("stem", None, stem, 1), ("layer1", None, layer1, 1), ("head", None, head, 1)];
            by_similarity(&evidence(&of), Some(&kept(input))).map(str::to_owned)
        };
        assert_eq!(pointed([Some(0.9), Some(0.5), Some(0.4)], 1.0).unwrap(), "layer1");
        assert_eq!(pointed([Some(0.5), Some(0.5), Some(0.4)], 1.0).unwrap(), "stem");
        // What the images had lost before is no block's doing.
        assert_eq!(pointed([Some(0.5), Some(0.5), Some(0.3)], 0.5).unwrap(), "head");
        assert_eq!(pointed([Some(0.95), Some(0.93), Some(0.98)], 1.0).unwrap(), "head");
        assert_eq!(pointed([None, None, None], 1.0), None);
    }
}
