//! Means, intervals and standings of a column.

use std::collections::HashMap;

use indexmap::IndexSet;
use retune_analysis::holm;
use retune_analysis::intervals::Estimate;
use retune_analysis::label_resampling::{LabelScores, mean_average_precisions};
use retune_analysis::resampling::{Answers, RESAMPLES, Resampled, accuracies, worst_group_accuracies};
use retune_analysis::two_way::{LEVEL, TwoWay};

use super::judgments::{Judgment, LabelJudgments};
use super::{Basis, Column, ColumnResult, MethodResult, MethodRow, Standing, legacy};

/// Means that differ by less count as equal.
const SAME: f64 = 1e-12;
/// The seed of the resamples: the same runs give the same table.
const SEED: u64 = 0;

/// How methods stand in a column.
pub(super) fn of(rows: &[MethodRow], column: Column) -> ColumnResult {
    match Judged::of(rows, &column) {
        Some(judged) => {
            let estimates = judged.estimates();
            let best = best_of(&estimates);
            let comparisons = best.map(|best| judged.compared_with(best, &estimates));
            let methods = rows.iter().zip(&estimates).enumerate().map(|(index, (row, estimate))| {
                let compared = comparisons.as_ref().and_then(|found| found[index]);
                let standing = match (estimate, compared) {
                    (None, _) => Standing::Missing,
                    (Some(_), None) => Standing::Best,
                    (Some(_), Some((_, p))) if p < LEVEL => Standing::Worse,
                    (Some(_), Some(_)) => Standing::NotSignificantlyWorse,
                };
                let (difference, p_value) = compared.unzip();
                MethodResult { label: row.label.clone(), estimate: *estimate, standing, difference, p_value }
            });
            ColumnResult { basis: Basis::Predictions, images: judged.images, methods: methods.collect(), column }
        }
        None => {
            let evaluations =
                rows.iter().flat_map(|row| row.runs.values()).filter_map(|run| run.splits.get(&column.set));
            let images = evaluations.map(|evaluation| evaluation.n).max().unwrap_or(0);
            ColumnResult { basis: Basis::Accuracies, images, methods: of_accuracies(rows, &column), column }
        }
    }
}

fn of_accuracies(rows: &[MethodRow], column: &Column) -> Vec<MethodResult> {
    let estimates: Vec<Option<Estimate>> = rows.iter().map(|row| legacy::estimate(row, column)).collect();
    let best = best_of(&estimates);
    let method = |(row, estimate): (&MethodRow, &Option<Estimate>)| {
        let standing = match (estimate, best) {
            (Some(own), Some(best)) if is_equal(own, &estimates[best]) => Standing::Best,
            (Some(_), Some(best)) if legacy::is_worse(row, &rows[best], column) => Standing::Worse,
            (Some(_), Some(_)) => Standing::NotSignificantlyWorse,
            _ => Standing::Missing,
        };
        MethodResult { label: row.label.clone(), estimate: *estimate, standing, difference: None, p_value: None }
    };
    rows.iter().zip(&estimates).map(method).collect()
}

/// The first of the highest means.
fn best_of(estimates: &[Option<Estimate>]) -> Option<usize> {
    let known = estimates.iter().enumerate().filter_map(|(index, estimate)| Some((index, (*estimate)?.mean)));
    let best = known.reduce(|best, other| if other.1 > best.1 { other } else { best });
    best.map(|(index, _)| index)
}

fn is_equal(own: &Estimate, best: &Option<Estimate>) -> bool {
    best.is_some_and(|best| best.mean - own.mean < SAME)
}

/// What each run of each method is on the same resampled images.
struct Judged {
    /// For each row, its seeds with their numbers.
    rows: Vec<Vec<(u64, Resampled)>>,
    /// For each row, whether one run stands for every seed.
    without_seed: Vec<bool>,
    /// Images of the column: of the smallest group, where groups are compared.
    effective: usize,
    images: usize,
}

impl Judged {
    /// `None` if any run has no judgments on the column.
    fn of(rows: &[MethodRow], column: &Column) -> Option<Self> {
        let of_several_labels = |row: &MethodRow| row.judgments.values().any(|judgments| !judgments.labels.is_empty());
        if rows.iter().any(of_several_labels) { Self::of_labels(rows, column) } else { Self::of_classes(rows, column) }
    }

    /// Of mean average precisions, on the images that every run has.
    fn of_labels(rows: &[MethodRow], column: &Column) -> Option<Self> {
        let mut runs: Vec<&LabelJudgments> = Vec::new();
        for row in rows {
            for seed in row.runs.keys() {
                runs.push(row.judgments.get(seed)?.labels.get(&column.set)?);
            }
        }
        let first = runs.first()?;
        let positions: Vec<HashMap<u64, usize>> =
            runs.iter().map(|run| run.images.iter().copied().zip(0..).collect()).collect();
        let shared = first.images.iter().filter(|image| positions.iter().all(|known| known.contains_key(*image)));
        let images: Vec<u64> = shared.copied().collect();
        if images.is_empty() || runs.iter().any(|run| run.labels != first.labels) {
            return None;
        }
        let in_order = |(run, positions): (&&LabelJudgments, &HashMap<u64, usize>)| {
            let rows = || images.iter().map(|image| positions[image] * run.labels..(positions[image] + 1) * run.labels);
            let scores: Vec<f32> = rows().flat_map(|row| run.scores[row].iter().copied()).collect();
            let has: Vec<bool> = rows().flat_map(|row| run.has[row].iter().copied()).collect();
            (scores, has)
        };
        let in_order: Vec<(Vec<f32>, Vec<bool>)> = runs.iter().zip(&positions).map(in_order).collect();
        let scores: Vec<LabelScores> =
            in_order.iter().map(|(scores, has)| LabelScores { scores, has, labels: first.labels }).collect();
        let mut found = mean_average_precisions(&scores, RESAMPLES, SEED).into_iter();
        let of_row = |row: &MethodRow| row.runs.keys().copied().zip(found.by_ref()).collect();
        Some(Self {
            rows: rows.iter().map(of_row).collect(),
            without_seed: rows.iter().map(|row| row.without_seed).collect(),
            effective: images.len(),
            images: images.len(),
        })
    }

