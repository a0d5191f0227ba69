//! Comparison of methods: several methods and seeds on the same data with the same options.
//!
//! ```text
//! Options ─ runner ─► a run directory for each method and seed ─► Comparison ─ table ─► text, Markdown, CSV, LaTeX
//!                                                                     └─ page: the report
//! ```

pub mod dry_run;
mod estimates;
pub mod findings;
pub mod judgments;
mod legacy;
pub mod page;
mod run_monitor;
pub mod runner;
pub mod table;

use std::mem::{self, Discriminant};

use indexmap::IndexMap;
use retune_analysis::intervals::Estimate;
use retune_figures::Axis;
use retune_figures::figure::{Point, Scatter};
use serde::{Deserialize, Serialize};

use self::judgments::Judgments;
use crate::inference::Evaluation;
use crate::run::{Caveat, Summary};

/// Results of several methods on the same data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The set that represents data as in training: a test split, else a further set of the name `test`, else `val`.
    pub in_distribution: String,
    /// The additional sets, in the order given.
    pub shifted: Vec<String>,
    /// A row for each method.
    pub rows: Vec<MethodRow>,
    /// For each column, how the methods stand.
    #[serde(skip)]
    results: Vec<ColumnResult>,
}

/// The runs of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodRow {
    /// The method, with its layers where it has any.
    pub label: String,
    /// The result of each seed.
    pub runs: IndexMap<u64, Summary>,
    /// Nothing in it is random, so that one run stands for every seed.
    #[serde(default)]
    pub without_seed: bool,
    /// What the runs said of each image, of runs that kept it.
    #[serde(skip)]
    pub judgments: IndexMap<u64, Judgments>,
}

/// What is compared: a set's accuracy, or that of its worst group; the mean average precision where images have several
/// labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The set.
    pub set: String,
    /// Whether this is the accuracy of its worst group.
    pub worst_group: bool,
}

impl Column {
    fn accuracy(&self, evaluation: &Evaluation) -> Option<f64> {
        if self.worst_group {
            evaluation.worst_group.as_ref().map(|group| group.accuracy)
        } else {
            Some(evaluation.score())
        }
    }

    /// Its heading.
    pub fn heading(&self) -> String {
        if self.worst_group { format!("{}, worst group", self.set) } else { self.set.clone() }
    }
}

/// The standing of a method in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has the highest mean.
    Best,
    /// It is not significantly worse than the best.
    NotSignificantlyWorse,
    /// It is significantly worse than the best.
    Worse,
    /// It has no value.
    Missing,
}

impl MethodRow {
    /// A method without runs.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), runs: IndexMap::new(), without_seed: false, judgments: IndexMap::new() }
    }

    /// Adds the run of a seed, with what it said of each image where that was kept.
    pub fn add(&mut self, seed: u64, summary: Summary, judgments: Option<Judgments>) {
        self.runs.insert(seed, summary);
        self.judgments.extend(judgments.map(|judgments| (seed, judgments)));
    }

    /// Whether its runs found the same, or are only one; leaves one of them.
    fn repeats_itself(&mut self) -> bool {
        let mut splits = self.runs.values().map(|run| &run.splits);
        let first = splits.next();
        if !splits.all(|other| Some(other) == first) {
            return false;
        }
        self.runs.truncate(1);
        true
    }

    /// How tables call it.
    pub fn heading(&self) -> String {
        if self.without_seed { format!("{} (one run)", self.label) } else { self.label.clone() }
    }

    fn accuracies(&self, column: &Column) -> IndexMap<u64, f64> {
        let of = |(&seed, summary): (&u64, &Summary)| Some((seed, column.accuracy(summary.splits.get(&column.set)?)?));
        self.runs.iter().filter_map(of).collect()
    }

    fn mean_of(&self, of: impl Fn(&Summary) -> f64) -> f64 {
        self.runs.values().map(of).sum::<f64>() / self.runs.len().max(1) as f64
    }

    /// Mean seconds of training.
    pub fn seconds(&self) -> f64 {
        self.mean_of(|summary| summary.seconds)
    }

    /// Parameters that the method trained.
    pub fn trained_parameters(&self) -> usize {
        self.runs.values().map(|summary| summary.trained_parameters).max().unwrap_or(0)
    }
}

/// A comparison with what its tables show.
#[derive(Clone, Debug, Serialize)]
pub struct Document<'a> {
    /// For each column, how the methods stand.
    pub results: &'a [ColumnResult],
    /// What makes the numbers of some sets say less than they seem to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<&'a Caveat>,
    /// The runs.
    #[serde(flatten)]
    pub comparison: &'a Comparison,
}

/// A column of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnResult {
    /// What is compared.
    #[serde(flatten)]
    pub column: Column,
    /// What its intervals and standings rest on.
    pub basis: Basis,
    /// Images that the runs were judged on: of a worst group, those of the whole set.
    pub images: usize,
    /// Each method's mean, interval and standing.
    pub methods: Vec<MethodResult>,
}

/// What intervals and standings rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// What each run said of each image: intervals hold the sampling of images and of seeds.
    Predictions,
    /// Accuracies alone, of runs that kept no predictions: intervals hold the sampling of seeds or, of one seed, of
    /// images.
    Accuracies,
}

/// A method in a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodResult {
    /// The method.
    pub label: String,
    /// Mean and interval, 0 to 1; `None` without any run.
    pub estimate: Option<Estimate>,
    /// How it stands.
    pub standing: Standing,
    /// How much it is above the best, with the 95 % interval; `None` of the best and without predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Estimate>,
    /// The p-value of that difference after Holm's correction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
}

