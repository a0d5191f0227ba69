//! CKA values as a table of plain data.

use retune_analysis::cka::{Estimate, Estimator, Kernel};
use retune_pixels::preprocess::Preprocessing;
use serde::{Deserialize, Serialize};

use super::{CkaOptions, Measured};

/// A biased value this much above the debiased one says more of the number of images than of the features.
const INFLATED: f64 = 0.05;
/// An interval wider than this leaves the value open.
const WIDE: f64 = 0.1;

/// CKA between representations: rows with columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CkaMatrix {
    /// The representations in rows, and in columns unless those have names of their own.
    pub names: Vec<String>,
    /// The representations in columns, where they are others than those in rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// CKA; none where it is not defined.
    pub matrix: Vec<Vec<Option<f64>>>,
    /// The layer at which all are compared, unless rows and columns are layers.
    pub layer: Option<String>,
    /// The kernel.
    pub kernel: Kernel,
    /// The estimator.
    pub estimator: Estimator,
    /// Images.
    pub n: usize,
    /// Minibatches that the images were taken in: 1 for CKA over all of them.
    pub minibatches: usize,
    /// 95 % intervals, where asked for and possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Vec<Option<[f64; 2]>>>,
    /// Why values are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undefined: Vec<UndefinedCell>,
    /// How both models see images, where two are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// What to know before the values are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A value that does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndefinedCell {
    /// Its row's name.
    pub row: String,
    /// Its column's name.
    pub column: String,
    /// Why.
    pub reason: String,
}

impl CkaMatrix {
    /// The names of the columns.
    pub fn column_names(&self) -> &[String] {
        self.columns.as_ref().unwrap_or(&self.names)
    }
}

/// From the estimates of the upper triangle, row by row.
pub(super) fn symmetric(
    names: Vec<String>,
    layer: Option<String>,
    triangle: &[Estimate],
    measured: &Measured,
    options: &CkaOptions,
) -> CkaMatrix {
    let size = names.len();
    let place = |row: usize, column: usize| {
        let (row, column) = (row.min(column), row.max(column));
        // Row r of the triangle begins after rows of size, size − 1, … values.
        row * size - row * row.saturating_sub(1) / 2 + column - row
    };
    let cell = |row, column| triangle[place(row, column)];
    let mut matrix = build(names, None, cell, measured, options);
    matrix.layer = layer;
    matrix
}

/// From the estimates of every cell, row by row.
pub(super) fn rectangular(
    names: Vec<String>,
    columns: Vec<String>,
    measured: &Measured,
    options: &CkaOptions,
) -> CkaMatrix {
    let width = columns.len();
    build(names, Some(columns), |row, column| measured.estimates[row * width + column], measured, options)
}

fn build(
    names: Vec<String>,
    columns: Option<Vec<String>>,
    cell: impl Fn(usize, usize) -> Estimate,
    measured: &Measured,
    options: &CkaOptions,
) -> CkaMatrix {
    let column_names = columns.as_ref().unwrap_or(&names);
    let rows: Vec<Vec<Estimate>> =
        (0..names.len()).map(|row| (0..column_names.len()).map(|column| cell(row, column)).collect()).collect();
    let undefined = rows.iter().zip(&names).flat_map(|(estimates, row)| {
        estimates.iter().zip(column_names).filter_map(|(estimate, column)| {
            let reason = estimate.value.err()?.to_string();
            Some(UndefinedCell { row: row.clone(), column: column.clone(), reason })
        })
    });
    let undefined = undefined.collect();
    let all: Vec<Estimate> = rows.iter().flatten().copied().collect();
    let of_rows =
        |value: fn(&Estimate) -> Option<f64>| rows.iter().map(|row| row.iter().map(value).collect()).collect();
    CkaMatrix {
        matrix: of_rows(|estimate| estimate.value.ok()),
        intervals: match options.resamples {
            0 => Vec::new(),
            _ => rows.iter().map(|row| row.iter().map(|estimate| estimate.interval).collect()).collect(),
        },
        layer: None,
        kernel: options.kernel,
        estimator: options.estimator,
        n: measured.images,
        minibatches: measured.minibatches,
        undefined,
        preprocessing: None,
        warnings: warnings(&all, measured.images, options),
        names,
        columns,
    }
}

/// Where images are few for what is asked of them.
fn warnings(estimates: &[Estimate], images: usize, options: &CkaOptions) -> Vec<String> {
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let mut warnings = Vec::new();
    if options.estimator == Estimator::Biased {
        let inflation = largest(&mut estimates.iter().filter_map(|one| Some(one.value.ok()? - one.debiased?)));
        if inflation > INFLATED {
            warnings.push(format!(
                "{images} images are few for these features: the biased values are up to {inflation:.2} above the \
                 debiased ones; take more images, or the debiased estimator"
            ));
        }
    }
    if options.resamples > 0 {
        let width = largest(&mut estimates.iter().filter_map(|one| one.interval).map(|[low, high]| high - low));
        if width > WIDE {
            warnings.push(format!("with {images} images the intervals are up to {width:.2} wide; take more images"));
        }
        if estimates.iter().any(|one| one.value.is_ok() && one.interval.is_none()) {
            warnings.push(format!("{images} images, or the resamples, are too few for intervals of every value"));
        }
    }
    warnings
}
