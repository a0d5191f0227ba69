//! Comparison of methods: several methods and seeds on the same data with the same options.
//!
//! ```text
//! Options ─ runner ─► a run directory for each method and seed ─► Comparison ─ table ─► text, Markdown, CSV, LaTeX
//!                                                                     └─ page: the report
//! ```

pub mod page;
pub mod runner;
pub mod table;

use indexmap::IndexMap;
use retune_analysis::intervals::{Estimate, paired_difference, proportion_difference};
use retune_figures::Axis;
use retune_figures::figure::{Point, Scatter};
use serde::{Deserialize, Serialize};

use crate::inference::Evaluation;
use crate::run::Summary;

/// Means that differ by less count as equal.
const SAME: f64 = 1e-12;

/// Results of several methods on the same data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The set that represents data as in training: a test split, else `val`.
    pub in_distribution: String,
    /// The additional sets, in the order given.
    pub shifted: Vec<String>,
    /// A row for each method.
    pub rows: Vec<MethodRow>,
}

/// The runs of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodRow {
    /// The method, with its layers where it has any.
    pub label: String,
    /// The result of each seed.
    pub runs: IndexMap<u64, Summary>,
}

/// What is compared: a set's accuracy, or that of its worst group.
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
            Some(evaluation.accuracy)
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
    fn accuracies(&self, column: &Column) -> IndexMap<u64, f64> {
        let of = |(&seed, summary): (&u64, &Summary)| Some((seed, column.accuracy(summary.splits.get(&column.set)?)?));
        self.runs.iter().filter_map(of).collect()
    }

    /// Mean accuracy in a column with its interval: Student's at 90 % over seeds or, for a single run, Wilson's at 95 %
    /// over images. A worst group has no interval, because Wilson's does not account for its selection.
    pub fn estimate(&self, column: &Column) -> Option<Estimate> {
        let accuracies: Vec<f64> = self.accuracies(column).into_values().collect();
        match accuracies.as_slice() {
            [] => None,
            [only] => {
                let evaluation = self.runs.values().find_map(|summary| summary.splits.get(&column.set))?;
                let interval = if column.worst_group { [*only; 2] } else { evaluation.accuracy_interval };
                Some(Estimate { mean: *only, interval })
            }
            several => Some(Estimate::over_seeds(several)),
        }
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
    pub results: Vec<ColumnResult>,
    /// The runs.
    #[serde(flatten)]
    pub comparison: &'a Comparison,
}

/// A column of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnResult {
    /// What is compared.
    #[serde(flatten)]
    pub column: Column,
    /// Each method's mean, interval and standing.
    pub methods: Vec<MethodResult>,
}

/// A method in a column.
#[derive(Clone, Debug, Serialize)]
pub struct MethodResult {
    /// The method.
    pub label: String,
    /// Mean and interval, 0 to 1; `None` without any run.
    pub estimate: Option<Estimate>,
    /// How it stands.
    pub standing: Standing,
}

impl Comparison {
    /// Collects runs. Methods and sets are in the order of the runs.
    pub fn new(rows: Vec<MethodRow>, further: &[String]) -> Self {
        let sets: Vec<&String> =
            rows.iter().find_map(|row| row.runs.values().next()).map_or(Vec::new(), |run| run.splits.keys().collect());
        let own_test = sets.iter().find(|set| set.as_str() != "val" && !further.contains(set));
        let in_distribution = own_test.map_or_else(|| "val".to_owned(), |set| (*set).clone());
        let shifted: Vec<String> =
            sets.into_iter().filter(|set| **set != in_distribution && set.as_str() != "val").cloned().collect();
        Self { in_distribution, shifted, rows }
    }