    /// Of accuracies, or of the worst group's.
    fn of_classes(rows: &[MethodRow], column: &Column) -> Option<Self> {
        let mut runs: Vec<&[Judgment]> = Vec::new();
        for row in rows {
            for (seed, summary) in &row.runs {
                let is_known = summary.splits.get(&column.set).and_then(|found| column.accuracy(found)).is_some();
                match row.judgments.get(seed).and_then(|judgments| judgments.sets.get(&column.set)) {
                    Some(judgments) if is_known => runs.push(judgments),
                    Some(_) | None => return None,
                }
            }
        }
        let images: IndexSet<u64> = runs.iter().flat_map(|run| run.iter().map(|judgment| judgment.image)).collect();
        if images.is_empty() {
            return None;
        }
        let answers: Vec<Answers> = runs.iter().map(|run| answers(run, &images)).collect();
        let (mut found, effective) = if column.worst_group {
            let groups = groups(&runs, &images)?;
            let smallest = smallest_group(&groups);
            (worst_group_accuracies(&answers, &groups, RESAMPLES, SEED).into_iter(), smallest)
        } else {
            let seen = answers.iter().map(|run| run.iter().flatten().count()).min().unwrap_or(0);
            (accuracies(&answers, RESAMPLES, SEED).into_iter(), seen)
        };
        let of_row = |row: &MethodRow| row.runs.keys().copied().zip(found.by_ref()).collect();
        Some(Self {
            rows: rows.iter().map(of_row).collect(),
            without_seed: rows.iter().map(|row| row.without_seed).collect(),
            effective,
            images: images.len(),
        })
    }

    fn estimates(&self) -> Vec<Option<Estimate>> {
        let estimate = |runs: &Vec<(u64, Resampled)>| {
            let runs: Vec<Resampled> = runs.iter().map(|(_, run)| run.clone()).collect();
            (!runs.is_empty()).then(|| TwoWay::of(&runs, self.effective).accuracy())
        };
        self.rows.iter().map(estimate).collect()
    }

    /// How far each row is from the best, with the p-value after Holm's correction; `None` of the best and its equals.
    fn compared_with(&self, best: usize, estimates: &[Option<Estimate>]) -> Vec<Option<(Estimate, f64)>> {
        let compared = |row: usize| {
            let own = estimates[row].filter(|own| !is_equal(own, &estimates[best]))?;
            let differences = self.differences(row, best);
            if differences.is_empty() {
                // Without a seed in common, there is nothing to pair.
                return Some((Estimate { mean: own.mean - estimates[best]?.mean, interval: [-1.0, 1.0] }, 1.0));
            }
            Some(TwoWay::of(&differences, self.effective).difference())
        };
        let mut found: Vec<Option<(Estimate, f64)>> = (0..self.rows.len()).map(compared).collect();
        let p_values: Vec<f64> = found.iter().flatten().map(|(_, p)| *p).collect();
        let corrected = holm::corrected(&p_values);
        found.iter_mut().flatten().zip(corrected).for_each(|(entry, p)| entry.1 = p);
        found
    }

    /// The difference of two rows for each seed that both have. One run that stands for every seed pairs with each.
    fn differences(&self, row: usize, other: usize) -> Vec<Resampled> {
        let of = |row: usize, seed: u64| {
            let runs = &self.rows[row];
            let own = if self.without_seed[row] { runs.first() } else { runs.iter().find(|(known, _)| *known == seed) };
            own.map(|(_, run)| run)
        };
        let seeds = if self.without_seed[row] { &self.rows[other] } else { &self.rows[row] };
        seeds.iter().filter_map(|(seed, _)| Some(of(row, *seed)?.minus(of(other, *seed)?))).collect()
    }
}

/// A run's answers in the order of `images`.
fn answers(run: &[Judgment], images: &IndexSet<u64>) -> Answers {
    let mut answers = vec![None; images.len()];
    for judgment in run {
        if let Some(position) = images.get_index_of(&judgment.image) {
            answers[position] = Some(judgment.is_right);
        }
    }
    answers
}

/// The group of each image, numbered; `None` if no image has one.
fn groups(runs: &[&[Judgment]], images: &IndexSet<u64>) -> Option<Vec<Option<usize>>> {
    let mut names: IndexSet<u64> = IndexSet::new();
    let mut groups = vec![None; images.len()];
    for judgment in runs.iter().copied().flatten() {
        if let (Some(position), Some(group)) = (images.get_index_of(&judgment.image), judgment.group) {
            groups[position] = Some(names.insert_full(group).0);
        }
    }
    (!names.is_empty()).then_some(groups)
}

fn smallest_group(groups: &[Option<usize>]) -> usize {
    let mut sizes: HashMap<usize, usize> = HashMap::new();
    groups.iter().flatten().for_each(|&group| *sizes.entry(group).or_default() += 1);
    sizes.into_values().min().unwrap_or(0)
}