impl Comparison {
    /// Collects runs. Methods and sets are in the order of the runs.
    pub fn new(rows: Vec<MethodRow>, further: &[String]) -> Self {
        let sets: Vec<&String> =
            rows.iter().find_map(|row| row.runs.values().next()).map_or(Vec::new(), |run| run.splits.keys().collect());
        let is_own = |set: &&&String| set.as_str() != "val" && !further.contains(set);
        let own_test = sets.iter().find(is_own).or_else(|| sets.iter().find(|set| set.as_str() == "test"));
        let in_distribution = own_test.map_or_else(|| "val".to_owned(), |set| (*set).clone());
        let shifted: Vec<String> =
            sets.into_iter().filter(|set| **set != in_distribution && set.as_str() != "val").cloned().collect();
        let mut comparison = Self { in_distribution, shifted, rows, results: Vec::new() };
        comparison.results =
            comparison.columns().into_iter().map(|column| estimates::of(&comparison.rows, column)).collect();
        comparison
    }

    /// For each of [`Comparison::columns`], how the methods stand.
    pub fn results(&self) -> &[ColumnResult] {
        &self.results
    }

    /// How the methods stand in a column, in the order of the rows.
    fn result(&self, column: &Column) -> &[MethodResult] {
        self.results.iter().find(|result| result.column == *column).map_or(&[], |result| &result.methods)
    }

    /// What is compared.
    pub fn score_name(&self) -> &'static str {
        let mut evaluations = self.rows.iter().flat_map(|row| row.runs.values()).flat_map(|run| run.splits.values());
        evaluations.next().map_or("accuracy", Evaluation::score_name)
    }

    /// Whether images have several labels.
    fn is_of_several_labels(&self) -> bool {
        self.score_name() != "accuracy"
    }

    /// Whether any result rests on accuracies alone.
    fn is_legacy(&self) -> bool {
        self.results.iter().any(|result| result.basis == Basis::Accuracies)
    }

    /// Every set, the one in distribution first, and after each that has groups, its worst group.
    pub fn columns(&self) -> Vec<Column> {
        let grouped = |set: &String| {
            let mut runs = self.rows.iter().flat_map(|row| row.runs.values());
            // The worst group goes by images that are right in all of their labels.
            let has_groups =
                |evaluation: &Evaluation| evaluation.worst_group.is_some() && !evaluation.is_of_several_labels();
            runs.any(|run| run.splits.get(set).is_some_and(has_groups))
        };
        let sets = std::iter::once(&self.in_distribution).chain(&self.shifted);
        sets.flat_map(|set| {
            let column = |worst_group| Column { set: set.clone(), worst_group };
            [Some(column(false)), grouped(set).then(|| column(true))]
        })
        .flatten()
        .collect()
    }

    /// How many seeds there are; a method that diverged may have fewer.
    pub fn seeds(&self) -> usize {
        self.rows.iter().map(|row| row.runs.len()).max().unwrap_or(0)
    }

    /// The further set on which the best method does worst.
    pub(crate) fn hardest_set(&self) -> Option<&String> {
        let is_shifted =
            |result: &&ColumnResult| !result.column.worst_group && result.column.set != self.in_distribution;
        let best = |result: &ColumnResult| {
            let means = result.methods.iter().filter_map(|method| Some(method.estimate?.mean));
            means.fold(f64::NEG_INFINITY, f64::max)
        };
        let further = self.results.iter().filter(is_shifted);
        further.min_by(|one, other| best(one).total_cmp(&best(other))).map(|result| &result.column.set)
    }

    /// How each method stands in a column.
    pub fn standings(&self, column: &Column) -> Vec<Standing> {
        self.result(column).iter().map(|method| method.standing).collect()
    }

    /// The comparison with what its tables show, for `comparison.json`.
    pub fn document(&self) -> Document<'_> {
        Document { results: &self.results, caveats: self.caveats(), comparison: self }
    }

    /// What makes the numbers of some sets say less than they seem to, each kind once for a set: of two seeds that divide
    /// the images differently, as the first has it.
    pub fn caveats(&self) -> Vec<&Caveat> {
        let mut found: IndexMap<(&str, Discriminant<Caveat>), &Caveat> = IndexMap::new();
        for caveat in self.rows.iter().flat_map(|row| row.runs.values()).flat_map(|run| &run.caveats) {
            found.entry((caveat.set(), mem::discriminant(caveat))).or_insert(caveat);
        }
        found.into_values().collect()
    }

    /// Accuracy in distribution against accuracy on each shifted set, a figure for each.
    pub fn scatters(&self) -> Vec<(String, Scatter)> {
        let column = |set: &String| Column { set: set.clone(), worst_group: false };
        let own = column(&self.in_distribution);
        self.shifted
            .iter()
            .map(|set| {
                let shifted = column(set);
                let point = |(own, other): (&MethodResult, &MethodResult)| {
                    let (x, y) = (own.estimate?, other.estimate?);
                    Some(Point {
                        label: own.label.clone(),
                        x: x.mean,
                        y: y.mean,
                        x_interval: Some(x.interval),
                        y_interval: Some(y.interval),
                    })
                };
                let figure = Scatter {
                    title: "In distribution and under shift".into(),
                    x: Axis::shares(format!("{} on {}", self.score_name(), self.in_distribution)),
                    y: Axis::shares(format!("{} on {set}", self.score_name())),
                    points: self.result(&own).iter().zip(self.result(&shifted)).filter_map(point).collect(),
                    diagonal: true,
                    ..Scatter::default()
                };
                (set.clone(), figure)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