    /// Every set, the one in distribution first, and after each that has groups, its worst group.
    pub fn columns(&self) -> Vec<Column> {
        let grouped = |set: &String| {
            let mut runs = self.rows.iter().flat_map(|row| row.runs.values());
            runs.any(|run| run.splits.get(set).is_some_and(|evaluation| evaluation.worst_group.is_some()))
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

    /// How each method stands in a column.
    ///
    /// With several seeds, a method is worse than the best if the 90 % interval of their differences,
    /// seed by seed, lies below 0 (a paired t-test). With one, or if every seed gave the same
    /// difference, so that their spread says nothing, it is if Newcombe's 95 % interval of the
    /// difference of two independent proportions lies below 0; the images are the same for both, so
    /// this is cautious.
    pub fn standings(&self, column: &Column) -> Vec<Standing> {
        let means: Vec<Option<f64>> =
            self.rows.iter().map(|row| row.estimate(column).map(|estimate| estimate.mean)).collect();
        let known = means.iter().enumerate().filter_map(|(index, mean)| Some((index, (*mean)?)));
        // Equal means are all the best.
        let best = known.fold(None, |best: Option<(usize, f64)>, (index, mean)| match best {
            Some((_, highest)) if highest >= mean => best,
            _ => Some((index, mean)),
        });
        let Some((best, _)) = best else { return vec![Standing::Missing; self.rows.len()] };
        let standing = |index: usize| match means[index] {
            None => Standing::Missing,
            Some(mean) if means[best].is_some_and(|highest| highest - mean < SAME) => Standing::Best,
            Some(_) if self.is_worse(&self.rows[index], &self.rows[best], column) => Standing::Worse,
            Some(_) => Standing::NotSignificantlyWorse,
        };
        (0..self.rows.len()).map(standing).collect()
    }

    fn is_worse(&self, row: &MethodRow, best: &MethodRow, column: &Column) -> bool {
        let (own, other) = (row.accuracies(column), best.accuracies(column));
        let differences: Vec<f64> = own.iter().filter_map(|(seed, value)| Some(value - other.get(seed)?)).collect();
        let paired = paired_difference(&differences);
        if differences.len() > 1 && paired.reach() > 1e-12 {
            return paired.interval[1] < 0.0;
        }
        let counts = |row: &MethodRow| {
            let evaluation = row.runs.values().find_map(|run| run.splits.get(&column.set))?;
            let accuracy = column.accuracy(evaluation)?;
            let n = if column.worst_group { evaluation.worst_group.as_ref()?.n } else { evaluation.n };
            Some(((accuracy * n as f64).round() as usize, n))
        };
        let difference = counts(row).zip(counts(best)).map(|(own, other)| proportion_difference(own, other));
        difference.is_some_and(|[_, high]| high < 0.0)
    }

    /// The comparison with what its tables show, for `comparison.json`.
    pub fn document(&self) -> Document<'_> {
        let result = |column: Column| {
            let methods = self.rows.iter().zip(self.standings(&column)).map(|(row, standing)| MethodResult {
                label: row.label.clone(),
                estimate: row.estimate(&column),
                standing,
            });
            ColumnResult { methods: methods.collect(), column }
        };
        Document { results: self.columns().into_iter().map(result).collect(), comparison: self }
    }

    /// Accuracy in distribution against accuracy on each shifted set, a figure for each.
    pub fn scatters(&self) -> Vec<(String, Scatter)> {
        let column = |set: &String| Column { set: set.clone(), worst_group: false };
        let own = column(&self.in_distribution);
        self.shifted
            .iter()
            .map(|set| {
                let point = |row: &MethodRow| {
                    let (x, y) = (row.estimate(&own)?, row.estimate(&column(set))?);
                    Some(Point {
                        label: row.label.clone(),
                        x: x.mean,
                        y: y.mean,
                        x_interval: Some(x.interval),
                        y_interval: Some(y.interval),
                    })
                };
                let figure = Scatter {
                    title: "In distribution and under shift".into(),
                    x: Axis::shares(format!("accuracy on {}", self.in_distribution)),
                    y: Axis::shares(format!("accuracy on {set}")),
                    points: self.rows.iter().filter_map(point).collect(),
                    ..Scatter::default()
                };
                (set.clone(), figure)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
